"""How much memory and disk there is and is used, as Linux tells it; what can't be told is 0."""

from __future__ import annotations

import os
from pathlib import Path

_STATUS = Path("/proc/self/statm")
_MACHINE = Path("/proc/meminfo")
_GROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class SystemResources:
    def disk(self, folder: Path) -> tuple[int, int]:
        """Size of the file system, and what an unprivileged process may still write there, in bytes."""
        figures = os.statvfs(folder)
        used = figures.f_blocks - figures.f_bfree
        return (used + figures.f_bavail) * figures.f_frsize, figures.f_bavail * figures.f_frsize

    def memory(self) -> tuple[int, int]:
        """What this process has, and what it could have: the machine's memory, or the limit of its group."""
        try:
            resident = int(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            line = next(line for line in _MACHINE.read_text().splitlines() if line.startswith("MemTotal:"))
            machine = int(line.split()[1]) * 1024
        except (OSError, ValueError, IndexError, StopIteration):
            return 0, 0
        return resident, min([machine, *_group_limits()])


def _group_limits() -> list[int]:
    limits = []
    for file in _GROUP:
        try:
            limits.append(int(file.read_text()))
        except (OSError, ValueError):  # not this version of control groups, or `max`
            continue
    return [limit for limit in limits if limit > 0]
