"""What both ends of an RPC connection do: say hello, cut and join frames, notice a silent peer."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Any

import msgspec

from foundation.rpc.frames import (
    OLDEST_VERSION,
    VERSION,
    Frame,
    FrameError,
    FrameReader,
    Hello,
    Item,
    Ping,
    Pong,
    encode,
    value,
    value_bytes,
)
from foundation.rpc.streams import WINDOW_BYTES, Outgoing, pieces

KEEP_ALIVE_SECONDS = 5.0
"""A peer that says nothing for two or three times as long is given up."""
JOINED_BYTES = 64 * 1024

log = logging.getLogger("waypost.rpc")


class Connection(asyncio.Protocol, ABC):
    """One end. Subclasses answer frames in `received` and clean up in `lost`."""

    def __init__(self, calls: int) -> None:
        self._hello = Hello(VERSION, OLDEST_VERSION, WINDOW_BYTES, calls)
        self._peer: Hello | None = None
        self.transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._pending: list[bytearray] = []
        self._pending_bytes = 0
        self._problem = ""
        """Why the connection ended, or must."""
        self._writable = asyncio.Event()
        self._writable.set()
        self._heard = True
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # --- for subclasses ---

    @abstractmethod
    def greeted(self, hello: Hello) -> None:
        """The peer speaks our version."""

    @abstractmethod
    def received(self, frame: Frame) -> None:
        """Any frame after hello. May raise FrameError: the connection ends."""

    @abstractmethod
    def lost(self) -> None:
        """The connection is gone, for ever."""

    # --- sending ---

    def send(self, frame: Frame) -> None:
        """Frames of one turn of the loop leave together. Raises FrameError beyond the limit."""
        self.send_encoded(encode(frame))

    async def writable(self) -> None:
        """Waits while the peer takes nothing."""
        while not self._writable.is_set():  # another stream may have filled it again
            await self._writable.wait()

    async def send_item(self, call: int, item: object, credit: Outgoing) -> None:
        """One value of a stream, when there is credit and room. Raises FrameError beyond the limit."""
        raw = value(item)
        frame = encode(Item(call, raw))
        await credit.spend(value_bytes(raw))
        await self.writable()
        self.send_encoded(frame)

    async def send_chunk(self, call: int, chunk: bytes, credit: Outgoing) -> None:
        for piece in pieces(chunk):
            await self.send_item(call, piece, credit)

    def send_encoded(self, frame: bytearray) -> None:
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(frame)
        self._pending_bytes += len(frame)
        if self._pending_bytes >= JOINED_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pending and self.transport is not None and not self.transport.is_closing():
            data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
            self.transport.write(data)
        self._pending = []
        self._pending_bytes = 0

    def close(self) -> None:
        """Sends what is queued, then closes."""
        self._problem = self._problem or "closed here"
        self._flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.send(self._hello)
        self._timer = self._loop.call_later(KEEP_ALIVE_SECONDS, self._keep_alive)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except (FrameError, msgspec.MsgspecError) as error:
            self._problem = str(error)
            facts = {"peer": self.peer_address(), "problem": self._problem}
            log.warning("an RPC peer is not understood", extra=facts)
            self.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._writable.set()
        self._pending = []
        self._problem = self._problem or (str(error) if error else "closed by the other side")
        self.lost()
        if not self.closed.done():
            self.closed.set_result(None)

    def peer_address(self) -> str:
        address: Any = self.transport.get_extra_info("peername") if self.transport else None
        return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address or "")

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Hello):
            if self._peer is not None:
                raise FrameError("a second hello")
            self._peer = frame
            if max(self._hello.oldest_version, frame.oldest_version) > min(VERSION, frame.version):
                raise FrameError(
                    f"it speaks RPC versions {frame.oldest_version} to {frame.version},"
                    f" this release {OLDEST_VERSION} to {VERSION}: upgrade the older one"
                )
            self.greeted(frame)
        elif self._peer is None:
            raise FrameError("no hello")
        elif isinstance(frame, Ping):
            self.send(Pong())
        elif not isinstance(frame, Pong):
            self.received(frame)

    def _keep_alive(self) -> None:
        if not self._heard and self._asked:
            log.warning("an RPC peer is silent", extra={"peer": self.peer_address()})
            self.abort()
            return
        if not self._heard:
            self.send(Ping())
        self._asked = not self._heard
        self._heard = False
        self._timer = self._loop.call_later(KEEP_ALIVE_SECONDS, self._keep_alive)
