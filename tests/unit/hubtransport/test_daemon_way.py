"""The way of a message through real hubs: from a store or from outside, to stores, to another hub, to the
Internet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.client import ConnectionFailed
from foundation.smtp.command import CONTENT_IS_HELD
from hubtransport.queues.records import Unit
from tests.harness.patience import until
from tests.unit.hubtransport.lab import CONTENT, Lab


async def test_own_site_by_lmtp_with_received_and_byte_for_byte(lab: Lab) -> None:
    await lab.start("hub-a")
    result = await lab.send("carol@example.test")
    assert result.final[0].code == 250
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.content.endswith(CONTENT)
    prefix = delivered.content[: -len(CONTENT)]
    assert prefix.startswith(
        b"Received: from store-a (store-a [127.0.0.1])\r\n\tby hub-a.example.test with ESMTPS id "
    )
    assert b"for <carol@example.test>" in prefix
    assert delivered.transfer is not None
    assert delivered.transfer.prefix_bytes == len(prefix)
    assert delivered.transfer.assessed == "hub-a/1"
    assert delivered.recipients[0].recipient_id
    await lab.until_idle()
    events = [event.event for event in await lab.events()]
    assert events == ["RECEIVE", "AGENTINFO", "TRANSFER", "SEND"]


async def test_two_sites_one_copy_to_each_and_no_second_assessment(lab: Lab) -> None:
    await lab.start("hub-a", "hub-b")
    await lab.send("bob@example.test", "carol@example.test")
    (at_a,) = await lab.stores["store-a"].wait()
    (at_b,) = await lab.stores["store-b"].wait()
    assert (at_a.addresses, at_b.addresses) == (("carol@example.test",), ("bob@example.test",))
    assert at_b.content.count(b"Received: ") == 2
    assert at_b.transfer is not None and at_a.transfer is not None
    assert at_b.transfer.network_message_id == at_a.transfer.network_message_id
    assert at_b.transfer.content_sha256 == at_a.transfer.content_sha256
    assert at_b.content[at_b.transfer.prefix_bytes :] == CONTENT
    await lab.until_idle()
    info = await lab.until_event("AGENTINFO", "hub-b")
    assert "assessed by hub-a version 1" in info.reason
    sent = await lab.until_event("SEND", "hub-a", lambda event: event.next_hop == "hub-b")
    received = await lab.until_event("RECEIVE", "hub-b")
    assert received.transfer_key == sent.transfer_key


LARGE = CONTENT + b"x" * 70_000 + b"\r\n"


async def test_large_content_that_the_store_holds_is_not_sent_to_it(lab: Lab) -> None:
    await lab.start("hub-a", "hub-b")
    lab.stores["store-a"].mail_replies = [CONTENT_IS_HELD]
    await lab.send("bob@example.test", "carol@example.test", content=LARGE)
    (at_a,) = await lab.stores["store-a"].wait()
    (at_b,) = await lab.stores["store-b"].wait()
    assert at_a.transfer is not None and at_b.transfer is not None
    assert at_a.transfer.content_sha256 == at_b.transfer.content_sha256 == sha256(LARGE).hexdigest()
    assert len(at_a.content) == at_a.transfer.prefix_bytes and at_a.content.startswith(b"Received: ")
    assert at_b.content[at_b.transfer.prefix_bytes :] == LARGE
    await lab.until_idle()
    assert [event.event for event in await lab.events()][-1] == "SEND"


async def test_small_content_is_not_asked_for(lab: Lab) -> None:
    await lab.start("hub-a")
    await lab.send("carol@example.test")
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.transfer is not None and not delivered.transfer.may_be_held


async def test_alias_group_and_direct_address_bring_one_copy(lab: Lab) -> None:
    lab.directory.add_alias("info@example.test", "carol@example.test")
    lab.directory.add_group("inner@example.test", members=["carol@example.test", "friend@example.org"])
    lab.directory.add_group("team@example.test", members=["inner@example.test", "bob@example.test"])
    lab.directory.add_members("inner@example.test", ["team@example.test"])
    await lab.start("hub-a", "hub-b")
    await lab.send("info@example.test", "team@example.test", "carol@example.test")
    (at_a,) = await lab.stores["store-a"].wait()
    (at_b,) = await lab.stores["store-b"].wait()
    (outside,) = await lab.outside.wait()
    assert at_a.addresses == ("carol@example.test",)
    assert at_b.addresses == ("bob@example.test",)
    assert at_b.recipients[0].expanded_from
    assert outside.addresses == ("friend@example.org",)
    await lab.until_idle()
    await lab.until_idle("hub-b")
    events = await lab.events()
    resolved = [event for event in events if event.event == "RESOLVE"]
    assert [(event.recipients, event.related) for event in resolved] == [
        (("carol@example.test",), "info@example.test")
    ]
    expanded = {
        event.related: event.recipients for event in events if event.event == "EXPAND" and event.recipients
    }
    assert expanded == {
        "team@example.test": ("inner@example.test", "bob@example.test"),
        "inner@example.test": ("carol@example.test", "friend@example.org", "team@example.test"),
    }
    merged = [event.related for event in events if event.event == "DUPLICATEDELIVER"]
    assert sorted(merged) == ["carol@example.test", "inner@example.test"]
    assert not [event for event in await lab.events("hub-b") if event.event == "EXPAND"]


async def test_unknown_recipient_from_inside_is_reported_to_the_sender(lab: Lab) -> None:
    await lab.start("hub-a")
    await lab.send(
        "nobody@example.test", "carol@example.test", sender=Sender(address="alice@example.test", envid="e1")
    )
    await lab.stores["store-a"].wait(2)
    report = next(each for each in lab.stores["store-a"].delivered if not each.sender.address)
    assert report.addresses == ("alice@example.test",)
    assert b"Status: 5.1.1" in report.content
    assert b"Original-Envelope-Id: e1" in report.content
    assert b"Subject: Hello" in report.content
    await lab.until_idle()
    events = await lab.events()
    dsn = next(event for event in events if event.event == "DSN")
    assert report.transfer is not None
    assert dsn.related == report.transfer.network_message_id
    back = next(event for event in events if event.event == "RECEIVE" and event.source == "DSN")
    assert back.related == dsn.network_message_id


async def test_null_sender_is_never_answered(lab: Lab) -> None:
    await lab.start("hub-a")
    await lab.send("nobody@example.test", sender="")
    await lab.until_event("BADMAIL")
    await lab.until_idle()
    assert not lab.stores["store-a"].delivered


async def test_sub_address_and_contact(lab: Lab) -> None:
    lab.directory.add_contact("supplier@example.test", "sales@example.org")
    await lab.start("hub-a")
    await lab.send("carol+lists@example.test", "supplier@example.test")
    (inside,) = await lab.stores["store-a"].wait()
    (outside,) = await lab.outside.wait()
    assert inside.addresses == ("carol+lists@example.test",)
    assert inside.recipients[0].recipient_id == lab.directory.user("carol@example.test").recipient_id
    assert outside.addresses == ("sales@example.org",)


async def test_outside_by_mx_loses_nothing_private(lab: Lab) -> None:
    await lab.start("hub-a")
    await lab.send(
        Recipient(address="friend@example.org", notify="SUCCESS,FAILURE", orcpt="rfc822;friend@example.org"),
        sender=Sender(address="alice@example.test", ret="HDRS", envid="env"),
    )
    (outside,) = await lab.outside.wait()
    assert outside.transfer is None
    assert outside.recipients[0].notify == "SUCCESS,FAILURE"
    assert (outside.sender.ret, outside.sender.envid) == ("HDRS", "env")
    assert outside.content.endswith(CONTENT)
    sent = await lab.until_event("SEND")
    assert sent.next_hop == "mx.example.org"


async def test_internal_relay_domain_sends_unknown_addresses_on(tmp_path: Path) -> None:
    domains = ({"domain": "example.test"}, {"domain": "example.org", "kind": "internal-relay"})
    async with Lab(tmp_path, domains=domains) as lab:
        await lab.start("hub-a")
        await lab.send("someone@example.org")
        (outside,) = await lab.outside.wait()
        assert outside.addresses == ("someone@example.org",)


async def test_mail_that_finds_no_way_waits_and_is_rerouted(tmp_path: Path) -> None:
    async with Lab(tmp_path, send_connectors=()) as lab:
        await lab.start("hub-a")
        await lab.send("friend@example.org")
        await lab.until_event("TRANSFER")
        (entry,) = await lab.queued()
        assert (entry.queue, entry.state) == ("unreachable", "suspended")
        assert await lab.hubs["hub-a"]._control.retry("unreachable", ()) == 1
        await lab.until_event("RESUBMIT")

        async def again() -> bool:
            return len([e for e in await lab.events() if e.event == "TRANSFER"]) == 2

        await until(again, "routed again")
        (entry,) = await lab.queued()
        assert entry.queue == "unreachable"


async def test_rerouting_ends_though_everything_comes_back_at_once(tmp_path: Path) -> None:
    async with Lab(tmp_path, send_connectors=()) as lab:
        await lab.start("hub-a")
        await lab.send("friend@example.org")
        await lab.until_event("TRANSFER")
        sweeper = lab.hubs["hub-a"]._sweeper
        resubmit = sweeper._resubmit
        rounds = 0

        async def slow(units: Sequence[Unit], why: str, *, stored: bool) -> None:
            nonlocal rounds
            rounds += 1
            assert rounds == 1
            await resubmit(units, why, stored=stored)

            async def back() -> bool:
                return len([event for event in await lab.events() if event.event == "TRANSFER"]) == 2

            await until(back, "categorized again")

        sweeper._resubmit = slow  # type: ignore[method-assign]
        assert await sweeper.reroute("unreachable:%", "nothing has changed") == 1


async def test_a_key_that_is_known_stores_nothing_and_answers_as_before(lab: Lab) -> None:
    lab.directory.add_alias("info@example.test", "carol@example.test")
    await lab.start("hub-a")
    transfer = Transfer(network_message_id="n1", transfer_key="key-1")
    await lab.send("carol@example.test", transfer=transfer)
    await lab.stores["store-a"].wait()
    again = await lab.send("carol@example.test", transfer=transfer)
    assert again.final[0].code == 250
    other = await lab.send("alice@example.test", "carol@example.test", transfer=transfer)
    assert [reply.code for reply in other.recipients] == [451, 250]
    await lab.until_event("DUPLICATEDELIVER")
    await lab.until_idle()
    assert len(lab.stores["store-a"].delivered) == 1


async def test_a_known_key_stores_nothing_though_its_sender_says_it_is_new(lab: Lab) -> None:
    await lab.start("hub-a")
    transfer = Transfer(network_message_id="n1", transfer_key="key-1", first_attempt=True)
    first = await lab.send("carol@example.test", transfer=transfer)
    again = await lab.send("carol@example.test", transfer=transfer)
    other = await lab.send("carol@example.test", "alice@example.test", transfer=transfer)
    assert [result.final[0].code for result in (first, again, other)] == [250, 250, 451]
    await lab.until_event("DUPLICATEDELIVER")
    await lab.until_idle()
    assert len(lab.stores["store-a"].delivered) == 1


async def test_two_transfers_at_once_under_one_key_are_one(lab: Lab) -> None:
    await lab.start("hub-a")
    transfer = Transfer(network_message_id="n1", transfer_key="key-1")
    results = await asyncio.gather(*(lab.send("carol@example.test", transfer=transfer) for _ in range(5)))
    assert {result.final[0].code for result in results} == {250}
    await lab.until_idle()
    assert len(lab.stores["store-a"].delivered) == 1


async def test_strangers_with_a_certificate_of_the_organisation_are_no_servers(lab: Lab) -> None:
    await lab.start("hub-a")
    with pytest.raises(ConnectionFailed) as failure:
        await lab.connect_inside(name="stranger")
    assert failure.value.reply is not None
    assert failure.value.reply.code == 550
