"""A TCP proxy that breaks what goes through it: cut after so many bytes, delayed, swallowed.

One proxy stands before one listener; what is set counts for connections that stand and for new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Literal

from config.model import Endpoint

Direction = Literal["to server", "to client"]

CHUNK = 64 * 1024


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    budget: dict[Direction, int] = field(default_factory=dict)
    """Bytes that still go through in a direction before both sides are cut off; none: no end."""

    def abort(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class FaultProxy:
    """Use as `async with FaultProxy(target, port) as proxy`."""

    def __init__(self, target: Endpoint, port: int) -> None:
        self.target = target
        self.endpoint = Endpoint(host="127.0.0.1", port=port)
        self.delay_seconds = 0.0
        """Before each piece, in both directions."""
        self.cut_count = 0
        """Connections that were cut."""
        self._pending_cuts: list[tuple[Direction, int]] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: dict[_Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._accept, self.endpoint.host, self.endpoint.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, after_bytes: int, direction: Direction) -> None:
        """Every connection that stands, or the next one, breaks after so many more bytes in a direction."""
        for connection in self._connections:
            connection.budget.setdefault(direction, after_bytes)
        if not self._connections:
            self._pending_cuts.append((direction, after_bytes))

    def swallow(self) -> None:
        """Nothing goes through any more, nothing is refused: a black hole, until `heal`."""
        self._flowing.clear()

    def heal(self) -> None:
        """What was held goes on; no fault is left."""
        self.delay_seconds = 0.0
        self._pending_cuts.clear()
        for connection in self._connections:
            connection.budget.clear()
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(self.target.host, self.target.port)
        except OSError:
            to_client.transport.abort()
            return
        connection = _Connection(to_client, to_server)
        self._connections[connection] = None
        if self._pending_cuts:
            direction, after_bytes = self._pending_cuts.pop()
            connection.budget[direction] = after_bytes
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, from_client, to_server, "to server"))
                group.create_task(self._pump(connection, from_server, to_client, "to client"))
        except* OSError:
            connection.abort()
        finally:
            del self._connections[connection]
            for writer in (to_client, to_server):
                writer.close()

    async def _pump(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
    ) -> None:
        while data := await reader.read(CHUNK):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await self._flowing.wait()
            budget = connection.budget.get(direction)
            if budget is not None:
                if len(data) > budget:
                    writer.write(data[:budget])
                    await writer.drain()
                    self.cut_count += 1
                    raise ConnectionAbortedError("cut by the proxy")
                connection.budget[direction] = budget - len(data)
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
