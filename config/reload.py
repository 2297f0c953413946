"""A configuration read again while a server runs: what counts from now on, and what does not.

A file with a fault, or a certificate that can't be used, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from config.layout import field_of, keys_of, settings_in, takes_effect
from config.model import AccessServer, Endpoint, HubServer, Settings, StoreServer, Topology
from config.problems import ConfigurationError
from foundation.interfaces.control import ReloadOutcome
from foundation.tls import CertificateError, Identity

Server = HubServer | StoreServer | AccessServer
ReadAgain = Callable[[], Topology]
"""Reads the configuration that the server was started with. Raises ConfigurationError."""

_ROUTES = ("sites", "site_links", "send_connectors")
_FIRST_START = ("domains", "demo_users")


@dataclass(frozen=True)
class Changes:
    topology: Topology
    """The new one, but with the old values of what needs a restart."""
    applied: tuple[str, ...] = ()
    """Places of settings that changed."""
    needs_restart: tuple[str, ...] = ()
    first_start: tuple[str, ...] = ()
    """Count only when the directory is made."""


def reload(
    topology: Topology, name: str, identity: Identity, read_again: ReadAgain | None
) -> tuple[Topology, ReloadOutcome]:
    """What the server `name` runs with from now on. Without `read_again` its certificates alone are new."""
    try:
        changes = compare(topology, read_again(), name) if read_again is not None else Changes(topology)
        identity.reload()
    except ConfigurationError as error:
        return topology, ReloadOutcome(problems=tuple(str(error).splitlines()))
    except CertificateError as error:
        return topology, ReloadOutcome(problems=(str(error),))
    outcome = ReloadOutcome(
        applied=("certificates", *changes.applied),
        needs_restart=changes.needs_restart,
        first_start=changes.first_start,
    )
    return changes.topology, outcome


def compare(old: Topology, new: Topology, name: str) -> Changes:
    """For the server `name`, which is in the old topology."""
    before, after = _server(old, name), _server(new, name)
    assert before is not None
    found: dict[str, list[str]] = {"reload": [], "restart": [], "first start": []}
    kept: dict[str, Any] = {}
    for key, field, when in _changed(old, new):
        found[when].append(f"organisation.{key}")
        if when == "restart":
            kept[field] = getattr(old, field)
    place = f"servers.{name}"
    if type(after) is not type(before):
        found["restart"].append(place)
        after = before
    else:
        assert after is not None
        own: dict[str, Any] = {}
        for key, field, when in _changed(before, after):
            found[when] += _leaves(f"{place}.{key}", getattr(before, field), getattr(after, field))
            if when == "restart":
                own[field] = getattr(before, field)
        after = after.model_copy(update=own)
    for other, when in _others(before, old, new):
        found[when].append(f"servers.{other}")
    if isinstance(before, HubServer):
        found["reload"] += [section for section in _ROUTES if getattr(old, section) != getattr(new, section)]
    found["first start"] += [each for each in _FIRST_START if getattr(old, each) != getattr(new, each)]
    return Changes(
        _with_server(new.model_copy(update=kept), after),
        tuple(found["reload"]),
        tuple(found["restart"]),
        tuple(found["first start"]),
    )


def _changed(old: Settings, new: Settings) -> Iterator[tuple[str, str, str]]:
    """(key, field, when it takes effect) of settings that are not the same."""
    for key, name in keys_of(type(old)).items():
        if getattr(old, name) != getattr(new, name):
            field = field_of(type(old), key)
            assert field is not None
            yield key, name, takes_effect(field)


def _leaves(place: str, old: Any, new: Any) -> Iterator[str]:
    """The settings of a table that differ; the place itself when it is no table."""
    if not isinstance(old, Settings) or isinstance(old, Endpoint) or not isinstance(new, Settings):
        yield place
        return
    for key, _, _ in _changed(old, new):
        yield f"{place}.{key}"


def _others(own: Server, old: Topology, new: Topology) -> Iterator[tuple[str, str]]:
    """Other servers that came, went or are reached otherwise, and when this one takes note."""
    names = dict.fromkeys(server.name for server in (*old.servers, *new.servers))
    for name in names:
        before, after = _server(old, name), _server(new, name)
        if name == own.name or (before and after and _reached(before) == _reached(after)):
            continue
        # A store has a lane of its Outbox to each hub of its site, made when it starts.
        hub = any(isinstance(each, HubServer) and each.site == own.site for each in (before, after))
        yield name, "restart" if hub and isinstance(own, StoreServer) else "reload"


def _reached(server: Server) -> list[Any]:
    """Role, site and endpoints."""
    endpoints = [
        getattr(server, name)
        for name, field in type(server).model_fields.items()
        if settings_in(field.annotation) is Endpoint
    ]
    return [type(server), server.site, *endpoints]


def _server(topology: Topology, name: str) -> Server | None:
    return next((server for server in topology.servers if server.name == name), None)


def _with_server(topology: Topology, server: Server) -> Topology:
    """The topology with this server as it is here; at the end where there was none."""
    kind = (
        "hubs" if isinstance(server, HubServer) else "stores" if isinstance(server, StoreServer) else "access"
    )
    lists = {
        each: tuple(found for found in getattr(topology, each) if found.name != server.name or each == kind)
        for each in ("hubs", "stores", "access")
    }
    same = [server if found.name == server.name else found for found in lists[kind]]
    lists[kind] = tuple(same if server in same else [*same, server])
    return topology.model_copy(update=lists)
