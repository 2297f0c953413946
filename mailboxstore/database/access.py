"""One mailbox database as the store's rooms use it: the writer, the readers, content, tracking, ids and
time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from foundation.database.content import Contents, content_spool, secure
from foundation.database.files import ContentFiles
from foundation.database.readers import Readers
from foundation.database.spool import Held, Spool
from foundation.database.writer import Writer
from foundation.interfaces.world import Clock, Executor
from foundation.mail.rendering import Summary
from foundation.tracking.statements import Tracking
from mailboxstore.database import statements
from mailboxstore.database.emails import NewEmail, held_content
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
    files: ContentFiles | None = None
    """Of large content; None: all of it is in the database."""
    quota_bytes: int = 0
    """Of each mailbox; 0 is none. May be replaced."""
    summaries: Summaries = field(default_factory=Summaries)

    async def compute(self, size_bytes: int, function: Callable[[], T]) -> T:
        """Runs it here when so many bytes are quickly looked at, else off the event loop."""
        if size_bytes <= COMPUTED_HERE_BYTES:
            return function()
        return await self.executor.run(function)

    async def secure(self, *new: NewEmail) -> None:
        """Before the unit of work that stores these emails: large content that is not here yet goes to disk.

        Raises MailError 452 4.3.1, 451 4.3.0.
        """
        for email in new:
            if email.content.file is not None and not await self._has(email.content_sha256):
                await secure(self.files, email.content)

    async def held(self, content_sha256: str) -> tuple[Held, Summary] | None:
        """Large content that can be delivered without being sent here: it is stored, and what is computed of
        it is still known.
        """
        summary = self.summaries.kept(content_sha256)
        if summary is None:
            return None
        held = await self.readers.run(lambda c: held_content(c, self.contents, content_sha256))
        return None if held is None else (held, summary)

    def spool(self) -> Spool:
        """For content that is to be stored."""
        return content_spool(self.files)

    async def _has(self, content_sha256: str) -> bool:
        values = {"content_sha256": content_sha256}
        content = await self.readers.run(lambda c: statements.CONTENT_BY_DIGEST.scalar(c, values))
        return content is not None
