"""Units that a hub has taken are written off together, mailbox by mailbox, and none is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Connection, text

from foundation.interfaces.control import ReloadOutcome, ServerStatus
from foundation.mail.envelope import Recipient, Sender
from mailboxstore.control import StoreControl
from mailboxstore.database.units import Unit
from mailboxstore.outbox import taken as module
from mailboxstore.outbox.settlement import Taken
from mailboxstore.outbox.taken import TakenUnits
from tests.unit.mailboxstore.test_outbox_agent import ME, Office, office

__all__ = ["office"]


def taken(number: int, mailbox_id: str = "m1") -> Taken:
    unit = Unit(
        transfer_key=f"key-{number}",
        folder=1,
        uid=number,
        email=number,
        mailbox_id=mailbox_id,
        network_message_id=f"network-{number}",
        message_id=f"{number}@x",
        sender=Sender(address="a@example.org"),
        recipients=(Recipient(address="b@example.org"),),
        probe=False,
        size_bytes=1,
        target="hub-a",
        state="active",
        attempts=1,
        last_attempt_at_ms=0,
        last_reply="",
        next_attempt_at_ms=0,
        received_at_ms=0,
        expires_at_ms=0,
        delay_reported=False,
        prefix=b"",
    )
    return Taken(unit, "hub-a", "250 2.0.0 Queued", 0)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


class Written:
    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, together: Sequence[Taken]) -> None:
        await self.go.wait()
        self.groups.append([each.unit.transfer_key for each in together])


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time alone writes nothing."""
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 1000)


async def test_those_of_a_mailbox_are_written_together_after_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 0.01)
    written = Written()
    units = TakenUnits(written)
    for number, mailbox_id in enumerate(("m1", "m2", "m1")):
        units.put(taken(number, mailbox_id))
    assert units.waiting == 3 and not written.groups
    await until(lambda: len(written.groups) == 2)
    assert written.groups == [["key-0", "key-2"], ["key-1"]] and units.waiting == 0
    units.put(taken(3))
    await until(lambda: len(written.groups) == 3)
    assert written.groups[2] == ["key-3"]


@pytest.mark.usefixtures("patient")
async def test_many_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER_MAX", 3)
    written = Written()
    units = TakenUnits(written)
    for number in range(4):
        units.put(taken(number))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert written.groups == [["key-0", "key-1", "key-2"]] and units.waiting == 1
    await units.stop(1)
    assert written.groups[1:] == [["key-3"]]


@pytest.mark.usefixtures("patient")
async def test_stopping_writes_what_waits_and_waits_no_longer_than_told() -> None:
    written = Written()
    units = TakenUnits(written)
    units.put(taken(1))
    written.go.clear()
    await units.stop(0.01)
    assert not written.groups and not units._writing


@pytest.mark.usefixtures("patient")
async def test_many_messages_of_one_sender_are_one_commit(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, [hub] = office.bench, office.hubs
    statements: list[str] = []

    def listen(connection: object) -> None:
        driver = connection.connection.dbapi_connection  # type: ignore[attr-defined]
        driver.set_trace_callback(statements.append)

    await asyncio.gather(*(bench.submit(key=f"key-{number}") for number in range(5)))
    await hub.message(5)
    await until(lambda: office.agent._taken.waiting == 5)
    assert len(await bench.records("Outbox")) == 5 and office.agent.in_hand == 5
    await bench.database.writer.run(listen)
    await office.agent.stop()
    assert await bench.records("Outbox") == [] and await office.units() == ()
    assert sum("UPDATE folders" in each for each in statements) == 1
    changes = await bench.store.changes(ME, await bench.folder_id("Outbox"), 0)
    assert changes.expunged == (1, 2, 3, 4, 5)
    submitted = await bench.events("SUBMIT")
    assert {event.transfer_key for event in submitted} == {each.transfer.transfer_key for each in hub.taken}
    assert {event.recipients for event in submitted} == {("bob@example.org",)}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("lost", ["unit", "folder"])
async def test_what_is_gone_meanwhile_takes_none_along(office: Office, lost: str) -> None:
    bench, [hub] = office.bench, office.hubs
    await bench.submit(key="key-1")
    await bench.submit(key="key-2")
    await hub.message(2)
    await until(lambda: office.agent._taken.waiting == 2)

    def remove(connection: Connection) -> None:
        if lost == "unit":
            connection.execute(text("DELETE FROM outbox_units WHERE uid = 1"))
        else:
            connection.execute(text("DELETE FROM folders WHERE role = 'outbox'"))

    await bench.database.writer.run(remove)
    await office.agent.stop()
    assert await office.units() == ()
    assert len(await bench.events("SUBMIT")) == (1 if lost == "unit" else 2)


@pytest.mark.usefixtures("patient")
async def test_who_looks_at_the_queue_sees_nothing_that_a_hub_has(office: Office) -> None:
    async def reload() -> ReloadOutcome:
        raise NotImplementedError

    bench, [hub] = office.bench, office.hubs
    status = ServerStatus(name="store", role="store", site="a", pid=1, state="ready")
    control = StoreControl(bench.database, office.agent, lambda: status, reload)

    async def submitted(key: str) -> None:
        await bench.submit(key=key)
        await hub.message()
        await until(lambda: office.agent._taken.waiting == 1)

    await submitted("key-1")
    assert [entry async for page in control.queue() for entry in page] == []
    await submitted("key-2")
    assert (await control.status()).details["queued"] == 0
    await submitted("key-3")
    assert [event async for page in control.events(0) for event in page][-1].event == "SUBMIT"
    await submitted("key-4")
    traced = [event.event async for page in control.trace("", ("network-key-4",)) for event in page]
    assert traced == ["RECEIVE", "SUBMIT"]


@pytest.mark.usefixtures("patient")
async def test_a_slow_database_keeps_nobody_who_looks() -> None:
    written = Written()
    units = TakenUnits(written)
    units.put(taken(1))
    written.go.clear()
    await units.written(0.01)
    written.go.set()
    await units.written(1)
    assert written.groups == [["key-1"]]
