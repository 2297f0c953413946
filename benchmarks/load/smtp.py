"""The generator's SMTP and LMTP client: one write for the whole envelope, replies are counted.

The same for every system, and as cheap as can be: it shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from benchmarks.systems.system import Door, User


class Refused(Exception):
    """A reply that the load did not expect."""


class SmtpSession(asyncio.Protocol):
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._replies: list[bytes] = []
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._lost: Exception | None = None

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        self._replies += [line for line in lines if line[3:4] != b"-"]
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = error or ConnectionResetError("closed by the server")
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and (len(self._replies) >= self._wanted or self._lost):
            waiter, self._waiter = self._waiter, None
            if not waiter.done():
                waiter.set_result(None)

    # --- the talk ---

    async def ask(self, data: bytes, replies: int, code: bytes) -> list[bytes]:
        """Writes, waits for so many replies, which all must begin with `code`. Raises Refused, OSError."""
        if data:
            self._transport.write(data)
        if len(self._replies) < replies and self._lost is None:
            self._wanted = replies
            self._waiter = self._loop.create_future()
            await self._waiter
        if len(self._replies) < replies:
            assert self._lost is not None
            raise self._lost
        taken, self._replies = self._replies[:replies], self._replies[replies:]
        for reply in taken:
            if not reply.startswith(code):
                raise Refused(reply.decode("utf-8", "replace"))
        return taken

    async def greet(self, verb: bytes, user: User | None) -> None:
        await self.ask(b"", 1, b"220")
        await self.ask(verb + b" load.example\r\n", 1, b"250")
        if user is not None:
            secret = b64encode(f"\0{user.address}\0{user.password}".encode())
            await self.ask(b"AUTH PLAIN " + secret + b"\r\n", 1, b"235")

    async def send(self, envelope: bytes, recipients: int, content: bytes, finals: int = 1) -> None:
        """`envelope` is MAIL, RCPTs and DATA; `content` ends with the dot; `finals`: replies to it."""
        head = await self.ask(envelope, recipients + 2, b"")
        for reply in head[:-1]:
            if not reply.startswith(b"25"):
                raise Refused(reply.decode("utf-8", "replace"))
        if not head[-1].startswith(b"354"):
            raise Refused(head[-1].decode("utf-8", "replace"))
        await self.ask(content, finals, b"250")

    async def quit(self) -> None:
        with suppress(OSError):  # the server was faster to close
            await self.ask(b"QUIT\r\n", 1, b"221")
        self._transport.close()


def envelope(sender: str, recipients: Sequence[str]) -> bytes:
    rcpts = "".join(f"RCPT TO:<{recipient}>\r\n" for recipient in recipients)
    return f"MAIL FROM:<{sender}>\r\n{rcpts}DATA\r\n".encode()


async def connect(door: Door, user: User | None = None, *, lmtp: bool = False) -> SmtpSession:
    """A session that is greeted, and logged on when a user is given."""
    loop = asyncio.get_running_loop()
    context: ssl.SSLContext | None = door.tls
    _, session = await loop.create_connection(
        SmtpSession, door.host, door.port, ssl=context, server_hostname=door.host if context else None
    )
    await session.greet(b"LHLO" if lmtp else b"EHLO", user)
    return session
