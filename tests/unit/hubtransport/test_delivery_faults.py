"""Next hops that are down, refuse, defer, or take a message without saying so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from config.model import Retry
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.reply import Reply
from foundation.tls import Identity
from hubtransport.categorizer.comply import AgentChain, Assessment
from hubtransport.delivery import scheduler
from hubtransport.queues.delivery import unclaim
from hubtransport.routing.hop import Hop
from hubtransport.routing.table import choose_hub
from tests.harness.patience import until
from tests.unit.hubtransport.lab import CONTENT, QUICK, Lab, StubServer

HOUR_MS = 3600 * 1000
PAIR = ("hub-b", "hub-b2")
TO_HUB_B = [name for name in map(str, range(99)) if choose_hub(PAIR, name, ()) == "hub-b"]
"""Network message ids of what goes to hub-b, while both are there."""


async def start_in_place_of_hub_b(lab: Lab, server: StubServer, **options: Any) -> None:
    context = Identity(lab.topology.certificates, "hub-b").internal_server()
    port = lab.settings("hub-b").smtp_internal.port
    await server.start(port, private=True, implicit_tls=context, **options)


async def lost_at_hub_b(lab: Lab) -> StubServer:
    """What took a message in the place of hub-b, lost the answer, and is stopped; hub-a and hub-b2 run."""
    thief = StubServer("hub-b")
    thief.lose_replies = 1
    await start_in_place_of_hub_b(lab, thief)
    await lab.start("hub-a", "hub-b2")
    await lab.send("bob@example.test", transfer=Transfer(network_message_id=TO_HUB_B[0]))
    await lab.until_event("DEFER", check=lambda event: "unknown" in event.reason)
    await thief.stop()
    return thief


def first_attempts(server: StubServer) -> list[bool]:
    return [transfer.first_attempt for transfer in server.offered if transfer is not None]


async def test_store_down_then_up_releases_the_whole_queue(lab: Lab) -> None:
    store = lab.stores["store-a"]
    await store.stop()
    await lab.start("hub-a")
    connection = await lab.connect_inside()
    for _ in range(30):
        await lab.send("carol@example.test", connection=connection)
    await lab.until_event("DEFER")

    async def routed() -> bool:
        return [entry.queue for entry in await lab.queued()] == ["delivery"] * 30

    await until(routed, "all wait for the store")
    entries = await lab.queued()
    assert {entry.state for entry in entries} == {"retry"}
    assert all("can't be reached" in entry.last_reply and entry.next_attempt_at_ms for entry in entries)
    await store.start()
    await store.wait(30)
    await lab.until_idle()
    assert len(store.delivered) == 30


async def test_refused_recipient_is_reported_and_the_others_are_delivered(lab: Lab) -> None:
    store = lab.stores["store-a"]
    store.final_replies["carol@example.test"] = [Reply.of(552, "5.2.2", "Mailbox full")]
    await lab.start("hub-a")
    await lab.send("carol@example.test", "alice@example.test")
    await store.wait(2)
    await lab.until_idle()
    direct, report = store.delivered
    assert direct.addresses == report.addresses == ("alice@example.test",)
    assert b"Status: 5.2.2" in report.content
    assert b"Mailbox full" in report.content


async def test_deferred_recipient_leaves_with_a_new_key(lab: Lab) -> None:
    store = lab.stores["store-a"]
    store.final_replies["carol@example.test"] = [Reply.of(452, "4.2.2", "Full for now")]
    await lab.start("hub-a")
    await lab.send("carol@example.test", "alice@example.test")
    await store.wait(2)
    await lab.until_idle()
    first, second = store.delivered
    assert (first.addresses, second.addresses) == (("alice@example.test",), ("carol@example.test",))
    assert first.transfer is not None and second.transfer is not None
    assert first.transfer.transfer_key != second.transfer.transfer_key
    deferred = await lab.until_event("DEFER")
    assert (deferred.recipients, deferred.reply) == (("carol@example.test",), "452 4.2.2 Full for now")


async def test_message_deferred_at_mail_keeps_its_key(lab: Lab) -> None:
    store = lab.stores["store-a"]
    store.mail_replies = [Reply.of(451, "4.3.0", "later"), Reply.of(451, "4.3.0", "later")]
    await lab.start("hub-a")
    await lab.send("carol@example.test")
    await store.wait()
    await lab.until_idle()
    transfers = [event.transfer_key for event in await lab.events() if event.event in ("DEFER", "SEND")]
    assert len(transfers) == 3
    assert len(set(transfers)) == 1
    assert first_attempts(store) == [True, False, False]


async def test_lost_answer_is_asked_again_under_the_same_key(lab: Lab) -> None:
    store = lab.stores["store-a"]
    store.lose_replies = 2
    await lab.start("hub-a")
    await lab.send("carol@example.test")
    await lab.until_idle()
    assert len(store.delivered) == 1
    assert store.repeats == 1
    deferred = await lab.until_event("DEFER")
    assert "outcome unknown" in deferred.reason
    assert first_attempts(store) == [True, False]


async def test_hub_down_is_taken_over_by_another_hub_of_its_site(tmp_path: Path) -> None:
    async with Lab(tmp_path, hubs={"hub-b2": "B"}) as lab:
        await lab.start("hub-a", "hub-b2")
        connection = await lab.connect_inside()
        for _ in range(10):
            await lab.send("bob@example.test", connection=connection)
        await lab.stores["store-b"].wait(10)
        await lab.until_idle()
        assert len(lab.stores["store-b"].delivered) == 10
        redirected = [event for event in await lab.events() if event.event == "REDIRECT"]
        assert all((event.next_hop, event.related) == ("hub-b2", "hub-b") for event in redirected)
        sent = {event.next_hop for event in await lab.events() if event.event == "SEND"}
        assert sent == {"hub-b2"}


async def test_unknown_outcome_stays_with_its_hub_though_another_is_up(tmp_path: Path) -> None:
    async with Lab(tmp_path, hubs={"hub-b2": "B"}) as lab:
        thief = await lost_at_hub_b(lab)
        (entry,) = await lab.queued()
        assert entry.next_hop == "hub-b"
        lab.clock.ahead_ms += 49 * HOUR_MS
        await lab.hubs["hub-a"]._sweeper.sweep()
        assert "hub-b" in [entry.next_hop for entry in await lab.queued()]
        assert not [event for event in await lab.events() if event.event == "FAIL"]
        await thief.start()
        await lab.until_idle()
        assert thief.repeats == 1
        assert not lab.stores["store-b"].delivered
        await thief.stop()


async def test_what_waits_behind_a_hub_that_answers_nothing_goes_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was given stays with it; when it answers after all, it is as good as before."""
    monkeypatch.setattr(scheduler, "STALL_MS", 50)
    async with Lab(tmp_path, hubs={"hub-b2": "B"}) as lab:
        slow = StubServer("hub-b")
        slow.hold = asyncio.Event()
        await start_in_place_of_hub_b(lab, slow, connections=1)
        await lab.start("hub-a", "hub-b2")
        first, *others = TO_HUB_B[:5]
        await lab.send("bob@example.test", transfer=Transfer(network_message_id=first))

        async def given() -> bool:
            return len(slow.offered) == 1

        await until(given, "the first message at hub-b")
        for name in others:
            await lab.send("bob@example.test", transfer=Transfer(network_message_id=name))
        await lab.stores["store-b"].wait(len(others))
        assert len(slow.offered) == 1
        assert [entry.next_hop for entry in await lab.queued()].count("hub-b") == 1
        hub = lab.hubs["hub-a"]
        assert hub._scheduler.failing() == {"hub::hub-b"}
        slow.hold.set()
        await lab.until_idle()
        assert len(slow.delivered) == 1
        assert hub._scheduler.failing() == frozenset()
        await slow.stop()


