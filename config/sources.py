"""Where each setting comes from: a line of the file, an environment variable, or its default."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.layout import Part, place_of

STATEMENT_LINES_MAX = 200
"""A value over more lines than these is found, but not its line nor those after it."""


@dataclass(frozen=True)
class Source:
    """`line` is 0 where it is not known."""

    file: Path | None = None
    line: int = 0
    variable: str = ""

    @property
    def is_default(self) -> bool:
        return self.file is None and not self.variable

    def __str__(self) -> str:
        if self.variable:
            return f"${self.variable}"
        if self.file is None:
            return "default"
        return f"{self.file}:{self.line}" if self.line else str(self.file)


class Sources:
    def __init__(self, file: Path, text: str, variables: Mapping[str, str]) -> None:
        """`variables`: place -> environment variable that overrides it."""
        self._file = file
        self._variables = variables
        self._written = {place_of(path) for path, _ in _leaves(tomllib.loads(text))}
        self._lines = lines_of(text)

    def of(self, place: str) -> Source:
        if place in self._variables:
            return Source(variable=self._variables[place])
        if place in self._written:
            return Source(self._file, self._lines.get(place, 0))
        return Source()


def lines_of(text: str) -> dict[str, int]:
    """Place -> line, counted from 1, of every key of a valid TOML document."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    table: tuple[Part, ...] = ()
    for line, statement in _statements(text):
        parsed = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _opened(parsed, counts, listed=statement.lstrip().startswith("[["))
            continue
        for path, _ in _leaves(parsed):
            found[place_of((*table, *path))] = line
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Headers and key-value pairs with the line that each begins on. What parses alone is a whole one."""
    lines = text.splitlines()
    start = 0
    while start < len(lines):
        for end in range(start + 1, min(start + STATEMENT_LINES_MAX, len(lines)) + 1):
            statement = "\n".join(lines[start:end])
            try:
                parsed = tomllib.loads(statement)
            except tomllib.TOMLDecodeError:
                continue
            if parsed:
                yield start + 1, statement
            break
        else:
            return
        start = end


def _opened(parsed: dict[str, Any], counts: dict[str, int], *, listed: bool) -> tuple[Part, ...]:
    """The path of the table that a header opens; of a list, its newest entry."""
    keys: list[str] = []
    inner: Any = parsed
    while isinstance(inner, dict) and inner:
        key, inner = next(iter(inner.items()))
        keys.append(key)
    path: tuple[Part, ...] = ()
    for position, key in enumerate(keys):
        path = (*path, key)
        place = place_of(path)
        if listed and position == len(keys) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            path = (*path, counts[place])
    return path


def _leaves(value: Any, path: tuple[Part, ...] = ()) -> Iterator[tuple[tuple[Part, ...], Any]]:
    """Everything in tables and lists of tables that is none itself; empty tables are nothing."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        for index, entry in enumerate(value):
            yield from _leaves(entry, (*path, index))
    elif path:
        yield path, value
