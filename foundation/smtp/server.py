"""The SMTP and LMTP server, the project's only door to aiosmtpd: listeners, TLS, admission, stopping.

A deep subclass of aiosmtpd's SMTP: its session, envelope and life cycle stay; bytes go through a Channel and
every verb and limit through a Conversation, because of speed and exactness (one write for pipelined replies,
content in large pieces, chunking, DSN, LMTP replies, errors that stay temporary). What a message's way may
rely on: 250 is answered only after the handler returned, and a client that goes away cancels nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Callable
from typing import Any, cast

from aiosmtpd.smtp import SMTP

from foundation.interfaces.world import Entropy
from foundation.smtp.channel import Channel
from foundation.smtp.conversation import Conversation
from foundation.smtp.reply import Reply
from foundation.smtp.session import Peer, ServerOptions, SessionFacts, SessionHandler
from foundation.tls import certificate_name

__all__ = ["Peer", "ServerOptions", "SessionFacts", "SessionHandler", "SmtpServer"]

log = logging.getLogger("waypost.smtp")

BACKLOG = 1024
CANCEL_SECONDS = 5
TLS_CLOSE_SECONDS = 5


class _Connection(SMTP):
    """One client."""

    def __init__(
        self, server: SmtpServer, prototype: dict[str, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        # aiosmtpd's own __init__ looks through itself and its handler by introspection, half a millisecond
        # for each connection; what it finds is the same every time, and kept in the prototype
        self.__dict__.update(prototype)
        asyncio.Protocol.__init__(self)
        self.loop = loop
        self._server = server
        self._conversation: Conversation | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.session = self._create_session()
        self.envelope = self._create_envelope()
        options = self._server.options
        self._channel = Channel(cast(asyncio.Transport, transport), self.loop, options.idle_seconds)
        self.peer = _peer(transport, options.listener)
        self.session.peer = self.peer.address
        refusal = self._server.admit(self)
        if refusal is not None:
            log.info("connection refused", extra={"peer": self.peer.address, "reply": str(refusal)})
            self._channel.farewell(refusal)
            return
        self._handler_coroutine = self.loop.create_task(self._handle_client())
        self._handler_coroutine.add_done_callback(lambda _: self._server.forget(self))

    def data_received(self, data: bytes) -> None:
        self._channel.feed(data)

    def eof_received(self) -> bool | None:
        self._channel.eof()
        # what was sent before the end is still answered, where the transport can be closed by halves
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._channel.pause_writing()

    def resume_writing(self) -> None:
        self._channel.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._channel.lost()
        self._server.forget(self)

    @property
    def over(self) -> bool:
        task = self._handler_coroutine
        return self.transport is None and (task is None or task.done())

    @property
    def task(self) -> asyncio.Task[None] | None:
        return self._handler_coroutine

    def stop(self) -> None:
        if self._conversation is not None:
            self._conversation.stop()

    def abort(self) -> None:
        self._channel.abort()

    async def _handle_client(self) -> None:
        server = self._server
        try:
            handler = server.factory(self.peer)
            self._conversation = Conversation(
                self._channel, server.options, handler, server.entropy, self.peer, self._start_tls
            )
            await self._conversation.run()
        except Exception:
            log.exception(
                "a session broke", extra={"peer": self.peer.address, "listener": self.peer.listener}
            )
            self._channel.abort()
        except BaseException:
            self._channel.abort()
            raise
        else:
            self._channel.hang_up()

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        seconds = self._server.options.handshake_seconds
        try:
            self.transport = await self._channel.start_tls(self, context, seconds)
        except BaseException as error:
            # between two transports nobody else tells that the connection is gone
            self._channel.abort()
            self.connection_lost(error if isinstance(error, Exception) else None)
            raise


class SmtpServer:
    """Listeners of one kind; sessions are made by `factory(peer)`."""

    def __init__(
        self, options: ServerOptions, factory: Callable[[Peer], SessionHandler], entropy: Entropy
    ) -> None:
        self.options = options
        self.factory = factory
        self.entropy = entropy
        self._servers: list[asyncio.Server] = []
        self._connections: dict[_Connection, None] = {}
        self._sources: dict[str, int] = {}
        self._stopping = False
        self._empty: asyncio.Future[None] | None = None
        self._prototype: dict[str, Any] = {}

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def start(self, host: str, port: int) -> int:
        """Listens, and returns the port (a free one for 0). Raises OSError."""
        loop = asyncio.get_running_loop()
        self._prototype = _prototype(self.options, loop)
        tls: dict[str, Any] = {}
        if self.options.implicit_tls is not None:
            tls = {
                "ssl": self.options.implicit_tls,
                "ssl_handshake_timeout": self.options.handshake_seconds,
                "ssl_shutdown_timeout": TLS_CLOSE_SECONDS,
            }
        server = await loop.create_server(
            lambda: _Connection(self, self._prototype, loop), host, port, backlog=BACKLOG, **tls
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def stop(self, grace_seconds: float) -> None:
        """No new connections and commands; running commands are finished within the grace, then cut off."""
        self._stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.stop()
        await self._until_empty(grace_seconds)
        for connection in list(self._connections):
            connection.abort()
        await self._until_empty(CANCEL_SECONDS)
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._servers.clear()

    async def _until_empty(self, seconds: float) -> None:
        if not self._connections:
            return
        self._empty = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._empty
        except TimeoutError:
            pass
        finally:
            self._empty = None

    def admit(self, connection: _Connection) -> Reply | None:
        """Counts a new connection; the reply is why not."""
        options, source = self.options, connection.peer.address
        if self._stopping:
            return Reply.of(421, "4.3.2", f"{options.hostname} The server is closing, try again later")
        if len(self._connections) >= options.connections:
            return Reply.of(421, "4.3.2", f"{options.hostname} Too many connections, try again later")
        count = self._sources.get(source, 0)
        if count >= options.connections_per_source and not options.private and not _is_loopback(source):
            return Reply.of(
                421, "4.7.0", f"{options.hostname} Too many connections from you, try again later"
            )
        self._connections[connection] = None
        self._sources[source] = count + 1
        return None

    def forget(self, connection: _Connection) -> None:
        """Called when a connection was lost and when its task ended; the later one counts."""
        if connection not in self._connections or not connection.over:
            return
        del self._connections[connection]
        source = connection.peer.address
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        if not self._connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)


def _prototype(options: ServerOptions, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """What aiosmtpd's __init__ sets, without the stream reader that is not used."""
    sample = SMTP(object(), hostname=options.hostname, enable_SMTPUTF8=True, loop=loop)
    names = {name for name in vars(sample) if not name.startswith(("_stream", "_closed", "_smtp", "_auth"))}
    return {name: value for name, value in vars(sample).items() if name in names}


def _peer(transport: asyncio.BaseTransport, listener: str) -> Peer:
    name = transport.get_extra_info("peername")
    address, port = (str(name[0]), int(name[1])) if isinstance(name, tuple) else (str(name or ""), 0)
    tls = transport.get_extra_info("sslcontext") is not None
    certificate = certificate_name(transport.get_extra_info("peercert")) if tls else ""
    return Peer(address=address, port=port, tls=tls, certificate_name=certificate, listener=listener)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