async def test_a_server_that_takes_no_mail_now_may_have_it_all_the_same(lab: Lab) -> None:
    """Its commit may still run: refused at MAIL, the outcome stays unknown."""
    store = lab.stores["store-a"]
    store.lose_replies = 1
    await lab.start("hub-a")
    await lab.send("carol@example.test")
    await lab.until_event("DEFER", check=lambda event: "unknown" in event.reason)
    store.mail_replies = [Reply.of(452, "4.3.1", "short of resources")] * 1000
    await lab.until_event("DEFER", check=lambda event: event.reply.startswith("452"))
    (entry,) = await lab.queued()
    assert entry.outcome_unknown
    store.mail_replies = []
    await lab.until_idle()
    assert (len(store.delivered), store.repeats) == (1, 1)


@pytest.mark.parametrize("in_memory", [False, True])
async def test_an_operator_releases_what_a_lost_hub_may_have(tmp_path: Path, in_memory: bool) -> None:
    async with Lab(tmp_path, hubs={"hub-b2": "B"}) as lab:
        await lost_at_hub_b(lab)
        hub, hop = lab.hubs["hub-a"], Hop(kind="hub", name="hub-b").key

        async def known_to_be_away() -> bool:
            queue = hub._scheduler.queue(hop)
            return queue.failing is not None and not queue.sending and bool(queue.waiting)

        await until(known_to_be_away, "hub-b is away")
        if not in_memory:
            (unit,) = hub._scheduler.drop_waiting(hop, [hub._scheduler.queue(hop).waiting[0].key])
            await hub._writer.run(lambda connection: unclaim(connection, [unit.key]))
        (entry,) = await lab.queued()
        assert entry.outcome_unknown
        assert await hub._control.release(("another",), "a mistake") == 0
        assert await hub._control.release((entry.entry_id,), "its disk is gone") == 1
        await lab.stores["store-b"].wait()
        await lab.until_idle()
        assert len(lab.stores["store-b"].delivered) == 1
        again = await lab.until_event("RESUBMIT")
        assert (again.source, again.transfer_key, again.next_hop) == ("ADMIN", entry.entry_id, "hub-b")
        assert again.reason.endswith("its disk is gone")
        sent = await lab.until_event("SEND")
        assert (sent.next_hop, sent.transfer_key != entry.entry_id) == ("hub-b2", True)
        assert not hub._scheduler.queue(hop).length


