"""Large content that the store has already is not sent to it again: the hub tells its digest, and the prefix
alone follows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.smtp.command import CONTENT_IS_HELD, MailCommand
from foundation.smtp.reply import Reply
from mailboxstore.database.mailboxes import collect_emails
from tests.unit.mailboxstore.bench import ALICE, BOB, Bench, message

LARGE = message(body="x" * 100_000)
PREFIX = b"Received: from a by hub-a with ESMTP;\r\n\tMon, 5 Jan 2026 09:00:00 +0000\r\n"


class Hub:
    """One transfer to a store."""

    def __init__(
        self, bench: Bench, content: bytes = LARGE, name: str = "n1", prefix: bytes = PREFIX
    ) -> None:
        self._bench = bench
        self._transfer = Transfer(
            network_message_id=name,
            transfer_key=f"key-{name}",
            prefix_bytes=len(prefix),
            content_sha256=hashlib.sha256(content).hexdigest(),
            may_be_held=True,
        )
        self._session = bench.delivery()

    async def begin(self) -> bool:
        """Whether the content need not be sent."""
        command = MailCommand(sender=Sender(address="dora@example.net"), transfer=self._transfer)
        reply = await self._session.mail(command)
        for user in (ALICE, BOB):
            await self._session.recipient(Recipient(address=user.address, recipient_id=user.recipient_id))
        return reply == CONTENT_IS_HELD

    async def end(self, sent: bytes = PREFIX) -> Sequence[Reply]:
        with self._bench.database.spool() as spool:
            spool.write(sent)
            replies = await self._session.message(spool)
        assert isinstance(replies, tuple)
        return replies


def files(tmp_path: Path) -> list[bytes]:
    return [file.read_bytes() for file in (tmp_path / "store.db-content").iterdir()]


async def test_what_is_in_sent_is_delivered_by_its_digest(bench: Bench, tmp_path: Path) -> None:
    await bench.submit(LARGE)
    hub = Hub(bench)
    assert await hub.begin()
    assert [reply.code for reply in await hub.end()] == [250, 250]
    assert files(tmp_path) == [LARGE]
    for user in (ALICE, BOB):
        [record] = await bench.records(mailbox_id=user.mailbox_id)
        assert record.content is not None and record.content.endswith(b"\r\n" + PREFIX + LARGE)
        assert record.size_bytes == len(record.content)


async def test_it_is_the_message_that_it_would_be_if_it_had_been_sent(bench: Bench) -> None:
    await bench.submit(LARGE)
    held, sent = Hub(bench, name="n1"), Hub(bench, name="n2")
    assert await held.begin() and await sent.begin()
    await held.end(PREFIX)
    await sent.end(PREFIX + LARGE)
    one, other = await bench.records()
    for name in ("envelope", "body_structure", "parts", "size_bytes"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.header.replace(b"id n1", b"") == other.header.replace(b"id n2", b"")
    assert one.content is not None and other.content is not None
    assert one.content.replace(b"id n1", b"") == other.content.replace(b"id n2", b"")


async def test_content_without_a_prefix(bench: Bench) -> None:
    await bench.submit(LARGE)
    hub = Hub(bench, prefix=b"")
    assert await hub.begin()
    assert [reply.code for reply in await hub.end(b"")] == [250, 250]
    [record] = await bench.records()
    assert record.content is not None and record.content.endswith(LARGE)


async def test_what_the_store_does_not_have_is_sent(bench: Bench) -> None:
    hub = Hub(bench)
    assert not await hub.begin()
    with pytest.raises(MailError, match="not the one that was announced"):
        await hub.end()  # nothing is delivered on a digest alone
    assert await bench.records() == []
    hub = Hub(bench)
    assert not await hub.begin()
    assert [reply.code for reply in await hub.end(PREFIX + LARGE)] == [250, 250]
    assert await Hub(bench, name="n2").begin(), "now it has it"


async def test_what_can_not_be_vouched_for_is_sent(bench: Bench, tmp_path: Path) -> None:
    folded = b" folded\r\n" + LARGE
    await bench.submit(folded, key="key-0")
    assert not await Hub(bench, folded).begin(), "its first line belongs to the prefix"
    await bench.submit(LARGE)
    bench.database.summaries._kept.clear()
    assert not await Hub(bench).begin(), "what is computed of it is forgotten"
    again = Hub(bench, name="n0")
    await again.begin()
    await again.end(PREFIX + LARGE)
    assert await Hub(bench).begin()
    assert not await Hub(bench, name="n0").begin(), "a repeat, whose content is thrown away"
    for file in (tmp_path / "store.db-content").iterdir():
        os.truncate(file, 1000)
    assert not await Hub(bench).begin(), "its file is damaged"


async def test_content_that_goes_meanwhile_is_asked_for(bench: Bench) -> None:
    before = Hub(bench, name="n0")
    await before.begin()
    await before.end(PREFIX + LARGE)
    hub = Hub(bench)
    assert await hub.begin()
    database = bench.database
    for user in (ALICE, BOB):
        folder_id = await bench.folder_id(mailbox_id=user.mailbox_id)
        await bench.store.expunge(user.mailbox_id, folder_id, None, deleted_only=False)
    await database.writer.run(lambda connection: collect_emails(connection, database.contents))
    with pytest.raises(MailError, match="was held here, and is gone: send it"):
        await hub.end()
    assert await bench.records() == [] and await bench.count("contents") == 0
    hub = Hub(bench)
    assert not await hub.begin()
    assert [reply.code for reply in await hub.end(PREFIX + LARGE)] == [250, 250]
    [record] = await bench.records()
    assert record.content is not None and record.content.endswith(PREFIX + LARGE)
