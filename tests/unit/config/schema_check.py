"""As much of JSON schema's draft 7 as the configuration's schema uses; an unknown keyword is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_SAY_NOTHING = {"$schema", "title", "description", "default", "examples"}


def faults(value: Any, schema: dict[str, Any], place: str = "") -> Iterator[str]:
    wanted = schema.get("type")
    if wanted is not None and (
        not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")
    ):
        yield f"{place}: {value!r} is no {wanted}"
        return
    for keyword, setting in schema.items():
        yield from _KEYWORDS[keyword](value, setting, schema, place)


def _properties(value: Any, setting: Any, _: Any, place: str) -> Iterator[str]:
    for key, inner in value.items():
        if key in setting:
            yield from faults(inner, setting[key], f"{place}.{key}")


def _additional(value: Any, setting: Any, schema: Any, place: str) -> Iterator[str]:
    for key, inner in value.items():
        if key in schema.get("properties", {}):
            continue
        if setting is False:
            yield f"{place}.{key}: unknown"
        else:
            yield from faults(inner, setting, f"{place}.{key}")


def _required(value: Any, setting: Any, _: Any, place: str) -> Iterator[str]:
    yield from (f"{place}.{key}: missing" for key in setting if key not in value)


def _items(value: Any, setting: Any, _: Any, place: str) -> Iterator[str]:
    for index, inner in enumerate(value):
        yield from faults(inner, setting, f"{place}[{index}]")


def _one_of(value: Any, setting: Any, _: Any, place: str) -> Iterator[str]:
    found = [list(faults(value, each, place)) for each in setting]
    if sum(not each for each in found) != 1:
        yield from min(found, key=len) or [f"{place}: fits more than one"]


def _says(text: str, holds: Any) -> Any:
    def keyword(value: Any, setting: Any, _: Any, place: str) -> Iterator[str]:
        if not holds(value, setting):
            yield f"{place}: {value!r} {text} {setting!r}"

    return keyword


_KEYWORDS: dict[str, Any] = {
    "properties": _properties,
    "additionalProperties": _additional,
    "required": _required,
    "items": _items,
    "oneOf": _one_of,
    "type": lambda *_: (),
    "enum": _says("is none of", lambda value, setting: value in setting),
    "const": _says("is not", lambda value, setting: value == setting),
    "pattern": _says("is not like", lambda value, setting: re.search(setting, value)),
    "minimum": _says("is below", lambda value, setting: value >= setting),
    "minItems": _says("has fewer items than", lambda value, setting: len(value) >= setting),
    "maxItems": _says("has more items than", lambda value, setting: len(value) <= setting),
    **{keyword: lambda *_: () for keyword in _SAY_NOTHING},
}
