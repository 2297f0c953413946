"""The command's manners: exit codes, where errors go, how the configuration is found, help everywhere."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from waypost.cli.main import COMMANDS, run
from waypost.cli.output import duration, rfc3339, size

CONFIG = Path(__file__).parents[3] / "config" / "two-sites.toml"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAYPOST_CONFIG", raising=False)


def test_without_a_configuration_the_three_places_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    for place in ("--config", "WAYPOST_CONFIG", "./data/waypost.toml"):
        assert place in printed.err


def test_an_error_as_json_is_one_document_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    document = json.loads(printed.err)
    assert document["version"] == 1
    assert set(document["error"]) >= {"code", "message", "place", "mend"}


def test_the_variable_names_the_configuration_and_the_option_wins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAYPOST_CONFIG", "missing.toml")
    assert run(["config", "show"]) == 2
    assert "missing.toml" in capsys.readouterr().err
    assert run(["config", "show", "--config", str(CONFIG)]) == 0
    assert "hub-a" in capsys.readouterr().out


def test_a_good_configuration_is_said_to_be_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "check", str(CONFIG), "--json"]) == 0
    assert "store-b" in json.loads(capsys.readouterr().out)["servers"]


def test_each_fault_of_a_configuration_has_its_place_and_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.toml"
    text = CONFIG.read_text().replace('site = "B"', 'siet = "B"')
    broken.write_text(text)
    assert run(["config", "check", str(broken)]) == 2
    printed = capsys.readouterr().err
    for place in ("servers.hub-b.siet", "servers.store-b.siet"):
        assert f"{broken}: {place}: " in printed
    assert 'did you mean "site"?' in printed


def test_a_command_that_is_none_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: waypost {command}" in shown or f"• waypost {command}" in shown
    verbs = {
        "user": ("add", "list", "show", "set", "remove"),
        "queue": ("list", "show", "retry", "release"),
        "config": ("check", "show"),
        "client": ("show", "autoconfig"),
    }
    nouns = dict.fromkeys(("alias", "group", "domain"), verbs["user"]) | verbs
    nouns["user"] += ("rehome",)
    for verb in nouns.get(command, ()):
        assert run([command, verb, "--help"]) == 0
        shown = capsys.readouterr().out
        examples = (f"Example: waypost {command} {verb}", f"• waypost {command} {verb}", "| waypost")
        assert any(example in shown for example in examples)


def test_a_server_that_is_not_configured_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "hub", "--name", "hub-z", "--config", str(CONFIG)]) == 2
    assert "hub-a, hub-b" in capsys.readouterr().err


def test_servers_that_do_not_run_are_exit_code_1_and_a_partial_answer_4(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["status", "--json", "--config", str(CONFIG)]) == 1
    items = json.loads(capsys.readouterr().out)["items"]
    assert {item["state"] for item in items} == {"unreachable"}
    assert run(["trace", "<some@id>", "--json", "--config", str(CONFIG)]) == 4
    gaps = json.loads(capsys.readouterr().out)["gaps"]
    assert {gap["server"] for gap in gaps} == {"hub-a", "hub-b", "store-a", "store-b", "access"}


def test_status_of_one_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json", "--name", "hub-b", "--config", str(CONFIG)]) == 1
    assert [item["name"] for item in json.loads(capsys.readouterr().out)["items"]] == ["hub-b"]
    assert run(["status", "--name", "hub-z", "--config", str(CONFIG)]) == 3


def test_init_keeps_the_authority_s_key_where_it_is_told(tmp_path: Path) -> None:
    assert run(["init", "--config", str(CONFIG), "--authority-key", str(tmp_path / "safe/ca.key")]) == 0
    assert (tmp_path / "safe/ca.key").exists()
    assert not (tmp_path / "data/certificates/ca.key").exists()
    assert (tmp_path / "data/certificates/hub-a.pem").exists()


def test_a_directory_that_is_not_there_can_not_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["user", "list", "--config", str(CONFIG)]) == 4
    assert "waypost init" in capsys.readouterr().err


def test_init_may_be_repeated_and_prints_passwords_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "--config", str(CONFIG)]) == 0
    first = capsys.readouterr().out
    users = json.loads((tmp_path / "data/demo-users.json").read_text())
    assert all(user["password"] in first for user in users)
    assert run(["init", "--config", str(CONFIG)]) == 0
    assert not any(user["password"] in capsys.readouterr().out for user in users)
    assert run(["user", "list", "--config", str(CONFIG), "--json"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert {(item["address"], item["store"]) for item in items} >= {("bob@example.test", "store-b")}


def test_values_for_people_and_for_programs() -> None:
    assert rfc3339(1_732_480_000_123) == "2024-11-24T20:26:40.123Z"
    assert rfc3339(0) == ""
    assert [duration(ms) for ms in (7, 3_400, 320_000, 11_100_000)] == [
        "7 ms",
        "3.4 s",
        "5 min 20 s",
        "3 h 5 min",
    ]
    assert [size(n) for n in (10, 2048, 5 << 20)] == ["10 B", "2.0 KiB", "5.0 MiB"]


def test_passwords_are_shown_though_a_port_is_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "busy.toml"
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        config.write_text(CONFIG.read_text().replace("127.0.0.1:2525", f"127.0.0.1:{port}"))
        assert run(["up", "--config", str(config)]) == 2
    printed = capsys.readouterr()
    assert f"127.0.0.1:{port}: the port is in use" in printed.err
    users = json.loads(Path("data/demo-users.json").read_text())
    assert users and all(user["password"] in printed.out for user in users)
