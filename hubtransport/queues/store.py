"""The queue database as the daemon holds it: its writer, its readers, and the content of messages.

Small content that was just written is kept in memory for its first sending, within a bound.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from foundation.database.content import content_spool, secure
from foundation.database.files import ContentFiles
from foundation.database.readers import Readers
from foundation.database.spool import Spool
from foundation.database.writer import Writer
from foundation.mail.headers import header_block
from foundation.recent import Recent
from hubtransport.queues import statements
from hubtransport.queues.records import QueuedMessage

CHUNK_BYTES = 512 * 1024
KEPT_CONTENT_BYTES_MAX = 64 * 1024
KEPT_BYTES_MAX = 16 * 1024 * 1024


class QueueStore:
    def __init__(
        self, writer: Writer, readers: Readers, header_bytes_max: int, files: ContentFiles | None = None
    ) -> None:
        """`files`: where large content goes; None: all of it is in the database."""
        self.writer = writer
        self.readers = readers
        self.header_bytes_max = header_bytes_max
        self._files = files
        self._kept: Recent[int, bytes] = Recent(KEPT_BYTES_MAX)

    def spool(self) -> Spool:
        """For content that is to be stored."""
        return content_spool(self._files)

    async def secure(self, content: Spool) -> None:
        """Before the unit of work that stores it. Raises MailError 452 4.3.1, 451 4.3.0."""
        await secure(self._files, content)

    def keep(self, content_id: int, content: bytes) -> None:
        """Remembers content that was just committed."""
        if len(content) <= KEPT_CONTENT_BYTES_MAX:
            self._kept.keep(content_id, content, len(content))

    async def chunks(self, message: QueuedMessage) -> AsyncIterator[bytes]:
        """The message as it leaves: the prefix, then the content. Raises MailError, ContentMissing."""
        if message.prefix:
            yield message.prefix
        for offset in range(0, message.content_bytes, CHUNK_BYTES):
            yield await self.read(message, offset, CHUNK_BYTES)

    async def read(self, message: QueuedMessage, offset: int, length: int) -> bytes:
        """Content bytes [offset, offset+length)."""
        kept = self._kept.get(message.content_id)
        if kept is not None:
            return kept[offset : offset + length]
        content_id = message.content_id
        return await self.readers.run(
            lambda connection: statements.contents.read(connection, content_id, offset, length)
        )

    async def header(self, message: QueuedMessage) -> bytes:
        """The header as it leaves, with its closing empty line."""
        start = await self.read(message, 0, self.header_bytes_max)
        header = start[: header_block(start)]
        if not header.endswith(b"\r\n\r\n"):
            header = header + (b"\r\n" if header.endswith(b"\r\n") or not header else b"\r\n\r\n")
        return message.prefix + header

    async def whole(self, message: QueuedMessage) -> bytes:
        """All of it as it leaves; for messages that are known to be small."""
        return message.prefix + await self.read(message, 0, message.content_bytes)
