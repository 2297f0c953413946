"""A written topology reads back to the same."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from config.model import Topology
from config.reader import read_topology
from config.writer import write_topology

MORE = """
[servers.access.limits]
imap_idle_seconds = 60.5
recipients = 5000

[servers.hub.limits]
hops = 5

[servers.hub.retry]
probe_first_seconds = 0.25

[[send_connectors]]
name = "a \\"quoted\\" näme\\u007f\\n"
address_spaces = ["*.other.test", "bücher.test"]
smart_hosts = ["mail.isp.test", "[2001:db8::1]:587"]
tls = "verified"
implicit_tls = true
ca_file = "ca.pem"
username = "someone"
password_file = "/run/secrets/someone"
"""


def read(tmp_path: Path, text: str) -> Topology:
    file = tmp_path / "waypost.toml"
    file.write_text(text)
    return read_topology(file, {})


@pytest.mark.parametrize("name", ["single.toml", "two-sites.toml"])
def test_ready_topologies(tmp_path: Path, name: str) -> None:
    topology = read(tmp_path, (files("config") / name).read_text())
    text = write_topology(topology)
    assert read(tmp_path, text) == topology
    assert write_topology(read(tmp_path, text)) == text
    assert "limits" not in text


def test_everything(tmp_path: Path) -> None:
    text = (files("config") / "single.toml").read_text()
    text = text.replace(
        'data = "data"',
        'data = "/srv/way post"\ndirectory_url = "postgresql://x/y"\n'
        'directory_password_file = "/run/secrets/directory"',
    )
    topology = read(tmp_path, text + MORE)
    assert read(tmp_path, write_topology(topology)) == topology
    assert topology.access[0].limits.recipients == 5000
