"""Writes a topology as TOML that `config/reader.py` reads back to the same; defaults are left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.layout import keys_of, role_of
from config.model import Endpoint, Settings, Topology

_SUB_TABLES = ("limits", "retry", "pressure")


def write_topology(topology: Topology) -> str:
    return "\n".join(_lines(topology)).lstrip("\n") + "\n"


def _lines(topology: Topology) -> Iterator[str]:
    yield "[organisation]"
    for key, name in keys_of(Topology).items():
        value, field = getattr(topology, name), Topology.model_fields[name]
        if field.is_required() or value != field.default:
            yield f"{key} = {_value(value)}"
    for domain in topology.domains:
        yield from ("", "[[domains]]", *_pairs(domain))
    for site in topology.sites:
        yield from ("", f"[sites.{_key(site.name)}]")
    for link in topology.site_links:
        yield from ("", "[[site_links]]", *_pairs(link))
    for server in topology.servers:
        title = f"servers.{_key(server.name)}"
        role = f'role = "{role_of(type(server))}"'
        yield from ("", f"[{title}]", role, *_pairs(server, without=("name", *_SUB_TABLES)))
        for table in _SUB_TABLES:
            settings = getattr(server, table, None)
            if isinstance(settings, Settings):
                # The defaults of a role may differ from the table's own.
                changed = list(_changed(settings, type(server).model_fields[table].default))
                yield from ("", f"[{title}.{table}]", *changed) if changed else ()
    for connector in topology.send_connectors:
        yield from ("", "[[send_connectors]]", *_pairs(connector))
    for user in topology.demo_users:
        yield from ("", "[[demo_users]]", *_pairs(user))


def _pairs(settings: Settings, without: tuple[str, ...] = ()) -> Iterator[str]:
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if key not in without and (field.is_required() or value != field.default):
            yield f"{key} = {_value(value)}"


def _changed(settings: Settings, default: Settings) -> Iterator[str]:
    for key in type(settings).model_fields:
        if getattr(settings, key) != getattr(default, key):
            yield f"{key} = {_value(getattr(settings, key))}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str | Path | Endpoint):
        return _text(str(value))
    raise TypeError(f"{type(value).__name__} has no place in a configuration")


def _text(text: str) -> str:
    # JSON's escapes are TOML's too, save for DEL, which only TOML escapes.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isascii() and bare.isalnum() else _text(name)
