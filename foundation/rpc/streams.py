"""The two ends of a stream within a connection, with the credit that keeps a fast sender from filling memory.

Credit counts bytes. The sender may send while it has any left; the receiver grants again what was taken out.
So a receiver holds less than a window and one value more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from foundation.rpc.frames import FrameError, value_bytes

WINDOW_BYTES = 512 * 1024
CHUNK_BYTES = 256 * 1024
"""Streams of bytes are cut into pieces of this size."""


class Incoming(AsyncIterator[Any]):
    """Items that came, in their order. One consumer."""

    def __init__(self, decode: Callable[[msgspec.Raw], Any], grant: Callable[[int], None]) -> None:
        self._decode = decode
        self._grant = grant
        self._items: deque[msgspec.Raw] = deque()
        self._held = 0
        self._taken = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self.ended = False
        """Nothing more will come: the stream is complete, or failed."""

    def put(self, item: msgspec.Raw) -> None:
        """Raises FrameError when the sender had no credit for it."""
        if self._held >= WINDOW_BYTES:
            raise FrameError("a stream sends without credit")
        if not self.ended:
            self._held += value_bytes(item)
            self._items.append(item)
            self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """What came before is still given out, then the error is raised."""
        if not self.ended:
            self.ended = True
            self._error = error
            self._wake()

    async def __anext__(self) -> Any:
        while not self._items:
            if self._error is not None:
                raise self._error
            if self.ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._items.popleft()
        size = value_bytes(item)
        self._held -= size
        self._taken += size
        if self._taken >= WINDOW_BYTES // 2 and not self.ended:
            self._grant(self._taken)
            self._taken = 0
        return self._decode(item)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Outgoing:
    """The sender's credit. One producer."""

    def __init__(self, window_bytes: int) -> None:
        self._credit = window_bytes
        self._waiter: asyncio.Future[None] | None = None

    def grant(self, size_bytes: int) -> None:
        self._credit += size_bytes
        if self._credit > 0 and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def spend(self, size_bytes: int) -> None:
        """Waits until there is any credit, then takes this much of it."""
        while self._credit <= 0:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._credit -= size_bytes


def pieces(chunk: bytes) -> list[bytes]:
    if len(chunk) <= CHUNK_BYTES:
        return [chunk]
    return [chunk[offset : offset + CHUNK_BYTES] for offset in range(0, len(chunk), CHUNK_BYTES)]
