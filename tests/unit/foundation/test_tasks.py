"""Tasks are ended within a bound."""

from __future__ import annotations

import asyncio

from foundation.tasks import end_tasks
from tests.harness.patience import patient


async def test_those_that_end_in_time_are_left_alone_and_late_ones_cancelled() -> None:
    ended: list[str] = []

    async def quick() -> None:
        await asyncio.sleep(0)
        ended.append("quick")

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    tasks = [asyncio.create_task(quick()), asyncio.create_task(for_ever())]
    assert await end_tasks(tasks, patient(0.05)) == 1
    assert ended == ["quick", "cancelled"]
    assert await end_tasks(tasks, 0) == 0
    assert await end_tasks([], 0) == 0
