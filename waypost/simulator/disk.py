"""The disk of a simulated machine: files in the run's folder, of which a power cut leaves what was synced."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random
from typing import Protocol

from foundation.world.disk import SystemDisk, SystemFile
from waypost.simulator.journal import Journal
from waypost.simulator.machine import Process


class Space(Protocol):
    def disk(self, folder: Path) -> tuple[int, int]:
        """Size and free bytes."""


class SimulatedFile(SystemFile):
    """Closed with the process at the latest; not synced, a power cut may take it, or its end."""

    def __init__(self, file: Path, process: Process) -> None:
        super().__init__(file)
        self._file = file
        self._process = process
        process.open_files[self] = None
        process.machine.unsynced[file] = None

    def sync(self) -> None:
        fault = self._process.machine.commit_fault
        if fault:
            raise OSError(errno.ENOSPC if fault == "full" else errno.EIO, "the disk fails under a sync")
        self._process.machine.unsynced.pop(self._file, None)

    def close(self) -> None:
        super().close()
        self._process.open_files.pop(self, None)


class SimulatedDisk(SystemDisk):
    """Small files are whole or absent, as on the real disk; nothing is really synced."""

    def __init__(self, process: Process, space: Space) -> None:
        self._process = process
        self._space = space

    def free_bytes(self, folder: Path) -> int:
        return self._space.disk(folder)[1]

    def write(self, file: Path, data: bytes, mode: int = 0o600) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_bytes(data)
        temporary.chmod(mode)
        temporary.replace(file)

    def create(self, file: Path) -> SystemFile:
        return SimulatedFile(file, self._process)

    def remove(self, file: Path) -> None:
        super().remove(file)
        self._process.machine.unsynced.pop(file, None)

    def make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)


def leave_files(process: Process, power_cut: Random | None, journal: Journal) -> None:
    """The end of a process closes its files; `power_cut`: what was not synced is gone, or a part of it."""
    for file in list(process.open_files):
        file.close()
    if power_cut is None:
        return
    unsynced = [file for file in process.machine.unsynced if file.exists()]
    process.machine.unsynced.clear()
    for file in unsynced:
        size = file.stat().st_size
        left = power_cut.randint(-1, size)
        journal.fault("file not synced", process.name, f"{left} of {size} bytes are left of a file")
        if left < 0:
            file.unlink()
            continue
        with file.open("r+b") as stream:
            stream.truncate(left)
