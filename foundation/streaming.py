"""Streams that are left before their end: whoever makes one is told at once, not when it is collected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def streaming(stream: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """A stream that is closed in any case: a download left early is cancelled at its server, too."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
