"""The upkeep of a folder of content: files that no committed row names are removed, at the start what a crash
left, later what lost its last message.

Promise: whether a row names a file is asked in the order of commits, by the writer, so no unit of work can
name one that is just being removed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice

from foundation.database.content import Contents
from foundation.database.files import AT_ONCE, ContentFiles
from foundation.database.writer import Writer
from foundation.mail.errors import MailError

PAUSE_SECONDS = 2.0

log = logging.getLogger("waypost.database")


class ContentKeeper:
    def __init__(self, files: ContentFiles | None, contents: Contents, writer: Writer) -> None:
        self._files = files
        self._contents = contents
        self._writer = writer
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Makes the folder, and removes what a crash left in it. Before anything is stored. Raises OSError,
        MailError.
        """
        files = self._files
        if files is None:
            return
        await files.executor.run(files.open)
        names = files.names()
        while page := await files.executor.run(lambda: tuple(islice(names, AT_ONCE))):
            removed = await self._remove_unnamed(files, page)
            if removed:
                log.warning("files of content that was never stored are removed", extra={"files": removed})
        self._task = asyncio.get_running_loop().create_task(self._always(files))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def reclaim(self) -> None:
        """Removes the files whose messages are gone by now. Raises MailError."""
        if self._files is not None:
            await self._reclaim(self._files)

    async def _reclaim(self, files: ContentFiles) -> None:
        while names := files.take_doubtful():
            try:
                await self._remove_unnamed(files, names)
            except BaseException:
                for name in names:
                    files.doubt(name)
                raise

    async def _always(self, files: ContentFiles) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                await self._reclaim(files)
            except MailError as error:
                log.error("files of removed content have to wait", extra={"reason": str(error)})
            except Exception:
                log.exception("removing files of content failed; it goes on")

    async def _remove_unnamed(self, files: ContentFiles, names: Sequence[str]) -> int:
        unnamed = await self._writer.run(lambda connection: self._contents.unnamed(connection, names))
        if unnamed:
            await files.executor.run(files.remove, unnamed)
        return len(unnamed)
