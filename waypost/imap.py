"""A small IMAP client for `waypost probe`: waits for a message in a folder, and removes it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import AsyncIterator

from foundation.world.failures import reason

LINE_BYTES_MAX = 64 * 1024
ANSWER_SECONDS = 15.0

_LITERAL = re.compile(rb"\{(\d{1,6})\}\r\n\Z")
_SPECIAL_USE = re.compile(rb'\* LIST \(([^)]*)\) (?:"."|NIL) (.+)\r\n\Z', re.DOTALL)


class ImapFailed(Exception):
    """The server refused, went away or did not answer in time."""


class ImapClient:
    """One session, for one task."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._tag = 0

    @classmethod
    async def open(cls, host: str, port: int, context: ssl.SSLContext, *, implicit: bool) -> ImapClient:
        """`implicit`: TLS from the first byte, else STARTTLS. Raises ImapFailed."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=context if implicit else None, limit=LINE_BYTES_MAX
                )
        except (OSError, TimeoutError) as error:
            raise ImapFailed(f"{host}:{port} can't be reached: {reason(error) or 'no answer'}") from error
        client = cls(reader, writer)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                greeting = await client._line()
                if not greeting.startswith(b"* OK"):
                    raise ImapFailed(f"{host}:{port} refuses: {_shown(greeting)}")
                if not implicit:
                    await client.command("STARTTLS")
                    await writer.start_tls(context)
        except (OSError, TimeoutError) as error:
            client.abort()
            raise ImapFailed(f"{host}:{port} could not start TLS: {reason(error) or 'no answer'}") from error
        except BaseException:
            client.abort()
            raise
        return client

    async def log_on(self, login: str, password: str) -> None:
        """AUTHENTICATE PLAIN with an initial response (RFC 4959)."""
        secret = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        await self.command(f"AUTHENTICATE PLAIN {secret}", shown="the logon")

    async def select(self, folder: str) -> None:
        await self.command(f"SELECT {_quoted(folder)}")

    async def special_folder(self, attribute: str) -> str:
        """Name of the folder with a special use, like `\\Sent` (RFC 6154); empty without one."""
        for line in await self.command('LIST (SPECIAL-USE) "" "*"'):
            found = _SPECIAL_USE.fullmatch(line)
            if found is not None and attribute.lower().encode() in found[1].lower().split():
                return _name(found[2])
        return ""

    async def find(self, message_id: str) -> tuple[int, ...]:
        """UIDs of messages with this Message-ID in the selected folder."""
        answer = await self.command(f"UID SEARCH HEADER Message-ID {_quoted(message_id)}")
        found = [line.split()[2:] for line in answer if line.upper().startswith(b"* SEARCH")]
        return tuple(int(uid) for uids in found for uid in uids)

    async def remove(self, uids: tuple[int, ...]) -> None:
        """For good, and nothing else that is \\Deleted (RFC 4315 2.1)."""
        listed = ",".join(str(uid) for uid in uids)
        await self.command(f"UID STORE {listed} +FLAGS.SILENT (\\Deleted)")
        await self.command(f"UID EXPUNGE {listed}")

    async def idle(self, seconds: float) -> None:
        """Returns when the server tells of a change, or after so long (RFC 2177)."""
        tag = self._say("IDLE")
        told = False
        async with self._answering("IDLE"):
            while not (line := await self._line()).startswith(b"+"):
                if not line.startswith(b"*"):
                    raise ImapFailed(f"IDLE: {_shown(line)}")
                told = True
        if not told:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._line()
        self._writer.write(b"DONE\r\n")
        await self._result(tag, "IDLE")

    async def command(self, text: str, shown: str = "") -> list[bytes]:
        """Untagged responses. Raises ImapFailed when the answer is not OK."""
        return await self._result(self._say(text), shown or text)

    async def close(self) -> None:
        with contextlib.suppress(ImapFailed):
            await self.command("LOGOUT")
        self.abort()

    def abort(self) -> None:
        self._writer.transport.abort()

    def _say(self, text: str) -> bytes:
        self._tag += 1
        tag = f"p{self._tag}"
        self._writer.write(f"{tag} {text}\r\n".encode())
        return tag.encode()

    async def _result(self, tag: bytes, shown: str) -> list[bytes]:
        lines: list[bytes] = []
        async with self._answering(shown):
            while not (line := await self._line()).startswith(tag + b" "):
                lines.append(line)
        if not line[len(tag) + 1 :].upper().startswith(b"OK"):
            raise ImapFailed(f"{shown}: {_shown(line[len(tag) + 1 :])}")
        return lines

    @contextlib.asynccontextmanager
    async def _answering(self, shown: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                yield
        except TimeoutError as error:
            raise ImapFailed(f"{shown}: no answer in {ANSWER_SECONDS:g} s") from error

    async def _line(self) -> bytes:
        """With the literals in it."""
        whole = b""
        try:
            while True:
                line = await self._reader.readuntil(b"\r\n")
                whole += line
                literal = _LITERAL.search(line)
                if literal is None:
                    return whole
                whole += await self._reader.readexactly(int(literal[1]))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
            raise ImapFailed("the connection was lost") from error


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _name(given: bytes) -> str:
    """An astring of an answer."""
    if literal := re.match(rb"\{\d+\}\r\n", given):
        return given[literal.end() :].decode()
    if given.startswith(b'"'):
        return re.sub(r"\\(.)", r"\1", given.decode()[1:-1])
    return given.decode()


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()
