"""What the store does by itself: disconnected mailboxes, content nobody shows, old guards; its control
interface.
"""

from __future__ import annotations

import asyncio

import pytest

from foundation.interfaces.control import ReloadOutcome, ServerStatus
from foundation.interfaces.mailbox_store import Refusal
from mailboxstore.control import StoreControl
from mailboxstore.database import mailboxes
from mailboxstore.maintenance import Maintenance
from tests.unit.mailboxstore.bench import ALICE, BOB, PLAIN, Bench, message, pieces
from tests.unit.mailboxstore.hub import TestHub
from tests.unit.mailboxstore.test_outbox_agent import Office

ME = ALICE.mailbox_id
DAY = 24 * 3600


@pytest.fixture
def upkeep(bench: Bench) -> Maintenance:
    return Maintenance(
        bench.database, bench.directory, disconnected_keep_days=30, disconnected=bench.notifications.end
    )


async def test_removed_users_mailbox_is_kept_then_purged(
    bench: Bench, upkeep: Maintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailboxes, "PURGED_AT_ONCE", 2)
    for number in range(5):
        await bench.append(message(f"{number}", f"{number}@x"))
    await bench.store.expunge(ME, await bench.folder_id(), ((1, 3),), deleted_only=False)
    await bench.store.append(BOB.mailbox_id, "INBOX", 0, (), 0, 0, pieces(PLAIN))
    user = bench.directory.users.pop(ALICE.recipient_id)
    bench.directory.changed()
    await upkeep.run_once()
    assert await bench.database.readers.run(lambda c: mailboxes.is_connected(c, ME)) is False
    bench.clock.advance(29 * DAY)
    await upkeep.run_once()
    assert await bench.count("messages") == 3
    bench.clock.advance(2 * DAY)
    await upkeep.run_once()
    assert await bench.database.readers.run(lambda c: mailboxes.is_connected(c, ME)) is None
    assert (await bench.count("messages"), await bench.count("contents")) == (1, 1)
    assert await bench.count("tombstones") == 0 and await bench.count("mailboxes") == 1
    assert len(await bench.store.folders(BOB.mailbox_id)) == 7
    bench.directory.users[user.recipient_id] = user
    bench.directory.changed()
    assert await bench.uids() == []


async def test_user_put_back_in_time_has_everything(bench: Bench, upkeep: Maintenance) -> None:
    await bench.append()
    user = bench.directory.users.pop(ALICE.recipient_id)
    bench.directory.changed()
    await upkeep.run_once()
    bench.directory.users[user.recipient_id] = user
    bench.directory.changed()
    assert await bench.uids() == [1]
    bench.clock.advance(40 * DAY)
    await upkeep.run_once()
    assert await bench.uids() == [1]


async def test_who_watches_a_mailbox_hears_that_it_is_disconnected(bench: Bench, upkeep: Maintenance) -> None:
    await bench.append()
    await bench.store.append(BOB.mailbox_id, "INBOX", 0, (), 0, 0, pieces(PLAIN))
    watch, other = bench.store.watch(ME), bench.store.watch(BOB.mailbox_id)
    await anext(watch), await anext(other)
    waiting, still = asyncio.ensure_future(anext(watch)), asyncio.ensure_future(anext(other))
    del bench.directory.users[ALICE.recipient_id]
    bench.directory.changed()
    await upkeep.run_once()
    with pytest.raises(StopAsyncIteration):
        await waiting
    with pytest.raises(Refusal, match="no such mailbox"):
        await anext(bench.store.watch(ME))
    await bench.store.append(BOB.mailbox_id, "INBOX", 0, (), 0, 0, pieces(PLAIN))
    assert (await still).highest_modseq


async def test_mailbox_marked_by_mistake_is_connected_again(bench: Bench, upkeep: Maintenance) -> None:
    await bench.append()
    await bench.database.writer.run(lambda c: mailboxes.set_disconnected(c, ME, 0))
    bench.clock.advance(40 * DAY)
    await upkeep.run_once()
    assert await bench.database.readers.run(lambda c: mailboxes.is_connected(c, ME)) is True
    assert await bench.uids() == [1]


async def test_content_that_nobody_shows_goes(bench: Bench, upkeep: Maintenance) -> None:
    await bench.append()
    await bench.append(message("Other"))
    await bench.store.expunge(ME, await bench.folder_id(), ((1, 1),), deleted_only=False)
    await upkeep.run_once()
    assert (await bench.count("emails"), await bench.count("contents")) == (1, 1)


async def test_guards_are_kept_fourteen_days(bench: Bench, upkeep: Maintenance) -> None:
    from mailboxstore.database import guards

    def add(connection) -> None:
        now_ms = bench.clock.now_ms()
        guards.mark_delivered(connection, "n1", "r1", "m1", now_ms)
        guards.remember_transfer(connection, "t1", "n1", (), now_ms)

    await bench.database.writer.run(add)
    await bench.submit()
    tables = ("delivered", "received_transfers", "submissions", "sent_copies")
    bench.clock.advance(13 * DAY)
    await upkeep.run_once()
    assert [await bench.count(table) for table in tables] == [1, 1, 1, 0]
    bench.clock.advance(2 * DAY)
    await upkeep.run_once()
    assert [await bench.count(table) for table in tables] == [0, 0, 0, 0]


async def test_control_tells_the_queue_and_the_trace(bench: Bench) -> None:
    office = Office(bench, [TestHub("hub-a")])
    status = ServerStatus(
        name="store-a", role="store", site="a", pid=1, state="ready", details={"watched": 0}
    )

    async def reload() -> ReloadOutcome:
        return ReloadOutcome(applied=("certificates",))

    control = StoreControl(bench.database, office.agent, lambda: status, reload)
    for number in range(150):
        await bench.submit(key=f"key-{number:03}")
    entries = [entry async for batch in control.queue() for entry in batch]
    assert [entry.network_message_id for entry in entries] == [f"network-key-{n:03}" for n in range(150)]
    assert {(entry.queue, entry.next_hop, entry.sender) for entry in entries} == {
        ("outbox", "hub-a", ALICE.address)
    }
    assert (await control.status()).details == {"watched": 0, "queued": 150}
    assert (await control.reload()).applied == ("certificates",)
    traced = [event async for batch in control.trace("one@example.org", ()) for event in batch]
    assert len(traced) == 150 and [e.sequence for e in traced] == sorted(e.sequence for e in traced)
    traced = [event async for batch in control.trace("", ("network-key-007",)) for event in batch]
    assert [event.event for event in traced] == ["RECEIVE"]
    assert await control.retry("", (entries[3].entry_id,)) == 1
