"""The machine's disk, for small files that must be whole or absent: settings, keys, snapshots."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


class SystemDisk:
    def free_bytes(self, folder: Path) -> int:
        """What an unprivileged process may still write there."""
        figures = os.statvfs(folder)
        return figures.f_bavail * figures.f_frsize

    def read(self, file: Path) -> bytes:
        """Raises FileNotFoundError."""
        return file.read_bytes()

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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
