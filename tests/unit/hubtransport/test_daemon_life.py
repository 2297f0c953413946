"""Start, stop, control, and what a hub finds after it was killed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sized
from pathlib import Path

import pytest
from sqlalchemy import Connection, Table, insert, select, update

from config.model import Retry
from foundation.database.engine import SchemaTooNew, open_engine, prepare_schema, sqlite_url, writing
from foundation.database.spool import Spool
from foundation.interfaces.control import Control
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.rpc.client import RpcClient, TcpTarget, UnixTarget
from foundation.tls import Identity
from hubtransport.delivery.runner import PAGE
from hubtransport.queues.delivery import stored
from hubtransport.queues.records import QueuedMessage, QueuedRecipient, StoredHop, Unit
from hubtransport.queues.rows import message_values, recipient_values, unit_values
from hubtransport.queues.statements import contents
from hubtransport.queues.tables import HOPS, MESSAGES, METADATA, RECIPIENTS, REVISION, UNITS
from tests.harness.patience import until
from tests.unit.hubtransport.lab import QUICK, Lab

MANY = 100_000


def fill_queue(lab: Lab, count: int, **changes: object) -> None:
    """Units for store-b's site, as a hub that was killed left them."""
    folder = lab.topology.server_folder("hub-a")
    folder.mkdir(parents=True)
    engine = writing(open_engine(sqlite_url(folder / "queue.db")))
    prepare_schema(engine, METADATA, "hub", REVISION)
    now_ms = lab.clock.now_ms()
    with engine.begin() as connection, Spool.of(b"Subject: x\r\n\r\nHi\r\n") as spool:
        content = contents.write(connection, spool, references=count)
        message = QueuedMessage(
            id=1,
            entry_id="e00000001",
            network_message_id="n00000001",
            sender=Sender(address="alice@example.test"),
            content_id=content,
            content_bytes=spool.size_bytes,
            content_sha256=spool.sha256,
            received_at_ms=now_ms,
            expires_at_ms=now_ms + 10**9,
        )
        bob = Recipient(address="bob@example.test")
        queued = QueuedRecipient(position=0, recipient=bob, original=bob.address)
        unit = Unit(
            key="k00000001",
            message=message,
            recipients=(queued,),
            hop="hub::hub-b",
            group=("hub-b",),
            created_at_ms=now_ms,
            expires_at_ms=now_ms + 10**9,
        )
        connection.execute(insert(MESSAGES), message_values(message, content, "queued") | {"id": 1})
        connection.execute(insert(RECIPIENTS), recipient_values(1, queued, unit.key))
        connection.execute(insert(UNITS), unit_values(unit, claimed=False) | changes)
        for table in (MESSAGES, RECIPIENTS, UNITS):
            repeat_row(connection, table, count)
    engine.dispose()


def repeat_row(connection: Connection, table: Table, count: int) -> None:
    """The row of number 1 again for 2 to count."""
    numbered = {"id": "n", "message": "n"}
    numbered |= {name: f"substr({name}, 1, 1) || printf('%08d', n)" for name in ("entry_id", "key", "unit")}
    numbered["network_message_id"] = "printf('n%08d', n)"
    names = [f'"{column.name}"' for column in table.c]
    values = [numbered.get(column.name, f'"{column.name}"') for column in table.c]
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({', '.join(names)}) "
        f"WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) "
        f"SELECT {', '.join(values)} FROM {table.name}, numbers WHERE n <= {count}"
    )


@pytest.mark.slow
async def test_a_hundred_thousand_queued_start_at_once_and_stay_in_the_database(lab: Lab) -> None:
    fill_queue(lab, MANY)
    began = lab.clock.monotonic()
    await lab.start("hub-a")
    assert lab.clock.monotonic() - began < 2
    tracemalloc.start()
    try:
        assert lab.hubs["hub-a"].status().details["queued"] == MANY

        async def failing() -> bool:
            return bool(lab.hubs["hub-a"]._scheduler.failing())

        await until(failing, "hub-b is found to be away")
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
    finally:
        tracemalloc.stop()


