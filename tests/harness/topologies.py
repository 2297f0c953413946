"""The ready topologies of `config/`, on free ports of this machine and with a data folder of the test's
own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from config.model import Endpoint, Topology
from config.reader import read_topology
from tests.harness.ports import free_port
from waypost.servers import servers_of, with_endpoints


def ready_topology(name: str, data: Path, **settings: Any) -> Topology:
    """`single` or `two-sites` with every listener on a free port; `settings` replace the topology's own."""
    with resources.as_file(resources.files("config").joinpath(f"{name}.toml")) as file:
        topology = read_topology(file, {})
    topology = topology.model_copy(update={"data": data, **settings})
    anywhere = {
        (server.name, field): Endpoint(host="127.0.0.1", port=free_port())
        for server in servers_of(topology)
        for field in server.endpoints()
    }
    return with_endpoints(topology, anywhere)


def with_server_settings(topology: Topology, role: str, **settings: Any) -> Topology:
    """The topology with settings of all servers of a role (`hubs`, `stores`, `access`) replaced."""
    servers = tuple(server.model_copy(update=settings) for server in getattr(topology, role))
    return topology.model_copy(update={role: servers})


def with_settings_of(topology: Topology, name: str, **settings: Any) -> Topology:
    """The topology with settings of one server replaced."""
    update = {
        role: tuple(
            server.model_copy(update=settings) if server.name == name else server
            for server in getattr(topology, role)
        )
        for role in ("hubs", "stores", "access")
    }
    return topology.model_copy(update=update)
