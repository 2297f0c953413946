"""The lane to a hub that answers nothing on connections that stand: it is asked by one more, and given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from foundation.mail.envelope import Recipient, Sender
from foundation.smtp.client import ConnectionFailed
from foundation.world.clock import SystemClock
from mailboxstore.database.units import Unit
from mailboxstore.outbox import lane as lane_module
from mailboxstore.outbox.hubs import Hub, HubConnection
from mailboxstore.outbox.lane import Lane
from mailboxstore.outbox.retry import Backoff
from tests.harness.patience import turns


def unit(key: str) -> Unit:
    return Unit(
        transfer_key=key,
        folder=1,
        uid=1,
        email=1,
        mailbox_id="m",
        network_message_id=key,
        message_id=key,
        size_bytes=1,
        sender=Sender(address="a@b.example"),
        recipients=(Recipient(address="c@b.example"),),
        state="active",
        target="hub-b",
        next_attempt_at_ms=0,
        received_at_ms=0,
        expires_at_ms=0,
    )


class Work:
    """A hub's work that never ends by itself."""

    def __init__(self) -> None:
        self.attempted: list[str] = []
        self.handed_back: list[str] = []
        self.answers = asyncio.Event()
        self.changed = asyncio.Condition()
        self.down: list[str] = []

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(reached)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def claim(self, hub: str, limit: int) -> tuple[Unit, ...]:
        return ()

    async def hand_back(self, units: tuple[Unit, ...], reply: str) -> None:
        self.handed_back += [each.transfer_key for each in units]
        await self._tell()

    async def attempt(self, lane: Lane, connection: HubConnection | None, unit: Unit) -> HubConnection | None:
        self.attempted.append(unit.transfer_key)
        await self._tell()
        await self.answers.wait()
        return connection

    async def seconds_until_due(self, hub: str) -> float | None:
        return None

    def went_down(self, hub: str) -> None:
        self.down.append(hub)


class Kept:
    usable = True
    messages_sent = 0

    async def quit(self) -> None:
        pass


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(lane_module, "STALL_SECONDS", 0.02)


async def stalled(answers: bool) -> tuple[Lane, Work, list[str]]:
    """Two connections with a unit each, three units wait."""
    work, probes = Work(), list[str]()

    async def connect(hub: Hub) -> HubConnection:
        probes.append(hub.name)
        if not answers:
            raise ConnectionFailed("nobody there", "connect")
        return Kept()  # type: ignore[return-value]

    backoff = Backoff(60.0, 60.0, lambda low, high: high)
    lane = Lane(Hub("hub-b", "127.0.0.1", 1), work, connect, SystemClock(), backoff)
    lane.start()
    for number in range(5):
        lane.in_hand += 1
        lane.put(unit(str(number)))
    return lane, work, probes


@pytest.mark.usefixtures("few")
async def test_what_waits_behind_silent_connections_goes_back_when_the_hub_is_gone() -> None:
    lane, work, probes = await stalled(answers=False)
    await work.until(lambda: bool(work.handed_back))
    assert work.attempted == ["0", "1"]
    assert work.handed_back == ["2", "3", "4"]
    assert (probes, work.down, lane.up) == (["hub-b"], ["hub-b"], False)
    work.answers.set()
    await lane.stop(1)
    assert lane.in_hand == 0


@pytest.mark.usefixtures("few")
async def test_a_slow_hub_gets_one_more_connection_and_is_waited_for() -> None:
    lane, work, probes = await stalled(answers=True)
    await work.until(lambda: len(work.attempted) == 3)
    assert lane._seconds_until_stalled() is None
    assert (probes, lane.connections, lane.up) == (["hub-b"], 3, True)
    work.answers.set()
    await work.until(lambda: len(work.attempted) == 5)
    assert work.handed_back == []
    await lane.stop(1)


async def test_a_connection_called_for_a_unit_that_another_took_is_kept() -> None:
    lane, work, _ = await stalled(answers=True)
    work.answers.set()
    await work.until(lambda: len(work.attempted) == 5)
    await turns()
    before = lane.connections
    assert len(lane._idle) == before
    lane.put(unit("5"))
    taken = lane._queue.popleft()
    await turns()
    assert lane.connections == len(lane._idle) == before
    lane.put(taken)
    await work.until(lambda: len(work.attempted) == 6)
    await lane.stop(1)


async def test_a_hub_that_answers_is_not_asked() -> None:
    lane, work, probes = await stalled(answers=False)
    work.answers.set()
    await work.until(lambda: len(work.attempted) == 5)
    assert lane._seconds_until_stalled() is None
    assert probes == []
    await lane.stop(1)
