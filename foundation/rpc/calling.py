"""One connection of an RPC client: the calls that wait for answers, and their streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from foundation.interfaces.mailbox_store import Refusal
from foundation.rpc.connection import Connection
from foundation.rpc.errors import CallFailed, ConnectionLost, DeadlineExceeded, from_failure
from foundation.rpc.frames import (
    Call,
    Cancel,
    Credit,
    End,
    Failure,
    Frame,
    FrameError,
    Hello,
    Item,
    Reply,
    encode,
    value,
)
from foundation.rpc.methods import Method
from foundation.rpc.streams import Incoming, Outgoing

CLOSING_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class _Waiting:
    call: int
    method: Method
    answer: asyncio.Future[Any]
    credit: Outgoing | None = None
    """Of its upload."""


class Download(Incoming):
    """The results of a call as they come."""

    def __init__(self, connection: CallingConnection, call: int, method: Method) -> None:
        super().__init__(
            lambda raw: connection.decode(method, raw),
            lambda size_bytes: connection.send(Credit(call, size_bytes)),
        )
        self._connection = connection
        self._call = call

    def close(self) -> None:
        self._connection.close_download(self._call, early=not self.ended)


class CallingConnection(Connection):
    def __init__(self, name: str, call_seconds: float) -> None:
        super().__init__(calls=0)
        self._name = name
        self._call_seconds = call_seconds
        self._last_call = 0
        self._waiting: dict[int, _Waiting] = {}
        self._downloads: dict[int, Download] = {}
        self._turns = asyncio.Semaphore(0)
        self._window_bytes = 0
        self._greeted: asyncio.Future[None] = self._loop.create_future()

    @property
    def usable(self) -> bool:
        return not self._problem and self.transport is not None and not self.transport.is_closing()

    async def ready(self) -> None:
        """Until the server's hello. Raises ConnectionLost."""
        await self._greeted

    async def shut(self) -> None:
        self.close()
        await asyncio.wait([self.closed], timeout=CLOSING_SECONDS)
        self.abort()
        await asyncio.wait([self.closed])

    # --- calls ---

    async def call(self, method: Method, arguments: msgspec.Struct) -> Any:
        """A plain call, in its turn. Raises what the method raises, CallFailed."""
        waiting: _Waiting | None = None
        try:
            async with asyncio.timeout(self._call_seconds), self._turns:
                waiting = self._begin(method, arguments)
                return await waiting.answer
        except TimeoutError as error:
            raise self._late(method, sent=waiting is not None) from error
        finally:
            if waiting is not None:
                self._leave(waiting)

    async def upload(self, method: Method, arguments: msgspec.Struct, chunks: AsyncIterator[bytes]) -> Any:
        """A call with a stream. Stops reading `chunks` when the answer comes before their end.

        Raises what the method or reading `chunks` raises, CallFailed.
        """
        waiting = self._begin(method, arguments)
        waiting.credit = Outgoing(self._window_bytes)
        pump = self._loop.create_task(self._pump(waiting.call, waiting.credit, chunks))
        try:
            await asyncio.wait([pump, waiting.answer], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.answer.done():
                pump.result()
                await asyncio.wait([waiting.answer], timeout=self._call_seconds)
            if not waiting.answer.done():
                raise self._late(method, sent=True)
            return waiting.answer.result()
        finally:
            self._leave(waiting)
            if not pump.done():
                pump.cancel()
                await asyncio.wait([pump])

    def download(self, method: Method, arguments: msgspec.Struct) -> Download:
        """The stream of results; to be closed in the end, which cancels the call when it is early."""
        call = self._next_call()
        self._send_call(call, method, arguments, 0)
        stream = self._downloads[call] = Download(self, call, method)
        return stream

    def close_download(self, call: int, *, early: bool) -> None:
        self._downloads.pop(call, None)
        if early:
            self.send(Cancel(call))

    def _begin(self, method: Method, arguments: msgspec.Struct) -> _Waiting:
        call = self._next_call()
        self._send_call(call, method, arguments, self._call_seconds)
        waiting = self._waiting[call] = _Waiting(call, method, self._loop.create_future())
        return waiting

    def _leave(self, waiting: _Waiting) -> None:
        del self._waiting[waiting.call]
        if not waiting.answer.done() or waiting.answer.cancelled():
            self.send(Cancel(waiting.call))

    async def _pump(self, call: int, credit: Outgoing, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            await self.send_chunk(call, chunk, credit)
        self.send(End(call))

    def _next_call(self) -> int:
        self._last_call += 1
        return self._last_call

    def _send_call(
        self, call: int, method: Method, arguments: msgspec.Struct, deadline_seconds: float
    ) -> None:
        if not self.usable:
            raise self._gone(sent=False)
        frame = Call(call, method.service, method.name, value(arguments), int(deadline_seconds * 1000))
        try:
            self.send_encoded(encode(frame))
        except FrameError as error:
            raise Refusal("LIMIT", f"The request is too large: {error}") from error

    def decode(self, method: Method, raw: msgspec.Raw) -> Any:
        try:
            return method.decode_result(raw)
        except msgspec.MsgspecError as error:
            sentence = f"{self._name} answered {method.service}.{method.name} in a way unknown here: {error}"
            raise CallFailed(sentence, sent=True) from error

    def _late(self, method: Method, *, sent: bool) -> DeadlineExceeded:
        sentence = f"{self._name} did not answer {method.service}.{method.name} in {self._call_seconds:g} s"
        return DeadlineExceeded(sentence, sent=sent)

    def _gone(self, *, sent: bool) -> ConnectionLost:
        return ConnectionLost(f"The connection to {self._name} is lost: {self._problem}", sent=sent)

    # --- Connection ---

    def greeted(self, hello: Hello) -> None:
        self._window_bytes = hello.window_bytes
        self._turns = asyncio.Semaphore(hello.calls)
        if not self._greeted.done():
            self._greeted.set_result(None)

    def received(self, frame: Frame) -> None:
        if not isinstance(frame, Reply | Failure | Item | End | Credit):
            raise FrameError("a frame that only clients send")
        if (waiting := self._waiting.get(frame.call)) is not None:
            self._take_answer(waiting, frame)
        elif (stream := self._downloads.get(frame.call)) is not None:
            if isinstance(frame, Item):
                stream.put(frame.value)
            elif isinstance(frame, End | Failure):
                stream.end(from_failure(frame) if isinstance(frame, Failure) else None)
        # Else it is late: nobody waits for it any more.

    def lost(self) -> None:
        if not self._greeted.done():
            self._greeted.set_exception(self._gone(sent=False))
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(self._gone(sent=True))
        for stream in self._downloads.values():
            stream.end(self._gone(sent=True))

    def _take_answer(self, waiting: _Waiting, frame: Frame) -> None:
        if isinstance(frame, Credit):
            if waiting.credit is not None:
                waiting.credit.grant(frame.size_bytes)
        elif waiting.answer.done():
            return
        elif isinstance(frame, Failure):
            waiting.answer.set_exception(from_failure(frame))
        elif isinstance(frame, Reply):
            try:
                waiting.answer.set_result(self.decode(waiting.method, frame.result))
            except CallFailed as error:
                waiting.answer.set_exception(error)
