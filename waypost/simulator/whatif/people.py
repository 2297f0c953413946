"""Those who hand mail in: users at Client Access, hosts outside at hubs. Each keeps its connection, sends one
message after the other, tries the next server when one is away, and never gives a message up."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from waypost.simulator.loop import SimulatedLoop
from waypost.simulator.machine import Process
from waypost.simulator.whatif.books import Accepted, Books
from waypost.simulator.whatif.load import Draft

CONNECT_PATIENCE_SECONDS = 30.0
PATIENCE_SECONDS = 120.0
"""For the answers to a message; what mail programs wait."""
AGAIN_FIRST_SECONDS, AGAIN_LONGEST_SECONDS = 2.0, 60.0
"""Until a try is repeated; it doubles each time."""
AGAIN_JITTER_SHARE = 0.25
IDLE_SECONDS = 60.0
"""After which a connection is not used again."""

_ADDRESS = re.compile(r"<?[^\s<>@]+@[^\s<>@]+?>?(?=[\s,;:]|$)")
_IDENTIFIER = re.compile(r"\b[0-9a-f]{8}-?[0-9a-f-]{4,}\b")
_LINE = b"The quick brown fox jumps over the lazy dog, and nobody knows why it does so.\r\n"


def kind_of(reply: str) -> str:
    """A reply without what differs from message to message."""
    return _IDENTIFIER.sub("…", _ADDRESS.sub("…", reply)).strip()


@dataclass(frozen=True)
class Door:
    host: str
    port: int


class Refused(Exception):
    """The server said no before there was a message."""


@dataclass
class _Answers:
    """To one message: of each recipient, and of the whole."""

    recipients: list[str] = field(default_factory=list)
    end: str = ""


class _Line:
    """A connection that is greeted, and logged on where that is wanted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._open = False
        """The server keeps a transaction of which nothing came."""
        self.used_at = 0.0

    @classmethod
    async def open(cls, door: Door, tls: Any, name: str, logon: tuple[str, str] | None) -> _Line:
        """Raises OSError, TimeoutError, Refused."""
        async with asyncio.timeout(CONNECT_PATIENCE_SECONDS):
            line = cls(*await asyncio.open_connection(door.host, door.port, ssl=tls))
            try:
                await line._greet(name, logon)
            except BaseException:
                line.close()
                raise
        return line

    async def _greet(self, name: str, logon: tuple[str, str] | None) -> None:
        await self._expect("220")
        self._writer.write(f"EHLO {name}\r\n".encode())
        await self._expect("250")
        if logon is not None:
            token = base64.b64encode(f"\0{logon[0]}\0{logon[1]}".encode()).decode()
            self._writer.write(f"AUTH PLAIN {token}\r\n".encode())
            await self._expect("235")

    async def _expect(self, code: str) -> None:
        reply = await self._reply()
        if not reply.startswith(code):
            raise Refused(reply)

    async def hand_in(self, sender: str, recipients: Sequence[str], content: bytes) -> _Answers:
        """All in one flight, with PIPELINING and CHUNKING. Raises OSError, TimeoutError: no answer was
        read."""
        commands = ["RSET"] if self._open else []
        commands += [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in recipients)]
        commands.append(f"BDAT {len(content)} LAST\r\n")
        self._writer.write("\r\n".join(commands).encode() + content)
        async with asyncio.timeout(PATIENCE_SECONDS):
            if self._open:
                await self._reply()
            mail = await self._reply()
            answers = _Answers([await self._reply() for _ in recipients])
            answers.end = await self._reply()
        self._open = not answers.end.startswith("2")
        if not mail.startswith("2"):
            return _Answers([mail for _ in recipients], mail)
        return answers

    async def _reply(self) -> str:
        while True:
            line = await self._reader.readline()
            if not line.endswith(b"\n"):
                raise ConnectionResetError("closed by the server")
            if line[3:4] != b"-":
                return line.decode("utf-8", "replace").rstrip()

    def close(self) -> None:
        self._writer.close()


