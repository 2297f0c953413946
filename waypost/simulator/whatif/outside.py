"""Hosts outside that take this organisation's mail, and remember what they took."""

from __future__ import annotations

import asyncio
import re

from waypost.simulator.loop import SimulatedLoop
from waypost.simulator.whatif.load import NOBODY

_MESSAGE_ID = re.compile(rb"^Message-ID: <([^>\r\n]+)>", re.IGNORECASE | re.MULTILINE)
_ADDRESS = re.compile(rb"<([^>]*)>")
_LIMIT_BYTES = 1024 * 1024


class Sink:
    """Every host outside together."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.taken: list[tuple[str, str, float]] = []
        """Message-ID, recipient, when it was answered."""

    async def listen(self, address: str, port: int) -> None:
        await asyncio.start_server(self._serve, address, port, limit=_LIMIT_BYTES)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Session(self, self._loop, reader, writer).run()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the hub went away: it will come again
        finally:
            writer.close()


class _Session:
    def __init__(
        self, sink: Sink, loop: SimulatedLoop, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._sink = sink
        self._loop = loop
        self._reader = reader
        self._writer = writer
        self._recipients: list[str] = []
        self._content = b""

    async def run(self) -> None:
        self._writer.write(b"220 outside ready\r\n")
        while line := await self._reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                self._writer.write(b"250-outside\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SMTPUTF8\r\n")
                self._writer.write(b"250 8BITMIME\r\n")
            elif verb == b"RCPT":
                self._writer.write(self._recipient(line))
            elif verb == b"BDAT":
                await self._chunk(line)
            elif verb == b"QUIT":
                self._writer.write(b"221 2.0.0 bye\r\n")
                return
            else:  # MAIL, RSET
                self._recipients, self._content = [], b""
                self._writer.write(b"250 2.0.0 ok\r\n")

    def _recipient(self, line: bytes) -> bytes:
        found = _ADDRESS.search(line)
        recipient = found[1].decode() if found else ""
        if recipient.partition("@")[0] == NOBODY:
            return b"550 5.1.1 no such user\r\n"
        self._recipients.append(recipient)
        return b"250 2.1.5 ok\r\n"

    async def _chunk(self, line: bytes) -> None:
        words = line.split()
        self._content += await self._reader.readexactly(int(words[1]))
        if len(words) < 3:
            self._writer.write(b"250 2.0.0 go on\r\n")
        elif not self._recipients:
            self._writer.write(b"554 5.5.1 nobody to take it\r\n")
        else:
            found = _MESSAGE_ID.search(self._content)
            message_id = found[1].decode("ascii", "replace") if found else ""
            now = self._loop.time()
            self._sink.taken += [(message_id, recipient, now) for recipient in self._recipients]
            self._writer.write(b"250 2.0.0 taken\r\n")
