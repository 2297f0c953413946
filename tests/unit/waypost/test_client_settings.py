"""What mail programs are told: which servers, by which name, and Thunderbird's file."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from config.model import Endpoint, Topology
from config.reader import read_topology
from config.writer import write_topology
from tests.harness.topologies import with_server_settings
from waypost.bootstrap import prepare
from waypost.cli.main import run
from waypost.clients import NoHostName, accounts, thunderbird
from waypost.servers import resolved_file
from waypost.world import real_world

CONFIG = Path(__file__).parents[3] / "config" / "two-sites.toml"
ANYWHERE = Endpoint(host="0.0.0.0", port=1993)


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    return read_topology(CONFIG, {}).model_copy(update={"data": tmp_path / "data"})


def test_tls_comes_before_starttls_and_reading_before_sending(topology: Topology) -> None:
    found = [(way.protocol, way.security, way.port) for way in accounts(topology)]
    assert found == [
        ("imap", "SSL", 1993),
        ("imap", "STARTTLS", 1143),
        ("smtp", "SSL", 1465),
        ("smtp", "STARTTLS", 1587),
    ]


def test_a_listener_that_is_off_is_not_told(topology: Topology) -> None:
    topology = with_server_settings(topology, "access", imap=None, submission=None)
    assert [way.security for way in accounts(topology)] == ["SSL", "SSL"]


@pytest.mark.parametrize(
    ("listens", "told"),
    [
        ("127.0.0.1", "localhost"),
        ("::1", "localhost"),
        ("0.0.0.0", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("mail.example.test", "mail.example.test"),
    ],
)
def test_the_name_is_one_that_the_certificate_is_good_for(
    topology: Topology, listens: str, told: str
) -> None:
    topology = with_server_settings(topology, "access", imaps=Endpoint(host=listens, port=1993))
    assert accounts(topology)[0].host == told
    assert accounts(topology, "mail.example.org")[0].host == "mail.example.org"


def test_a_public_certificate_on_all_addresses_needs_its_name_said(topology: Topology) -> None:
    topology = with_server_settings(topology, "access", imaps=ANYWHERE, certificate_file="c", key_file="k")
    with pytest.raises(NoHostName):
        accounts(topology)
    [way, *_] = accounts(topology, "mail.example.org")
    assert not way.private_authority


def test_thunderbirds_file(topology: Topology) -> None:
    text = thunderbird("A & B", ["example.test", "example.org"], accounts(topology), "alice@example.test")
    root = ElementTree.fromstring(text.encode())
    assert (root.tag, root.get("version")) == ("clientConfig", "1.1")
    [provider] = root
    assert provider.get("id") == "example.test"
    assert [each.text for each in provider.findall("domain")] == ["example.test", "example.org"]
    assert provider.findtext("displayName") == "A & B"
    servers = [*provider.findall("incomingServer"), *provider.findall("outgoingServer")]
    assert [{child.tag: child.text for child in server} for server in servers] == [
        {
            "hostname": "localhost",
            "port": str(port),
            "socketType": security,
            "authentication": "password-cleartext",
            "username": "alice@example.test",
        }
        for port, security in ((1993, "SSL"), (1143, "STARTTLS"), (1465, "SSL"), (1587, "STARTTLS"))
    ]


@pytest.fixture
def config(topology: Topology, tmp_path: Path) -> str:
    """Of an organisation that has its directory."""
    prepare(topology, real_world())
    file = tmp_path / "waypost.toml"
    file.write_text(write_topology(topology))
    return str(file)


def test_the_ports_that_up_took_are_told(
    topology: Topology, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = with_server_settings(topology, "access", imaps=Endpoint(host="127.0.0.1", port=2993))
    resolved_file(topology).write_text(write_topology(moved))
    assert run(["client", "show", "--config", config, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["items"][0]["port"] == 2993
    assert document["authority"] == str(topology.data / "ca.pem")


def test_the_table_names_user_and_authority(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["client", "show", "--config", config, "--user", "alice@example.test"]) == 0
    shown = capsys.readouterr().out
    row = "read\tIMAP\tlocalhost\t1993\tTLS (SSL/TLS)\talice@example.test\tnormal password\n"
    assert row in shown
    assert "ca.pem" in shown


def test_the_file_names_the_domains_whose_users_are_here(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for domain, kind in (("example.org", "authoritative"), ("example.net", "external-relay")):
        assert run(["domain", "add", domain, "--kind", kind, "--config", config]) == 0
    file = tmp_path / "config-v1.1.xml"
    assert run(["client", "autoconfig", "--config", config, "--into", str(file)]) == 0
    provider = ElementTree.parse(file).getroot()[0]
    assert {each.text for each in provider.findall("domain")} == {"example.test", "example.org"}
    assert provider.findtext("incomingServer/username") == "%EMAILADDRESS%"
    capsys.readouterr()
    assert run(["client", "autoconfig", "--config", config, "--into", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "code", "word"),
    [
        ({"imaps": Endpoint(host="127.0.0.1", port=0)}, 1, "any free port"),
        ({"imaps": ANYWHERE, "certificate_file": "c", "key_file": "k"}, 2, "--host"),
    ],
)
def test_what_can_not_be_told_is_said_with_the_mend(
    topology: Topology,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, object],
    code: int,
    word: str,
) -> None:
    file = tmp_path / "other.toml"
    file.write_text(write_topology(with_server_settings(topology, "access", **settings)))
    assert run(["client", "show", "--config", str(file)]) == code
    assert word in capsys.readouterr().err
