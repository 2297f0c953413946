"""Large content of messages, a file each in a folder beside the database: written once, as it comes in.

A file is content only while a committed row names it (foundation/database/content.py). Promises: it is synced
before the row that names it is committed; a name is never given twice; a file is removed only when no
committed row names it. What a crash leaves without a row is removed at the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from mmap import mmap
from pathlib import Path
from typing import Protocol

from foundation.database.executor import Executor
from foundation.mail.errors import MailError

log = logging.getLogger("waypost.database")

AT_ONCE = 500
"""Names looked up in one query."""


class OpenFile(Protocol):
    """As foundation.interfaces.world.OpenFile."""

    def write(self, piece: bytes | bytearray | memoryview) -> None: ...

    def read(self, offset: int, length: int) -> bytes: ...

    def map(self, size_bytes: int) -> mmap: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


class Disk(Protocol):
    """The part of `foundation.interfaces.world.Disk` that content needs."""

    def read(self, file: Path, offset: int = 0, length: int = -1) -> bytes: ...

    def create(self, file: Path) -> OpenFile: ...

    def remove(self, file: Path) -> None: ...

    def make_folder(self, folder: Path) -> None: ...

    def size(self, file: Path) -> int: ...

    def names(self, folder: Path) -> Iterator[str]: ...


class ContentUnreadable(MailError):
    """A row names a file that is gone, shorter than it was, or can't be read."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(451, "4.3.0", "The content of this message can't be read from the disk now")
        log.error("content can't be read: %s", reason, extra={"file": str(file)})


class ContentFile:
    """One that is being written. Nobody refers to it until it is claimed; closed unclaimed it is gone."""

    def __init__(self, files: ContentFiles, name: str, file: OpenFile) -> None:
        self.name = name
        self._files = files
        self._file = file
        self._synced = False
        self._failed: OSError | None = None
        self._claimed = False
        self._closed = False

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        self._file.write(piece)
        self._synced = False

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def map(self, size_bytes: int) -> mmap:
        return self._file.map(size_bytes)

    def sync(self) -> None:
        """Blocking. Does nothing when all of it is synced. Raises OSError, from then on always: what was not
        written once is not tried again by the system.
        """
        if self._failed is not None:
            raise self._failed
        if self._synced:
            return
        try:
            self._file.sync()
        except OSError as error:
            self._failed = error
            raise
        self._synced = True

    def claim(self) -> bool:
        """A row is about to name it. False when it was closed meanwhile."""
        self._claimed = True  # before it looks, as `close` does: one of the two sees the other
        return not self._closed

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._file.close()
        if self._claimed:
            self._files.doubt(self.name)  # whether the row was committed, `unnamed` tells
        else:
            self._files.remove((self.name,))


class ContentFiles:
    """The folder of one database."""

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        identifier: Callable[[], str],
        executor: Executor,
        *,
        takes_new: bool = True,
    ) -> None:
        """`executor` is for syncs: as many at once as it has threads. Without `takes_new` what is there is
        read, but new content goes to the database.
        """
        self.takes_new = takes_new
        self.executor = executor
        self._folder = folder
        self._disk = disk
        self._identifier = identifier
        self._doubtful: dict[str, None] = {}

    def open(self) -> None:
        """Makes the folder. Raises OSError."""
        self._disk.make_folder(self._folder)

    def create(self) -> ContentFile:
        """Raises OSError."""
        name = self._identifier()
        return ContentFile(self, name, self._disk.create(self._folder / name))

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Exactly these bytes. Raises ContentUnreadable."""
        file = self._folder / name
        try:
            data = self._disk.read(file, offset, length)
        except OSError as error:
            raise ContentUnreadable(file, error.strerror or str(error)) from error
        if len(data) < length:
            raise ContentUnreadable(file, f"it ends {length - len(data)} bytes early")
        return data

    def size(self, name: str) -> int:
        """-1: it is not there, or can't be read."""
        try:
            return self._disk.size(self._folder / name)
        except OSError:
            return -1

    def names(self) -> Iterator[str]:
        """All files there are, in no order. Raises OSError."""
        return self._disk.names(self._folder)

    # --- the end of a file

    def doubt(self, name: str) -> None:
        """Perhaps no committed row names it (any more)."""
        self._doubtful[name] = None

    def take_doubtful(self) -> tuple[str, ...]:
        """Some names, for one query. Give back what could not be looked up."""
        names = tuple(islice(list(self._doubtful), AT_ONCE))
        for name in names:
            self._doubtful.pop(name, None)
        return names

    def remove(self, names: Iterable[str]) -> None:
        """Blocking. What can't be removed now stays until the next start."""
        for name in names:
            try:
                self._disk.remove(self._folder / name)
            except OSError as error:
                log.error(
                    "a file without a message can't be removed: %s",
                    error.strerror,
                    extra={"file": str(self._folder / name)},
                )
