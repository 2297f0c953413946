"""A server that runs does not stop to look through what its start made."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from waypost import service


@pytest.fixture(autouse=True)
def collector_as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


async def test_what_the_start_made_is_spared_before_the_server_is_ready() -> None:
    stopping = asyncio.Event()
    frozen: list[int] = []

    async def start() -> None:
        frozen.append(gc.get_freeze_count())

    def ready(status: Any) -> None:
        frozen.append(gc.get_freeze_count())
        stopping.set()

    daemon: Any = SimpleNamespace(start=start, status=lambda: None, listeners=(), failed=asyncio.Event())
    notification: Any = SimpleNamespace(ready=ready)
    assert await service._run(daemon, stopping, asyncio.Event(), notification) == 0
    before, at_ready = frozen
    assert at_ready > before + 10_000
    assert gc.get_threshold()[0] == service.NEW_OBJECTS_BEFORE_COLLECTION
