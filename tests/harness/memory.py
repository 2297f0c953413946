"""How much memory processes hold, and how much more at most while something happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
SAMPLE_SECONDS = 0.01


def own_bytes(pid: int) -> int:
    """What a process holds that is nobody else's and in no file: heap, stacks, buffers. The pages of files
    that it maps are the kernel's cache, taken back at will."""
    status = Path(f"/proc/{pid}/status").read_text()
    return (
        sum(int(size) for size in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", status, re.MULTILINE)) * KIB
    )


class Growth(dict[str, int]):
    """Process name to the most that it held above its beginning, in bytes."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {size / MIB:.1f} MiB" for name, size in self.items())


@asynccontextmanager
async def watched(pids: Mapping[str, int]) -> AsyncIterator[Growth]:
    """The growth is filled in while the block runs, and is complete at its end."""
    before = {name: own_bytes(pid) for name, pid in pids.items()}
    growth = Growth(dict.fromkeys(pids, 0))

    def look() -> None:
        for name, pid in pids.items():
            growth[name] = max(growth[name], own_bytes(pid) - before[name])

    async def sample() -> None:
        while True:
            look()
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        yield growth
    finally:
        sampling.cancel()
        look()
