"""`waypost config …`: what it prints, and how it fails."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from config.reference import BEGIN, END
from waypost.cli.main import run

TWO_SITES = str(files("config") / "two-sites.toml")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAYPOST_CONFIG", raising=False)


def test_show_names_the_source_of_each_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST__SERVERS__HUB_A__LIMITS__HOPS", "9")
    assert run(["config", "show", "--config", TWO_SITES]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "SETTING\tVALUE\tSOURCE"
    assert f'organisation.name\t"Example"\t{TWO_SITES}:5' in lines
    assert "servers.hub-a.limits.hops\t9\t$WAYPOST__SERVERS__HUB_A__LIMITS__HOPS" in lines
    assert "servers.hub-b.limits.hops\t30\tdefault" in lines


def test_show_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYPOST__ORGANISATION__DATA", "/srv")
    assert run(["config", "show", "--config", TWO_SITES, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["file"]) == (1, TWO_SITES)
    items = {item.pop("setting"): item for item in document["items"]}
    assert items["organisation.name"] == {"value": "Example", "source": "file", "file": TWO_SITES, "line": 5}
    variable = "WAYPOST__ORGANISATION__DATA"
    assert items["organisation.data"] == {"value": "/srv", "source": "environment", "variable": variable}
    assert items["servers.hub-a.limits.hops"] == {"value": 30, "source": "default"}


def test_show_of_a_file_with_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.toml").write_text("[organisation]")
    assert run(["config", "show", "--config", "x.toml"]) == 2
    assert "x.toml: organisation.name: is missing" in capsys.readouterr().err


def test_check_takes_the_file_as_other_commands_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["config", "check"]) == 2
    monkeypatch.setenv("WAYPOST_CONFIG", TWO_SITES)
    assert run(["config", "check"]) == 0
    assert "two-sites.toml: good" in capsys.readouterr().out


def test_a_wrong_variable_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST__SERVERS__HUB_A__LIMITS__HOPS", "many")
    assert run(["config", "check", TWO_SITES]) == 2
    assert "$WAYPOST__SERVERS__HUB_A__LIMITS__HOPS: servers.hub-a.limits.hops: " in capsys.readouterr().err


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_reference_into_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "reference"]) == 0
    printed = capsys.readouterr().out
    Path("x.md").write_text(f"{BEGIN}\n{END}\n")
    assert run(["config", "reference", "--into", "x.md"]) == 0
    assert printed in Path("x.md").read_text()
    Path("y.md").write_text("nothing")
    assert run(["config", "reference", "--into", "y.md"]) == 2
    assert "has not the two marks" in capsys.readouterr().err


def test_up_on_the_data_of_another_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--config", TWO_SITES]) == 0
    assert run(["up"]) == 2
    printed = capsys.readouterr().err
    assert 'the data in data belongs to another configuration: it has a store "store-a"' in printed
    assert "WAYPOST__ORGANISATION__DATA=data-2" in printed
    assert not Path("data/waypost.toml").exists()
