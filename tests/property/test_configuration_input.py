"""No file makes the reader of configurations fail in any other way than by saying what is wrong with it."""

from __future__ import annotations

import tempfile
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from config.model import Topology
from config.reader import ConfigurationError, read_topology
from config.writer import write_topology

TWO_SITES = (files("config") / "two-sites.toml").read_text()
VALUES = st.sampled_from(
    [
        '"x"',
        '""',
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "true",
        "[]",
        "[[]]",
        "{}",
        "{a = 1}",
        "2020-01-01",
        "['A']",
        '"[::1]:1"',
        '"[::"',
        '"a@b"',
        '"\\u0000"',
        '"ß.test"',
        "99999999999999999999",
    ]
)


def read(data: bytes) -> Topology | None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "waypost.toml"
        file.write_bytes(data)
        try:
            return read_topology(file, {})
        except ConfigurationError as error:
            assert error.problems
            assert str(error).startswith(f"{file}: ")
            return None


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
    )
)
def test_any_bytes(data: bytes) -> None:
    assert read(data) is None


LINES = TWO_SITES.splitlines()
EDITS = st.lists(
    st.tuples(st.integers(0, len(LINES) - 1), st.one_of(VALUES, st.none())), min_size=1, max_size=3
)


@settings(max_examples=200, deadline=None)
@given(
    EDITS,
    st.sampled_from(["", "limits", "retry", "send_connectors", "tls", "source_hubs", "smart_hosts"]),
    VALUES,
)
def test_other_values_and_missing_lines(edits: list[tuple[int, str | None]], key: str, value: str) -> None:
    lines = list(LINES)
    for index, replacement in edits:
        name, equals, _ = lines[index].partition(" = ")
        lines[index] = f"{name} = {replacement}" if equals and replacement is not None else ""
    if key:
        lines.append(f'[[send_connectors]]\nname = "x"\n{key} = {value}')
    text = "\n".join(lines)
    topology = read(text.encode())
    if topology is not None:
        assert parsed(write_topology(topology)) == topology


def parsed(text: str) -> Any:
    assert tomllib.loads(text)
    return read(text.encode())
