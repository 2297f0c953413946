"""The IMAP listeners of Client Access: who may connect, how many, and how connections end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from clientaccess.imap.capabilities import SessionOptions
from clientaccess.imap.kept import Kept
from clientaccess.imap.protocol import HANDSHAKE_SECONDS_MAX, Connection, ImapOptions
from clientaccess.imap.watching import Watches
from foundation.interfaces.authentication import Authentication
from foundation.interfaces.directory import Credentials
from foundation.interfaces.mailbox_store import MailboxStore
from foundation.interfaces.world import World

__all__ = ["ImapOptions", "ImapServer"]


class ImapServer:
    def __init__(
        self,
        options: ImapOptions,
        authentication: Authentication,
        locate: Callable[[Credentials], MailboxStore],
        world: World,
    ) -> None:
        self._kept = Kept()
        self.configure(options)
        self.authentication = authentication
        self.locate = locate
        self.world = world
        self.watches = Watches(world.entropy)
        self.open: dict[Connection, str] = {}
        """Connections and the addresses they come from."""
        self._by_source: dict[str, int] = {}
        self._listeners: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._empty.set()
        self.stopping = False

    def configure(self, options: ImapOptions) -> None:
        """For connections that come from now on."""
        self.options = options
        self.session_options = SessionOptions(
            hostname=options.hostname,
            version=options.version,
            starttls=options.tls is not None,
            plain_logon=options.plain_logon,
            message_bytes_max=options.limits.message_size_bytes,
            logon_failures_max=options.limits.logon_failures,
            bad_commands_max=options.limits.protocol_errors,
            kept=self._kept,
        )

    @property
    def connections(self) -> int:
        return len(self.open)

    async def start(self, host: str, port: int, tls_implicit: bool) -> int:
        """Listens; gives the port. Raises OSError when it is taken, ValueError without a certificate for
        TLS."""
        loop = asyncio.get_running_loop()
        if not tls_implicit:
            listener = await loop.create_server(
                lambda: Connection(self, secure=False), host, port, backlog=512
            )
        elif self.options.tls is None:
            raise ValueError("Implicit TLS needs a certificate")
        else:
            listener = await loop.create_server(
                lambda: Connection(self, secure=True),
                host,
                port,
                backlog=512,
                ssl=self.options.tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS_MAX,
                ssl_shutdown_timeout=5,
            )
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    async def stop(self, grace_seconds: float = 5) -> None:
        """Listens no more; running commands end, everybody is told BYE; after the grace connections are
        cut."""
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in tuple(self.open):
            connection.shut_down()
        try:
            await asyncio.wait_for(self._empty.wait(), grace_seconds)
        except TimeoutError:
            for connection in tuple(self.open):
                connection.abandon()
            await self._empty.wait()

    def admit(self, connection: Connection, source: str) -> bool:
        """False when there are too many."""
        limits = self.options.limits
        here = self._by_source.get(source, 0)
        full = len(self.open) >= limits.connections
        self.open[connection] = source
        self._by_source[source] = here + 1
        self._empty.clear()
        loopback = source.startswith("127.") or source == "::1"
        return not (self.stopping or full or (here >= limits.connections_per_source and not loopback))

    def left(self, connection: Connection) -> None:
        source = self.open.pop(connection, None)
        if source is not None:
            self._by_source[source] -= 1
            if not self._by_source[source]:
                del self._by_source[source]
        if not self.open:
            self._empty.set()
