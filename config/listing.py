"""A topology as a flat list of its settings, each with its place, in the order of the file's sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.layout import Part, keys_of, place_of, role_of
from config.model import Endpoint, Settings, Topology

_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*(?=@)")


@dataclass(frozen=True)
class Setting:
    place: str
    value: str | int | float | bool | list[str] | None
    """Without passwords."""


def settings_of(topology: Topology) -> Iterator[Setting]:
    yield from _table(topology, ("organisation",))
    yield from _list("domains", topology.domains)
    for site in topology.sites:
        yield from _table(site, ("sites", site.name))
    yield from _list("site_links", topology.site_links)
    for server in topology.servers:
        path = ("servers", server.name)
        yield Setting(place_of((*path, "role")), role_of(type(server)))
        yield from _table(server, path)
    yield from _list("send_connectors", topology.send_connectors)
    yield from _list("demo_users", topology.demo_users)


def _list(section: str, entries: tuple[Settings, ...]) -> Iterator[Setting]:
    for index, entry in enumerate(entries):
        yield from _table(entry, (section, index))


def _table(settings: Settings, path: tuple[Part, ...]) -> Iterator[Setting]:
    for key, name in keys_of(type(settings)).items():
        value = getattr(settings, name)
        if isinstance(value, Settings) and not isinstance(value, Endpoint):
            yield from _table(value, (*path, key))
        else:
            yield Setting(place_of((*path, key)), _shown(value))


def _shown(value: Any) -> str | int | float | bool | list[str] | None:
    if isinstance(value, tuple):
        return [str(each) for each in value]
    if isinstance(value, str | Path | Endpoint):
        return _PASSWORD.sub(r"\1:***", str(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a configuration")
