"""What the sweep reads from the queue and writes a moment later: what was taken up meanwhile is not its any
more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.model import Retry
from foundation.mail.errors import MailError
from hubtransport.daemon import HubTransport
from hubtransport.queues.delivery import claim_due, unclaim, units_after
from hubtransport.queues.records import Unit
from tests.harness.patience import until
from tests.unit.hubtransport.lab import Lab

SLOW = Retry(message_interval_seconds=3600, probe_first_seconds=3600, probe_longest_seconds=3600)
HOP = "store::store-a"


@pytest.fixture
async def lab(tmp_path: Path) -> Any:
    async with Lab(tmp_path, retry=SLOW) as running:
        yield running


async def stored_unit(lab: Lab) -> tuple[HubTransport, Unit]:
    """A unit that waits in the database alone, for a store that is away."""
    await lab.stores["store-a"].stop()
    await lab.start("hub-a")
    hub = lab.hubs["hub-a"]
    await lab.send("carol@example.test")
    await lab.until_event("DEFER")
    (unit,) = hub._scheduler.drop_waiting(HOP, [unit.key for unit in hub._scheduler.queue(HOP).waiting])
    await hub._store.writer.run(lambda connection: unclaim(connection, [unit.key]))
    return hub, unit


def taken_up_after_reading(hub: HubTransport, monkeypatch: pytest.MonkeyPatch) -> list[Unit]:
    """A runner claims what is due right after the sweep has read it."""
    read, taken = hub._store.readers.run, []

    async def run(query: Callable[..., Any]) -> Any:
        found = await read(query)
        if isinstance(found, list) and found and isinstance(found[0], Unit) and not taken:
            taken.extend(await hub._store.writer.run(lambda c: claim_due(c, HOP, 2**62, 10)))
        return found

    monkeypatch.setattr(hub._store.readers, "run", run)
    return taken


@pytest.mark.parametrize("by", ["reroute", "release"])
async def test_what_could_not_be_routed_anew_waits_on_though_its_queue_was_tidied(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    await lab.stores["store-a"].stop()
    await lab.start("hub-a")
    hub = lab.hubs["hub-a"]
    await lab.send("carol@example.test")
    await lab.until_event("DEFER")
    queue = hub._scheduler.queue(HOP)

    async def at_rest() -> bool:
        return bool(queue.waiting) and not queue.connections

    await until(at_rest, "the unit waits, and nobody tries")
    unit = msgspec.structs.replace(queue.waiting.pop(), pinned=by == "release")
    queue.waiting.append(unit)

    async def full(*_: Any, **__: Any) -> Any:
        hub._scheduler.recovered(HOP)  # its next hop is not known to have failed
        hub._scheduler.tidy()
        assert hub._scheduler.peek(HOP) is None
        raise MailError(452, "4.3.1", "The database is full, try again later")

    with monkeypatch.context() as patched:
        patched.setattr(hub._writer, "run", full)
        with pytest.raises(MailError, match="full"):
            if by == "reroute":
                await hub._sweeper.reroute_hop(HOP, "as a test")
            else:
                await hub._sweeper.release((unit.key,), "as a test")
    assert list(hub._scheduler.queue(HOP).waiting) == [unit]


async def left(hub: HubTransport) -> list[str]:
    return [unit.key for unit in await hub._store.writer.run(lambda c: units_after(c, "", 10))]


async def test_a_unit_that_is_on_its_way_does_not_expire(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, unit = await stored_unit(lab)
    lab.clock.ahead_ms = 49 * 3600 * 1000
    taken = taken_up_after_reading(hub, monkeypatch)
    await hub._sweeper.expire()
    assert [each.key for each in taken] == [unit.key] == await left(hub)
    assert "FAIL" not in [event.event for event in await lab.events()]
    await hub._store.writer.run(lambda connection: unclaim(connection, [unit.key]))
    await hub._sweeper.expire()
    assert "FAIL" in [event.event for event in await lab.events()]
    assert unit.key not in await left(hub)


async def test_a_unit_that_is_on_its_way_is_not_routed_anew(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, unit = await stored_unit(lab)
    taken = taken_up_after_reading(hub, monkeypatch)
    await hub._sweeper.reroute(HOP, "as a test")
    assert [each.key for each in taken] == [unit.key] == await left(hub)
    assert "RESUBMIT" not in [event.event for event in await lab.events()]
    await hub._store.writer.run(lambda connection: unclaim(connection, [unit.key]))
    await hub._sweeper.reroute(HOP, "as a test")
    assert "RESUBMIT" in [event.event for event in await lab.events()]
    assert unit.key not in await left(hub)
