"""What programs outside speak: SMTP as a client, IMAP as a reader, written apart from the project's own
protocol code so that a mistake there is not made twice."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from typing import Any

_EXISTS = re.compile(rb"\* \d+ EXISTS")
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")


class Vanished(Exception):
    """This client broke off on purpose."""


class WrongAnswer(Exception):
    """The server's answer is no."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Wire:
    """A connection with lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float) -> None:
        self._reader = reader
        self._writer = writer
        self._patience = patience

    @classmethod
    async def open(cls, host: str, port: int, tls: Any, patience: float) -> Any:
        """Raises OSError, TimeoutError."""
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=2**20)
        return cls(reader, writer, patience)

    async def line(self, patience: float | None = None) -> bytes:
        """Raises OSError, TimeoutError."""
        async with asyncio.timeout(self._patience if patience is None else patience):
            line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("closed by the server")
        return line

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(self._patience):
            try:
                return await self._reader.readexactly(count)
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError("closed by the server") from error

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()


class SmtpWire(Wire):
    async def reply(self) -> tuple[int, str]:
        lines = []
        while True:
            line = await self.line()
            lines.append(line.rstrip().decode("utf-8", "replace"))
            if line[3:4] != b"-":
                return int(line[:3]), " / ".join(lines)

    async def command(self, text: str, *wanted: int) -> str:
        """Raises WrongAnswer."""
        self.write(text.encode() + b"\r\n")
        code, reply = await self.reply()
        if code not in wanted:
            raise WrongAnswer(reply)
        return reply

    async def logon(self, login: str, password: str) -> None:
        token = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        await self.command(f"AUTH PLAIN {token}", 235)


def dotted(content: bytes) -> bytes:
    """As DATA carries it (RFC 5321 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", content) + b".\r\n"


@dataclass(frozen=True)
class Untagged:
    line: bytes
    literals: tuple[bytes, ...]


class ImapWire(Wire):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float) -> None:
        super().__init__(reader, writer, patience)
        self._number = 0
        self.told = False
        """The server spoke of messages since this was last reset."""

    async def response(self, patience: float | None = None) -> Untagged:
        line = await self.line(patience)
        self.told = self.told or _EXISTS.match(line) is not None
        literals = []
        while found := _LITERAL.search(line):
            literals.append(await self.exactly(int(found[1])))
            line += await self.line()
        return Untagged(line, tuple(literals))

    async def command(self, text: str) -> list[Untagged]:
        """Untagged responses. Raises WrongAnswer."""
        tag = self.send(text)
        return await self.until(tag)

    def send(self, text: str) -> bytes:
        self._number += 1
        tag = f"c{self._number}".encode()
        self.write(tag + b" " + text.encode() + b"\r\n")
        return tag

    async def until(self, tag: bytes) -> list[Untagged]:
        found: list[Untagged] = []
        while True:
            response = await self.response()
            if response.line.startswith(b"* BYE"):
                raise ConnectionResetError(response.line.decode("utf-8", "replace"))
            if response.line.startswith(tag + b" "):
                if not response.line[len(tag) + 1 :].upper().startswith(b"OK"):
                    raise WrongAnswer(response.line.decode("utf-8", "replace").strip())
                return found
            found.append(response)
