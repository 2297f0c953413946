"""The JSON schema (draft 7) of the TOML file as people write it, for editors that complete and check it.

What no single setting can know (an unknown site, a clash of ports) is left to config/checks.py.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo

from config.documentation import help_of, unit_of
from config.layout import SECTIONS, Section, field_of, keys_of, role_of
from config.model import Endpoint, SendConnector, Settings

DIALECT = "http://json-schema.org/draft-07/schema#"
_ENDPOINT = r"^(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}$"
_SMART_HOST = r"^(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(:[0-9]{1,5})?$"

Schema = dict[str, Any]


def file_schema() -> Schema:
    sections = {section.name: _section(section) for section in SECTIONS}
    return {
        "$schema": DIALECT,
        "title": "Waypost configuration",
        "type": "object",
        "properties": sections,
        "required": ["organisation", "sites", "servers"],
        "additionalProperties": False,
    }


def _section(section: Section) -> Schema:
    tables = [_table(kind) for kind in section.kinds]
    table = tables[0] if len(tables) == 1 else {"oneOf": tables}
    if section.form == "table":
        return table
    if section.form == "list":
        return {"type": "array", "items": table, "description": tables[0].get("description", "")}
    return {"type": "object", "additionalProperties": table}


def _table(kind: type[Settings]) -> Schema:
    properties: Schema = {}
    required: list[str] = []
    if role := role_of(kind):
        properties["role"] = {"const": role, "type": "string"}
        required.append("role")
    for key in keys_of(kind):
        field = field_of(kind, key)
        assert field is not None
        properties[key] = _setting(kind, key, field)
        if field.is_required():
            required.append(key)
    table: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        table["required"] = required
    if text := help_of(kind).text:
        table["description"] = text
    return table


def _setting(kind: type[Settings], key: str, field: FieldInfo) -> Schema:
    schema = _type(field.annotation)
    if (kind, key) == (SendConnector, "smart_hosts"):
        schema["items"] = {"type": "string", "pattern": _SMART_HOST}
    help_text = help_of(kind, keys_of(kind)[key])
    parts = (
        help_text.text,
        f"In {unit}." if (unit := unit_of(key)) else "",
        f"Exchange: {help_text.exchange}." if help_text.exchange else "",
    )
    if described := " ".join(filter(None, parts)):
        schema["description"] = described
    default = field.default
    if isinstance(default, bool | int | float | str | Path):
        schema["default"] = str(default) if isinstance(default, Path) else default
    elif isinstance(default, tuple):
        schema["default"] = list(default)
    return schema


def _type(annotation: Any) -> Schema:
    origin, choices = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return {"type": "string", "enum": list(choices)}
    if origin in (typing.Union, types.UnionType):
        return _type(next(choice for choice in choices if choice is not type(None)))
    if origin is tuple and choices[-1] is Ellipsis:
        return {"type": "array", "items": _type(choices[0])}
    if origin is tuple:
        count = len(choices)
        return {"type": "array", "items": _type(choices[0]), "minItems": count, "maxItems": count}
    if annotation is Endpoint:
        return {"type": "string", "pattern": _ENDPOINT, "examples": ["127.0.0.1:2525"]}
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return _table(annotation)
    if annotation in (str, Path):
        return {"type": "string"}
    if annotation is bool:
        return {"type": "boolean"}
    if annotation in (int, float):
        return {"type": "integer" if annotation is int else "number", "minimum": 0}
    raise TypeError(f"{annotation} has no place in a configuration")
