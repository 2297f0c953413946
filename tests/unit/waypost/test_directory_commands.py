"""`waypost user|alias|group|domain` on a fresh organisation: what they take, print and say by exit code."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from waypost.cli.main import run

CONFIG = Path(__file__).parents[3] / "config" / "two-sites.toml"


@pytest.fixture(autouse=True)
def organisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAYPOST_CONFIG", str(CONFIG))
    assert run(["init"]) == 0
    capsys.readouterr()


def told(capsys: pytest.CaptureFixture[str], *command: str) -> dict[str, Any]:
    assert run([*command, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    return document


def test_members_of_a_group_are_named_either_way(capsys: pytest.CaptureFixture[str]) -> None:
    alice, bob, carol = (f"{name}@example.test" for name in ("alice", "bob", "carol"))
    team = told(capsys, "group", "add", "team@example.test", alice, "--member", bob)
    assert team["members"] == [alice, bob]
    assert told(capsys, "group", "set", "team@example.test", carol, bob)["members"] == [carol, bob]
    changed = told(capsys, "group", "set", "team@example.test", "--add", alice, "--remove", bob)
    assert changed["members"] == [carol, alice]
    assert [item["address"] for item in told(capsys, "group", "list")["items"]] == ["team@example.test"]
    told(capsys, "group", "remove", "team@example.test", "--dry-run")
    told(capsys, "group", "remove", "team@example.test")
    assert run(["group", "show", "team@example.test"]) == 3


def test_a_users_life(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    dora = told(capsys, "user", "add", "dora@example.test", "--password-stdin", "--site", "B")
    assert dora["store"] == "store-b"
    assert told(capsys, "alias", "add", "d@example.test", "dora@example.test")["kind"] == "user"
    assert told(capsys, "user", "show", "D@Example.TEST")["aliases"] == ["d@example.test"]
    told(capsys, "alias", "set", "d@example.test", "alice@example.test")
    assert told(capsys, "user", "show", "dora@example.test")["aliases"] == []
    told(capsys, "user", "remove", "dora@example.test")
    for command in (["user", "show"], ["user", "remove"], ["alias", "show"]):
        assert run([*command, "dora@example.test"]) == 3


def test_a_user_gets_another_mailbox_and_the_old_one_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    rehome = ("user", "rehome", "alice@example.test", "--store")
    before = told(capsys, "user", "show", "alice@example.test")
    assert before["store"] == "store-a"
    assert run([*rehome, "store-b"]) == 2
    assert "would no longer see what is on store-a" in capsys.readouterr().err
    assert told(capsys, *rehome, "store-b", "--dry-run") == before
    after = told(capsys, *rehome, "store-b", "--yes")
    assert after["store"] == "store-b" and after["mailbox_id"] != before["mailbox_id"]
    assert told(capsys, *rehome, "store-a", "--yes") == before
    assert run([*rehome, "store-a", "--yes"]) == 2
    assert "is on store-a already" in capsys.readouterr().err
    assert run([*rehome, "store-z", "--dry-run"]) == 3


def test_what_can_not_be_is_refused_by_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (
        ["user", "add", "x@foreign.example", "--password-stdin"],
        ["user", "add", "no address", "--password-stdin"],
        ["user", "add", "alice@example.test", "--password-stdin"],
        ["user", "add", "x@example.test", "--password-stdin", "--site", "A", "--store", "store-b"],
        ["alias", "add", "alice@example.test", "bob@example.test"],
        ["domain", "add", "no domain"],
        ["domain", "remove", "example.test"],
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
        assert run(command) == 2, command
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.startswith("waypost: "), command
    assert run(["alias", "add", "a@example.test", "nobody@example.test"]) == 3