async def test_point_of_failure_is_the_nearest_site_on_the_way(tmp_path: Path) -> None:
    sites = ({"name": "A"}, {"name": "B"}, {"name": "C"})
    links = ({"sites": ("A", "C")}, {"sites": ("C", "B")})
    async with Lab(tmp_path, hubs={"hub-b2": "C"}, sites=sites, site_links=links) as lab:
        await lab.start("hub-a", "hub-b2")
        await lab.send("bob@example.test")
        redirected = await lab.until_event("REDIRECT")
        assert (redirected.next_hop, redirected.related) == ("hub-b2", "hub-b")
        await lab.until_idle("hub-a")
        (entry,) = await lab.queued("hub-b2")
        assert entry.next_hop == "hub-b"
        await lab.start("hub-b")
        await lab.stores["store-b"].wait()


async def test_restart_picks_the_queue_up(lab: Lab) -> None:
    store = lab.stores["store-a"]
    await store.stop()
    await lab.start("hub-a")
    connection = await lab.connect_inside()
    for _ in range(5):
        await lab.send("carol@example.test", connection=connection)
    await lab.until_event("DEFER")
    await lab.stop("hub-a")
    await store.start()
    await lab.start("hub-a")
    await store.wait(5)
    await lab.until_idle()
    assert len(store.delivered) == 5


