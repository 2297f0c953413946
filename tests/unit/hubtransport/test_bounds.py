"""What happens at the bounds: memory, a directory that is away, a database that refuses, time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from foundation.interfaces.directory import DirectoryRecipient
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError, Unavailable
from hubtransport.categorizer import worker
from hubtransport.delivery import conclude, scheduler, sweep
from hubtransport.queues.delivery import exactly
from hubtransport.queues.tables import CONTENTS, KEYS, MESSAGES, RECIPIENTS, TRACKING, UNITS
from tests.harness.patience import until
from tests.unit.hubtransport.lab import CONTENT, Lab, transmit

HOUR_MS = 3600 * 1000


async def count(lab: Lab, *tables: Any) -> list[int]:
    readers = lab.hubs["hub-a"]._store.readers
    return [
        await readers.run(
            lambda connection, table=table: connection.execute(  # type: ignore[misc]
                select(func.count()).select_from(table)
            ).scalar()
        )
        for table in tables
    ]


async def test_more_than_fits_into_memory_waits_in_the_database(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MEMORY_MAX", 3)
    monkeypatch.setattr(worker, "AT_ONCE", 1)
    monkeypatch.setattr(scheduler, "WINDOW", 2)
    await lab.start("hub-a")
    connection = await lab.connect_inside()
    for _ in range(40):
        await lab.send("carol@example.test", connection=connection)
    await lab.stores["store-a"].wait(40)
    await lab.until_idle()
    assert len(lab.stores["store-a"].delivered) == 40


async def test_nothing_is_left_behind(lab: Lab) -> None:
    lab.directory.add_group("team@example.test", members=["carol@example.test", "alice@example.test"])
    await lab.start("hub-a")
    large = CONTENT + b"x" * 70 * 5000 + b"\r\n"
    await lab.send("team@example.test", "carol@example.test", "nobody@example.test", content=large)
    await lab.stores["store-a"].wait(2)
    await lab.until_idle()
    tables = (MESSAGES, RECIPIENTS, UNITS, CONTENTS.contents, CONTENTS.chunks)
    assert await count(lab, *tables) == [0, 0, 0, 0, 0]
    assert any(each.content.endswith(large) for each in lab.stores["store-a"].delivered)


class AwayDirectory:
    """Stands before the real one, and can't be asked for some addresses."""

    def __init__(self, lab: Lab) -> None:
        self._directory = lab.hubs["hub-a"]._directory
        self.away = True
        lab.hubs["hub-a"]._directory = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._directory, name)

    async def find(self, address: str) -> DirectoryRecipient | None:
        if self.away and address.startswith("carol"):
            raise Unavailable("The directory can't be asked now", status="4.3.0")
        return await self._directory.find(address)


async def test_directory_away_delays_only_what_needs_it(lab: Lab) -> None:
    await lab.start("hub-a")
    directory = AwayDirectory(lab)
    await lab.send("carol@example.test")
    await lab.send("alice@example.test")
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.addresses == ("alice@example.test",)
    assert "can't be asked" in (await lab.until_event("DEFER")).reply
    await lab.until_event("SEND")
    (entry,) = await lab.queued()
    assert entry.queue == "submission"
    directory.away = False
    await lab.stores["store-a"].wait(2)


async def test_directory_away_for_too_long_ends_in_a_report(lab: Lab) -> None:
    await lab.start("hub-a")
    AwayDirectory(lab)
    await lab.send("carol@example.test")
    await lab.until_event("DEFER")
    lab.clock.ahead_ms += 49 * HOUR_MS
    (report,) = await lab.stores["store-a"].wait()
    assert report.addresses == ("alice@example.test",)
    assert b"4.7" in report.content
    await lab.until_idle()


async def test_outside_is_told_to_come_again_while_the_directory_is_away(lab: Lab) -> None:
    await lab.start("hub-a")
    hub = lab.hubs["hub-a"]
    real = hub._directory.find

    async def away(address: str) -> DirectoryRecipient | None:
        if address.startswith("carol"):
            raise Unavailable("The directory can't be asked now", status="4.3.0")
        return await real(address)

    hub._directory.find = away  # type: ignore[method-assign]
    result = await transmit(
        await lab.connect_outside(),
        "friend@example.org",
        ["carol@example.test", "alice@example.test"],
        CONTENT,
    )
    assert [reply.code for reply in result.recipients] == [451, 250]


