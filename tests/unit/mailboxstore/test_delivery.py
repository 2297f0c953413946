"""LMTP delivery: recipients answered one by one, filed once, whatever is repeated."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from sqlalchemy import select

from foundation.database.spool import Spool
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.client import SmtpConnection
from foundation.smtp.command import MailCommand
from foundation.smtp.sending import SendResult
from foundation.smtp.server import SmtpServer
from foundation.smtp.session import Peer, ServerOptions, SessionFacts
from foundation.world.entropy import SystemEntropy
from mailboxstore.database import tables
from mailboxstore.database.emails import NewEmail
from mailboxstore.delivery.filing import Delivery, FiledRecipient, file_delivery
from mailboxstore.delivery.session import DeliverySession
from tests.unit.mailboxstore.bench import ALICE, BOB, CAROL, PLAIN, STORE, Bench, message, open_bench, pieces

PREFIX = b"Received: from a by hub-a with ESMTPS;\r\n\tMon, 5 Jan 2026 09:00:00 +0000\r\n"
TO_ALICE = Recipient(address=ALICE.address, recipient_id=ALICE.recipient_id)
TO_BOB = Recipient(address=BOB.address, recipient_id=BOB.recipient_id)


def transfer(key: str = "t1", network_message_id: str = "n1", content: bytes = PLAIN) -> Transfer:
    return Transfer(
        network_message_id=network_message_id,
        transfer_key=key,
        prefix_bytes=len(PREFIX),
        content_sha256=hashlib.sha256(content).hexdigest(),
    )


class Lmtp:
    """A hub's connection to the store."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    async def start(self) -> None:
        bench = self.bench
        options = ServerOptions(
            hostname=STORE, listener="lmtp", protocol="lmtp", private=True, spool=bench.database.spool
        )

        def session(peer: Peer) -> DeliverySession:
            return bench.delivery()

        self.server = SmtpServer(options, session, SystemEntropy())
        port = await self.server.start("127.0.0.1", 0)
        self.connection = await SmtpConnection.open("127.0.0.1", port, hostname="hub-a", protocol="lmtp")

    async def stop(self) -> None:
        await self.connection.quit()
        await self.server.stop(1)

    async def send(
        self,
        recipients: Sequence[Recipient],
        envelope: Transfer | None = None,
        content: bytes = PLAIN,
        sender: str = "dora@example.net",
    ) -> SendResult:
        data = PREFIX + content
        envelope = envelope or transfer(content=content)
        return await self.connection.send(
            Sender(address=sender), envelope, recipients, lambda: pieces(data), len(data)
        )


@pytest.fixture
async def lmtp(bench: Bench) -> AsyncIterator[Lmtp]:
    made = Lmtp(bench)
    await made.start()
    yield made
    await made.stop()


def codes(result: SendResult) -> list[str]:
    return [f"{reply.code} {reply.status}" for reply in (*result.recipients, *result.final)]


async def inbox(bench: Bench, mailbox_id: str) -> list[bytes]:
    return [record.content or b"" for record in await bench.records("INBOX", mailbox_id=mailbox_id)]


async def test_delivered_with_trace(lmtp: Lmtp) -> None:
    result = await lmtp.send([TO_ALICE])
    assert codes(result) == ["250 2.1.5", "250 2.1.5"]
    assert str(result.final[0]) == "250 2.1.5 Delivered"
    [content] = await inbox(lmtp.bench, ALICE.mailbox_id)
    assert content.startswith(b"Return-Path: <dora@example.net>\r\nReceived: from hub-a")
    assert content.endswith(PREFIX + PLAIN)
    assert b"by store-a.example.test with LMTP id n1" in content and b"for <alice@example.org>" in content
    [record] = await lmtp.bench.records("INBOX")
    assert record.content is not None and record.header == record.content[: len(record.header)]
    assert record.header.endswith(b"\r\n\r\n") and record.flags == 0
    [event] = await lmtp.bench.events()
    assert (event.event, event.source, event.transfer_key, event.next_hop) == (
        "DELIVER",
        "LMTP",
        "t1",
        "hub-a",
    )
    assert (event.mailbox_id, event.uid, event.message_id) == (ALICE.mailbox_id, 1, "one@example.org")


