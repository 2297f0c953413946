"""The generator's IMAP client: waits for the tagged line, looks at and keeps nothing else unless it is asked
for. It is to take as little as possible of the processors that it shares with what it measures.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from benchmarks.systems.system import Door, User

_EXISTS = re.compile(rb"\* (\d+) EXISTS\r\n")
_WINDOW = 2048
"""How far back the beginning of the last line is looked for."""
_READ_BYTES = 256 * 1024


class Failed(Exception):
    """An answer that is not OK."""


class ImapSession(asyncio.BufferedProtocol):
    _buffer = memoryview(bytearray(_READ_BYTES))
    """All sessions read into this one: what came is looked at before the next one reads."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._tag = b"* OK"
        self._kept: list[bytes] | None = None
        """What came, when somebody wants it."""
        self._tail = b""
        self._waiter: asyncio.Future[bytes] = self._loop.create_future()
        self._on_exists: Callable[[int], None] | None = None
        self.exists = 0

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._on_exists is not None:
            self._notice(bytes(self._buffer[:nbytes]))
        if self._kept is not None:
            self._kept.append(bytes(self._buffer[:nbytes]))
        self._tail = (self._tail + bytes(self._buffer[max(0, nbytes - _WINDOW) : nbytes]))[-_WINDOW:]
        if not self._tail.endswith(b"\r\n"):
            return
        start = self._tail.rfind(b"\r\n", 0, len(self._tail) - 2)
        last = self._tail[start + 2 :] if start >= 0 else self._tail
        if last.startswith((self._tag, b"+ ")) and not self._waiter.done():
            self._waiter.set_result(last)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._waiter.done():
            self._waiter.set_exception(error or ConnectionResetError("closed by the server"))
            self._waiter.exception()  # nobody may be waiting

    def _notice(self, data: bytes) -> None:
        for found in _EXISTS.finditer(data):
            self.exists = int(found[1])
            assert self._on_exists is not None
            self._on_exists(self.exists)

    # --- the talk ---

    async def _answer(self) -> bytes:
        last = await self._waiter
        data = b"".join(self._kept or ())
        self._renew()
        if last.startswith((b"+ ", b"* OK")) or last[len(self._tag) :].startswith(b" OK"):
            return data
        raise Failed(last.decode("utf-8", "replace").strip())

    def _renew(self, *, keep: bool = False) -> None:
        self._kept, self._tail = ([] if keep else None), b""
        self._waiter = self._loop.create_future()

    def _send(self, text: str, *, keep: bool = False) -> None:
        self._number += 1
        self._tag = b"x%dq" % self._number
        self._renew(keep=keep)
        self._transport.write(self._tag + b" " + text.encode() + b"\r\n")

    async def command(self, text: str) -> None:
        """Until the tagged OK (or a continuation) came. Raises Failed, OSError."""
        self._send(text)
        await self._answer()

    async def ask(self, text: str) -> bytes:
        """All that came until then. Raises Failed, OSError."""
        self._send(text, keep=True)
        return await self._answer()

    async def select(self, mailbox: str = "INBOX") -> int:
        """How many messages there are."""
        found = _EXISTS.search(await self.ask(f"SELECT {mailbox}"))
        assert found is not None
        self.exists = int(found[1])
        return self.exists

    async def noop(self) -> int:
        """How many messages there are now."""
        for found in _EXISTS.finditer(await self.ask("NOOP")):
            self.exists = int(found[1])
        return self.exists

    async def idle(self, on_exists: Callable[[int], None]) -> None:
        """Calls `on_exists` at every EXISTS, until `done`."""
        self._on_exists = on_exists
        await self.command("IDLE")

    async def done(self) -> None:
        self._on_exists = None
        self._renew()
        self._transport.write(b"DONE\r\n")
        await self._answer()

    async def logout(self) -> None:
        self._send("LOGOUT")
        with suppress(OSError):  # closed before the tagged line was read
            await self._answer()
        self._transport.close()

    async def greeting(self) -> None:
        await self._answer()


async def connect(door: Door, user: User) -> ImapSession:
    """A session that is logged on."""
    session = await connect_only(door)
    await session.command(f'LOGIN {user.address} "{user.password}"')
    return session


async def connect_only(door: Door) -> ImapSession:
    loop = asyncio.get_running_loop()
    _, session = await loop.create_connection(
        ImapSession, door.host, door.port, ssl=door.tls, server_hostname=door.host if door.tls else None
    )
    await session.greeting()
    return session
