"""Connections that are kept between messages, by next hop.

Whoever takes one has it alone, and gives it back. Kept ones are closed after a while, and dropped unseen when
the server closed them or said something meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from foundation.smtp.client import SmtpConnection

Opener = Callable[[], Awaitable[SmtpConnection]]


class ConnectionPool:
    def __init__(
        self, *, idle_seconds: float = 600, messages_max: int | None = None, kept_per_hop: int = 20
    ) -> None:
        """`messages_max`: messages a connection carries; 20 towards the Internet, None for no end."""
        self._idle_seconds = idle_seconds
        self._messages_max = messages_max
        self._kept_per_hop = kept_per_hop
        self._kept: dict[Hashable, list[SmtpConnection]] = {}
        self._leaving: dict[asyncio.Task[None], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def kept(self) -> int:
        return sum(map(len, self._kept.values()))

    async def take(self, hop: Hashable, open_new: Opener) -> SmtpConnection:
        """The one used last, else a new one. Raises what `open_new` raises."""
        connections = self._kept.get(hop, [])
        while connections:
            connection = connections.pop()
            if not connections:
                del self._kept[hop]
            if self._good(connection):
                return connection
            self._leave(connection)
        return await open_new()

    def give_back(self, hop: Hashable, connection: SmtpConnection) -> None:
        """Keeps it, or closes it when it is used up, broken, or one too many."""
        connections = self._kept.setdefault(hop, [])
        used_up = self._messages_max is not None and connection.messages_sent >= self._messages_max
        if self._closed or used_up or not connection.usable or len(connections) >= self._kept_per_hop:
            self._leave(connection)
        else:
            connections.append(connection)
            self._watch()
        if not connections:
            del self._kept[hop]

    def drop(self, hop: Hashable) -> None:
        """Closes what is kept to a hop that was found dead."""
        for connection in self._kept.pop(hop, []):
            connection.abort()

    async def close(self) -> None:
        """Closes all that are kept; those given back later are closed then."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connections in self._kept.values():
            for connection in connections:
                self._leave(connection)
        self._kept.clear()
        await asyncio.gather(*self._leaving)

    def _good(self, connection: SmtpConnection) -> bool:
        return connection.usable and connection.idle_seconds < self._idle_seconds

    def _leave(self, connection: SmtpConnection) -> None:
        task = asyncio.get_running_loop().create_task(connection.quit())
        self._leaving[task] = None
        task.add_done_callback(lambda done: self._leaving.pop(done, None))

    def _watch(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(self._idle_seconds / 4, 0.01), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        for hop in list(self._kept):
            old = [each for each in self._kept[hop] if not self._good(each)]
            for connection in old:
                self._kept[hop].remove(connection)
                self._leave(connection)
            if not self._kept[hop]:
                del self._kept[hop]
        if self._kept:
            self._watch()
