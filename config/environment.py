"""Settings from environment variables: WAYPOST__SERVERS__HUB_A__SMTP overrides `servers.hub-a.smtp`.

The parts of a place are joined by two underscores, in any case; one underscore also stands for a hyphen in a
name. An entry of a list is named by its number from 0 or its name: WAYPOST__SEND_CONNECTORS__0__COST; the
next number makes a new entry. Text is taken as it is, anything else is read as TOML. An empty value takes the
setting of the file away, so that its default holds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from config.layout import SECTIONS, Part, Section, field_of, is_text, kind_at, place_of, settings_in
from config.problems import Problem, unknown

PREFIX = "WAYPOST__"
_LIKE = "write it like WAYPOST__ORGANISATION__DATA or WAYPOST__SERVERS__HUB_A__SMTP"


def override(data: dict[str, Any], environment: Mapping[str, str]) -> tuple[list[Problem], dict[str, str]]:
    """Puts the variables' values into `data`.

    Returns what is wrong with names of variables, and which variable each place has its value from.
    """
    problems: list[Problem] = []
    variables: dict[str, str] = {}
    for variable in sorted(environment):
        if not variable.upper().startswith(PREFIX):
            continue
        try:
            path = _path(data, variable[len(PREFIX) :].lower().split("__"))
            _set(data, path, environment[variable])
        except _Nowhere as error:
            problems.append(Problem(f"${variable}", error.problem, error.mend))
        else:
            variables[place_of(path)] = variable
    return problems, variables


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process whose file has the variables' values in it."""
    return {name: value for name, value in environment.items() if not name.upper().startswith(PREFIX)}


class _Nowhere(Exception):
    """A variable that names no setting."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.mend = mend


def _path(data: dict[str, Any], parts: list[str]) -> tuple[Part, ...]:
    names = [each.name for each in SECTIONS]
    section = next((each for each in SECTIONS if each.name == parts[0]), None)
    if section is None and parts[0]:
        raise _Nowhere(f'names no section: "{parts[0]}"', unknown(parts[0], names, "sections"))
    least = 2 if section is not None and section.form == "table" else 3
    if section is None or not all(parts) or len(parts) < least:
        raise _Nowhere("names no setting", _LIKE)
    path: list[Part] = [section.name]
    rest = parts[1:]
    if section.form == "named":
        path.append(_titled(data, section, rest.pop(0)))
    elif section.form == "list":
        path.append(_numbered(data, section, rest.pop(0)))
    for part in rest[:-1]:
        kind = kind_at(data, path)
        field = field_of(kind, part) if kind is not None else None
        if field is None or settings_in(field.annotation) is None or is_text(field):
            raise _Nowhere(f'names no table: there is no "{part}" in {place_of(path)}', _LIKE)
        path.append(part)
    return (*path, rest[-1])


def _titled(data: dict[str, Any], section: Section, part: str) -> str:
    """The site or server that is meant."""
    known = data.get(section.name)
    names: list[str] = list(known) if isinstance(known, dict) else []
    name = next((name for name in names if _folded(name) == part), None)
    if name is None:
        raise _Nowhere(f'names none of the {section.name}: "{part}"', unknown(part, names, section.name))
    return name


def _numbered(data: dict[str, Any], section: Section, part: str) -> int:
    """The entry that is meant; an empty one is made for the number after the last."""
    entries = data.setdefault(section.name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _Nowhere(f"{section.name} is not a list of tables", f"begin each with {section.title}")
    for index, entry in enumerate(entries):
        name = entry.get("name")
        if part == str(index) or (isinstance(name, str) and _folded(name) == part):
            return index
    if part != str(len(entries)):
        raise _Nowhere(
            f'names none of the {section.name}: "{part}"',
            f"take a number from 0 to {len(entries)}, or the name of one",
        )
    entries.append({})
    return len(entries) - 1


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _set(data: dict[str, Any], path: tuple[Part, ...], text: str) -> None:
    table: Any = data
    for part in path[:-1]:
        table = table[part] if isinstance(part, int) else table.setdefault(part, {})
        if not isinstance(table, dict | list):
            raise _Nowhere(f"{place_of(path[:-1])} is not a table", "correct the file there")
    key = str(path[-1])
    if not text:
        table.pop(key, None)
        return
    kind = kind_at(data, path[:-1])
    field = field_of(kind, key) if kind is not None else None
    table[key] = _value(text, as_text=field is not None and is_text(field))


def _value(text: str, *, as_text: bool) -> Any:
    """Text in quotes is taken without them."""
    try:
        value = text if "\n" in text else tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return value if isinstance(value, str) or not as_text else text
