"""Two ways to a full disk for one server: a small file system that is filled, where root may mount one, else
a database whose size is bounded (`database_size_bytes`), for which the server is started anew."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from config.model import Pressure

FILLING = "filling"
NEVER = Pressure(database_disk_percent=(1000, 10_000, 1000, 100))
"""Back pressure that never begins: the database itself says that it is full."""


class FullDisk(Protocol):
    async def fill(self) -> None:
        """Nothing new fits from now on."""

    async def empty(self) -> None:
        """There is room again; the server may have to be started."""


class SmallFileSystem:
    """For the data folder of a server; mounted until the stack is closed."""

    def __init__(self, folder: Path, stack: contextlib.AsyncExitStack, size_bytes: int) -> None:
        self._filling = folder / FILLING
        folder.mkdir(parents=True, exist_ok=True)
        options = f"size={size_bytes},mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
        undo: Callable[..., Any] = subprocess.run
        stack.callback(undo, ["umount", "--lazy", str(folder)], check=False)

    async def fill(self) -> None:
        _fill(self._filling)

    async def empty(self) -> None:
        self._filling.unlink(missing_ok=True)


class BoundedDatabase:
    """`start_anew(settings)` stops the server and starts it with other settings of its own."""

    def __init__(self, start_anew: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._start_anew = start_anew
        self._full = False

    async def fill(self) -> None:
        """The smallest bound: the database stays as large as it is, and no page joins it."""
        self._full = True
        await self._start_anew({"database_size_bytes": 1, "pressure": NEVER})

    async def empty(self) -> None:
        if self._full:
            self._full = False
            await self._start_anew({})


def _fill(file: Path) -> None:
    """Until the file system takes no octet more."""
    with open(file, "ab", buffering=0) as stream:
        for size in (1024 * 1024, 4096, 512):
            with contextlib.suppress(OSError):
                while stream.write(b"\0" * size) == size:
                    pass


def can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and _mounts()


def _mounts() -> bool:
    """Root of a container may be forbidden to."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
