"""Large messages of a store are in files beside its database, once each, whoever shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from foundation.database.keeping import ContentKeeper
from foundation.interfaces.directory import DirectoryRecipient
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.smtp.command import MailCommand
from foundation.smtp.reply import Reply
from mailboxstore.database.mailboxes import collect_emails
from mailboxstore.holdings import StoreHoldings
from tests.unit.mailboxstore.bench import ALICE, BOB, Bench, message

LARGE = message(body="x" * 100_000)
PREFIX = b"Received: from a by hub-a with ESMTPS;\r\n\tMon, 5 Jan 2026 09:00:00 +0000\r\n"


async def deliver(
    bench: Bench, *users: DirectoryRecipient, content: bytes = LARGE, name: str = "n1"
) -> Sequence[Reply]:
    session = bench.delivery()
    transfer = Transfer(network_message_id=name, transfer_key=f"key-{name}", prefix_bytes=len(PREFIX))
    await session.mail(MailCommand(sender=Sender(address="dora@example.net"), transfer=transfer))
    for user in users:
        await session.recipient(Recipient(address=user.address, recipient_id=user.recipient_id))
    with bench.database.spool() as spool:
        spool.write(PREFIX + content)
        replies = await session.message(spool)
    assert isinstance(replies, tuple)
    return replies


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "store.db-content").iterdir())


async def contents(bench: Bench, user: DirectoryRecipient, folder: str = "INBOX") -> list[bytes]:
    return [record.content or b"" for record in await bench.records(folder, mailbox_id=user.mailbox_id)]


async def collect(bench: Bench) -> None:
    database = bench.database
    await database.writer.run(lambda connection: collect_emails(connection, database.contents))
    await ContentKeeper(database.files, database.contents, database.writer).reclaim()


async def test_one_file_for_all_recipients_without_copying_the_prefix_away(
    bench: Bench, tmp_path: Path
) -> None:
    assert [reply.code for reply in await deliver(bench, ALICE, BOB)] == [250, 250]
    [file] = files(tmp_path)
    assert file.read_bytes() == PREFIX + LARGE
    for user in (ALICE, BOB):
        [content] = await contents(bench, user)
        assert content.startswith(b"Return-Path: <dora@example.net>\r\n") and content.endswith(PREFIX + LARGE)


async def test_outbox_sent_and_inbox_share_one_file(bench: Bench, tmp_path: Path) -> None:
    await bench.submit(LARGE)
    await deliver(bench, ALICE)
    assert [file.read_bytes() for file in files(tmp_path)] == [LARGE]
    [sent], [received] = await contents(bench, ALICE, "Sent"), await contents(bench, ALICE)
    assert sent == LARGE and received.endswith(PREFIX + LARGE)


async def test_a_copy_without_bcc_has_a_file_of_its_own(bench: Bench, tmp_path: Path) -> None:
    await bench.submit(b"Bcc: carol@example.org\r\n" + LARGE)
    assert sorted(file.stat().st_size for file in files(tmp_path)) == [len(LARGE), len(LARGE) + 24]
    [leaving] = await contents(bench, ALICE, "Outbox")
    assert leaving.endswith(LARGE) and b"carol" not in leaving


async def test_a_file_goes_with_the_last_message_that_shows_it(bench: Bench, tmp_path: Path) -> None:
    await deliver(bench, ALICE, BOB)
    for user in (ALICE, BOB):
        await collect(bench)
        assert len(files(tmp_path)) == 1
        folder_id = await bench.folder_id(mailbox_id=user.mailbox_id)
        await bench.store.expunge(user.mailbox_id, folder_id, None, deleted_only=False)
    await collect(bench)
    assert files(tmp_path) == [] and await bench.count("contents") == 0


async def test_an_append_that_is_refused_leaves_no_file(bench: Bench, tmp_path: Path) -> None:
    await bench.store.create_folder(ALICE.mailbox_id, "Gone")
    bench.database.quota_bytes = 1000
    with pytest.raises(MailError):
        await bench.append(LARGE)
    await collect(bench)
    assert files(tmp_path) == []


async def states(bench: Bench) -> dict[str, str]:
    return {
        copy.network_message_id: copy.state
        async for page in StoreHoldings(bench.database).filed(0, ())
        for copy in page
    }


async def test_a_lost_file_is_found_by_audit_told_to_readers_and_not_shared_again(
    bench: Bench, tmp_path: Path
) -> None:
    await deliver(bench, ALICE)
    await deliver(bench, ALICE, content=LARGE + b"other", name="n2")
    lost = next(file for file in files(tmp_path) if file.read_bytes() == PREFIX + LARGE)
    lost.unlink()
    assert await states(bench) == {"n1": "damaged", "n2": "present"}
    folder_id = await bench.folder_id()
    with pytest.raises(MailError, match=r"451 4\.3\.0 The content of this message can't be read"):
        await anext(bench.store.content(ALICE.mailbox_id, folder_id, 1, 0, 1 << 20))
    assert [reply.code for reply in await deliver(bench, ALICE, name="n3")] == [250]
    assert await states(bench) == {"n1": "damaged", "n2": "present", "n3": "present"}
    stream = bench.store.content(ALICE.mailbox_id, folder_id, 3, 0, 1 << 20)
    assert b"".join([piece async for piece in stream]).endswith(PREFIX + LARGE)
