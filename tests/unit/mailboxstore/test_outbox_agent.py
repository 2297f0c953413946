"""The Outbox agent against hubs that take, refuse, defer, vanish and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from foundation.interfaces.mailbox_store import SEEN
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError
from foundation.smtp.reply import Reply
from mailboxstore.control import StoreControl
from mailboxstore.database.units import State, Unit, units_page
from mailboxstore.outbox.agent import OutboxAgent
from mailboxstore.outbox.reports import Reports
from mailboxstore.outbox.retry import Backoff
from mailboxstore.outbox.submission import OutboxSubmission
from tests.harness.patience import until
from tests.unit.mailboxstore.bench import ALICE, PLAIN, Bench, message
from tests.unit.mailboxstore.hub import TestHub, connect_in_clear

ME = ALICE.mailbox_id
TWO = (Recipient(address="bob@example.org"), Recipient(address="dora@example.net"))


class Office:
    """A bench whose submissions go to an agent with hubs."""

    def __init__(self, bench: Bench, hubs: list[TestHub]) -> None:
        self.bench = bench
        self.hubs = hubs
        self.agent = self._agent()
        self._use(self.agent)

    def _agent(self) -> OutboxAgent:
        bench = self.bench
        return OutboxAgent(
            bench.database,
            [hub.address for hub in self.hubs],
            connect_in_clear,
            Reports(bench.database, "store.example.org", "example.org"),
            bench.notifications.publish,
            bench.world,
            backoff=Backoff(0.01, 0.02, lambda low, high: 1.0),
            delay_notice_ms=4 * 3600 * 1000,
        )

    def _use(self, agent: OutboxAgent) -> None:
        bench = self.bench
        bench.store._submission = OutboxSubmission(
            bench.database, agent, bench.notifications.publish, 48 * 3600 * 1000
        )

    async def restart(self) -> None:
        await self.agent.stop()
        self.agent = self._agent()
        self._use(self.agent)
        await self.agent.start()

    async def units(self) -> tuple[Unit, ...]:
        return await self.bench.database.readers.run(lambda c: units_page(c, "", 100))

    async def until(self, folder: str, count: int) -> None:
        """Waits, by the mailbox's notices, until a folder has so many messages."""
        watch = self.bench.store.watch(ME)
        async with asyncio.timeout(10):
            async for _ in watch:
                if (await self.bench.store.folder(ME, folder)).messages == count:
                    break
        await watch.aclose()


def told_when_down(agent: OutboxAgent) -> asyncio.Event:
    """Set once a hub was found away, and what was in hand for it was handed back."""
    down = asyncio.Event()
    tell_lanes = agent.went_down

    def went_down(hub: str) -> None:
        tell_lanes(hub)
        down.set()

    agent.went_down = went_down  # type: ignore[method-assign]
    return down


@pytest.fixture
async def office(bench: Bench) -> AsyncIterator[Office]:
    hub = TestHub("hub-a")
    await hub.start()
    made = Office(bench, [hub])
    await made.agent.start()
    bench.clock.run()
    yield made
    await made.agent.stop()
    for each in made.hubs:
        await each.stop()


