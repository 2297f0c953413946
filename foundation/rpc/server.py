"""Serves interfaces over RPC: the listeners and their end.

Promises: a plain call that has begun runs to its end, whatever becomes of its caller or its deadline: nothing
that commits is cut; a stream nobody reads is closed; an error nobody foresaw is 451 4.3.0 with a trace id.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from foundation.rpc.services import RpcLimits, Services
from foundation.rpc.serving import ServedConnection
from foundation.tasks import end_tasks

CLOSING_SECONDS = 1.0

log = logging.getLogger("waypost.rpc")


class RpcServer:
    """`services` maps an interface (a Protocol class) to the object that implements it.

    `authorise(peer, service, method)` decides each call; `peer_name(transport)` names who is at the other end
    (by its certificate, say); `trace_id()` makes an id for the log of an unexpected error.
    """

    def __init__(
        self,
        services: Mapping[Any, object],
        *,
        authorise: Callable[[str, str, str], bool],
        trace_id: Callable[[], str],
        peer_name: Callable[[asyncio.BaseTransport], str] = lambda transport: "",
        limits: RpcLimits | None = None,
    ) -> None:
        self._services = Services(services, authorise, trace_id, limits or RpcLimits())
        self._peer_name = peer_name
        self._listeners: list[asyncio.Server] = []
        self._sockets: list[Path] = []
        self._connections: dict[ServedConnection, None] = {}

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def serve_tls(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """Listens, without a context in the clear; returns the port (0 takes a free one). Raises OSError."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(self._accept, host, port, ssl=context)
        self._listeners.append(listener)
        bound: int = listener.sockets[0].getsockname()[1]
        return bound

    async def serve_unix(self, path: Path) -> None:
        """Listens where only this user can connect; replaces a dead process's socket. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listeners.append(await loop.create_unix_server(self._accept, str(path)))
        self._sockets.append(path)
        path.chmod(0o600)  # noqa: ASYNC240

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Takes no new calls, ends downloads, waits this long for the calls that run, then closes."""
        self._services.stopping = True
        for listener in self._listeners:
            listener.close()
        connections = list(self._connections)
        for connection in connections:
            connection.drain()
        if late := await end_tasks(self._services.tasks, grace_seconds):
            log.warning("%d RPC calls were cut at the stop", late)
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=CLOSING_SECONDS)
        for connection in list(self._connections):
            connection.abort()
        for path in self._sockets:
            path.unlink(missing_ok=True)
        self._listeners, self._sockets = [], []

    def _accept(self) -> ServedConnection:
        return ServedConnection(self._services, self._peer_name, self._connections)
