"""Back pressure on a hub: who is refused at which level, what goes on all the same, and how it ends."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from sqlalchemy import select

from foundation.mail.envelope import Transfer
from foundation.smtp.client import SendResult
from hubtransport.daemon import HubTransport
from hubtransport.queues.tables import TRACKING
from tests.harness.topologies import with_settings_of
from tests.unit.hubtransport.lab import CONTENT, Lab, transmit, until

TOTAL = 10_000_000_000
GIB = 1024**3


class Machine:
    """Its disk has `free` bytes of ten billion."""

    def __init__(self) -> None:
        self.free = 5 * GIB

    def disk(self, folder: Path) -> tuple[int, int]:
        return TOTAL, self.free

    def memory(self) -> tuple[int, int]:
        return 1, 100


@pytest.fixture
def machine(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("foundation.pressure.watch.INTERVAL_SECONDS", 0.01)
    machine = Machine()
    lab.world = dataclasses.replace(lab.world, resources=machine)
    return machine


async def reach(hub: HubTransport, level: str) -> None:
    async def look() -> bool:
        return hub.status().pressure == level

    await until(look, f"pressure is {level}")


async def from_outside(lab: Lab) -> tuple[int, str]:
    result = await transmit(
        await lab.connect_outside(), "friend@example.org", ["carol@example.test"], CONTENT
    )
    return verdict(result)


def verdict(result: SendResult) -> tuple[int, str]:
    """Of MAIL where it was refused, else of the content."""
    assert result.sender is not None
    reply = result.final[0] if result.sender.positive else result.sender
    return reply.code, reply.status


async def test_outsiders_wait_first_then_all_and_it_ends_by_itself(lab: Lab, machine: Machine) -> None:
    await lab.start("hub-a")
    hub = lab.hubs["hub-a"]
    assert await from_outside(lab) == (250, "2.6.0")
    machine.free = round(TOTAL * 0.03)  # 97 % used
    await reach(hub, "medium")
    assert hub.status().pressure_reasons == ("disk medium: 97 %",)
    assert await from_outside(lab) == (452, "4.3.1")
    inside = await lab.send(
        "carol@example.test", transfer=Transfer(network_message_id="n-1", transfer_key="k-1")
    )
    assert verdict(inside) == (250, "2.6.0")
    machine.free = round(TOTAL * 0.005)
    await reach(hub, "high")
    assert verdict(await lab.send("carol@example.test")) == (452, "4.3.1")
    # a repeat of what was taken before is answered as before: it is under way
    again = await lab.send(
        "carol@example.test", transfer=Transfer(network_message_id="n-1", transfer_key="k-1")
    )
    assert verdict(again) == (250, "2.6.0")
    # what was taken is delivered all the same
    await lab.stores["store-a"].wait(2)
    machine.free = round(TOTAL * 0.05)  # 95 %: below where medium began, above where it ends
    await reach(hub, "medium")
    assert await from_outside(lab) == (452, "4.3.1")
    machine.free = round(TOTAL * 0.06)
    await reach(hub, "normal")
    assert await from_outside(lab) == (250, "2.6.0")


async def test_a_database_with_a_bound_presses_until_it_has_room(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once full, all get 452 4.3.1; what was taken is kept, and leaves when there is room."""
    monkeypatch.setattr("foundation.pressure.watch.INTERVAL_SECONDS", 0.01)
    await lab.stores["store-a"].stop()
    unbounded = lab.topology
    lab.topology = with_settings_of(unbounded, "hub-a", database_size_bytes=1024 * 1024)
    await lab.start("hub-a")
    taken = 0
    for size in (40_000, 4_000, 400):  # until hardly a page is left
        content = CONTENT + b"x" * size
        while (answer := verdict(await lab.send("carol@example.test", content=content)))[0] == 250:
            taken += 1
        assert answer == (452, "4.3.1")
    assert taken > 10
    await reach(lab.hubs["hub-a"], "high")
    assert lab.hubs["hub-a"].status().pressure_reasons[0].startswith("database high: ")
    assert await from_outside(lab) == (452, "4.3.1")
    await lab.stop("hub-a")
    lab.topology = unbounded
    await lab.stores["store-a"].start()
    await lab.start("hub-a")
    assert len(await lab.stores["store-a"].wait(taken)) == taken
    assert lab.hubs["hub-a"].status().pressure == "normal"


async def test_changes_of_level_are_tracked(lab: Lab, machine: Machine) -> None:
    await lab.start("hub-a")
    hub = lab.hubs["hub-a"]
    machine.free = 0
    await reach(hub, "high")
    machine.free = TOTAL
    await reach(hub, "normal")

    async def told() -> list[str]:
        statement = select(TRACKING.c.reason).where(TRACKING.c.event == "THROTTLE")
        return await hub._store.readers.run(lambda c: list(c.execute(statement).scalars()))

    async def both() -> bool:
        return len(await told()) == 2

    await until(both, "two events")
    assert await told() == ["disk: normal to high at 100 %", "disk: high to normal at 0 %"]


async def test_much_free_space_is_enough_whatever_the_percentage(lab: Lab, machine: Machine) -> None:
    machine.free = 2 * GIB
    await lab.start("hub-a")
    hub = lab.hubs["hub-a"]
    settings = hub._settings.pressure.model_copy(update={"database_disk_percent": (1.0, 2.0, 1.5, 0.5)})
    hub._pressure.take(settings)
    assert await from_outside(lab) == (250, "2.6.0")
    assert hub.status().pressure == "normal"
