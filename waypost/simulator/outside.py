"""The Internet of a simulation: hosts that take mail by SMTP, also badly."""

from __future__ import annotations

import asyncio
import re
from random import Random

from waypost.simulator.connections import Ending
from waypost.simulator.journal import Journal
from waypost.simulator.ledger import Ledger, Taken
from waypost.simulator.loop import SimulatedLoop

DEFERRED_SHARE = 0.1
NOBODY = "nobody@"
"""Local parts that no host outside knows."""


class OutsideHost:
    """Takes mail for any domain; `fault` is what it does instead for a while."""

    def __init__(
        self, loop: SimulatedLoop, name: str, ledger: Ledger, random: Random, journal: Journal
    ) -> None:
        self.fault = ""
        self._loop = loop
        self._name = name
        self._ledger = ledger
        self._random = random
        self._journal = journal

    async def listen(self, address: str) -> None:
        await asyncio.start_server(self._serve, address, 25)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault == "mute":
            await asyncio.sleep(2000)
            return
        if self.fault == "421":
            writer.write(b"421 4.3.2 not now\r\n")
            return
        if self.fault == "garbage":
            writer.write(self._random.randbytes(300))
            return
        writer.write(f"220 {self._name} ready\r\n".encode())
        recipients: list[str] = []
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                writer.write(f"250-{self._name}\r\n250-PIPELINING\r\n250 8BITMIME\r\n".encode())
            elif verb == b"RCPT":
                found = re.search(rb"<([^>]*)>", line)
                recipient = found[1].decode() if found else ""
                writer.write(self._verdict(recipient, recipients))
            elif verb == b"DATA":
                if not recipients:
                    writer.write(b"554 5.5.1 nobody\r\n")
                    continue
                writer.write(b"354 go on\r\n")
                content = await _content(reader)
                self._take(writer, tuple(recipients), content)
                recipients = []
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                return
            else:
                if verb in (b"MAIL", b"RSET", b"HELO"):
                    recipients = []
                writer.write(b"250 2.0.0 ok\r\n")

    def _verdict(self, recipient: str, recipients: list[str]) -> bytes:
        if recipient.startswith(NOBODY):
            return b"550 5.1.1 no such user\r\n"
        if self.fault == "451" or self._random.random() < DEFERRED_SHARE:
            return b"451 4.7.1 try again later\r\n"
        recipients.append(recipient)
        return b"250 2.1.5 ok\r\n"

    def _take(self, writer: asyncio.StreamWriter, recipients: tuple[str, ...], content: bytes) -> None:
        ending = writer.transport
        assert isinstance(ending, Ending)
        client = ending.other.machine.name
        answered = _Reply(ending)
        self._ledger.taken.append(Taken(self._name, recipients, content, self._loop.time(), client, answered))
        self._journal.note(self._name, f"takes a message for {','.join(recipients)}")
        writer.write(b"250 2.0.0 taken\r\n")
        answered.expect(ending.sent_bytes)


class _Reply:
    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self._bytes = 0

    def expect(self, sent_bytes: int) -> None:
        self._bytes = sent_bytes

    @property
    def read(self) -> bool:
        """All of the reply came to the other side's program."""
        return self._ending.arrived_bytes >= self._bytes


async def _content(reader: asyncio.StreamReader) -> bytes:
    lines = []
    while (line := await reader.readline()) != b".\r\n":
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the client went away within the content")
        lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(lines)
