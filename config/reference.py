"""The reference of all settings as Markdown, made from the types; docs/configuration.md has it in it."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo

from config.documentation import help_of, unit_of
from config.layout import SECTIONS, Section, field_of, keys_of, role_of, settings_in, takes_effect
from config.model import Endpoint, Settings

BEGIN = "<!-- Made by `make docs` from config/model.py; what is written by hand from here on is lost. -->"
END = "<!-- The end of what `make docs` makes. -->"

_NAMES = {str: "text", Path: "path", Endpoint: "`host:port`", bool: "true or false", int: "number"}
_ROLE_WORDS = {"hub": "hub", "store": "store", "access": "Client Access server"}
_LARGER = {"bytes": ((1024 * 1024, "MiB"), (1024, "KiB")), "seconds": ((3600, "h"), (60, "min"))}


def reference() -> str:
    """Every section with a table of its settings."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += _section(section)
    return "\n".join(lines).strip() + "\n"


def into(document: str) -> str:
    """The document with the reference between its two marks made anew. Raises ValueError without marks."""
    before, found, rest = document.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError("has not the two marks that the reference stands between")
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _section(section: Section) -> Iterator[str]:
    for kind in section.kinds:
        role = role_of(kind)
        yield f"### `{section.title}`" + (f' with `role = "{role}"`' if role else "")
        yield ""
        text = help_of(kind)
        exchange = f" In Exchange: {text.exchange}." if text.exchange else ""
        yield (text.text + exchange).strip()
        yield ""
        sub_tables = list(_sub_tables(kind))
        yield from _table(kind, without=[key for key, _, _ in sub_tables])
        for key, inner, default in sub_tables:
            yield f"#### `[{section.name}.NAME.{key}]` of a {_ROLE_WORDS[role]}"
            yield ""
            yield help_of(inner).text
            yield ""
            yield from _table(inner, default=default)


def _sub_tables(kind: type[Settings]) -> Iterator[tuple[str, type[Settings], Settings]]:
    for key in keys_of(kind):
        field = field_of(kind, key)
        assert field is not None
        inner = settings_in(field.annotation)
        if inner is not None and isinstance(field.default, inner) and inner is not Endpoint:
            yield key, inner, field.default


def _table(
    kind: type[Settings], without: Sequence[str] = (), default: Settings | None = None
) -> Iterator[str]:
    """`default`: the table that holds where the file has none."""
    keys = [key for key in keys_of(kind) if key not in without]
    if not keys:
        yield "It has no settings."
        yield ""
        return
    yield "| setting | what it is | default | Exchange | takes effect |"
    yield "|---|---|---|---|---|"
    for key in keys:
        field = field_of(kind, key)
        assert field is not None
        name = keys_of(kind)[key]
        text = help_of(kind, name)
        value = getattr(default, name) if default is not None else field.default
        shown = "required" if field.is_required() else _default(key, value)
        what = f"{text.text} *{_type(key, field)}*"
        yield f"| `{key}` | {what} | {shown} | {text.exchange} | {takes_effect(field)} |"
    yield ""


def _type(key: str, field: FieldInfo) -> str:
    if unit := unit_of(key):
        return unit
    return _type_name(field.annotation)


def _type_name(annotation: Any) -> str:
    choices = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in choices)
    if typing.get_origin(annotation) is tuple:
        return f"list of {_type_name(choices[0])}"
    if type(None) in choices:
        return _type_name(next(choice for choice in choices if choice is not type(None)))
    return _NAMES.get(annotation, "number")


def _default(key: str, value: Any) -> str:
    if value is None or value == "" or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(_quoted(each) for each in value)}]`"
    if isinstance(value, int | float):
        number = str(int(value)) if value == int(value) else str(value)
        return f"`{number}`{_readable(unit_of(key), value)}"
    return f"`{_quoted(value)}`"


def _quoted(value: object) -> str:
    return f'"{value}"'


def _readable(unit: str, value: float) -> str:
    """Large numbers in a larger unit, too."""
    for step, larger in _LARGER.get(unit, ()):
        if value >= step and value % step == 0:
            return f" ({value / step:g} {larger})"
    return ""
