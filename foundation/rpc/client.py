"""Calls interfaces of another server over RPC: one connection carries all calls, made when first needed.

Promises: an interface's proxy raises what its method raises there, and CallFailed (Unavailable) when none
comes; with `sent` the outcome is unknown. A call after a loss connects again; a download that is closed
early is cancelled there; a slow reader makes the server wait.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from foundation.rpc.calling import CallingConnection
from foundation.rpc.errors import ConnectionLost
from foundation.rpc.methods import Method, methods_of
from foundation.world.failures import reason

CONNECT_SECONDS = 10.0
log = logging.getLogger("waypost.rpc")

CALL_SECONDS = 30.0

P = TypeVar("P")


@dataclass(frozen=True)
class TcpTarget:
    host: str
    port: int
    context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    """What TLS asks for; else the host."""
    server: str = ""
    """The server this must be, as `peer_name` of its transport says; empty: any that the context accepts."""
    peer_name: Callable[[asyncio.BaseTransport], str] = lambda transport: ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class UnixTarget:
    path: Path

    def __str__(self) -> str:
        return str(self.path)


class RpcClient:
    """`call_seconds` bounds a plain call, and one with an upload from its end; downloads have no bound."""

    def __init__(self, target: TcpTarget | UnixTarget, *, call_seconds: float = CALL_SECONDS) -> None:
        self.target = target
        self._call_seconds = call_seconds
        self._connection: CallingConnection | None = None
        self._connecting: asyncio.Task[CallingConnection] | None = None
        self._closed = False

    def interface(self, protocol: Callable[..., P]) -> P:
        """An object with the methods of a Protocol class, each a call to the server."""
        return cast(P, _Proxy(self, protocol))

    async def close(self) -> None:
        """Calls that wait raise ConnectionLost."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            await self._connection.shut()

    async def connection(self) -> CallingConnection:
        """The one there is, or a new one: one attempt for all who ask meanwhile. Raises ConnectionLost."""
        if self._closed:
            raise self._closed_here()
        if self._connection is not None and self._connection.usable:
            return self._connection
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        attempt = self._connecting
        try:
            # A caller that is cancelled must not take the attempt from the others.
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._closed and attempt.cancelled() and caller is not None and not caller.cancelling():
                raise self._closed_here() from None
            raise

    async def _connect(self) -> CallingConnection:
        loop = asyncio.get_running_loop()
        target = self.target
        connection = CallingConnection(str(target), self._call_seconds)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if isinstance(target, UnixTarget):
                    await loop.create_unix_connection(lambda: connection, str(target.path))
                else:
                    name = (target.server_hostname or target.host) if target.context else None
                    await loop.create_connection(
                        lambda: connection, target.host, target.port, ssl=target.context, server_hostname=name
                    )
                await connection.ready()
                _check_name(target, connection)
        except TimeoutError as error:
            connection.abort()
            raise ConnectionLost(f"{target} did not answer in {CONNECT_SECONDS:g} s", sent=False) from error
        except OSError as error:
            raise ConnectionLost(f"{target} can't be reached: {reason(error)}", sent=False) from error
        except BaseException:
            connection.abort()
            raise
        return connection

    def _closed_here(self) -> ConnectionLost:
        return ConnectionLost(f"The connection to {self.target} was closed here", sent=False)

    def _connected(self, task: asyncio.Task[CallingConnection]) -> None:
        self._connecting = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.info("no RPC connection: %s", error)
        else:
            self._connection = task.result()


def _check_name(target: TcpTarget | UnixTarget, connection: CallingConnection) -> None:
    if isinstance(target, TcpTarget) and target.server and connection.transport is not None:
        name = target.peer_name(connection.transport)
        if name != target.server:
            problem = f"{target} is {name or 'a server without a name'}, not {target.server}"
            raise ConnectionLost(problem, sent=False)


class _Proxy:
    def __init__(self, client: RpcClient, protocol: Any) -> None:
        for name, method in methods_of(protocol).items():
            setattr(self, name, _download(client, method) if method.download else _call(client, method))


def _call(client: RpcClient, method: Method) -> Callable[..., Any]:
    async def call(*positional: Any, **named: Any) -> Any:
        arguments, upload = method.pack(positional, named)
        connection = await client.connection()
        if upload is None:
            return await connection.call(method, arguments)
        return await connection.upload(method, arguments, upload)

    call.__name__ = method.name
    return call


def _download(client: RpcClient, method: Method) -> Callable[..., AsyncIterator[Any]]:
    async def items(arguments: Any) -> AsyncIterator[Any]:
        connection = await client.connection()
        stream = connection.download(method, arguments)
        try:
            async for item in stream:
                yield item
        finally:
            stream.close()

    def download(*positional: Any, **named: Any) -> AsyncIterator[Any]:
        arguments, _ = method.pack(positional, named)
        return items(arguments)

    download.__name__ = method.name
    return download
