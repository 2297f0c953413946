"""A client's half of a connection: what is written with flow control, and the queue of replies to it.

Promise: replies are matched to commands by order alone (RFC 2920 3.1), so the first thing that does not fit
(a reply nobody waits for, a malformed one, the end of the connection) makes the connection unusable for good.
"""

from __future__ import annotations

import asyncio
from collections import deque

from foundation.smtp.liveness import Liveness
from foundation.smtp.reply import Reply, ReplyError, ReplyReader


class Broken(Exception):
    """The connection can't go on; the reply is the one that ended it, if any did."""

    def __init__(self, sentence: str, reply: Reply | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.reply = reply


class ReplyQueue(asyncio.Protocol):
    """Takes an open transport over with `take`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._expected = 0
        self._broken: Broken | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._liveness: Liveness | None = None

    def take(self, transport: asyncio.Transport, *, watched: bool) -> None:
        """`watched`: the connection also ends when the other side's machine is gone."""
        self._transport = transport
        transport.set_protocol(self)
        if watched:
            self._liveness = Liveness(transport, self._loop, self._give_up)
            self._liveness.start()

    # --- the transport's callbacks

    def data_received(self, data: bytes) -> None:
        try:
            self._replies.extend(self._reader.feed(data))
        except ReplyError as error:
            self._fail(f"The server sent no valid reply: {error}")
            return
        if len(self._replies) > self._expected or (not self._expected and not self._reader.idle):
            unsolicited = self._replies[-1] if self._replies else None
            self._fail("The server spoke unasked", unsolicited)
        self._wake()

    def eof_received(self) -> bool | None:
        self._fail("The server closed the connection")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._fail("The connection was lost" + (f": {error}" if error else ""))
        self._transport = None
        if self._liveness is not None:
            self._liveness.stop()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    # --- for the sender

    @property
    def usable(self) -> bool:
        """Nothing is under way, and the server said nothing since."""
        idle = not self._expected and self._reader.idle and self._broken is None
        return idle and self._transport is not None and not self._transport.is_closing()

    @property
    def waiting(self) -> bool:
        """A reply can be read without waiting."""
        return bool(self._replies)

    def write(self, data: bytes, replies: int) -> bool:
        """`replies`: how many the server owes for this. False when it is too late and replies are left to
        read that say why; raises Broken when there are none."""
        self._expected += replies
        if self._broken is not None or self._transport is None:
            if self._replies:
                return False
            raise self._broken or Broken("The connection is closed")
        self._transport.write(data)
        return True

    def expect(self, replies: int) -> None:
        """The server owes more (or fewer) than was known at the time of writing."""
        self._expected += replies
        if len(self._replies) > self._expected:
            self._fail("The server spoke unasked", self._replies[-1])

    async def drain(self, seconds: float) -> None:
        """Until the transport takes more. Raises Broken."""
        while self._paused and self._broken is None:
            await self._wait(seconds, "The server takes no more data")
        if self._broken is not None and not self._replies:
            raise self._broken

    async def reply(self, seconds: float) -> Reply:
        """The next reply owed. Raises Broken."""
        while not self._replies:
            if self._broken is not None:
                raise self._broken
            await self._wait(seconds, "The server did not answer in time")
        self._expected -= 1
        reply = self._replies.popleft()
        if reply.code == 421 and self._broken is None:
            # RFC 5321 3.8: nothing can follow
            self._broken = Broken("The server is closing the connection", reply)
        return reply

    def abort(self) -> None:
        self._give_up("The connection was given up")

    def close(self) -> None:
        self._fail("The connection is closed")
        if self._transport is not None:
            self._transport.close()

    async def _wait(self, seconds: float, sentence: str) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._fail, sentence)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _give_up(self, sentence: str) -> None:
        self._fail(sentence)
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, sentence: str, reply: Reply | None = None) -> None:
        if self._broken is None:
            self._broken = Broken(sentence, reply)
        self._wake()
