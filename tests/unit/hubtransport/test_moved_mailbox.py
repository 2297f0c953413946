"""Mail under way to a store that no longer has the mailbox follows it; recipients that come back to the
categorizer are not forgotten, whatever is done with their message meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from foundation.directory import lookup
from foundation.mail.errors import Unavailable
from foundation.smtp.reply import Reply
from hubtransport.categorizer import forwarder
from hubtransport.routing.hop import Hop
from tests.harness.patience import until
from tests.unit.hubtransport.lab import Lab

STORES = {"store-a": "default", "store-b": "default"}
ELSEWHERE = Reply.of(451, "4.1.6", "The mailbox lives on another server")


async def until_queued(lab: Lab, count: int) -> None:
    async def look() -> bool:
        return [entry.queue for entry in await lab.queued()] == ["delivery"] * count

    await until(look, f"{count} units wait")


async def test_mail_under_way_follows_a_mailbox_to_its_new_store(lab: Lab) -> None:
    old, new = lab.stores["store-a"], lab.stores["store-b"]
    await old.stop()
    await lab.start("hub-a", "hub-b")
    await lab.send("carol@example.test", "alice@example.test")
    await until_queued(lab, 1)
    lab.directory.rehome_user("carol@example.test", "store-b", STORES)
    old.recipient_replies["carol@example.test"] = [ELSEWHERE] * 100
    await old.start()
    await new.wait()
    await lab.until_idle()
    await lab.until_idle("hub-b")
    assert [delivered.addresses for delivered in old.delivered] == [("alice@example.test",)]
    assert [delivered.addresses for delivered in new.delivered] == [("carol@example.test",)]
    again = await lab.until_event("RESUBMIT")
    assert (again.recipients, again.next_hop) == (("carol@example.test",), "store-a")
    assert again.reply == str(ELSEWHERE)


async def test_hubs_that_read_different_directories_do_not_send_mail_to_and_fro(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "POLL_SECONDS", 3600.0)
    await lab.start("hub-a", "hub-b")
    lab.directory.rehome_user("carol@example.test", "store-b", STORES)
    await lab.hubs["hub-a"]._directory.refresh()
    await lab.send("carol@example.test")
    (delivered,) = await lab.stores["store-b"].wait()
    assert delivered.addresses == ("carol@example.test",)
    await lab.until_idle("hub-b")
    for hub in ("hub-a", "hub-b"):
        assert [event.event for event in await lab.events(hub)].count("RECEIVE") == 1


async def test_who_the_directory_still_has_there_waits(lab: Lab) -> None:
    """The store may know of a move sooner than the hub; asking again at once would be a loop."""
    store = lab.stores["store-a"]
    store.recipient_replies["carol@example.test"] = [ELSEWHERE] * 2
    await lab.start("hub-a")
    await lab.send("carol@example.test")
    await store.wait()
    await lab.until_idle()
    events = [event.event for event in await lab.events()]
    assert (events.count("DEFER"), events.count("RESUBMIT")) == (2, 0)


class Pipeline:
    """Decides no message before `go_on`, and then fails so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: int = 0) -> None:
        self.within, self.go_on = asyncio.Event(), asyncio.Event()
        self._failures = failures
        self._categorize = forwarder.categorize
        monkeypatch.setattr(forwarder, "categorize", self._slow)

    async def _slow(self, *arguments: Any) -> Any:
        self.within.set()
        await self.go_on.wait()
        if self._failures:
            self._failures -= 1
            raise Unavailable("The directory can't be asked")
        return await self._categorize(*arguments)


async def come_back_one_by_one(lab: Lab, pipeline: Pipeline) -> None:
    """Carol for whom the pipeline is entered, and bob while the message is in it."""
    sweeper = lab.hubs["hub-a"]._sweeper
    await sweeper.reroute_hop(Hop(kind="store", name="store-a").key, "first")
    await pipeline.within.wait()
    await sweeper.reroute_hop(Hop(kind="hub", name="hub-b").key, "second")


async def test_recipients_that_come_back_during_the_pipeline_are_routed_too(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.stores["store-a"].stop()
    await lab.start("hub-a")
    await lab.send("carol@example.test", "bob@example.test")  # to store-a, and to hub-b, which is down
    await until_queued(lab, 2)
    pipeline = Pipeline(monkeypatch)
    await come_back_one_by_one(lab, pipeline)
    pipeline.go_on.set()
    await lab.stores["store-a"].start()
    await lab.start("hub-b")
    await lab.stores["store-a"].wait()
    await lab.stores["store-b"].wait()
    await lab.until_idle()
    await lab.until_idle("hub-b")
    assert [each.addresses for each in lab.stores["store-a"].delivered] == [("carol@example.test",)]
    assert [each.addresses for each in lab.stores["store-b"].delivered] == [("bob@example.test",)]


async def test_recipients_that_come_back_to_a_message_that_expires_are_not_forgotten(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.stores["store-a"].stop()
    await lab.start("hub-a")
    await lab.send("carol@example.test", "bob@example.test")
    await until_queued(lab, 2)
    pipeline = Pipeline(monkeypatch, failures=1)
    await come_back_one_by_one(lab, pipeline)
    lab.clock.ahead_ms += 49 * 3600 * 1000
    pipeline.go_on.set()
    await lab.until_event("FAIL", check=lambda event: event.recipients == ("carol@example.test",))
    await until_queued(lab, 2)  # the report about carol, and what is for bob
    assert {entry.next_hop for entry in await lab.queued()} == {"store-a", "hub-b"}
