"""The message of an APPEND on its way in: pieces as they come, never the whole (RFC 3501 6.3.11)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from clientaccess.imap import fragments as f
from clientaccess.imap.context import Disconnected, Rejected
from clientaccess.imap.scanner import Malformed


class Message:
    """The message of an APPEND, as it comes in."""

    def __init__(self, next_event: Callable[[], Awaitable[f.Event]], tail: bytes) -> None:
        self._next_event = next_event
        self._tail = tail
        self._ended = False
        self.problem: Exception | None = None

    def __aiter__(self) -> Message:
        return self

    async def __anext__(self) -> bytes:
        """Raises StopAsyncIteration, Disconnected; Malformed for what follows the message, Rejected for
        NUL."""
        if self._ended:
            raise StopAsyncIteration
        try:
            return await self._next()
        except (Disconnected, Malformed, Rejected) as error:
            self.problem = error
            raise

    async def _next(self) -> bytes:
        event = await self._next_event()
        if isinstance(event, f.MessageData):
            if b"\0" in event.data:  # RFC 3501 9: a literal is of CHAR8
                raise Rejected("The message holds NUL", b"CANNOT")
            return event.data
        self._ended = True
        if not isinstance(event, f.MessageEnd):
            raise Malformed("The message is not followed by its command's end")
        if event.sentence or event.tail != self._tail:
            raise Malformed(event.sentence or "There is something after the message")
        raise StopAsyncIteration

    async def skip(self) -> None:
        """Reads past what the store did not take."""
        while not self._ended:
            event = await self._next_event()
            self._ended = not isinstance(event, f.MessageData)
