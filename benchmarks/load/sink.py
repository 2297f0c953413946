"""Where relayed mail ends: an SMTP server that counts messages and keeps nothing; and dead next hops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast


class Sink:
    """Counts; `wait_for` is over when so many have come since `reset`. While it is stopped it refuses
    connections."""

    def __init__(self, port: int) -> None:
        self.count = 0
        self.port = port
        self._wanted = 0
        self._reached = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.sessions: dict[_SinkSession, None] = {}

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _SinkSession(self), "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Also ends the connections that stand."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in list(self.sessions):
            session.abort()

    def reset(self) -> None:
        self.count = 0

    def took(self) -> None:
        self.count += 1
        if self.count == self._wanted:
            self._reached.set()

    async def wait_for(self, count: int) -> None:
        self._wanted = count
        if self.count < count:
            self._reached.clear()
            await self._reached.wait()


class _SinkSession(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._rest = b""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._sink.sessions[self] = None
        self._transport.write(b"220 sink ESMTP\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        self._sink.sessions.pop(self, None)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        rest = self._rest + data
        answers: list[bytes] = []
        while rest:
            if self._in_data:
                end = rest.find(b"\r\n.\r\n")
                if end < 0:
                    rest = rest[-4:]
                    break
                rest, self._in_data = rest[end + 5 :], False
                self._sink.took()
                answers.append(b"250 2.0.0 Ok\r\n")
                continue
            line, found, after = rest.partition(b"\r\n")
            if not found:
                break
            rest = after
            verb = line[:4].upper()
            if verb == b"EHLO":
                answers.append(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n")
            elif verb == b"DATA":
                self._in_data = True
                rest = b"\r\n" + rest
                answers.append(b"354 Go on\r\n")
            elif verb == b"QUIT":
                self._transport.write(b"".join(answers) + b"221 Bye\r\n")
                self._transport.close()
                return
            else:
                answers.append(b"250 2.1.0 Ok\r\n")
        self._rest = rest
        if answers:
            self._transport.write(b"".join(answers))


class Silent:
    """Takes connections, and says nothing."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._server: asyncio.Server | None = None
        self._transports: dict[asyncio.Transport, None] = {}

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _SilentSession(self._transports), "127.0.0.1", self.port
        )

    async def stop(self) -> None:
        """Also ends the connections that stand."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in list(self._transports):
            transport.abort()


class _SilentSession(asyncio.Protocol):
    def __init__(self, transports: dict[asyncio.Transport, None]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transports[self._transport] = None

    def connection_lost(self, error: Exception | None) -> None:
        self._transports.pop(self._transport, None)


@dataclass(frozen=True)
class NextHops:
    """Of each domain that is relayed. `refusing` and `silent` are dead until a case starts them."""

    sink: Sink
    refusing: Sink
    silent: Sink
    silence: Silent = field(init=False)
    """In the place of `silent` while that is stopped."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "silence", Silent(self.silent.port))

    async def only_the_sink(self) -> None:
        """As every case finds them."""
        await self.stop()
        await self.sink.start()

    async def stop(self) -> None:
        for each in (self.sink, self.refusing, self.silent, self.silence):
            await each.stop()
