"""The TOML file as people write it: its sections, the keys of each, and which setting a key is.

A *place* is a key path as in messages: `servers.hub-a.limits.hops`, `send_connectors[0].cost`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo

from config.model import (
    AccessServer,
    DemoUser,
    Domain,
    Endpoint,
    HubServer,
    SendConnector,
    Settings,
    Site,
    SiteLink,
    StoreServer,
    TakesEffect,
    Topology,
)

Part = str | int
"""A key, or a place in a list."""

ROLES: dict[str, type[HubServer] | type[StoreServer] | type[AccessServer]] = {
    "hub": HubServer,
    "store": StoreServer,
    "access": AccessServer,
}
SMART_HOST_PORT = 25


@dataclass(frozen=True)
class Section:
    name: str
    form: Literal["table", "named", "list"]
    """`[organisation]`; `[sites.A]`, with the name of each in its title; `[[domains]]`."""
    kinds: tuple[type[Settings], ...]
    """More than one: a key `role` says which."""

    @property
    def title(self) -> str:
        """As it stands in the file."""
        if self.form == "list":
            return f"[[{self.name}]]"
        return f"[{self.name}]" if self.form == "table" else f"[{self.name}.NAME]"


SECTIONS = (
    Section("organisation", "table", (Topology,)),
    Section("domains", "list", (Domain,)),
    Section("sites", "named", (Site,)),
    Section("site_links", "list", (SiteLink,)),
    Section("servers", "named", tuple(ROLES.values())),
    Section("send_connectors", "list", (SendConnector,)),
    Section("demo_users", "list", (DemoUser,)),
)
_TITLED = (Site, HubServer, StoreServer, AccessServer)


def section(name: str) -> Section | None:
    return next((each for each in SECTIONS if each.name == name), None)


def role_of(kind: type[Settings]) -> str:
    """Its `role` in the file; empty for what is no server."""
    return next((role for role, server in ROLES.items() if server is kind), "")


def keys_of(kind: type[Settings]) -> dict[str, str]:
    """Keys in the file, in their order, with the fields of the settings that they are."""
    if kind is Topology:
        own = [name for name, field in Topology.model_fields.items() if not _is_list(field)]
        return {"name" if name == "organisation" else name: name for name in own}
    return {name: name for name in kind.model_fields if not (kind in _TITLED and name == "name")}


def place_of(path: Sequence[Part]) -> str:
    place = ""
    for part in path:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return place


def kind_at(data: Mapping[str, Any], path: Sequence[Part]) -> type[Settings] | None:
    """The settings of the table at a path; None where there is none of the file's."""
    found = section(str(path[0])) if path else None
    if found is None:
        return None
    kind, inside = found.kinds[0], path[1:]
    if found.form != "table":
        if not inside:
            return None
        if len(found.kinds) > 1:
            named = data.get(found.name, {}).get(inside[0])
            role = named.get("role") if isinstance(named, dict) else None
            if not isinstance(role, str) or role not in ROLES:
                return None
            kind = ROLES[role]
        inside = inside[1:]
    for key in inside:
        field = field_of(kind, str(key))
        within = settings_in(field.annotation) if field is not None else None
        if within is None:
            return None
        kind = within
    return kind


def field_of(kind: type[Settings], key: str) -> FieldInfo | None:
    return kind.model_fields.get(keys_of(kind).get(key, ""))


def takes_effect(field: FieldInfo) -> Literal["reload", "restart", "first start"]:
    return next((each.when for each in field.metadata if isinstance(each, TakesEffect)), "reload")


def settings_in(annotation: Any) -> type[Settings] | None:
    """The settings class in a type like `Limits`, `Endpoint | None` or `tuple[Site, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple):
        return next(filter(None, map(settings_in, typing.get_args(annotation))), None)
    return None


def is_text(field: FieldInfo) -> bool:
    """Whether the setting is written as text, in quotes."""
    annotation = field.annotation
    choices = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return True
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(choice for choice in choices if choice is not type(None))
    return annotation in (str, Path, Endpoint)


def _is_list(field: FieldInfo) -> bool:
    return typing.get_origin(field.annotation) is tuple
