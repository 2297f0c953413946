"""Messages: appended, read, flagged, copied, moved, expunged, and what changes since a modseq."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy import Connection

from foundation.database.prepared import Prepared
from foundation.database.spool import Spool
from foundation.interfaces.mailbox_store import (
    ANSWERED,
    DELETED,
    FLAGGED,
    SEEN,
    Fields,
    FlagChange,
    FlagEntry,
)
from foundation.mail.errors import MailError, Unavailable
from foundation.mail.mime import decode_parts
from foundation.mail.rendering import summarise
from mailboxstore.database import messages as units
from mailboxstore.database import statements
from mailboxstore.database.emails import NewEmail, add_email
from tests.unit.mailboxstore.bench import ALICE, BOB, PLAIN, Bench, message, open_bench, pieces
from tests.unit.mailboxstore.test_store_folders import refused

ME = ALICE.mailbox_id
ALL = ((1, 2**40),)


async def test_append_and_read_back(bench: Bench) -> None:
    uid = await bench.append(
        flags=SEEN | FLAGGED, keywords=("$Forwarded",), internal_date_ms=1_000, internal_offset_minutes=-90
    )
    [record] = await bench.records()
    assert (record.uid, record.flags, record.keywords) == (uid, SEEN | FLAGGED, ("$Forwarded",))
    assert (record.internal_date_ms, record.internal_offset_minutes) == (1_000, -90)
    assert record.save_date_ms == bench.clock.now_ms()
    assert record.size_bytes == len(PLAIN) and record.content == PLAIN
    assert record.header == PLAIN[: PLAIN.index(b"\r\n\r\n") + 4]
    assert b"Lunch" in record.envelope and b"TEXT" in record.body_structure.upper()
    assert decode_parts(record.parts).body_start == len(record.header)
    folder = await bench.store.folder(ME, "INBOX")
    assert (folder.messages, folder.unseen, folder.deleted, folder.size_bytes) == (1, 0, 0, len(PLAIN))


async def test_cheap_records_carry_nothing_costly(bench: Bench) -> None:
    await bench.append()
    [record] = await bench.records(fields=Fields())
    assert (record.envelope, record.body_structure, record.parts, record.header) == (b"", b"", b"", b"")
    assert record.content is None and record.email_id and record.thread_id


async def test_content_in_pieces(bench: Bench) -> None:
    content = PLAIN + b"0123456789abcdef\r\n" * 40_000
    uid = await bench.append(content)
    folder_id = await bench.folder_id()

    async def read(offset: int, length: int) -> bytes:
        stream = bench.store.content(ME, folder_id, uid, offset, length)
        return b"".join([piece async for piece in stream])

    assert await read(0, 2**40) == content
    assert await read(5, 3) == content[5:8]
    assert await read(300_000, 200_000) == content[300_000:500_000]
    assert await read(len(content), 10) == b""
    await refused(anext(bench.store.content(ME, folder_id, 99, 0, 1)), "EXPUNGED")


async def test_records_come_in_bounded_batches(bench: Bench) -> None:
    for number in range(250):
        await bench.append(message(f"Number {number}"))
    folder_id = await bench.folder_id()
    batches = [b async for b in bench.store.records(ME, folder_id, ((1, 5), (7, 240), (900, 999)), Fields())]
    assert all(len(batch) <= 100 for batch in batches)
    uids = [record.uid for batch in batches for record in batch]
    assert uids == [*range(1, 6), *range(7, 241)]


async def test_large_contents_come_a_few_at_a_time(bench: Bench) -> None:
    for number in range(5):
        await bench.append(message(body=f"{number}" + "x" * 600_000))
    folder_id = await bench.folder_id()
    wanted = Fields(content_up_to_bytes=1024 * 1024)
    batches = [len(batch) async for batch in bench.store.records(ME, folder_id, ALL, wanted)]
    assert batches == [2, 2, 1]


async def test_caller_that_goes_away_cancels_no_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.store.folders(ME)
    begun, run = asyncio.Event(), bench.database.writer.run

    async def told(*arguments: object, **named: object) -> object:
        begun.set()
        return await run(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.database.writer, "run", told)
    watch = bench.store.watch(ME)
    await anext(watch)
    task = asyncio.create_task(bench.append())
    await begun.wait()
    task.cancel()
    await anext(watch)
    await watch.aclose()
    assert task.cancelled() and [record.content for record in await bench.records()] == [PLAIN]


async def test_content_that_was_closed_is_not_stored(bench: Bench) -> None:
    spool = Spool.of(PLAIN)
    email = NewEmail("e", b"", spool, summarise(PLAIN))
    spool.close()
    with pytest.raises(Unavailable):
        await bench.database.writer.run(lambda c: add_email(c, bench.database.contents, email, 1))
    assert await bench.count("contents") == 0


async def test_append_refusals(bench: Bench) -> None:
    await refused(bench.append(name="Nowhere"), "TRYCREATE")
    await refused(bench.append(name="Outbox"), "CANNOT")
    await refused(bench.append(b"x" * (1024 * 1024 + 1)), "TOOBIG")
    await refused(bench.append(keywords=("a b",)), "CANNOT")
    await refused(bench.append(keywords=("x" * 300,)), "LIMIT")
    assert await bench.uids() == []


async def test_quota(tmp_path) -> None:
    bench = open_bench(tmp_path, quota_bytes=2 * len(PLAIN))
    await bench.append()
    await bench.append()
    await refused(bench.append(), "OVERQUOTA")
    folder_id = await bench.folder_id()
    await refused(bench.store.copy(ME, folder_id, ALL, "Archive"), "OVERQUOTA")
    assert len((await bench.store.move(ME, folder_id, ((1, 1),), "Archive")).target_uids) == 1
    await bench.store.expunge(ME, folder_id, ALL, deleted_only=False)
    assert await bench.append() == 3
    await bench.close()


async def test_flag_operations(bench: Bench) -> None:
    for _ in range(3):
        await bench.append(flags=SEEN)
    folder_id = await bench.folder_id()

    async def change(uids, operation, flags=0, keywords=(), since=None):
        wanted = FlagChange(operation=operation, flags=flags, keywords=keywords, unchanged_since=since)
        return await bench.store.change_flags(ME, folder_id, uids, wanted)

    outcome = await change(((1, 2),), "add", FLAGGED, ("Work", "$Label1"))
    assert [(e.uid, e.flags, e.keywords) for e in outcome.updated] == [
        (1, SEEN | FLAGGED, ("$Label1", "Work")),
        (2, SEEN | FLAGGED, ("$Label1", "Work")),
    ]
    first = outcome.highest_modseq
    same = await change(((1, 1),), "add", FLAGGED, ("work",))
    assert same.highest_modseq == first and same.updated[0].modseq == first
    removed = await change(((2, 2),), "remove", SEEN, ("WORK",))
    assert removed.updated == (FlagEntry(2, FLAGGED, first + 1, ("$Label1",)),)
    late = await change(((1, 3),), "replace", ANSWERED, since=first)
    assert late.refused == (2,) and [e.uid for e in late.updated] == [1, 3]
    folder = await bench.store.folder(ME, "INBOX")
    assert folder.unseen == 3


async def test_flags_of_ranges_leave_the_others_alone(bench: Bench) -> None:
    for _ in range(10):
        await bench.append()
    folder_id = await bench.folder_id()
    wanted = FlagChange(operation="add", flags=DELETED)
    await bench.store.change_flags(ME, folder_id, ((2, 3), (5, 5), (7, 8), (30, 40)), wanted)
    [page] = [batch async for batch in bench.store.flags(ME, folder_id)]
    assert [uid for uid, flags in zip(page.uids, page.flags, strict=True) if flags & DELETED] == [
        2,
        3,
        5,
        7,
        8,
    ]
    assert await bench.store.expunge(ME, folder_id, ((3, 7),)) == (3, 5, 7)
    assert await bench.store.expunge(ME, folder_id, None) == (2, 8)
    assert await bench.uids() == [1, 4, 6, 9, 10]
    folder = await bench.store.folder(ME, "INBOX")
    assert (folder.messages, folder.deleted, folder.size_bytes) == (5, 0, 5 * len(PLAIN))


@pytest.mark.parametrize(("changed_since", "scanned"), [(0, False), (3, False), (4, True)])
async def test_expunge_looks_among_the_latest_changes_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, changed_since: int, scanned: bool
) -> None:
    monkeypatch.setattr(units, "LATEST_BESIDES", 3)
    monkeypatch.setattr(units, "LATEST_DEARER", 1)
    scans: list[object] = []
    rows_in = units._rows_in

    def counted(*arguments: Any) -> list[units.MessageRow]:
        scans.append(arguments)
        return rows_in(*arguments)

    monkeypatch.setattr(units, "_rows_in", counted)
    for _ in range(20):
        await bench.append()
    folder_id = await bench.folder_id()
    deleted = FlagChange(operation="add", flags=DELETED)
    await bench.store.change_flags(ME, folder_id, ((4, 4), (9, 9), (17, 17)), deleted)
    flagged = FlagChange(operation="add", flags=FLAGGED)
    for uid in range(10, 10 + changed_since):
        await bench.store.change_flags(ME, folder_id, ((uid, uid),), flagged)
    assert await bench.store.expunge(ME, folder_id, ((1, 8), (10, 20))) == (4, 17)
    assert bool(scans) is scanned
    assert await bench.store.expunge(ME, folder_id, None) == (9,)
    scans.clear()
    assert await bench.store.expunge(ME, folder_id, None) == ()
    assert not scans, "the folder knows that it has none"


@pytest.mark.parametrize(
    ("statement", "by"),
    [
        (statements.LATEST_DELETED, "messages USING INDEX messages_by_modseq (folder=?)"),
        (statements.FLAGS_SINCE, "messages USING INDEX messages_by_modseq (folder=? AND modseq>?)"),
        (
            statements.EXPUNGED_SINCE,
            "tombstones USING COVERING INDEX tombstones_by_modseq (folder=? AND modseq>?)",
        ),
    ],
)
async def test_changes_are_found_without_the_other_messages(
    bench: Bench, statement: Prepared, by: str
) -> None:
    def plan(connection: Connection) -> str:
        text = str(statement.statement.compile(dialect=connection.dialect))
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", (1,) * text.count("?"))
        return " ".join(str(row[-1]) for row in rows)

    assert f"SEARCH {by}" in await bench.database.readers.run(plan)


async def test_expunge_reads_only_what_is_deleted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 11):
        await bench.append(flags=DELETED if number in (2, 4, 6, 9) else 0)
    read: list[int] = []
    made = units.MessageRow

    def row(*values: Any) -> units.MessageRow:
        read.append(values[0])
        return made(*values)

    folder_id = await bench.folder_id()
    with monkeypatch.context() as patched:
        patched.setattr(units, "MessageRow", row)
        assert await bench.store.expunge(ME, folder_id, ((1, 3), (6, 8))) == (2, 6)
        assert read == [2, 4, 6], "a gap this small is read over"
        assert await bench.store.expunge(ME, folder_id, None) == (4, 9)
        assert read == [2, 4, 6, 4, 9]
    assert await bench.uids() == [1, 3, 5, 7, 8, 10]


async def test_too_many_keywords(bench: Bench) -> None:
    keywords = tuple(f"k{number}" for number in range(units.KEYWORDS_MAX))
    await bench.append(keywords=keywords)
    wanted = FlagChange(operation="add", keywords=("one-more",))
    await refused(bench.store.change_flags(ME, await bench.folder_id(), ALL, wanted), "LIMIT")
    [record] = await bench.records(fields=Fields())
    assert record.keywords == tuple(sorted(keywords))


async def test_copy_keeps_what_belongs_to_the_message(bench: Bench) -> None:
    await bench.append(flags=FLAGGED, keywords=("Work",), internal_date_ms=5, internal_offset_minutes=60)
    bench.clock.advance(60)
    copied = await bench.store.copy(ME, await bench.folder_id(), ALL, "archive".capitalize())
    assert (copied.source_uids, copied.target_uids) == ((1,), (1,))
    [old], [new] = await bench.records(), await bench.records("Archive")
    assert (new.flags, new.keywords, new.internal_date_ms) == (old.flags, old.keywords, 5)
    assert (new.email_id, new.thread_id, new.content) == (old.email_id, old.thread_id, old.content)
    assert new.save_date_ms == old.save_date_ms + 60_000
    assert await bench.count("contents") == 1 and await bench.count("emails") == 1


async def test_copy_and_move_within_a_folder(bench: Bench) -> None:
    await bench.append()
    folder_id = await bench.folder_id()
    assert (await bench.store.copy(ME, folder_id, ((1, 1),), "INBOX")).target_uids == (2,)
    assert (await bench.store.move(ME, folder_id, ((1, 1),), "INBOX")).target_uids == (3,)
    assert await bench.uids() == [2, 3]
    folder = await bench.store.folder(ME, "INBOX")
    assert (folder.messages, folder.unseen, folder.uid_next) == (2, 2, 4)
    await refused(bench.store.copy(ME, folder_id, ALL, "Nowhere"), "TRYCREATE")
    await refused(bench.store.move(ME, folder_id, ALL, "Outbox"), "CANNOT")


async def test_changes_since(bench: Bench) -> None:
    for _ in range(4):
        await bench.append()
    folder_id = await bench.folder_id()
    start = (await bench.store.folder(ME, "INBOX")).highest_modseq
    assert await bench.store.changes(ME, folder_id, start) == await bench.store.changes(ME, folder_id, start)
    await bench.store.change_flags(ME, folder_id, ((2, 2),), FlagChange(operation="add", flags=SEEN))
    await bench.store.move(ME, folder_id, ((3, 3),), "Archive")
    await bench.append()
    changes = await bench.store.changes(ME, folder_id, start)
    assert changes.expunged == (3,) and [entry.uid for entry in changes.updated] == [2, 5]
    assert (changes.highest_modseq, changes.uid_next, changes.gone) == (start + 3, 6, False)
    again = await bench.store.changes(ME, folder_id, changes.highest_modseq)
    assert (again.expunged, again.updated) == ((), ())


async def test_changes_are_told_by_uid(bench: Bench) -> None:
    for _ in range(6):
        await bench.append()
    folder_id = await bench.folder_id()
    start = (await bench.store.folder(ME, "INBOX")).highest_modseq
    for uid in (5, 2, 3):
        await bench.store.change_flags(ME, folder_id, ((uid, uid),), FlagChange(operation="add", flags=SEEN))
    for uid in (6, 1):
        await bench.store.expunge(ME, folder_id, ((uid, uid),), deleted_only=False)
    changes = await bench.store.changes(ME, folder_id, start)
    assert changes.expunged == (1, 6) and [entry.uid for entry in changes.updated] == [2, 3, 5]


async def test_contents_are_shared_and_collected(bench: Bench) -> None:
    await bench.append()
    await bench.append()
    assert (await bench.count("emails"), await bench.count("contents")) == (2, 1)
    folder_id = await bench.folder_id()
    await bench.store.copy(ME, folder_id, ((1, 1),), "Archive")
    await bench.store.expunge(ME, folder_id, None, deleted_only=False)
    from mailboxstore.database.mailboxes import collect_emails

    contents = bench.database.contents
    assert await bench.database.writer.run(lambda c: collect_emails(c, contents)) == 1
    assert (await bench.count("emails"), await bench.count("contents")) == (1, 1)
    assert (await bench.records("Archive"))[0].content == PLAIN
    await bench.store.delete_folder(ME, "Archive")
    assert await bench.database.writer.run(lambda c: collect_emails(c, contents)) == 1
    assert (await bench.count("emails"), await bench.count("contents")) == (0, 0)


async def test_threads_by_reference_and_subject(bench: Bench) -> None:
    await bench.append(message("Plan", "a@x"))
    await bench.append(message("Re: Plan", "b@x", more="In-Reply-To: <a@x>\r\n"))
    await bench.append(message("AW: Other", "c@x", more="References: <a@x> <b@x>\r\n"))
    await bench.append(message("Fwd: Plan", "d@x", more="References: <z@x> <b@x>\r\n"))
    await bench.append(message("Plan", "e@x"))
    threads = [record.thread_id for record in await bench.records(fields=Fields())]
    assert threads[0] == threads[1] == threads[3]
    assert len({threads[0], threads[2], threads[4]}) == 3


async def test_mailboxes_are_apart(bench: Bench) -> None:
    await bench.append()
    mine = await bench.folder_id()
    with pytest.raises(MailError):
        await anext(bench.store.flags(BOB.mailbox_id, mine))
    await refused(bench.store.expunge(BOB.mailbox_id, mine, None, deleted_only=False), "NONEXISTENT")
    assert (await bench.store.changes(BOB.mailbox_id, mine, 0)).gone


async def test_notices_come_after_the_commit_and_merge(bench: Bench) -> None:
    await bench.store.folders(ME)
    watch = bench.store.watch(ME)
    assert (await anext(watch)).folder_id == ""
    for _ in range(3):
        await bench.append()
    notice = await anext(watch)
    inbox = await bench.store.folder(ME, "INBOX")
    assert (notice.folder_id, notice.highest_modseq) == (inbox.folder_id, inbox.highest_modseq)
    await bench.store.create_folder(ME, "New")
    assert (await anext(watch)).folder_id == ""
    await bench.store.append(BOB.mailbox_id, "INBOX", 0, (), 0, 0, pieces(PLAIN))
    await bench.append(name="New")
    assert (await anext(watch)).folder_id == await bench.folder_id("New")
    await watch.aclose()
    assert bench.notifications.watchers == 0


async def test_ten_thousand_messages(bench: Bench) -> None:
    """Generous bounds: what must not happen is a statement for each message."""
    await bench.append()
    folder_id = await bench.folder_id()
    while (await bench.store.folder(ME, "INBOX")).messages < 10_000:
        await bench.store.copy(ME, folder_id, ((1, 2500),), "INBOX")
    total = (await bench.store.folder(ME, "INBOX")).messages
    started = time.perf_counter()
    flags = [uid async for batch in bench.store.flags(ME, folder_id) for uid in batch.uids]
    listed = time.perf_counter() - started
    wanted = FlagChange(operation="add", flags=DELETED)
    outcome = await bench.store.change_flags(ME, folder_id, ALL, wanted)
    changed = time.perf_counter() - started - listed
    expunged = await bench.store.expunge(ME, folder_id, None)
    removed = time.perf_counter() - started - listed - changed
    assert len(flags) == len(outcome.updated) == len(expunged) == total
    assert listed < 2 and changed < 3 and removed < 5
