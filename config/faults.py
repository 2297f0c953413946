"""What pydantic found wrong with a settings table, as problems for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.layout import keys_of, settings_in
from config.model import Endpoint, Settings
from config.problems import Problem, unknown

_WANTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list in brackets",
    "is_instance_of": "a path in quotes",
}


def problems_of(
    error: ValidationError, kind: type[Settings], place: str, renamed: Mapping[str, str]
) -> list[Problem]:
    """`renamed`: keys that are called otherwise in the file."""
    return [_problem(detail, kind, place, renamed) for detail in error.errors(include_url=False)]


def _problem(detail: ErrorDetails, kind: type[Settings], place: str, renamed: Mapping[str, str]) -> Problem:
    keys = [renamed.get(key, key) if isinstance(key, str) else key for key in detail["loc"]]
    full = place
    for key in keys:
        full += f"[{key}]" if isinstance(key, int) else f".{key}"
    fault, shown = detail["type"], _shown(detail["input"])
    holder = _holder(kind, list(detail["loc"][:-1]))
    if fault == "extra_forbidden":
        known = list(keys_of(holder))
        return Problem(full, "unknown key", unknown(str(keys[-1]), known, "keys") if known else "remove it")
    if fault == "missing":
        return Problem(full, "is missing", "add it")
    if fault in _WANTED:
        return Problem(full, f"is {shown}", f"give {_WANTED[fault]}")
    if fault == "model_type" and _holder(kind, list(detail["loc"])) is Endpoint:
        return Problem(full, f"is {shown}", 'give host and port as text: "127.0.0.1:2525"')
    if fault == "model_type":
        return Problem(full, f"is {shown}", f"give a table: [{full}]")
    if fault == "too_long":
        return Problem(full, "has too many values", f"give {detail['ctx']['max_length']}")
    if fault == "literal_error":
        return Problem(full, f"is {shown}", f"take {detail['ctx']['expected']}")
    if fault == "value_error":
        problem, _, mend = str(detail["ctx"]["error"]).partition("; ")
        return Problem(full, f"{shown} {problem}", mend or "correct it")
    return Problem(full, f"is {shown}", detail["msg"])


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list | tuple):
        text = "a list"
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _holder(kind: type[Settings], path: list[int | str]) -> type[Settings]:
    """The settings class at a place within another."""
    for key in path:
        field = kind.model_fields.get(key) if isinstance(key, str) else None
        if field is not None:
            kind = settings_in(field.annotation) or kind
    return kind
