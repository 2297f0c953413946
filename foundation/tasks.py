"""Ending tasks of one's own: within a bound, and none that nobody awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any


async def end_tasks(tasks: Collection[asyncio.Task[Any]], grace_seconds: float) -> int:
    """Waits for them so long, then cancels what still runs. Returns how many that were."""
    if not tasks:
        return 0
    _, late = await asyncio.wait(list(tasks), timeout=grace_seconds)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    return len(late)