async def test_several_recipients_share_content_and_do_not_see_each_other(lmtp: Lmtp) -> None:
    result = await lmtp.send([TO_ALICE, TO_BOB])
    assert codes(result) == ["250 2.1.5"] * 4
    [mine], [his] = await inbox(lmtp.bench, ALICE.mailbox_id), await inbox(lmtp.bench, BOB.mailbox_id)
    assert mine == his and b"for <" not in mine.partition(b"Subject")[0].partition(PREFIX)[0]
    assert (await lmtp.bench.count("contents"), await lmtp.bench.count("emails")) == (1, 1)


async def test_outbox_and_sent_share_one_email_and_inboxes_its_content(lmtp: Lmtp) -> None:
    await lmtp.bench.submit()
    await lmtp.send([TO_ALICE, TO_BOB])
    assert (await lmtp.bench.count("contents"), await lmtp.bench.count("emails")) == (1, 2)


async def test_recipients_answered_one_by_one(lmtp: Lmtp) -> None:
    unknown = Recipient(address="nobody@example.org")
    moved = Recipient(address=CAROL.address, recipient_id=CAROL.recipient_id)
    result = await lmtp.send([unknown, TO_ALICE, moved])
    assert codes(result) == ["550 5.1.1", "250 2.1.5", "451 4.1.6", "250 2.1.5"]
    assert len(await inbox(lmtp.bench, ALICE.mailbox_id)) == 1


async def test_recipient_without_an_id_is_found_by_address(lmtp: Lmtp) -> None:
    assert codes(await lmtp.send([Recipient(address=ALICE.address)])) == ["250 2.1.5"] * 2


async def test_known_transfer_is_answered_as_before(lmtp: Lmtp) -> None:
    await lmtp.send([TO_ALICE])
    again = await lmtp.send([TO_ALICE, TO_BOB])
    assert codes(again) == ["250 2.1.5", "451 4.3.0", "250 2.1.5"]
    assert len(await inbox(lmtp.bench, ALICE.mailbox_id)) == 1
    assert len(await inbox(lmtp.bench, BOB.mailbox_id)) == 0
    assert [event.event for event in await lmtp.bench.events()] == ["DELIVER", "DUPLICATEDELIVER"]


async def test_known_transfer_is_answered_as_before_though_its_hub_says_it_is_new(lmtp: Lmtp) -> None:
    new = msgspec.structs.replace(transfer(), first_attempt=True)
    await lmtp.send([TO_ALICE], new)
    again = await lmtp.send([TO_ALICE, TO_BOB], new)
    assert codes(again) == ["250 2.1.5", "250 2.1.5", "250 2.1.5", "451 4.3.0"]
    assert len(await inbox(lmtp.bench, ALICE.mailbox_id)) == 1
    assert len(await inbox(lmtp.bench, BOB.mailbox_id)) == 0


async def test_guard_outlives_deletion_and_new_keys(lmtp: Lmtp) -> None:
    bench = lmtp.bench
    await lmtp.send([TO_ALICE])
    await bench.store.expunge(ALICE.mailbox_id, await bench.folder_id(), None, deleted_only=False)
    again = await lmtp.send([TO_ALICE, TO_BOB], transfer("t2"))
    assert codes(again) == ["250 2.1.5"] * 4
    assert await inbox(bench, ALICE.mailbox_id) == []
    assert len(await inbox(bench, BOB.mailbox_id)) == 1
    assert [event.event for event in await bench.events()] == ["DELIVER", "DUPLICATEDELIVER", "DELIVER"]
    other = await lmtp.send([TO_ALICE], transfer("t3", "n2"))
    assert codes(other) == ["250 2.1.5"] * 2
    assert len(await inbox(bench, ALICE.mailbox_id)) == 1


async def test_one_recipient_named_twice_gets_one(lmtp: Lmtp) -> None:
    alias = Recipient(address="a.alias@example.org", recipient_id=ALICE.recipient_id)
    assert codes(await lmtp.send([TO_ALICE, alias])) == ["250 2.1.5"] * 4
    assert len(await inbox(lmtp.bench, ALICE.mailbox_id)) == 1
    assert [event.event for event in await lmtp.bench.events()] == ["DELIVER", "DUPLICATEDELIVER"]


