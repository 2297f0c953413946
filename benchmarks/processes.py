"""What process trees cost: CPU time and memory, from /proc; and what the load generator itself costs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            with suppress(OSError):
                children.setdefault(_parent(int(entry)), []).append(int(entry))
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, ())
    return found


def _fields(pid: int) -> list[str]:
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_fields(pid)[1])


def _on_cpu_seconds(pid: int) -> float:
    """Of the threads that live, by the scheduler, which counts nanoseconds where `stat` counts ticks."""
    total = 0
    with suppress(OSError):  # a kernel without schedstat, or the process has just ended
        for thread in os.listdir(_PROC / str(pid) / "task"):
            total += int((_PROC / str(pid) / "task" / thread / "schedstat").read_text().split()[0])
    return total / 1e9


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of the trees so far, with that of children that have ended."""
    total = 0.0
    for pid in tree(roots):
        with suppress(OSError):
            user, system, ended_user, ended_system = (int(value) for value in _fields(pid)[11:15])
            total += max((user + system) / _TICK, _on_cpu_seconds(pid)) + (ended_user + ended_system) / _TICK
    return total


def memory_bytes(roots: Iterable[int]) -> int:
    """Proportional set size of the trees: what is shared counts once."""
    total = 0
    for pid in tree(roots):
        with suppress(OSError):
            for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class Usage:
    """CPU and peak memory of trees over a while: `async with Usage(roots) as usage`."""

    def __init__(self, roots: Iterable[int], every_seconds: float = 1.0) -> None:
        self._roots = tuple(roots)
        self._every = every_seconds
        self._looking = 0.0
        self.cpu_seconds = 0.0
        self.generator_seconds = 0.0
        """CPU time of this process, which makes the load, without what looking at the others took."""
        self.peak_bytes = 0

    async def __aenter__(self) -> Usage:
        self._before = cpu_seconds(self._roots)
        self._own = time.process_time()
        self._sampler = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.generator_seconds = time.process_time() - self._own - self._looking
        self.cpu_seconds = cpu_seconds(self._roots) - self._before
        self._sampler.cancel()
        self._look()

    def _look(self) -> None:
        began = time.process_time()
        self.peak_bytes = max(self.peak_bytes, memory_bytes(self._roots))
        self._looking += time.process_time() - began

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._look()