async def test_delay_is_told_once_and_expiry_ends_it(tmp_path: Path) -> None:
    retry = Retry(**QUICK.model_dump() | {"delay_notice_seconds": 4 * 3600.0})
    async with Lab(tmp_path, retry=retry) as lab:
        await lab.stores["store-b"].stop()
        await lab.start("hub-a", "hub-b")
        await lab.send(
            "bob@example.test",
            Recipient(address="bob+quiet@example.test", notify="NEVER"),
            sender=Sender(address="alice@example.test", ret="FULL"),
        )
        await lab.until_event("DEFER", "hub-b")
        lab.clock.ahead_ms += 5 * HOUR_MS
        sweeper = lab.hubs["hub-b"]._sweeper
        await sweeper.sweep()
        await sweeper.sweep()
        (delay,) = await lab.stores["store-a"].wait()
        assert b"Action: delayed\r\nStatus: 4.4.1\r\n" in delay.content
        assert b"then send the message" not in b" ".join(delay.content.split())
        assert delay.addresses == ("alice@example.test",)
        assert b"bob+quiet" not in delay.content.split(b"text/rfc822-headers")[0]
        lab.clock.ahead_ms += 44 * HOUR_MS
        await sweeper.sweep()
        _, failure = await lab.stores["store-a"].wait(2)
        assert b"Action: failed" in failure.content
        assert b"Status: 4.4.7" in failure.content or b"Status: 5.4.7" in failure.content
        assert CONTENT in failure.content
        await lab.until_idle("hub-b")
        assert len(lab.stores["store-a"].delivered) == 2


async def test_success_is_reported_after_the_stores_250(lab: Lab) -> None:
    await lab.start("hub-a")
    await lab.send(Recipient(address="carol@example.test", notify="SUCCESS", orcpt="rfc822;c@x.test"))
    _, report = await lab.stores["store-a"].wait(2)
    assert b"Action: delivered" in report.content
    assert b"Original-Recipient: rfc822; c@x.test" in report.content


async def test_poison_is_set_aside_and_the_others_go_on(lab: Lab) -> None:
    class Bomb:
        name = "bomb"

        async def assess(self, message, recipients):  # type: ignore[no-untyped-def]
            if message.sender.address == "bob@example.test":
                raise ZeroDivisionError
            return Assessment(reason="harmless")

    await lab.start("hub-a", agents=AgentChain(agents=(Bomb(),)))
    await lab.send("carol@example.test", sender="bob@example.test")
    await lab.send("carol@example.test")
    await lab.stores["store-a"].wait()
    await lab.until_event("POISONMESSAGE")
    (entry,) = await lab.queued()
    assert (entry.queue, entry.attempts) == ("poison", 2)
    await lab.stop("hub-a")
    await lab.start("hub-a")
    (entry,) = await lab.queued()
    assert entry.queue == "poison"
    assert await lab.hubs["hub-a"]._control.retry("", (entry.entry_id,)) == 1
    await lab.stores["store-a"].wait(2)
    await lab.until_idle()


async def test_crowded_server_gets_fewer_connections_and_is_not_given_up(lab: Lab) -> None:
    store = lab.stores["store-a"]
    await store.stop()
    await store.start(**store._options | {"connections": 1})
    await lab.start("hub-a")
    connection = await lab.connect_inside()
    for _ in range(20):
        await lab.send("carol@example.test", connection=connection)
    await store.wait(20)

    async def settled() -> bool:
        return not lab.hubs["hub-a"]._scheduler.failing()

    await until(settled, "nothing fails")
    await lab.until_idle()
    assert [delivered.addresses for delivered in store.delivered] == [("carol@example.test",)] * 20
    assert "FAIL" not in [event.event for event in await lab.events()]


async def test_idle_connections_that_died_unseen_hold_up_nothing(lab: Lab) -> None:
    store = lab.stores["store-a"]
    await lab.start("hub-a")
    connection = await lab.connect_inside()
    queue = lab.hubs["hub-a"]._scheduler.queue("store::store-a")

    async def several_idle() -> bool:
        await asyncio.gather(*(lab.send("carol@example.test") for _ in range(5)), return_exceptions=False)
        await lab.until_idle()
        return queue.idle > 1

    await until(several_idle, "more than one idle connection")
    before = len(store.delivered)
    await store.stop()
    await store.start()
    await lab.send("carol@example.test", connection=connection)
    await store.wait(before + 1)
    await lab.until_idle()
    assert (len(store.delivered), store.repeats) == (before + 1, 0)
