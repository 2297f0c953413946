"""One mailbox database as the store's rooms use it: the writer, the readers, content, tracking, ids and
time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from foundation.database.content import Contents
from foundation.database.readers import Readers
from foundation.database.writer import Writer
from foundation.interfaces.world import Clock, Executor
from foundation.tracking.statements import Tracking
from mailboxstore.database.summaries import Summaries

T = TypeVar("T")

COMPUTED_HERE_BYTES = 64 * 1024


@dataclass(eq=False)
class MailboxDatabase:
    server: str
    """Name of the store, for tracking."""
    writer: Writer
    readers: Readers
    contents: Contents
    tracking: Tracking
    clock: Clock
    identifier: Callable[[], str]
    """New UUIDv7; called from the event loop and in the executors."""
    executor: Executor
    """For computing on what is large."""
    quota_bytes: int = 0
    """Of each mailbox; 0 is none. May be replaced."""
    summaries: Summaries = field(default_factory=Summaries)

    async def compute(self, size_bytes: int, function: Callable[[], T]) -> T:
        """Runs it here when so many bytes are quickly looked at, else off the event loop."""
        if size_bytes <= COMPUTED_HERE_BYTES:
            return function()
        return await self.executor.run(function)
