"""What is decided of a message before its first commit: the same as later, in one commit instead of two."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select

from foundation.interfaces.tracking import TrackingEvent
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from hubtransport.categorizer import forwarder
from hubtransport.categorizer.comply import AgentChain, Assessment
from hubtransport.categorizer.decision import Context
from hubtransport.queues.tables import MESSAGES, RECIPIENTS, UNITS
from tests.harness.patience import until
from tests.unit.hubtransport.lab import Lab

RECIPIENTS_OF_ALL_KINDS = (
    "info@example.test",
    "carol@example.test",
    Recipient(address="team@example.test", notify="FAILURE"),
    "bob@example.test",
    "friend@example.org",
)
CHANGING = {"id", "entry_id", "content_id", "network_message_id", "prefix", "message", "unit", "key"}


def submitted(lab: Lab) -> list[int]:
    """Rows that come to the submission queue from now on."""
    worker, found = lab.hubs["hub-a"]._categorizer, []
    original = worker.submitted

    def watched(messages: Any) -> None:
        found.extend(message.id for message in messages)
        original(messages)

    worker.submitted = watched  # type: ignore[method-assign]
    return found


def places_taken(lab: Lab, hop: str = "store::store-a") -> int:
    return lab.hubs["hub-a"]._scheduler.queue(hop).in_memory


async def rows(lab: Lab) -> list[list[dict[str, Any]]]:
    """Messages, recipients and units in the database, without what differs each time."""

    def read(connection: Connection) -> list[list[dict[str, Any]]]:
        found = []
        for table in (MESSAGES, RECIPIENTS, UNITS):
            values = connection.execute(select(table).order_by(*table.primary_key)).mappings()
            found.append([{name: row[name] for name in row if not _changes(name)} for row in values])
        return found

    return await lab.hubs["hub-a"]._store.readers.run(read)


def _changes(column: str) -> bool:
    return column in CHANGING or column.endswith("_ms")


def _told(event: TrackingEvent) -> TrackingEvent:
    return msgspec.structs.replace(
        event, at_ms=0, sequence=0, network_message_id="", transfer_key="", reply="", size_bytes=0
    )


async def test_at_once_or_later_rows_and_events_are_the_same(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.directory.add_alias("info@example.test", "carol@example.test")
    lab.directory.add_group("team@example.test", members=["alice@example.test", "bob@example.test"])
    for store in lab.stores.values():
        await store.stop()
    await lab.outside.stop()
    found = []
    for bound in (forwarder.RECIPIENTS_AT_ONCE, 0):
        monkeypatch.setattr(forwarder, "RECIPIENTS_AT_ONCE", bound)
        await lab.start("hub-a")
        waited = submitted(lab)
        await lab.send(*RECIPIENTS_OF_ALL_KINDS)

        async def routed() -> bool:
            return {entry.queue for entry in await lab.queued()} == {"delivery"}

        await until(routed, "it waits for its next hops")
        assert bool(waited) == (bound == 0)
        events = [event for event in await lab.events() if event.event not in ("DEFER", "REDIRECT")]
        found.append((await rows(lab), [_told(event) for event in events]))
        await lab.stop("hub-a")
        (lab.topology.server_folder("hub-a") / "queue.db").unlink()
    assert found[0] == found[1]
    names = [event.event for event in found[0][1]]
    assert names[0] == "RECEIVE"
    assert {"RESOLVE", "EXPAND", "DUPLICATEDELIVER", "AGENTINFO", "TRANSFER"} <= set(names)


async def test_it_is_one_commit_before_the_250_and_one_after_the_delivery(lab: Lab) -> None:
    await lab.start("hub-a")
    writer, commits = lab.hubs["hub-a"]._writer, []
    commit = writer._commit

    def counted(units: Any) -> Any:
        commits.append(len(units))
        return commit(units)

    writer._commit = counted  # type: ignore[method-assign]
    await lab.send("carol@example.test")
    assert commits == [1]
    await lab.until_event("SEND")
    assert commits == [1, 1]


async def test_what_is_reported_to_the_sender_is_accepted_first(lab: Lab) -> None:
    lab.directory.add_group("team@example.test", members=["carol@example.test"])
    await lab.start("hub-a")
    waited = submitted(lab)
    await lab.send(Recipient(address="nobody@example.test"))
    await lab.stores["store-a"].wait(1)
    await lab.send(Recipient(address="team@example.test", notify="SUCCESS"))
    await lab.stores["store-a"].wait(3)
    # Each message, and its report after it.
    assert len(waited) == 4


async def test_agents_see_what_is_committed(lab: Lab) -> None:
    class Reading:
        name = "reading"

        async def assess(self, message: Any, recipients: Any) -> Assessment:
            assert message.id and await lab.hubs["hub-a"]._store.header(message)
            return Assessment(reason="read it")

    await lab.start("hub-a", agents=AgentChain(agents=(Reading(),)))
    waited = submitted(lab)
    await lab.send("carol@example.test")
    await lab.send("carol@example.test", transfer=Transfer(network_message_id="n", assessed="hub-x/1"))
    await lab.stores["store-a"].wait(2)
    assert len(waited) == 1


async def test_a_directory_that_takes_long_is_asked_after_the_250(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "SECONDS_AT_ONCE", 0.01)
    await lab.start("hub-a")
    hub, answers = lab.hubs["hub-a"], asyncio.Event()
    find = hub._directory.find

    async def slow(address: str) -> Any:
        await answers.wait()
        return await find(address)

    hub._directory.find = slow  # type: ignore[method-assign]
    waited = submitted(lab)
    result = await lab.send("carol@example.test")
    assert (result.final[0].code, len(waited)) == (250, 1)
    answers.set()
    await lab.stores["store-a"].wait()


async def test_what_waits_already_goes_first(lab: Lab) -> None:
    await lab.start("hub-a")
    waited = submitted(lab)
    lab.hubs["hub-a"]._categorizer._stored = True
    await lab.send("carol@example.test")
    assert len(waited) == 1
    await lab.stores["store-a"].wait()


@pytest.mark.parametrize(
    ("error", "code"), [(MailError(452, "4.3.1", "The database is full"), 452), (ZeroDivisionError(), 451)]
)
async def test_no_place_is_kept_for_what_was_not_committed(lab: Lab, error: Exception, code: int) -> None:
    await lab.start("hub-a")
    taken: list[int] = []

    async def fail(unit: Any, *rest: Any, **options: Any) -> Any:
        taken.append(places_taken(lab))
        raise error

    lab.hubs["hub-a"]._writer.run = fail  # type: ignore[method-assign]
    assert (await lab.send("carol@example.test")).final[0].code == code
    assert (taken, places_taken(lab)) == ([1], 0)


async def test_no_place_is_kept_for_what_was_committed_before(lab: Lab) -> None:
    await lab.start("hub-a")
    transfer = Transfer(network_message_id="n1", transfer_key="key-1", first_attempt=True)
    await lab.send("carol@example.test", transfer=transfer)
    await lab.until_idle()
    assert places_taken(lab) == 0
    assert (await lab.send("carol@example.test", transfer=transfer)).final[0].code == 250
    assert places_taken(lab) == 0
    assert len(lab.stores["store-a"].delivered) == 1


async def test_what_has_no_place_in_memory_is_stored_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubtransport.delivery.scheduler.WINDOW", 1)
    await lab.start("hub-a")
    connection = await lab.connect_inside()
    for _ in range(5):
        await lab.send("carol@example.test", connection=connection)
    await lab.stores["store-a"].wait(5)
    await lab.until_idle()
    assert len(lab.stores["store-a"].delivered) == 5


async def test_nobody_to_deliver_to_is_no_way_at_once(lab: Lab) -> None:
    lab.directory.add_group("empty@example.test", members=[])
    await lab.start("hub-a")
    waited = submitted(lab)
    await lab.send("empty@example.test", sender=Sender(address=""))
    await lab.until_event("EXPAND")
    await lab.until_idle()
    assert len(waited) == 1
    assert await rows(lab) == [[], [], []]


async def test_a_mistake_in_a_stage_is_counted_where_messages_wait(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(candidate: Any, context: Context) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("hubtransport.categorizer.pipeline.route", broken)
    monkeypatch.setattr("hubtransport.categorizer.worker.DEFERRED_SECONDS", 0.01)
    await lab.start("hub-a")
    assert (await lab.send("carol@example.test")).final[0].code == 250
    event = await lab.until_event("POISONMESSAGE")
    assert "failed on it 2 times" in event.reason


async def test_a_mistake_in_the_commit_is_counted_too_and_keeps_no_place(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def broken(connection: Connection, work: Any) -> Any:
        taken.append(places_taken(lab))
        raise ZeroDivisionError

    monkeypatch.setattr(forwarder, "RECIPIENTS_AT_ONCE", 0)
    monkeypatch.setattr("hubtransport.categorizer.worker.enqueue", broken)
    monkeypatch.setattr("hubtransport.categorizer.worker.DEFERRED_SECONDS", 0.01)
    await lab.start("hub-a")
    assert (await lab.send("carol@example.test")).final[0].code == 250
    event = await lab.until_event("POISONMESSAGE")
    assert "failed on it 2 times" in event.reason
    assert (taken, places_taken(lab)) == ([1, 1], 0)