async def test_outcome_is_committed_when_the_database_takes_it_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = conclude.conclude
    refusals = [MailError(452, "4.3.1", "full"), MailError(451, "4.3.0", "busy")]

    def refuse(connection: Any, conclusion: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return real(connection, conclusion)

    monkeypatch.setattr(conclude, "conclude", refuse)
    monkeypatch.setattr(conclude, "COMMIT_RETRY_SECONDS_FIRST", 0.01)
    await lab.start("hub-a")
    await lab.send("carol@example.test")
    await lab.stores["store-a"].wait()
    await lab.until_idle()
    assert not refusals
    assert (lab.stores["store-a"].repeats, len(lab.stores["store-a"].delivered)) == (0, 1)


async def test_queue_that_failed_for_half_a_day_is_routed_anew(lab: Lab) -> None:
    await lab.stores["store-a"].stop()
    await lab.start("hub-a", "hub-b")
    for _ in range(25):
        await lab.send("carol@example.test")
    await lab.until_event("DEFER")
    lab.directory.remove_user("carol@example.test")
    lab.directory.add_user("caroline@example.test", "x", store="store-b", stores={"store-b": "default"})
    lab.directory.add_alias("carol@example.test", "caroline@example.test")
    hub = lab.hubs["hub-a"]

    async def known() -> bool:
        carol = await hub._directory.find("carol@example.test")
        return carol is not None and carol.store == "store-b"

    await until(known, "the hub knows where carol is now")
    lab.clock.ahead_ms += 13 * HOUR_MS

    async def arrived() -> bool:
        await hub._sweeper.sweep()  # what is in hand at this moment waits for the next one
        return len(lab.stores["store-b"].delivered) >= 25

    await until(arrived, "all of the queue at its new store")
    delivered = lab.stores["store-b"].delivered
    assert [each.addresses for each in delivered] == [("caroline@example.test",)] * 25
    resubmitted = [event for event in await lab.events() if event.event == "RESUBMIT"]
    # Also the reports of the delay, whose addressee is on the same store.
    assert [event.recipients for event in resubmitted].count(("carol@example.test",)) == 25
    assert all("could not be reached for long" in event.reason for event in resubmitted)


async def test_group_with_success_asked_is_reported_as_expanded(lab: Lab) -> None:
    lab.directory.add_group("team@example.test", members=["carol@example.test", "friend@example.org"])
    await lab.start("hub-a")
    await lab.send(
        Recipient(address="team@example.test", notify="SUCCESS,FAILURE"),
        sender=Sender(address="alice@example.test"),
    )
    delivered = await lab.stores["store-a"].wait(2)
    await lab.until_idle()
    report = next(each for each in delivered if not each.sender.address)
    assert b"Action: expanded" in report.content
    assert b"team@example.test" in report.content
    (outside,) = await lab.outside.wait()
    assert outside.recipients[0].notify == "FAILURE"
    assert outside.recipients[0].orcpt == "rfc822;team@example.test"
    assert len(delivered) == 2


async def test_old_keys_and_events_are_removed(lab: Lab) -> None:
    await lab.start("hub-a")
    await lab.send("carol@example.test", transfer=Transfer(network_message_id="n", transfer_key="k"))
    await lab.until_idle()
    sweeper = lab.hubs["hub-a"]._sweeper
    await sweeper.sweep()
    assert await count(lab, KEYS) == [1]
    lab.clock.ahead_ms += sweep.KEYS_KEPT_MS + HOUR_MS
    await sweeper.sweep()
    assert await count(lab, KEYS) == [0]
    assert (await count(lab, TRACKING))[0] > 0
    lab.clock.ahead_ms += sweep.TRACKING_KEPT_MS
    await sweeper.sweep()
    assert await count(lab, TRACKING) == [0]


async def test_a_failed_disk_asks_for_a_restart(lab: Lab) -> None:
    await lab.start("hub-a")
    hub = lab.hubs["hub-a"]
    assert not hub.failed.is_set()
    callback: Callable[[BaseException], None] = hub._database_failed
    callback(OSError("I/O error"))
    assert hub.failed.is_set()


def test_pattern_for_one_hop_matches_no_other() -> None:
    assert exactly("mx:o:a_b%.test") == "mx:o:a\\_b\\%.test"