async def test_two_recipients_of_one_mailbox_get_a_message_each(bench: Bench) -> None:
    content = Spool.of(PLAIN)
    email = NewEmail("email", b"", content, bench.database.summaries.of(content))
    both = tuple(FiledRecipient(name, name, ALICE.mailbox_id, ALICE.address) for name in ("r1", "r2"))
    delivery = Delivery("n1", "t1", "", "hub-a", False, both, email)
    filed = await bench.database.writer.run(lambda c: file_delivery(c, bench.database, delivery, 5))
    assert [result.code for result in filed.results] == [250, 250]
    assert len({notice.folder_id for _, notice in filed.notices}) == 1
    folder = await bench.store.folder(ALICE.mailbox_id, "INBOX")
    assert (folder.messages, folder.uid_next) == (2, 3)
    shown, emails = tables.messages.c, tables.emails.c
    rows = await bench.database.readers.run(lambda c: c.execute(select(shown.uid, shown.thread_id)).all())
    assert [row.uid for row in rows] == [1, 2]
    assert len({row.thread_id for row in rows}) == 1
    count = await bench.database.readers.run(
        lambda c: c.execute(select(emails.reference_count)).scalars().all()
    )
    assert count == [2]


async def test_the_same_transfer_on_two_connections_at_once(bench: Bench) -> None:
    pair = [Lmtp(bench), Lmtp(bench)]
    for one in pair:
        await one.start()
    results = await asyncio.gather(*(one.send([TO_ALICE, TO_BOB]) for one in pair))
    assert all(codes(result) == ["250 2.1.5"] * 4 for result in results)
    assert len(await inbox(bench, ALICE.mailbox_id)) == len(await inbox(bench, BOB.mailbox_id)) == 1
    for one in pair:
        await one.stop()


async def test_other_content_than_announced(lmtp: Lmtp) -> None:
    wrong = transfer(content=b"something else")
    assert codes(await lmtp.send([TO_ALICE], wrong)) == ["250 2.1.5", "451 4.3.0"]
    assert await inbox(lmtp.bench, ALICE.mailbox_id) == []
    assert codes(await lmtp.send([TO_ALICE])) == ["250 2.1.5"] * 2


async def test_large_message(lmtp: Lmtp) -> None:
    content = message(body="x" * 700_000)
    assert codes(await lmtp.send([TO_ALICE], content=content)) == ["250 2.1.5"] * 2
    [stored] = await inbox(lmtp.bench, ALICE.mailbox_id)
    assert stored.endswith(PREFIX + content)


async def test_quota(tmp_path) -> None:
    bench = open_bench(tmp_path, quota_bytes=600)
    lmtp = Lmtp(bench)
    await lmtp.start()
    assert codes(await lmtp.send([TO_ALICE])) == ["250 2.1.5"] * 2
    mixed = await lmtp.send([TO_ALICE, TO_BOB], transfer("t2", "n2"))
    assert codes(mixed) == ["452 4.2.2", "250 2.1.5", "250 2.1.5"]
    assert len(await inbox(bench, ALICE.mailbox_id)) == 1
    await lmtp.stop()
    await bench.close()


async def test_quota_found_out_at_the_commit(tmp_path) -> None:
    bench = open_bench(tmp_path, quota_bytes=100)
    session = bench.delivery()
    session.facts = SessionFacts(helo="hub-a", lmtp=True, tls=True, extended=True)
    await session.mail(MailCommand(sender=Sender(address=""), transfer=transfer()))
    assert await session.recipient(TO_ALICE) is None
    with Spool.of(PREFIX + PLAIN) as spool:
        [reply] = await session.message(spool)  # type: ignore[misc]
    assert (reply.code, reply.status) == (452, "4.2.2")
    assert [event.event for event in await bench.events()] == ["DEFER"]
    await bench.close()


async def test_watchers_are_told(lmtp: Lmtp) -> None:
    bench = lmtp.bench
    watch = bench.store.watch(ALICE.mailbox_id)
    await anext(watch)
    await lmtp.send([TO_ALICE])
    assert (await anext(watch)).folder_id == await bench.folder_id()
    await watch.aclose()


async def test_only_hubs_deliver(bench: Bench) -> None:
    session = bench.delivery("access")
    with pytest.raises(Exception, match=r"550 5\.7\.1"):
        await session.greet("access", True)
