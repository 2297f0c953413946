"""The submission queue is read from the database while its messages are being categorized."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import Connection

from hubtransport.categorizer import forwarder, worker
from tests.harness.patience import patient, until
from tests.unit.hubtransport.lab import Lab


class Reading:
    """Reads of the queue that wait with their answer until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = threading.Event()
        self.go_on = threading.Event()
        self._load = worker.load
        monkeypatch.setattr(worker, "load", self._slowly)

    def _slowly(self, connection: Connection, after: int, count: int) -> Any:
        page = self._load(connection, after, count)
        self.read.set()
        assert self.go_on.wait(patient(10))
        return page


async def test_what_is_done_while_the_queue_is_read_is_not_done_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided, categorize = asyncio.Event(), forwarder.categorize

    async def slowly(*arguments: Any) -> Any:
        await decided.wait()
        return await categorize(*arguments)

    monkeypatch.setattr(forwarder, "RECIPIENTS_AT_ONCE", 0)
    monkeypatch.setattr(forwarder, "categorize", slowly)
    await lab.start("hub-a")
    reading = Reading(monkeypatch)
    await lab.send("carol@example.test")
    categorizer = lab.hubs["hub-a"]._categorizer
    categorizer.start(stored=True)
    assert await asyncio.to_thread(reading.read.wait, patient(10))
    decided.set()

    async def forgotten() -> bool:
        return categorizer.in_memory == 0

    await until(forgotten, "the message is categorized")
    reading.go_on.set()
    await lab.stores["store-a"].wait()
    await lab.until_idle()
    assert [event.event for event in await lab.events()].count("TRANSFER") == 1
    assert len(lab.stores["store-a"].delivered) == 1


async def test_what_is_found_out_while_the_queue_is_read_is_not_forgotten(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More messages than fit into memory: those that came meanwhile are looked for again."""
    monkeypatch.setattr(forwarder, "RECIPIENTS_AT_ONCE", 0)
    monkeypatch.setattr(worker, "MEMORY_MAX", 1)
    await lab.start("hub-a")
    categorizer, reading = lab.hubs["hub-a"]._categorizer, Reading(monkeypatch)
    categorizer.start(stored=True)
    assert await asyncio.to_thread(reading.read.wait, patient(10))
    monkeypatch.setattr(worker, "MEMORY_MAX", 0)
    await lab.send("carol@example.test")
    monkeypatch.setattr(worker, "MEMORY_MAX", 1)
    reading.go_on.set()
    await lab.stores["store-a"].wait()
