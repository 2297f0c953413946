"""One message over an open client connection: envelope, content, replies, each to its recipient.

With PIPELINING the envelope is one flight, with CHUNKING the content goes as it is. Promise: the message
can't have been accepted before `final_sent`; from then on, only a final reply tells.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.command import CONTENT_IS_HELD, encode_mail, encode_rcpt
from foundation.smtp.content import DataWriter, encode_bdat
from foundation.smtp.replies import Broken, ReplyQueue
from foundation.smtp.reply import Reply
from foundation.streaming import streaming

CHUNK_BYTES = 256 * 1024

Content = Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True)
class Timeouts:
    """Seconds for each phase, at least those of RFC 5321 4.5.3.2."""

    connect: float = 30
    greeting: float = 300
    handshake: float = 60
    hello: float = 300
    mail: float = 300
    recipient: float = 300
    data: float = 120
    block: float = 180
    final: float = 600
    message: float = 4 * 3600
    """One message altogether."""
    quit: float = 5


class SendResult(msgspec.Struct, frozen=True, kw_only=True):
    sender: Reply | None
    """The reply to MAIL."""
    recipients: tuple[Reply, ...] = ()
    """One for each recipient, in order; none when the sender was refused."""
    final: tuple[Reply, ...] = ()
    """To the content: one, or in LMTP one for each accepted recipient. Empty when nobody was accepted."""


class Sending:
    """One attempt."""

    def __init__(
        self,
        queue: ReplyQueue,
        features: Mapping[str, str],
        timeouts: Timeouts,
        *,
        lmtp: bool,
        sender: Sender,
        transfer: Transfer | None,
        recipients: Sequence[Recipient],
        content: Content,
        size_bytes: int,
    ) -> None:
        """Raises MailError when the envelope can't be said to this server."""
        self._queue = queue
        self._timeouts = timeouts
        self._lmtp = lmtp
        self._content = content
        self._transfer = transfer
        self._pipelining = "PIPELINING" in features
        self._chunking = "CHUNKING" in features
        self._mail = encode_mail(sender, transfer, features, size_bytes=size_bytes)
        self._rcpts = [encode_rcpt(each, features, smtputf8=sender.smtputf8) for each in recipients]
        self._accepted = 0
        self.final_sent = False
        """The last of the content was handed to the transport."""
        self.open = False
        """The server still has a transaction open: RSET comes before the next."""

    async def run(self, *, reset: bool, single_flight: bool) -> SendResult:
        """`reset`: RSET goes first. `single_flight`: a short content goes along with the envelope.

        Raises Broken, and whatever the content raises.
        """
        if self._pipelining and self._chunking and single_flight:
            return await self._in_one_flight(reset)
        tail = b"DATA\r\n" if self._pipelining and not self._chunking else b""
        if self._pipelining:
            self._write_envelope(reset, tail, 1 if tail else 0)
            sender, recipients = await self._read_envelope(reset)
        else:
            sender, recipients = await self._envelope_step_by_step(reset)
        self.open = sender.positive
        if self._chunking:
            final = await self._send_chunks(sender) if self._accepted else ()
        elif self._accepted or tail:
            final = await self._send_data(asked=bool(tail))
        else:
            final = ()
        return SendResult(sender=sender, recipients=recipients, final=final)

    # --- the envelope

    def _write_envelope(self, reset: bool, tail: bytes, tail_replies: int) -> bool:
        lines = [b"RSET\r\n"] if reset else []
        lines += [self._mail, *self._rcpts]
        return self._queue.write(b"".join(lines) + tail, len(lines) + tail_replies)

    async def _read_envelope(self, reset: bool) -> tuple[Reply, tuple[Reply, ...]]:
        if reset:
            await self._read_reset()
        sender = await self._reply(self._timeouts.mail)
        self.final_sent = self.final_sent and sender.positive
        recipients = [await self._reply(self._timeouts.recipient) for _ in self._rcpts]
        if not sender.positive:
            return sender, ()
        self._accepted = sum(reply.positive for reply in recipients)
        return sender, tuple(recipients)

    async def _envelope_step_by_step(self, reset: bool) -> tuple[Reply, tuple[Reply, ...]]:
        if reset:
            self._queue.write(b"RSET\r\n", 1)
            await self._read_reset()
        self._queue.write(self._mail, 1)
        sender = await self._reply(self._timeouts.mail)
        if not sender.positive:
            return sender, ()
        recipients = []
        for line in self._rcpts:
            self._queue.write(line, 1)
            reply = await self._reply(self._timeouts.recipient)
            self._accepted += reply.positive
            recipients.append(reply)
        return sender, tuple(recipients)

    async def _read_reset(self) -> None:
        reply = await self._reply(self._timeouts.mail)
        if not reply.positive:
            raise Broken("The server refused to begin anew", reply)

    async def _reply(self, seconds: float) -> Reply:
        """A reply that does not end the connection."""
        reply = await self._queue.reply(seconds)
        if reply.code == 421:
            self.final_sent = False  # what was sent along is not read any more
            raise Broken("The server is closing the connection", reply)
        if not (reply.positive or reply.temporary or reply.permanent):
            raise Broken("The server gave a reply that has no place here", reply)
        return reply

    # --- the content

    async def _in_one_flight(self, reset: bool) -> SendResult:
        body = b"".join([piece async for piece in self._content()])
        # what a server answers to content that nobody is to get is one 503; LMTP's further replies are added
        # once it is known how many recipients were accepted
        self.final_sent = self._write_envelope(reset, encode_bdat(len(body), last=True) + body, 1)
        more = len(self._rcpts) - 1 if self._lmtp else 0
        self._queue.expect(more)
        sender, recipients = await self._read_envelope(reset)
        if not self._accepted:
            self._queue.expect(-more)
            self.final_sent = False
            await self._queue.reply(self._timeouts.final)
            self.open = sender.positive
            return SendResult(sender=sender, recipients=recipients)
        if self._lmtp:
            self._queue.expect(self._accepted - 1 - more)
        return SendResult(sender=sender, recipients=recipients, final=await self._finals())

    async def _send_chunks(self, sender: Reply) -> tuple[Reply, ...]:
        async with streaming(self._content()) as pieces:
            transfer = self._transfer
            if transfer is not None and transfer.may_be_held and sender == CONTENT_IS_HELD:
                pieces = _first(transfer.prefix_bytes, pieces)
            return await self._send_pieces(pieces)

    async def _send_pieces(self, pieces: AsyncIterator[bytes]) -> tuple[Reply, ...]:
        pending = 0
        async for chunk, last in _chunks(pieces):
            if not last:
                self._queue.write(chunk, 1)
                pending += 1
                await self._queue.drain(self._timeouts.block)
                while pending and (self._queue.waiting or not self._pipelining):
                    pending -= 1
                    refusal = await self._chunk_refusal()
                    if refusal is not None:
                        await self._skip(pending)
                        return (refusal,) * self._answers
                continue
            self.final_sent = self._queue.write(chunk, self._answers)
        for _ in range(pending):
            refusal = await self._chunk_refusal()
            if refusal is not None:
                self._queue.close()  # how many replies follow, servers see differently
                return (refusal,) * self._answers
        return await self._finals()

    async def _chunk_refusal(self) -> Reply | None:
        reply = await self._queue.reply(self._timeouts.block)
        return None if reply.positive else reply

    async def _skip(self, pending: int) -> None:
        """Replies that change nothing any more; when they do not come, the connection is not used again."""
        try:
            for _ in range(pending):
                await self._queue.reply(self._timeouts.block)
        except Broken:
            self._queue.close()

    async def _send_data(self, *, asked: bool) -> tuple[Reply, ...]:
        if not asked:
            self._queue.write(b"DATA\r\n", 1)
        reply = await self._queue.reply(self._timeouts.data)
        if reply.code != 354:
            if reply.positive or not (reply.temporary or reply.permanent):
                raise Broken("The server answered DATA with neither yes nor no", reply)
            return (reply,) * self._answers if self._accepted else ()
        if not self._accepted:
            self._queue.write(b".\r\n", 1)  # RFC 2920 3.1: an empty message to nobody
            await self._queue.reply(self._timeouts.final)
            self.open = False
            return ()
        writer = DataWriter()
        self._queue.expect(self._answers)
        async with streaming(self._content()) as pieces:
            async for piece in pieces:
                self._queue.write(writer.feed(piece), 0)
                await self._queue.drain(self._timeouts.block)
                if self._queue.waiting:
                    return await self._early_refusal()
        self.final_sent = self._queue.write(writer.finish(), 0)
        return await self._finals()

    async def _early_refusal(self) -> tuple[Reply, ...]:
        """The server does not want the rest, and there is no other way to stop than to close."""
        reply = await self._final()
        self._queue.close()
        if reply.positive:
            raise Broken("The server accepted the content before its end", reply)
        return (reply,) * self._answers

    @property
    def _answers(self) -> int:
        return self._accepted if self._lmtp else 1

    async def _finals(self) -> tuple[Reply, ...]:
        replies = [await self._final() for _ in range(self._answers)]
        self.open = False
        return tuple(replies)

    async def _final(self) -> Reply:
        reply = await self._queue.reply(self._timeouts.final)
        if not (reply.positive or reply.temporary or reply.permanent):
            raise Broken("The server's final reply is neither yes nor no", reply)
        return reply


async def _first(count: int, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while count > 0 and (piece := await anext(pieces, None)) is not None:
        yield piece[:count]
        count -= len(piece)


async def _chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, bool]]:
    """Pieces as BDAT commands of CHUNK_BYTES, and whether it is the last one, which may be empty. Content is
    copied once."""
    parts: list[memoryview] = []
    room = CHUNK_BYTES
    async for piece in pieces:
        rest = memoryview(piece)
        while len(rest) > room:
            parts.append(rest[:room])
            yield _bdat(parts, CHUNK_BYTES, last=False), False
            rest = rest[room:]
            parts, room = [], CHUNK_BYTES
        parts.append(rest)
        room -= len(rest)
    yield _bdat(parts, CHUNK_BYTES - room, last=True), True


def _bdat(parts: Sequence[memoryview], size_bytes: int, *, last: bool) -> bytes:
    return b"".join((encode_bdat(size_bytes, last=last), *parts))
