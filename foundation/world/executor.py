"""Threads for work that blocks: database, password hashes. The only place that makes threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class ThreadExecutor:
    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Runs it in a thread. A cancelled caller no longer waits; what has begun runs to its end.

        Raises RuntimeError after `close`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Waits for what runs and what was already handed in; refuses what comes after."""
        self._pool.shutdown(wait=True)
