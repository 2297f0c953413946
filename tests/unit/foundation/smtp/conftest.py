"""A real server on loopback with a handler that remembers, and clients that speak byte by byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from foundation.certificates import issue_certificate, make_authority
from foundation.database.spool import Spool
from foundation.mail.envelope import Recipient
from foundation.mail.errors import MailError
from foundation.smtp.command import MailCommand
from foundation.smtp.reply import Reply
from foundation.smtp.server import Peer, ServerOptions, SessionFacts, SmtpServer
from foundation.tls import Identity
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk

WAIT_SECONDS = 10


class Ids:
    def __init__(self) -> None:
        self.made = 0

    def identifier(self) -> str:
        self.made += 1
        return f"id-{self.made}"

    def token(self, size_bytes: int) -> bytes:
        return bytes(size_bytes)

    def uniform(self, low: float, high: float) -> float:
        return low


@dataclass
class Received:
    command: MailCommand
    recipients: list[Recipient]
    content: bytes
    facts: SessionFacts


@dataclass
class Mailroom:
    """What the sessions of one server saw, and how they are to answer."""

    received: list[Received] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=lambda: {"alice": "secret"})
    refuse: dict[str, MailError | Reply | Exception] = field(default_factory=dict)
    """By `EHLO`, `MAIL`, by a recipient's address, or `DATA`."""
    answer: Callable[[Received], Reply | tuple[Reply, ...]] = lambda _: Reply.of(250, "2.6.0", "Queued")
    gate: asyncio.Event | None = None
    """Held back before message() returns."""
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


class Clerk:
    """A session handler."""

    facts = SessionFacts()

    def __init__(self, room: Mailroom, peer: Peer) -> None:
        self._room = room
        self._command: MailCommand | None = None
        self._recipients: list[Recipient] = []
        room.peers.append(peer)

    def _answer(self, what: str) -> Reply | None:
        answer = self._room.refuse.get(what)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def greet(self, helo: str, extended: bool) -> None:
        self._answer("EHLO")
        self._room.events.append(f"greet {helo} {extended}")

    async def authenticate(self, login: str, password: str) -> None:
        self._room.events.append(f"authenticate {login}")
        if self._room.passwords.get(login) != password:
            raise MailError(535, "5.7.8", "Wrong login or password")

    async def mail(self, command: MailCommand) -> Reply | None:
        reply = self._answer("MAIL")
        self._command = command
        return reply

    async def recipient(self, recipient: Recipient) -> Reply | None:
        reply = self._answer(recipient.address)
        if reply is None or reply.positive:
            self._recipients.append(recipient)
        return reply

    async def message(self, content: Spool) -> Reply | tuple[Reply, ...]:
        self._room.entered.set()
        if self._room.gate is not None:
            await self._room.gate.wait()
        self._answer("DATA")
        assert self._command is not None
        content_bytes = content.read(0, content.size_bytes)
        received = Received(self._command, list(self._recipients), content_bytes, self.facts)
        self._room.received.append(received)
        return self._room.answer(received)

    def reset(self) -> None:
        self._recipients = []
        self._command = None
        self._room.events.append("reset")

    def closed(self) -> None:
        self._room.events.append("closed")
        self._room.closed.set()


class Talk:
    """A client that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self) -> str:
        """One reply, its lines joined by a bar; empty at the end of the connection."""
        lines = []
        async with asyncio.timeout(WAIT_SECONDS):
            while line := await self.reader.readline():
                lines.append(line.decode().rstrip("\r\n"))
                if line[3:4] != b"-":
                    break
        return "|".join(lines)

    async def say(self, line: str | bytes) -> str:
        data = line if isinstance(line, bytes) else line.encode()
        self.send(data + b"\r\n")
        return await self.reply()

    async def replies(self, count: int) -> list[str]:
        return [await self.reply() for _ in range(count)]

    async def ended(self) -> bool:
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    async def begin(self, *recipients: str) -> None:
        assert (await self.say("EHLO client.example")).startswith("250-")
        assert (await self.say("MAIL FROM:<sender@client.example>")).startswith("250 ")
        for recipient in recipients or ("bob@waypost.example",):
            assert (await self.say(f"RCPT TO:<{recipient}>")).startswith("250 ")

    async def start_tls(self, context: ssl.SSLContext) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            await self.writer.start_tls(context, server_hostname="localhost")

    async def close(self) -> None:
        self.writer.close()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self.writer.wait_closed()
        except (OSError, TimeoutError):
            self.writer.transport.abort()


@dataclass
class Certificates:
    server: ssl.SSLContext
    mutual_server: ssl.SSLContext
    client: ssl.SSLContext
    """Trusts the CA, checks names."""
    mutual_client: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder: Path = tmp_path_factory.mktemp("certificates")
    now_ms, disk = SystemClock().now_ms(), SystemDisk()
    make_authority(folder, "Test", now_ms=now_ms, disk=disk)
    for name in ("server-a", "client-b"):
        issue_certificate(folder, name, now_ms=now_ms, disk=disk)
    server, client = Identity(folder, "server-a"), Identity(folder, "client-b")
    public = server.public_server()
    assert public is not None
    trusting = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    return Certificates(public, server.internal_server(), trusting, client.internal_client())


@pytest.fixture
def room() -> Mailroom:
    return Mailroom()


Serve = Callable[..., Awaitable[int]]


@pytest.fixture
async def serve(room: Mailroom) -> AsyncIterator[Serve]:
    servers: list[SmtpServer] = []

    async def start(**options: Any) -> int:
        settings = ServerOptions(**({"hostname": "mx.waypost.example"} | options))
        server = SmtpServer(settings, lambda peer: Clerk(room, peer), Ids())
        servers.append(server)
        start.server = server  # type: ignore[attr-defined]
        return await server.start("127.0.0.1", 0)

    yield start
    for server in servers:
        await server.stop(0)


Connect = Callable[..., Awaitable[Talk]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    talks: list[Talk] = []

    async def start(port: int, tls: ssl.SSLContext | None = None, greeting: bool = True) -> Talk:
        name = "localhost" if tls else None
        talk = Talk(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name))
        talks.append(talk)
        if greeting:
            assert (await talk.reply()).startswith("220 ")
        return talk

    yield start
    for talk in talks:
        await talk.close()


@pytest.fixture(autouse=True)
def no_lost_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio's complaints about forgotten exceptions are failures."""
    yield
    lost = [
        record for record in caplog.get_records("call") if record.name == "asyncio" and record.levelno >= 40
    ]
    assert not lost, [record.getMessage() for record in lost]
