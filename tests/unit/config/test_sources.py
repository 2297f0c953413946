"""Each setting in force with where it comes from."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.listing import settings_of
from config.reader import read_with_sources
from config.sources import Sources, lines_of

TEXT = '''# A comment
[organisation]
name = "Small"
default_domain = "small.test" # here
data = """
many
lines"""

sites = {} # of the organisation
'''


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (TEXT, {"organisation.name": 3, "organisation.default_domain": 4, "organisation.data": 5}),
        ("a.b.c = 1\na.d = [\n1,\n2]\ne = 3", {"a.b.c": 1, "a.d": 2, "e": 5}),
        ("[[l]]\nx = 1\n[[l]]\n\nx = 2\n[l.t]\ny = 3\n", {"l[0].x": 2, "l[1].x": 5, "l[1].t.y": 7}),
        ("[t]\na = {b = 1, c = [{d = 2}]}\n", {"t.a.b": 2, "t.a.c[0].d": 2}),
        ("['a b'.\"c\"]\r\n'd e' = '''\r\n[x]\r\n'''\r\nf = 1", {"a b.c.d e": 2, "a b.c.f": 5}),
        ("[ a . b ]\nc = '#'\n[[ a.l ]]\nd = 1", {"a.b.c": 2, "a.l[0].d": 4}),
    ],
)
def test_lines(text: str, lines: dict[str, int]) -> None:
    found = lines_of(text)
    assert {place: found.get(place) for place in lines} == lines


NAMES = st.sampled_from(["a", "b", "c d"])
VALUES = st.sampled_from(["1", '"x"', "[\n1,\n2]", '"""\n[a]\nb = 1\n"""', "{}", "{x = 1, y = {z = 2}}"])
LINES = st.one_of(
    st.builds(lambda name: f"['{name}']", NAMES),
    st.builds(lambda name: f"[['{name}']]", NAMES),
    st.builds(lambda name, inner: f"[{inner}.'{name}']", NAMES, st.sampled_from(["a", "b"])),
    st.builds(lambda name, value: f"'{name}' = {value}", NAMES, VALUES),
    st.builds(lambda value: f"k.l = {value} # k = 2", VALUES),
    st.sampled_from(["", "# [a]"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, max_size=10))
def test_every_place_of_a_document_has_the_line_of_its_key(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    sources = Sources(Path("f"), text, {})
    found = lines_of(text)
    assert set(found) == sources._written
    written = text.splitlines()
    for place, line in found.items():
        last = place.rpartition(".")[2].partition("[")[0]
        assert any(part in written[line - 1] for part in (last, place.split(".")[0]))


def test_a_value_over_very_many_lines_has_no_line(tmp_path: Path) -> None:
    text = "a = 1\nb = [\n" + "1,\n" * 300 + "]\nc = 2\n"
    sources = Sources(Path("f"), text, {})
    assert [str(sources.of(place)) for place in ("a", "b", "c", "d")] == ["f:1", "f", "f", "default"]


def listed(tmp_path: Path, text: str, environment: dict[str, str]) -> dict[str, tuple[Any, str]]:
    file = tmp_path / "waypost.toml"
    file.write_text(text)
    topology, sources = read_with_sources(file, environment)
    return {
        setting.place: (setting.value, str(sources.of(setting.place)).replace(str(file), "f"))
        for setting in settings_of(topology)
    }


def test_settings_in_force(tmp_path: Path) -> None:
    text = (files("config") / "single.toml").read_text()
    number = text.splitlines().index('lmtp = "127.0.0.1:2626"') + 1
    found = listed(
        tmp_path,
        text.replace('data = "data"', 'directory_url = "postgresql://u:secret@h/d"'),
        {
            "WAYPOST__SERVERS__HUB__LIMITS__HOPS": "9",
            "WAYPOST__SEND_CONNECTORS__0__NAME": "out",
            "WAYPOST__SERVERS__HUB__SMTP": "",
        },
    )
    assert found["organisation.directory_url"] == ("postgresql://u:***@h/d", "f:7")
    assert found["organisation.data"] == ("data", "default")
    assert found["servers.store.lmtp"] == ("127.0.0.1:2626", f"f:{number}")
    assert found["servers.store.role"] == ("store", "f:" + str(number - 2))
    assert found["servers.hub.limits.hops"] == (9, "$WAYPOST__SERVERS__HUB__LIMITS__HOPS")
    assert found["servers.hub.limits.recipients"] == (5000, "default")
    assert found["servers.access.limits.recipients"] == (1000, "default")
    assert found["servers.hub.smtp"] == (None, "$WAYPOST__SERVERS__HUB__SMTP")
    assert found["send_connectors[0].name"] == ("out", "$WAYPOST__SEND_CONNECTORS__0__NAME")
    assert found["send_connectors[0].address_spaces"] == (["*"], "default")
    assert found["demo_users[2].address"][0] == "carol@example.test"
    assert not any("secret" in str(value) for value, _ in found.values())
