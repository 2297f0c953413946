"""The servers of a topology as the command line and the supervisor see them: a role, a name, a site,
endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from config.model import AccessServer, Endpoint, HubServer, StoreServer, Topology

Role = Literal["hub", "store", "access"]

ENDPOINTS: dict[Role, tuple[str, ...]] = {
    "hub": ("smtp", "smtp_internal", "rpc"),
    "store": ("lmtp", "rpc"),
    "access": ("submission", "submissions", "imap", "imaps", "rpc"),
}

STOP_ORDER: tuple[Role, ...] = ("access", "store", "hub")
"""Who takes mail from clients stops first, who passes it on last."""


@dataclass(frozen=True)
class Server:
    role: Role
    settings: HubServer | StoreServer | AccessServer

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def site(self) -> str:
        return self.settings.site

    def endpoints(self) -> dict[str, Endpoint]:
        """Field name to endpoint, those that are set."""
        found = ((field, getattr(self.settings, field)) for field in ENDPOINTS[self.role])
        return {field: endpoint for field, endpoint in found if endpoint is not None}


def servers_of(topology: Topology) -> tuple[Server, ...]:
    """All servers in the order of the topology: hubs, stores, Client Access."""
    return (
        *(Server("hub", hub) for hub in topology.hubs),
        *(Server("store", store) for store in topology.stores),
        *(Server("access", access) for access in topology.access),
    )


def find_server(topology: Topology, name: str) -> Server | None:
    return next((server for server in servers_of(topology) if server.name == name), None)


def resolved_file(topology: Topology) -> Path:
    """The topology as `waypost up` really started it, with every port; there while it runs."""
    return topology.data / "run" / "topology.toml"


def with_ports_of(topology: Topology, wanted: Topology, resolved: Topology) -> Topology:
    """The topology on the ports that were really taken, where it wants the same as was wanted then."""
    taken = {
        (server.name, field): endpoint
        for server in servers_of(resolved)
        for field, endpoint in server.endpoints().items()
    }
    before = {
        (s.name, field): endpoint for s in servers_of(wanted) for field, endpoint in s.endpoints().items()
    }
    same = {
        (server.name, field): taken[server.name, field]
        for server in servers_of(topology)
        for field, endpoint in server.endpoints().items()
        if before.get((server.name, field)) == endpoint
    }
    return with_endpoints(topology, same)


def with_endpoints(topology: Topology, endpoints: dict[tuple[str, str], Endpoint]) -> Topology:
    """The topology with endpoints replaced, by (server name, field name)."""

    def changed(server: Any) -> Any:
        update = {field: endpoint for (name, field), endpoint in endpoints.items() if name == server.name}
        return server.model_copy(update=update) if update else server

    return topology.model_copy(
        update={
            "hubs": tuple(changed(server) for server in topology.hubs),
            "stores": tuple(changed(server) for server in topology.stores),
            "access": tuple(changed(server) for server in topology.access),
        }
    )
