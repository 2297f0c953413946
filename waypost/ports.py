"""Concrete ports before anything starts: port 0 becomes a free one, a busy one moves where the topology
allows it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass

from config.model import Endpoint, Topology
from waypost.servers import servers_of, with_endpoints


@dataclass(frozen=True)
class Moved:
    """An endpoint that could not have the port it was given."""

    server: str
    protocol: str
    wanted: int
    port: int


class PortBusy(Exception):
    def __init__(self, server: str, protocol: str, endpoint: Endpoint, reason: str) -> None:
        super().__init__(f"{server} can't listen for {protocol} on {endpoint.host}:{endpoint.port}: {reason}")
        self.place = f"{server}.{protocol}"


def resolve_ports(topology: Topology, without: Collection[str] = ()) -> tuple[Topology, tuple[Moved, ...]]:
    """The topology with a port for every listener that is free now, and what had to move. Raises PortBusy.
    The servers in `without` keep the ports they have.

    All are held until the last is found, so no two get the same. They are free again on return: whoever
    takes one before its server does makes that server fail with a clear message.
    """
    chosen: dict[tuple[str, str], Endpoint] = {}
    moved: list[Moved] = []
    wanted = [
        (server.name, field, endpoint)
        for server in servers_of(topology)
        if server.name not in without
        for field, endpoint in server.endpoints().items()
    ]
    fixed = {endpoint.port for _, _, endpoint in wanted if endpoint.port}
    with ExitStack() as held:
        for name, field, endpoint in sorted(wanted, key=lambda entry: entry[2].port == 0):
            protocol = field.replace("_", "-")
            port = _take(held, name, protocol, endpoint, topology.nearest_free_port, fixed)
            if port != endpoint.port:
                chosen[name, field] = Endpoint(host=endpoint.host, port=port)
                if endpoint.port:
                    moved.append(Moved(name, protocol, endpoint.port, port))
    return with_endpoints(topology, chosen), tuple(moved)


def _take(
    held: ExitStack, server: str, protocol: str, endpoint: Endpoint, movable: bool, fixed: set[int]
) -> int:
    candidates = [endpoint.port]
    if movable and endpoint.port:
        following = range(endpoint.port + 1, min(endpoint.port + 1000, 65536))
        candidates += [port for port in following if port not in fixed]
    for port in candidates:
        listener = socket.socket(socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((endpoint.host, port))
            listener.listen(1)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                continue
            raise PortBusy(server, protocol, endpoint, error.strerror or str(error)) from error
        held.callback(listener.close)
        return int(listener.getsockname()[1])
    raise PortBusy(server, protocol, endpoint, "the port is in use")
