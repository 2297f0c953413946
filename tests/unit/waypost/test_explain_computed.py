"""`waypost explain` while nothing runs: the servers' code, with the configuration and the directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.model import SendConnector
from config.writer import write_topology
from foundation.directory.changes import DirectoryChanges
from tests.harness.topologies import ready_topology
from waypost.bootstrap import prepare
from waypost.cli.main import run
from waypost.world import real_world


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A topology that was set up, and is not running."""
    data = tmp_path_factory.mktemp("computed") / "data"
    topology = ready_topology("two-sites", data)
    smart_host = topology.hubs[0].smtp
    assert smart_host is not None
    connector = SendConnector(name="out", smart_hosts=(smart_host,))
    topology = topology.model_copy(update={"send_connectors": (connector,)})
    world = real_world()
    prepare(topology, world)
    directory = DirectoryChanges(topology.directory_database, world.clock, world.entropy)
    directory.add_group("team@example.test", members=["bob@example.test", "carol@example.test"])
    directory.close()
    file = data / "topology.toml"
    file.write_text(write_topology(topology))
    return file


def test_it_is_computed_and_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ("--to", "team@example.test", "--to", "eve@example.org")
    assert run(["explain", "--from", "alice@example.test", *to, "--config", str(config)]) == 0
    shown = capsys.readouterr().out
    for server in ("access", "store-a", "hub-a", "hub-b", "store-b"):
        assert any(f"{server}  " in line and "computed, not asked" in line for line in shown.splitlines()), (
            server
        )
    assert "team@example.test as carol@example.test arrives on store-a" in shown
    assert "eve@example.org goes out from hub-a" in shown


def test_without_a_directory_it_says_what_makes_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(write_topology(ready_topology("two-sites", tmp_path / "data")))
    arguments = ["explain", "--from", "alice@example.test", "--to", "bob@example.test", "--json"]
    assert run([*arguments, "--config", str(file)]) == 4
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "no_directory" and "waypost init" in error["mend"]


def test_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", "--from", "eve@example.org", "--to", "bob@example.test", "--json"]
    assert run([*arguments, "--config", str(config)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["live"], document["arrives"]) == (1, False, True)
    (first,) = document["hops"]
    assert (first["server"], first["door"], first["live"]) == ("hub-a", "smtp", False)
    assert "can't be reached" in first["not_asked_because"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--from", "alice@example.test", "--to", "nobody@example.test"), 1, ""),
        (("--from", "alice@example.test", "--to", "bob@example.test", "--size", "1GiB"), 1, ""),
        (("--from", "<>", "--to", "bob@example.test", "--at", "hub-b"), 0, ""),
        (("--from", "a@b.example", "--to", "bob@example.test", "--at", "store-b"), 3, "hub-a, hub-b, access"),
        (("--from", "a@b.example", "--to", "bob"), 2, "no mail address"),
        (("--from", "a@b.example", "--to", "bob@example.test", "no-such.eml"), 2, "can't be read"),
        (("--from", "a@b.example", "--to", "bob@example.test", "--size", "big"), 2, "no size"),
        (("--from", "a@b.example"), 2, "--to"),
    ],
)
def test_exit_codes(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert run(["explain", *arguments, "--config", str(config)]) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert bool(printed.err) == bool(said)


def test_without_a_directory_it_can_not_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(write_topology(ready_topology("two-sites", tmp_path / "data")))
    arguments = ["explain", "--from", "a@b.example", "--to", "bob@example.test", "--config", str(file)]
    assert run(arguments) == 4
    printed = capsys.readouterr()
    assert "directory" in printed.err
    assert printed.out == ""
    assert not (tmp_path / "data").exists()