class Correspondent:
    def __init__(
        self,
        loop: SimulatedLoop,
        process: Process,
        books: Books,
        random: Random,
        address: str,
        doors: Sequence[Door],
        tls: Any,
        logon: tuple[str, str] | None,
    ) -> None:
        """`doors`: the first is tried first."""
        self._loop = loop
        self._process = process
        self._books = books
        self._random = random
        self._address = address
        self._doors = list(doors)
        self._tls = tls
        self._logon = logon
        self._drafts: asyncio.Queue[Draft] = asyncio.Queue()
        self._line: _Line | None = None

    def start(self) -> None:
        self._loop.create_task(self._work(), context=self._process.context)

    def write(self, draft: Draft) -> None:
        self._books.written += 1
        self._books.holding += 1
        self._drafts.put_nowait(draft)

    async def _work(self) -> None:
        while True:
            await self._deliver(await self._drafts.get())

    async def _deliver(self, draft: Draft) -> None:
        """Until each recipient is accepted or refused for good."""
        books, pending, number = self._books, draft.recipients, 0
        while True:
            number += 1
            pending = await self._try(draft, pending, number)
            if not pending:
                break
            pause = min(AGAIN_FIRST_SECONDS * 2 ** min(number - 1, 10), AGAIN_LONGEST_SECONDS)
            await asyncio.sleep(pause * self._random.uniform(1 - AGAIN_JITTER_SHARE, 1 + AGAIN_JITTER_SHARE))
        books.holding -= 1
        books.longest_holding_seconds = max(books.longest_holding_seconds, self._loop.time() - draft.at)

    async def _try(self, draft: Draft, recipients: tuple[str, ...], number: int) -> tuple[str, ...]:
        """Who must be tried again."""
        line = await self._connected()
        if line is None:
            return recipients
        books, message_id = self._books, f"{draft.number}.{number}@{self._address.partition('@')[2]}"
        content = _content(self._address, recipients, message_id, draft.size_bytes)
        sent_at = self._loop.time()
        try:
            answers = await line.hand_in(self._address, recipients, content)
        except (OSError, TimeoutError) as error:
            books.unanswered[message_id] = None
            books.put_off[_told(error)] += 1
            self._drop()
            return recipients
        line.used_at = self._loop.time()
        return self._settle(message_id, sent_at, recipients, answers)

    def _settle(
        self, message_id: str, sent_at: float, recipients: tuple[str, ...], answers: _Answers
    ) -> tuple[str, ...]:
        taken = [each for each, reply in zip(recipients, answers.recipients, strict=True) if reply[:1] == "2"]
        refused = [reply for reply in answers.recipients if reply[:1] == "5"]
        later = [each for each, reply in zip(recipients, answers.recipients, strict=True) if reply[:1] == "4"]
        books, put_off = self._books, [reply for reply in answers.recipients if reply[:1] == "4"]
        if taken and answers.end.startswith("2"):
            books.accepted[message_id] = Accepted(sent_at, self._address, tuple(taken))
        elif taken and answers.end.startswith("5"):
            refused += [answers.end] * len(taken)
        elif taken:
            put_off += [answers.end]
            later += taken
        for reply in refused:
            books.refused[kind_of(reply)] += 1
        for reply in dict.fromkeys(put_off):
            books.put_off[kind_of(reply)] += 1
        if "421" in (answers.end[:3], *(reply[:3] for reply in put_off)):
            self._drop()
        return tuple(later)

    async def _connected(self) -> _Line | None:
        """None: nobody can be reached."""
        line = self._line
        if line is not None and self._loop.time() - line.used_at < IDLE_SECONDS:
            return line
        self._drop()
        for door in self._doors:
            try:
                line = await _Line.open(door, self._tls, "client.example", self._logon)
            except (OSError, TimeoutError, Refused) as error:
                self._books.put_off[_told(error)] += 1
                continue
            line.used_at, self._line = self._loop.time(), line
            return line
        return None

    def _drop(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


def _told(error: Exception) -> str:
    if isinstance(error, Refused):
        return kind_of(str(error))
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return "connection lost"


def _content(sender: str, recipients: Sequence[str], message_id: str, size_bytes: int) -> bytes:
    header = (
        f"From: <{sender}>\r\n"
        f"To: {', '.join(f'<{each}>' for each in recipients)}\r\n"
        f"Subject: message {message_id.partition('@')[0]}\r\n"
        f"Message-ID: <{message_id}>\r\n"
        "Date: Sun, 15 Jun 2025 15:06:40 +0000\r\n\r\n"
    ).encode()
    return header + _LINE * max((size_bytes - len(header)) // len(_LINE), 1)
