"""One client's bytes on a server: input as lines or data, replies gathered and written at once, deadlines.

Replies are flushed when no further input is there, so that pipelined commands are answered by one write
(RFC 2920 3.2). A deadline runs only while the client is waited for, never while the server works.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from foundation.smtp.lines import InputBuffer
from foundation.smtp.reply import Reply

INPUT_BYTES_MAX = 256 * 1024
OUTPUT_BYTES_MAX = 16 * 1024
CLOSE_SECONDS = 10
"""How long a closed connection may take to read its last reply."""

IDLE = Reply.of(421, "4.4.2", "Nothing heard for too long, closing")


class Gone(Exception):
    """The conversation is over: the client went away, or was sent away."""


class Channel:
    """Fed by the protocol's callbacks, used by the one task that talks with the client."""

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, idle_seconds: float
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._idle_seconds = idle_seconds
        self._input = InputBuffer()
        self._output: list[bytes] = []
        self._output_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._reading_paused = False
        self._writing_paused = False
        self._eof = False
        self._abort_timer: asyncio.TimerHandle | None = None
        self.gone = False

    # --- from the protocol

    def feed(self, data: bytes) -> None:
        self._input.feed(data)
        if len(self._input) > INPUT_BYTES_MAX and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof(self) -> None:
        self._eof = True
        self._wake()

    def lost(self) -> None:
        self.gone = True
        for timer in (self._timer, self._abort_timer):
            if timer is not None:
                timer.cancel()
        self._wake()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    # --- for the conversation

    def say(self, reply: Reply | bytes) -> None:
        data = reply if isinstance(reply, bytes) else reply.encode()
        self._output.append(data)
        self._output_bytes += len(data)

    async def read_line(self) -> bytes:
        """With its line end. Idle time is counted for the whole line. Raises Gone, LineTooLong."""
        deadline = 0.0
        while (line := self._input.next_line()) is None:
            deadline = deadline or self._loop.time() + self._idle_seconds
            await self._wait(deadline)
        if self._output_bytes > OUTPUT_BYTES_MAX:
            await self.flush()
        return line

    async def read_data(self, count: int | None, until: float) -> bytes:
        """At least one byte, at most `count`. Idle time begins anew with each read. Raises Gone."""
        while not len(self._input):
            await self._wait(min(self._loop.time() + self._idle_seconds, until))
        return self._input.take(count)

    def later(self, seconds: float) -> float:
        """A moment on the loop's clock, for read_data and passed."""
        return self._loop.time() + seconds

    def passed(self, moment: float) -> bool:
        return self._loop.time() >= moment

    def put_back(self, data: bytes) -> None:
        self._input.put_back(data)

    async def flush(self) -> None:
        """Writes the gathered replies; waits while the client does not read. Raises Gone."""
        self._write()
        until = self._loop.time() + self._idle_seconds  # sending meanwhile does not prolong it
        while self._writing_paused and not self.gone:
            await self._sleep(until)

    def farewell(self, reply: Reply) -> Gone:
        """The last reply, then the connection is closed; raise what this returns."""
        if not self.gone:
            self.say(reply)
            self._write()
            self.gone = True
            self.hang_up()
        self._wake()
        return Gone()

    def hang_up(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()
            self._abort_timer = self._loop.call_later(CLOSE_SECONDS, self._transport.abort)

    def abort(self) -> None:
        self._transport.abort()

    async def start_tls(
        self, protocol: asyncio.Protocol, context: ssl.SSLContext, handshake_seconds: float
    ) -> asyncio.Transport:
        """Everything that came in clear is thrown away before (RFC 3207 4.2, CVE-2011-0411, CVE-2021-38371).

        Raises Gone, OSError (ssl.SSLError among it) when the handshake fails.
        """
        await self.flush()
        if self.gone or self._eof:
            raise Gone
        self._input.clear()
        self._resume_reading()
        transport = await self._loop.start_tls(
            self._transport, protocol, context, server_side=True, ssl_handshake_timeout=handshake_seconds
        )
        if transport is None or self.gone:
            raise Gone
        self._transport = transport
        return transport

    # --- within

    def _write(self) -> None:
        if self._output and not self.gone:
            self._transport.write(b"".join(self._output))
        self._output.clear()
        self._output_bytes = 0

    async def _wait(self, deadline: float) -> None:
        """Until more input is there."""
        await self.flush()
        if self.gone or self._eof:
            raise Gone
        self._resume_reading()
        await self._sleep(deadline)
        if self.gone:
            raise Gone

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            with contextlib.suppress(RuntimeError):  # it is closing
                self._transport.resume_reading()

    async def _sleep(self, deadline: float) -> None:
        self._deadline = deadline
        # one timer, moved only when it would go off too late
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._timer_fired)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._deadline = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _timer_fired(self) -> None:
        self._timer = None
        if self._deadline is None or self.gone:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._timer_fired)
        elif self._writing_paused:
            self.gone = True
            self._transport.abort()
            self._wake()
        else:
            self.farewell(IDLE)  # RFC 5321 3.8, 4.5.3.2.7
