"""The machine's disk: small files that must be whole or absent (settings, keys, snapshots), and files that
grow (content of messages)."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from threading import Lock


class SystemFile:
    """A file that was just made. A close waits for what another thread does with it; then it is OSError."""

    def __init__(self, file: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._folder = file.parent
        self._descriptor = os.open(file, flags, 0o600)
        self._lock = Lock()

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        rest = memoryview(piece)
        with self._lock:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            return _read(self._descriptor, offset, length)

    def map(self, size_bytes: int) -> mmap.mmap:
        with self._lock:
            return mmap.mmap(self._opened(), size_bytes, access=mmap.ACCESS_READ)

    def sync(self) -> None:
        with self._lock:
            os.fsync(self._opened())
        _sync_folder(self._folder)

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _opened(self) -> int:
        """The descriptor, for calls to which a negative one is a mistake, or memory without a file."""
        if self._descriptor < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._descriptor


class SystemDisk:
    def free_bytes(self, folder: Path) -> int:
        """What an unprivileged process may still write there."""
        figures = os.statvfs(folder)
        return figures.f_bavail * figures.f_frsize

    def read(self, file: Path, offset: int = 0, length: int = -1) -> bytes:
        """All of it, or bytes [offset, offset+length), cut to the end. Raises FileNotFoundError."""
        if length < 0:
            return file.read_bytes()[offset:]
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _read(descriptor, offset, length)
        finally:
            os.close(descriptor)

    def write(self, file: Path, data: bytes, mode: int = 0o600) -> None:
        """Replaces the file in one step: temporary file, fsync, rename, fsync of the folder.

        Missing folders are made. On an error the old file stands as it was.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(6)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            temporary.replace(file)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            raise
        _sync_folder(file.parent)

    def create(self, file: Path) -> SystemFile:
        """A new file, its owner's alone. Raises OSError, FileExistsError."""
        return SystemFile(file)

    def remove(self, file: Path) -> None:
        """One that is not there is removed already."""
        file.unlink(missing_ok=True)

    def make_folder(self, folder: Path) -> None:
        """With its parents, its owner's alone, as durable as a synced file. One that is there stays."""
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(folder.parent)

    def size(self, file: Path) -> int:
        """Raises FileNotFoundError."""
        return file.stat().st_size

    def names(self, folder: Path) -> Iterator[str]:
        """Its files, in no order."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    yield entry.name


def _read(descriptor: int, offset: int, length: int) -> bytes:
    piece = os.pread(descriptor, length, offset)
    if not 0 < len(piece) < length:
        return piece
    pieces = [piece]
    while piece:  # the end, or a signal between two halves
        offset += len(piece)
        length -= len(piece)
        piece = os.pread(descriptor, length, offset)
        pieces.append(piece)
    return b"".join(pieces)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