async def test_hub_takes_it_and_the_entry_goes(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    await bench.submit()
    taken = await hub.message()
    await office.until("Outbox", 0)
    assert taken.content.startswith(b"Received: from laptop") and taken.content.endswith(PLAIN)
    assert taken.transfer.prefix_bytes == len(taken.content) - len(PLAIN)
    assert taken.transfer.network_message_id == "network-key-1"
    assert await office.units() == ()
    changes = await bench.store.changes(ME, await bench.folder_id("Outbox"), 0)
    assert changes.expunged == (1,)
    [event] = await bench.events("SUBMIT")
    assert event.transfer_key == taken.transfer.transfer_key
    assert (event.next_hop, event.reply) == ("hub-a", "250 2.0.0 Queued")
    assert len(await bench.records("Sent")) == 1


async def test_an_entry_of_an_earlier_release_leaves_with_the_prefix_of_its_email(bench: Bench) -> None:
    await bench.submit()
    received = bench.turns.units[0].prefix

    def as_before(connection: Connection) -> None:
        connection.execute(text("UPDATE outbox_units SET prefix = NULL"))
        connection.execute(
            text("UPDATE emails SET prefix = :prefix, size_bytes = size_bytes + :more"),
            {"prefix": received, "more": len(received)},
        )

    await bench.database.writer.run(as_before)
    hub = TestHub("hub-a")
    await hub.start()
    office = Office(bench, [hub])
    await office.agent.start()
    taken = await hub.message()
    await office.agent.stop()
    await hub.stop()
    assert taken.content == received + PLAIN
    assert taken.transfer.prefix_bytes == len(received)


async def test_many_messages_share_kept_connections(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    await asyncio.gather(*(bench.submit(key=f"key-{number}") for number in range(100)))
    await hub.message(100)
    await office.until("Outbox", 0)
    assert hub.connections_made <= 20
    assert len({taken.transfer.transfer_key for taken in hub.taken}) == 100
    await office.agent.stop()
    assert office.agent.in_hand == 0


async def test_refusal_of_all_becomes_a_report(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    hub.final_reply = Reply.of(550, "5.7.1", "Not this one")
    await bench.submit(sender=Sender(address=ALICE.address, envid="e1"))
    await office.until("Outbox", 0)
    [report] = await bench.records("INBOX")
    assert report.content is not None and not report.flags & SEEN
    assert report.content.startswith(b"Return-Path: <>\r\n")
    assert b"550 5.7.1 Not this one" in report.content and b"Action: failed" in report.content
    assert b"Original-Envelope-Id: e1" in report.content and b"At noon?" not in report.content
    assert [event.event for event in await bench.events()] == ["RECEIVE", "FAIL", "DSN"]
    dsn = (await bench.events("DSN"))[0]
    assert dsn.related == "network-key-1" and dsn.recipients == (ALICE.address,)


async def test_refusal_of_one_recipient(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    hub.recipient_replies["dora@example.net"] = Reply.of(550, "5.1.1", "Unknown")
    await bench.submit(recipients=TWO, sender=Sender(address=ALICE.address, ret="FULL"))
    await office.until("Outbox", 0)
    taken = await hub.message()
    assert [recipient.address for recipient in taken.recipients] == ["bob@example.org"]
    [report] = await bench.records("INBOX")
    assert report.content is not None
    assert b"dora@example.net" in report.content and b"At noon?" in report.content
    assert b"\r\nReporting-MTA: dns; store.example.org\r\n" in report.content
    assert b"\r\nRemote-MTA: dns; hub-a.example.org\r\n" in report.content
    assert {event.event: event.recipients for event in await bench.events("SUBMIT", "FAIL")} == {
        "SUBMIT": ("bob@example.org",),
        "FAIL": ("dora@example.net",),
    }


async def test_nobody_is_told_who_asked_for_nothing(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    hub.sender_reply = Reply.of(550, "5.7.1", "No")
    await bench.submit(recipients=(Recipient(address="bob@example.org", notify="NEVER"),))
    await office.until("Outbox", 0)
    assert await bench.records("INBOX") == []
    assert len(await bench.events("FAIL")) == 1


async def test_deferred_recipient_leaves_to_a_unit_of_its_own(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    hub.recipient_replies["dora@example.net"] = Reply.of(451, "4.3.0", "Later")
    await bench.submit(recipients=TWO)
    first = await hub.message()
    hub.recipient_replies.clear()
    second = await hub.message(2)
    await office.until("Outbox", 0)
    assert [recipient.address for recipient in second.recipients] == ["dora@example.net"]
    assert first.transfer.transfer_key != second.transfer.transfer_key
    assert first.transfer.network_message_id == second.transfer.network_message_id
    events = await bench.events()
    assert {"DEFER", "TRANSFER"} <= {event.event for event in events}


async def test_deferred_message_is_tried_again_under_its_key(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    hub.final_reply = Reply.of(452, "4.3.1", "Full")
    await bench.submit()
    await hub.attempted(2)
    hub.final_reply = None
    taken = await hub.message()
    await office.until("Outbox", 0)
    [event] = await bench.events("SUBMIT")
    assert event.transfer_key == taken.transfer.transfer_key
    assert {one.transfer_key for one in await bench.events("DEFER")} == {event.transfer_key}


@pytest.fixture
async def vanishing(bench: Bench) -> AsyncIterator[Office]:
    """With two hubs, of which each takes a message and is gone before it says so."""
    hubs = [TestHub("hub-a"), TestHub("hub-b")]
    for hub in hubs:
        hub.vanish = True
        await hub.start()
    made = Office(bench, hubs)
    await made.agent.start()
    bench.clock.run()
    yield made
    await made.agent.stop()
    for hub in hubs:
        await hub.stop()


async def test_unknown_outcome_is_asked_of_the_same_hub_under_the_same_key(vanishing: Office) -> None:
    await vanishing.bench.submit()
    await vanishing.until("Outbox", 0)
    used = [hub for hub in vanishing.hubs if hub.attempts]
    assert len(used) == 1 and used[0].attempts == 2
    assert len(used[0].taken) == 1
    assert [transfer.first_attempt for transfer in used[0].offered if transfer] == [True, False]


async def test_an_operator_releases_what_a_lost_hub_may_have(vanishing: Office) -> None:
    office, bench, hubs = vanishing, vanishing.bench, vanishing.hubs
    down = told_when_down(office.agent)
    await bench.submit()
    await down.wait()
    [lost] = [hub for hub in hubs if hub.taken]
    [other] = [hub for hub in hubs if hub is not lost]
    other.vanish = False
    await lost.stop()
    control = StoreControl(bench.database, office.agent, lambda: None, lambda: None)  # type: ignore
    [entry] = [entry async for batch in control.queue() for entry in batch]
    assert entry.outcome_unknown
    await until(lambda: _released(control, entry.entry_id), "it is released between two tries")
    await office.until("Outbox", 0)
    [taken] = other.taken
    assert taken.transfer.transfer_key != entry.entry_id
    [event] = await bench.events("RESUBMIT")
    assert (event.source, event.transfer_key, event.next_hop) == ("ADMIN", entry.entry_id, lost.name)
    assert event.reason.endswith("its disk is gone")
    assert await control.release((entry.entry_id, "another"), "twice") == 0


async def _released(control: StoreControl, entry_id: str) -> bool:
    return await control.release((entry_id,), "its disk is gone") == 1


async def test_hub_away_and_back(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    await hub.stop()
    down = told_when_down(office.agent)
    for number in range(5):
        await bench.submit(key=f"key-{number}")
    control = StoreControl(bench.database, office.agent, lambda: None, lambda: None)  # type: ignore
    await down.wait()
    entries = [entry async for batch in control.queue() for entry in batch]
    assert {(entry.queue, entry.next_hop) for entry in entries} == {("outbox", "hub-a")}
    assert len(entries) == 5 and all(entry.next_attempt_at_ms for entry in entries if entry.state == "retry")
    await hub.start()
    await hub.message(5)
    await office.until("Outbox", 0)
    assert sorted(taken.transfer.network_message_id for taken in hub.taken) == [
        f"network-key-{number}" for number in range(5)
    ]
    assert [event.event for event in await bench.events("FAIL", "DSN")] == []


async def test_another_hub_takes_over(bench: Bench) -> None:
    away, there = TestHub("hub-a"), TestHub("hub-b")
    for hub in (away, there):
        await hub.start()
    await away.stop()
    office = Office(bench, [away, there])
    await office.agent.start()
    bench.clock.run()
    for number in range(6):
        await bench.submit(key=f"key-{number}")
    await there.message(6)
    await office.until("Outbox", 0)
    assert {event.next_hop for event in await bench.events("SUBMIT")} == {"hub-b"}
    await office.agent.stop()
    await there.stop()


async def test_entry_in_transfer_is_in_use_and_survives_a_restart(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    hub.hold = asyncio.Event()
    await bench.submit()
    await hub.attempted(1)
    [unit] = await office.units()
    assert unit.state == "active"
    folder_id = await bench.folder_id("Outbox")
    with pytest.raises(Exception, match="on its way"):
        await bench.store.expunge(ME, folder_id, None, deleted_only=False)
    hub.hold.set()
    await office.until("Outbox", 0)


async def test_start_asks_for_what_was_interrupted(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    bench.store._submission = OutboxSubmission(
        bench.database, bench.turns, bench.notifications.publish, 48 * 3600 * 1000
    )
    bench.turns.state = "active"
    await bench.submit()
    await office.restart()
    taken = await hub.message()
    await office.until("Outbox", 0)
    assert taken.transfer.transfer_key == bench.turns.units[0].transfer_key


async def test_too_old_is_given_up_and_late_is_told_once(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    await hub.stop()
    down = told_when_down(office.agent)
    await bench.submit()
    await down.wait()
    bench.clock.advance(5 * 3600)
    await office.agent.sweep()
    await office.agent.sweep()
    [late] = await bench.records("INBOX")
    assert late.content is not None and b"Action: delayed" in late.content
    assert len(await office.units()) == 1
    bench.clock.advance(48 * 3600)
    await office.agent.stop()
    await office.agent.sweep()
    assert await office.units() == ()
    failed = (await bench.records("INBOX"))[-1]
    assert failed.content is not None and b"Action: failed" in failed.content and b"4.4.7" in failed.content
    assert await bench.records("Outbox") == []


async def test_retry_probes_at_once(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    office.agent._backoff = Backoff(3600, 3600, lambda low, high: 1.0)
    for lane in office.agent._lanes.values():
        lane._backoff = office.agent._backoff
    await hub.stop()
    down = told_when_down(office.agent)
    await bench.submit()
    await down.wait()
    await hub.start()
    assert await office.agent.retry("hub-a", ()) == 1
    await hub.message()
    await office.until("Outbox", 0)


async def test_repeat_that_can_not_be_sent_stays_with_its_hub(office: Office) -> None:
    """A hub that may have it, and then defers or is away, is asked again; nobody else is, and it can't be
    withdrawn.
    """
    bench, [hub] = office.bench, office.hubs
    hub.vanish = True
    hub.final_reply = Reply.of(451, "4.3.0", "Not now")
    await bench.submit()
    await hub.attempted(3)
    [unit] = await office.units()
    assert unit.state in ("unknown", "repeat") and unit.target == "hub-a"
    with pytest.raises(Exception, match="on its way"):
        await bench.store.expunge(ME, await bench.folder_id("Outbox"), None, deleted_only=False)
    hub.final_reply = None
    taken = await hub.message()
    await office.until("Outbox", 0)
    assert taken.transfer.transfer_key == unit.transfer_key


async def test_hub_taken_out_of_the_settings_frees_its_units(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    bench.store._submission = OutboxSubmission(
        bench.database, bench.turns, bench.notifications.publish, 48 * 3600 * 1000
    )
    for state in ("ready", "active"):
        bench.turns.state = state  # type: ignore[assignment]
        await bench.submit(key=state)
    other = TestHub("hub-b")
    await other.start()
    office.hubs.append(other)
    await office.agent.stop()
    office.hubs.remove(hub)
    office.agent = office._agent()
    await office.agent.start()
    await other.message(2)
    await office.until("Outbox", 0)
    assert hub.taken == []
    await hub.stop()


async def test_outcome_is_written_when_the_database_can_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, [hub] = office.bench, office.hubs
    hub.hold = asyncio.Event()
    await bench.submit()
    await hub.attempted(1)
    writer, failures = (
        bench.database.writer,
        [MailError(452, "4.3.1", "Full"), MailError(451, "4.3.0", "Busy")],
    )
    run = writer.run

    async def failing(*arguments: object, **named: object) -> object:
        if failures:
            raise failures.pop()
        return await run(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "run", failing)
    hub.hold.set()
    await office.until("Outbox", 0)
    assert not failures and len(hub.taken) == 1


async def test_large_message_is_sent_in_pieces(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    content = message(body="x" * 700_000, more="Bcc: secret@example.org\r\n")
    await bench.submit(content)
    taken = await hub.message()
    assert taken.content.endswith(content.replace(b"Bcc: secret@example.org\r\n", b""))


async def test_caller_that_goes_away_leaves_no_trace_in_the_lane(office: Office) -> None:
    bench, [hub] = office.bench, office.hubs
    await bench.store.folders(ME)
    assigned = asyncio.Event()
    assign = office.agent.assign

    def assign_and_tell() -> tuple[str, State]:
        assigned.set()
        return assign()

    office.agent.assign = assign_and_tell  # type: ignore[method-assign]
    task = asyncio.create_task(bench.submit())
    await assigned.wait()
    task.cancel()
    await hub.message()
    await office.until("Outbox", 0)
    await office.agent.stop()
    assert office.agent.in_hand == 0


async def test_a_message_that_can_t_be_read_waits_and_says_why(office: Office, tmp_path: Path) -> None:
    async def told() -> bool:
        replies = [unit.last_reply for unit in await office.units()]
        return any("451 4.3.0 The content of this message can't be read" in reply for reply in replies)

    bench, [hub] = office.bench, office.hubs
    await office.agent.stop()
    await bench.submit(message(body="x" * 100_000))
    [file] = (tmp_path / "store.db-content").iterdir()
    whole = file.read_bytes()
    file.unlink()
    await office.restart()
    await until(told, "the unit is deferred")
    file.write_bytes(whole)
    assert (await hub.message()).content.endswith(whole)
