"""One connection of an RPC server: its calls, each in a task, and their streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from foundation.mail.errors import MailError, Unavailable, unexpected
from foundation.rpc.connection import Connection
from foundation.rpc.errors import CallFailed, ConnectionLost, to_failure
from foundation.rpc.frames import (
    Call,
    Cancel,
    Credit,
    End,
    Frame,
    FrameError,
    Hello,
    Item,
    Reply,
    encode,
    value,
)
from foundation.rpc.methods import Method
from foundation.rpc.services import Services, stopping
from foundation.rpc.streams import Incoming, Outgoing

log = logging.getLogger("waypost.rpc")

_decode_chunk = msgspec.msgpack.Decoder(bytes).decode


@dataclass(slots=True, eq=False)
class _Running:
    """A call whose task has not ended."""

    call: int
    method: Method
    deadline_seconds: float
    upload: Incoming | None = None
    credit: Outgoing | None = None
    """Of its download."""
    task: asyncio.Task[None] | None = None
    deadline: asyncio.TimerHandle | None = None
    answered: bool = False
    """Its caller has an answer, or wants none any more."""


class ServedConnection(Connection):
    def __init__(
        self,
        services: Services,
        peer_name: Callable[[asyncio.BaseTransport], str],
        connections: dict[ServedConnection, None],
    ) -> None:
        super().__init__(services.limits.calls)
        self._services = services
        self._peer_name = peer_name
        self._connections = connections
        self._running: dict[int, _Running] = {}
        self._calls = 0
        self._name = ""
        self._window_bytes = 0

    def drain(self) -> None:
        """Ends downloads, with an error that tells their readers to come again."""
        for running in list(self._running.values()):
            if running.method.download:
                self._fail(running, stopping())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._name = self._peer_name(transport)
        if self._services.stopping or len(self._connections) >= self._services.limits.connections:
            log.warning("an RPC connection is refused", extra={"peer": self.peer_address()})
            self.abort()
            return
        self._connections[self] = None

    def greeted(self, hello: Hello) -> None:
        self._window_bytes = hello.window_bytes

    def lost(self) -> None:
        self._connections.pop(self, None)
        for running in list(self._running.values()):
            self._drop(running)

    def received(self, frame: Frame) -> None:
        if isinstance(frame, Call):
            self._begin(frame)
            return
        if not isinstance(frame, Item | Credit | End | Cancel):
            raise FrameError("a frame that only servers send")
        running = self._running.get(frame.call)
        if running is None:
            return  # late: the call has ended on this side
        if isinstance(frame, Cancel):
            self._drop(running)
        elif isinstance(frame, Credit):
            if running.credit is not None:
                running.credit.grant(frame.size_bytes)
        elif running.upload is not None:
            if isinstance(frame, Item):
                running.upload.put(frame.value)
            else:
                running.upload.end()
                self._start_deadline(running)

    # --- calls ---

    def _begin(self, call: Call) -> None:
        if call.call in self._running:
            raise FrameError("a call with the number of one that runs")
        try:
            method, function = self._services.method(self._name, call.service, call.method)
            self._check_room(method)
            running = _Running(call.call, method, call.deadline_ms / 1000)
            if method.upload:
                running.upload = Incoming(_decode_chunk, self._granter(call.call))
            arguments = method.unpack(call.arguments, running.upload)
        except msgspec.MsgspecError as error:
            sentence = f"The arguments of {call.service}.{call.method} are malformed"
            log.warning(sentence, extra={"peer": self._name, "problem": str(error)})
            self.send(to_failure(call.call, MailError(451, "4.3.5", sentence)))
            return
        except MailError as error:
            self.send(to_failure(call.call, error))
            return
        if method.download:
            running.credit = Outgoing(self._window_bytes)
            work = self._pump(running, running.credit, function, arguments)
        else:
            work = self._answer(running, function, arguments)
        self._calls += _is_plain(method)
        self._running[call.call] = running
        running.task = task = self._loop.create_task(work)
        self._services.tasks[task] = None
        task.add_done_callback(lambda done: self._ended(running, done))
        if not method.upload:
            self._start_deadline(running)

    def _check_room(self, method: Method) -> None:
        limits = self._services.limits
        if _is_plain(method):
            if self._calls >= limits.calls:
                raise Unavailable("Too many calls at once on one connection, try again later")
        elif len(self._running) - self._calls >= limits.streams:
            raise Unavailable("Too many streams at once on one connection, try again later")

    async def _answer(self, running: _Running, function: Callable[..., Any], arguments: list[Any]) -> None:
        try:
            answer = encode(Reply(running.call, value(await function(*arguments))))
        except MailError as error:
            answer = encode(to_failure(running.call, error))
        except Exception as error:
            answer = self._unexpected(running, error)
        except asyncio.CancelledError:
            self._fail(running, CallFailed("The server stopped before the call was done", sent=True))
            raise
        await self._finish(running, answer)

    async def _pump(
        self, running: _Running, credit: Outgoing, function: Callable[..., Any], arguments: list[Any]
    ) -> None:
        answer = encode(End(running.call))
        send = self.send_chunk if running.method.chunks else self.send_item
        try:
            items: AsyncIterator[Any] = function(*arguments)
            try:
                async for item in items:
                    await send(running.call, item, credit)
            finally:
                if isinstance(items, AsyncGenerator):
                    await items.aclose()
        except MailError as error:
            answer = encode(to_failure(running.call, error))
        except Exception as error:
            answer = self._unexpected(running, error)
        await self._finish(running, answer)

    def _unexpected(self, running: _Running, error: Exception) -> bytearray:
        trace_id = self._services.trace_id()
        method = f"{running.method.service}.{running.method.name}"
        log.error("an RPC call failed", exc_info=error, extra={"trace_id": trace_id, "method": method})
        return encode(to_failure(running.call, unexpected(trace_id)))

    async def _finish(self, running: _Running, answer: bytearray) -> None:
        await self.writable()
        if not running.answered:
            running.answered = True
            self.send_encoded(answer)

    def _ended(self, running: _Running, task: asyncio.Task[None]) -> None:
        if running.deadline is not None:
            running.deadline.cancel()
        self._services.tasks.pop(task, None)
        self._running.pop(running.call, None)
        self._calls -= _is_plain(running.method)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the task of an RPC call failed", exc_info=error)

    # --- the end of a call before its time ---

    def _fail(self, running: _Running, error: MailError) -> None:
        if not running.answered:
            self.send(to_failure(running.call, error))
        self._drop(running)

    def _drop(self, running: _Running) -> None:
        """Nobody waits for it: streams end, a plain call (or one that has all its upload) runs on."""
        running.answered = True
        if running.upload is not None:
            running.upload.end(
                ConnectionLost("The caller went away before the end of its upload", sent=False)
            )
        if running.method.download and running.task is not None:
            running.task.cancel()

    def _start_deadline(self, running: _Running) -> None:
        if running.deadline_seconds > 0 and running.deadline is None:
            running.deadline = self._loop.call_later(running.deadline_seconds, self._expire, running)

    def _expire(self, running: _Running) -> None:
        method = f"{running.method.service}.{running.method.name}"
        sentence = f"{method} took longer than {running.deadline_seconds:g} s"
        self._fail(running, CallFailed(sentence, sent=True))

    def _granter(self, call: int) -> Callable[[int], None]:
        return lambda size_bytes: self.send(Credit(call, size_bytes))


def _is_plain(method: Method) -> bool:
    return not (method.upload or method.download)