async def test_a_long_queue_is_drained_by_pages_and_counted_at_its_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[StoredHop] = []

    def count(connection: Connection, hop: str) -> StoredHop:
        counted.append(stored(connection, hop))
        return counted[-1]

    monkeypatch.setattr("hubtransport.delivery.runner.stored", count)
    fill_queue(lab, 3 * PAGE, hop="store::store-a", group="")
    await lab.start("hub-a")
    await lab.stores["store-a"].wait(3 * PAGE)
    await lab.until_idle()
    assert [rest.count for rest in counted if rest.hop == "store::store-a"] == [0]


async def test_killed_hub_repeats_under_the_same_key(lab: Lab) -> None:
    fill_queue(lab, 3, claimed=True)
    await lab.start("hub-a")
    entries = await lab.queued()
    assert len(entries) == 3
    with open_engine(sqlite_url(lab.topology.server_folder("hub-a") / "queue.db")).connect() as connection:
        pinned = connection.execute(select(UNITS.c.pinned)).scalars().all()
    assert set(pinned) == {True}
    await lab.start("hub-b")
    await lab.stores["store-b"].wait(3)
    await lab.until_idle()
    control = lab.hubs["hub-b"]._control
    events = [event async for page in control.trace("", ("n00000001",)) for event in page]
    assert events[0].transfer_key == "k00000001"


async def test_what_a_killed_hub_may_have_delivered_is_not_reported_as_expired(lab: Lab) -> None:
    over = lab.clock.now_ms() - 1
    fill_queue(lab, 3, claimed=True, hop="store::store-a", group="", expires_at_ms=over)
    await lab.stores["store-a"].stop()
    await lab.start("hub-a")
    await lab.hubs["hub-a"]._sweeper.sweep()
    assert len(await lab.queued()) == 3
    await lab.stores["store-a"].start()
    delivered = await lab.stores["store-a"].wait(3)
    await lab.until_idle()
    assert [one.addresses for one in delivered] == [("bob@example.test",)] * 3
    assert not [event for event in await lab.events() if event.event in ("FAIL", "DSN")]


async def test_what_may_have_been_sent_before_the_hub_was_killed_is_no_first_attempt(lab: Lab) -> None:
    fill_queue(lab, 1, hop="store::store-a", group="", claimed=True)
    await lab.start("hub-a")
    await lab.stores["store-a"].wait()
    assert [transfer and transfer.first_attempt for transfer in lab.stores["store-a"].offered] == [False]


async def test_clock_set_back_makes_units_due(lab: Lab) -> None:
    fill_queue(lab, 1, next_attempt_at_ms=lab.clock.now_ms() + 30 * 24 * 3600 * 1000)
    await lab.start("hub-a", "hub-b")
    (delivered,) = await lab.stores["store-b"].wait()
    assert delivered.addresses == ("bob@example.test",)


@pytest.mark.parametrize("hours", [1, 1000])
async def test_failed_next_hop_is_remembered_over_a_restart(tmp_path: Path, hours: int) -> None:
    retry = Retry(**QUICK.model_dump() | {"outbound_interval_seconds": 2 * 3600.0})
    async with Lab(tmp_path, retry=retry) as lab:
        await lab.start("hub-a")
        await lab.send("bob@example.test")
        await lab.until_event("DEFER")
        await lab.stop("hub-a")
        file = lab.topology.server_folder("hub-a") / "queue.db"
        later = lab.clock.now_ms() + hours * 3_600_000
        with writing(open_engine(sqlite_url(file))).begin() as connection:
            connection.execute(update(HOPS).values(next_attempt_at_ms=later))
        await lab.start("hub-a", "hub-b")
        if hours == 1:
            (entry,) = await lab.queued()
            assert (entry.state, entry.next_attempt_at_ms) == ("retry", later)
            assert await lab.hubs["hub-a"]._control.retry("hub-b", ()) == 1
        await lab.stores["store-b"].wait()
        await lab.until_idle()


