"""Who holds a data folder: an flock that ends with its process, and a line in the file that says which
process it is."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FolderHeld(Exception):
    """Another process holds the folder; `holder` is what it wrote: its process id and what it is."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(f"{folder} is held by {holder}")
        self.folder = folder
        self.holder = holder


class FolderLock:
    """Held from making it until `release` or the end of the process; children do not inherit it."""

    def __init__(self, folder: Path, purpose: str) -> None:
        """Makes the folder if it is not there. Raises FolderHeld."""
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise FolderHeld(folder, holder or "another process") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} ({purpose})\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
