"""Connections that wait for work are all called when there is work."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import MagicMock

from hubtransport.delivery.runner import DeliveryRunner
from hubtransport.delivery.scheduler import Scheduler
from tests.harness.patience import turns
from tests.unit.hubtransport.test_scheduler import unit

HOP = "store::store-a"


async def test_who_begins_to_wait_while_others_are_called_is_not_forgotten() -> None:
    nothing: Any = MagicMock()
    nothing.clock.now_ms.return_value = 0
    scheduler = Scheduler()
    runner = DeliveryRunner(nothing, scheduler, {}, nothing, nothing, nothing)
    queue = scheduler.queue(HOP)
    queue.connections = queue.open = 3
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[None] = loop.create_future()

    async def third() -> object:
        await finished
        return await runner._next(queue, 3600)

    first, second = (loop.create_task(runner._next(queue, 3600)) for _ in range(2))
    last = loop.create_task(third())
    await turns()
    queue.waiting.append(unit("one", HOP))
    # the third connection has finished its unit just when the two others are called for one
    runner._call_idle(HOP)
    finished.set_result(None)
    runner._call_idle(HOP)
    await turns()
    assert first.done() and not second.done() and not last.done()
    queue.waiting.extend((unit("two", HOP), unit("three", HOP)))
    runner.wake()
    await turns()
    assert second.done() and last.done()
    assert queue.idle == 0