async def test_hub_that_is_back_is_chosen_again_though_its_queue_was_handed_over(tmp_path: Path) -> None:
    async with Lab(tmp_path, hubs={"hub-b2": "B"}) as lab:
        await lab.start("hub-a", "hub-b2")
        for number in range(10):
            await lab.send("bob@example.test", transfer=Transfer(network_message_id=f"n{number}"))
        await lab.stores["store-b"].wait(10)
        await lab.until_idle()
        scheduler = lab.hubs["hub-a"]._scheduler
        assert scheduler.failing() == {"hub::hub-b"}
        await lab.start("hub-b")

        async def recovered() -> bool:
            return not scheduler.failing()

        await until(recovered, "hub-b is found again")


async def test_one_entry_can_be_tried_again_now(lab: Lab) -> None:
    fill_queue(lab, 1, hop="store::store-a", group="", next_attempt_at_ms=lab.clock.now_ms() + 150)
    await lab.start("hub-a")
    assert await lab.hubs["hub-a"]._control.retry("", ("k00000001", "unknown")) == 1
    await lab.stores["store-a"].wait()


async def test_control_over_the_socket_and_over_tls(lab: Lab) -> None:
    await lab.stores["store-a"].stop()
    await lab.start("hub-a")
    await lab.send("carol@example.test")
    await lab.until_event("DEFER")
    local = RpcClient(UnixTarget(lab.topology.control_socket("hub-a")))
    identity = Identity(lab.topology.certificates, "store-a")
    rpc = lab.settings("hub-a").rpc
    remote = RpcClient(TcpTarget(rpc.host, rpc.port, identity.internal_client()))
    for client in (local, remote):
        control = client.interface(Control)
        status = await control.status()
        assert (status.name, status.role, status.site, status.state) == ("hub-a", "hub", "A", "ready")
        assert status.details["queued"] == 1
        assert status.details["next_hops_failing"] == 1
        assert [listener.protocol for listener in status.listeners] == ["smtp", "smtp-internal", "rpc"]
        entries = [entry async for page in control.queue() for entry in page]
        assert [entry.next_hop for entry in entries] == ["store-a"]
        events = [event async for page in control.trace("m1@example.test", ()) for event in page]
        assert events[0].event == "RECEIVE"
        assert (await control.reload()).applied == ("certificates",)
        await client.close()
    stranger = Identity(lab.topology.certificates, "stranger")
    refused = RpcClient(TcpTarget(rpc.host, rpc.port, stranger.internal_client()))
    with pytest.raises(MailError):
        await refused.interface(Control).status()
    await refused.close()


async def test_a_start_that_fails_can_be_stopped(lab: Lab) -> None:
    folder = lab.topology.server_folder("hub-a")
    folder.mkdir(parents=True)
    engine = open_engine(sqlite_url(folder / "queue.db"))
    prepare_schema(engine, METADATA, "hub", REVISION + 1)
    engine.dispose()
    with pytest.raises(SchemaTooNew):
        await lab.start("hub-a")
    await lab.stop("hub-a")


async def test_a_hub_whose_disk_failed_stops_in_order(lab: Lab) -> None:
    fill_queue(lab, 3)
    await lab.start("hub-a")
    assert len(await lab.queued()) == 3
    hub = lab.hubs["hub-a"]
    (queue,) = hub._scheduler.queues()
    await until(lambda: _some(queue.waiting), "units in memory")
    hub._writer._broken = OSError("the disk")
    await lab.stop("hub-a")
    assert not hub._closing


async def _some(waiting: Sized) -> bool:
    return len(waiting) > 0


async def test_port_in_use_is_told_and_everything_closed(lab: Lab) -> None:
    taken = lab.settings("hub-b").smtp_internal
    await lab.start("hub-b")
    hub_a = lab.settings("hub-a").model_copy(update={"smtp_internal": taken})
    hubs = tuple(hub_a if hub.name == "hub-a" else hub for hub in lab.topology.hubs)
    lab.topology = lab.topology.model_copy(update={"hubs": hubs})
    with pytest.raises(OSError):
        await lab.start("hub-a")
    await lab.stop("hub-a")
