"""Settings from environment variables: WAYPOST__SERVERS__HUB_A__SMTP overrides `servers.hub-a.smtp`.

Parts are joined by two underscores, in any case; one underscore also stands for the hyphen in a name. The
value is read as TOML (numbers, true, lists), else taken as text.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from config.problems import Problem

PREFIX = "WAYPOST__"


def override(data: dict[str, Any], environment: Mapping[str, str]) -> list[Problem]:
    """Puts the variables' values into `data`; says which name no place in it."""
    problems: list[Problem] = []
    for variable in sorted(environment):
        if not variable.upper().startswith(PREFIX):
            continue
        parts = variable[len(PREFIX) :].lower().split("__")
        table: Any = data
        for part in parts[:-1]:
            table = table.get(_key(table, part)) if isinstance(table, dict) else None
        if not all(parts) or len(parts) < 2 or not isinstance(table, dict):
            problems.append(
                Problem(
                    f"${variable}",
                    "names no table of the file",
                    "write it like WAYPOST__ORGANISATION__DATA or WAYPOST__SERVERS__HUB_A__SMTP",
                )
            )
            continue
        table[_key(table, parts[-1])] = _value(environment[variable])
    return problems


def _key(table: dict[str, Any], part: str) -> str:
    """The key of the table that the variable means; the part itself for a new one."""
    return next((key for key in table if key.lower().replace("-", "_") == part), part)


def _value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, str | int | float | list) else text
