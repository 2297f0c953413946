"""Searches: what the database answers, what the text answers, and trees of both."""

from __future__ import annotations

import pytest

from foundation.database.spool import Spool
from foundation.interfaces.mailbox_store import (
    DELETED,
    FLAGGED,
    SEEN,
    And,
    BodyContains,
    DateIs,
    Everything,
    HasFlag,
    HasKeyword,
    HeaderContains,
    IdIs,
    InUids,
    Key,
    ModseqFrom,
    Not,
    Or,
    SizeIs,
    TextContains,
    YoungerThan,
)
from foundation.mail.mime import encode_parts, scan
from mailboxstore.database.emails import NewEmail
from mailboxstore.delivery.filing import Delivery, FiledRecipient, file_delivery
from mailboxstore.search import runner, text
from tests.unit.mailboxstore.bench import ALICE, BOB, Bench, message
from tests.unit.mailboxstore.test_store_folders import refused

DAY = 24 * 3600 * 1000
LATIN = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\n"
    b"Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\n aus Ulm\r\n"
    b"Date: Tue, 6 Jan 2026 00:30:00 +0200\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Sch=F6ne Gr=FC=DFe\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nVmVyc3RlY2t0ZXIgVGV4dA==\r\n--b--\r\n"
)


@pytest.fixture
async def filled(bench: Bench) -> Bench:
    await bench.append(message("Apples", body="red fruit"), flags=SEEN, internal_date_ms=10 * DAY)
    await bench.append(
        message("Pears", body="green fruit " + "x" * 3000),
        flags=FLAGGED,
        keywords=("$Work", "todo"),
        internal_date_ms=11 * DAY - 3_600_000,
        internal_offset_minutes=120,
    )
    await bench.append(LATIN, internal_date_ms=12 * DAY)
    await bench.append(
        message("RE: apples", "z@x", more="Date: Mon, 5 Jan 2026 23:00:00 -0500\r\nX-Empty:\r\n"),
        flags=SEEN | DELETED,
    )
    return bench


async def found(bench: Bench, key: Key) -> list[int]:
    return list(await bench.store.search(ALICE.mailbox_id, await bench.folder_id(), key))


def day(which: str, comparison: str, year: int, month: int, number: int) -> DateIs:
    return DateIs(which=which, comparison=comparison, year=year, month=month, day=number)  # type: ignore


@pytest.mark.parametrize(
    ("key", "uids"),
    [
        (Everything(), [1, 2, 3, 4]),
        (HasFlag(flag=SEEN), [1, 4]),
        (Not(key=HasFlag(flag=SEEN)), [2, 3]),
        (HasKeyword(keyword="$work"), [2]),
        (HasKeyword(keyword="wor"), []),
        (HasKeyword(keyword="t_do"), []),
        (InUids(ranges=((2, 3), (9, 12))), [2, 3]),
        (Not(key=InUids(ranges=tuple((n, n) for n in range(1, 401, 2)))), [2, 4]),
        (SizeIs(comparison="larger", size_bytes=2000), [2]),
        (SizeIs(comparison="smaller", size_bytes=2000), [1, 3, 4]),
        (And(keys=()), [1, 2, 3, 4]),
        (Or(keys=()), []),
        (Or(keys=(HasFlag(flag=FLAGGED), HasFlag(flag=DELETED))), [2, 4]),
        (And(keys=(HasFlag(flag=SEEN), Not(key=HasFlag(flag=DELETED)))), [1]),
        (day("internal", "on", 1970, 1, 11), [1]),
        (day("internal", "on", 1970, 1, 12), [2]),
        (day("internal", "before", 1970, 1, 12), [1]),
        (day("internal", "since", 1970, 1, 13), [3, 4]),
        (day("sent", "on", 2026, 1, 6), [3]),
        (day("sent", "on", 2026, 1, 5), [4]),
        (Not(key=day("sent", "since", 2026, 1, 5)), [1, 2]),
        (day("saved", "since", 2020, 1, 1), [1, 2, 3, 4]),
        (day("saved", "before", 2020, 1, 1), []),
        (YoungerThan(seconds=3600), [4]),
        (HeaderContains(name="subject", text="APPLES"), [1, 4]),
        (HeaderContains(name="Subject", text="grüsse"), [3]),
        (HeaderContains(name="Subject", text="GRÜSSE aus ulm"), [3]),
        (HeaderContains(name="From", text="jÜrgen"), [3]),
        (HeaderContains(name="X-Empty", text=""), [4]),
        (HeaderContains(name="X-Empty", text="x"), []),
        (BodyContains(text="FRUIT"), [1, 2]),
        (BodyContains(text="schöne grüße"), [3]),
        (BodyContains(text="versteckter"), [3]),
        (BodyContains(text="apples"), []),
        (TextContains(text="apples"), [1, 4]),
        (TextContains(text="example.org"), [1, 2, 3, 4]),
        (BodyContains(text=""), [1, 2, 3, 4]),
        (And(keys=(BodyContains(text="fruit"), HasFlag(flag=FLAGGED))), [2]),
        (Or(keys=(BodyContains(text="red"), HasFlag(flag=FLAGGED), TextContains(text="ulm"))), [1, 2, 3]),
        (Not(key=Or(keys=(BodyContains(text="fruit"), HasFlag(flag=DELETED)))), [3]),
        (Not(key=BodyContains(text="fruit")), [3, 4]),
        (
            Or(
                keys=(
                    And(keys=(HasFlag(flag=SEEN), BodyContains(text="fruit"))),
                    And(keys=(Not(key=HasFlag(flag=SEEN)), HeaderContains(name="from", text="j"))),
                )
            ),
            [1, 3],
        ),
    ],
)
async def test_keys(filled: Bench, key: Key, uids: list[int]) -> None:
    assert await found(filled, key) == uids


async def test_identifiers_and_modseq(filled: Bench) -> None:
    records = await filled.records()
    assert await found(filled, IdIs(which="email", identifier=records[1].email_id)) == [2]
    assert await found(filled, IdIs(which="thread", identifier=records[2].thread_id)) == [3]
    assert await found(filled, ModseqFrom(modseq=records[2].modseq)) == [3, 4]


async def test_trace_headers_are_searched_and_offsets_hold(bench: Bench) -> None:
    """The parts of a message behind a prefix are those of the content, moved along."""
    prefix = b"Received: from laptop\r\n\tby hub-a; Mon, 5 Jan 2026 09:00:00 +0000\r\n"
    with Spool.of(LATIN) as content:
        email = NewEmail("e1", prefix, content, bench.database.summaries.of(content, len(prefix)))
        alice = FiledRecipient(ALICE.recipient_id, ALICE.recipient_id, ALICE.mailbox_id, ALICE.address)
        delivery = Delivery("n1", "t1", BOB.address, "hub-a", False, (alice,), email)
        await bench.database.writer.run(lambda c: file_delivery(c, bench.database, delivery, 0))
    folder_id = await bench.folder_id("INBOX")
    search = bench.store.search
    assert await search(ALICE.mailbox_id, folder_id, HeaderContains(name="Received", text="laptop")) == (1,)
    assert await search(ALICE.mailbox_id, folder_id, BodyContains(text="versteckter text")) == (1,)
    assert await search(ALICE.mailbox_id, folder_id, BodyContains(text="laptop")) == ()


async def test_text_is_read_in_slices(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SLICE_BYTES", 1)
    assert await found(filled, TextContains(text="fruit")) == [1, 2]
    monkeypatch.setattr(runner, "SLICE_MESSAGES", 3)
    assert await found(filled, TextContains(text="apples")) == [1, 4]


async def test_of_large_messages_text_alone_is_read(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "WHOLE_BYTES_MAX", 0)
    assert await found(filled, TextContains(text="fruit")) == [1, 2]
    assert await found(filled, BodyContains(text="versteckter text")) == [3]
    attached = LATIN.replace(
        b"--b--\r\n",
        b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + b"QUFB\r\n" * 5000
        + b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: within\r\n\r\nenclosed\r\n--b--\r\n",
    )
    parts = encode_parts(scan(attached).part)
    message = text.MessageText(lambda at, length: attached[at : at + length], len(attached), 200, parts)
    for wanted in ("schöne", "versteckter", "subject: within", "enclosed"):
        assert text.predicate(BodyContains(text=wanted))(message), wanted
    assert not text.predicate(BodyContains(text="QUFB"))(message)
    assert message.bytes_read < 2000


async def test_search_beyond_all_use(filled: Bench) -> None:
    deep: Key = HasFlag(flag=SEEN)
    for _ in range(60):
        deep = Not(key=deep)
    await refused(filled.store.search(ALICE.mailbox_id, await filled.folder_id(), deep), "LIMIT")
    wide = Or(keys=tuple(HasFlag(flag=SEEN) for _ in range(500)))
    await refused(filled.store.search(ALICE.mailbox_id, await filled.folder_id(), wide), "LIMIT")
    well = Or(keys=tuple(HasKeyword(keyword=f"k{n}") for n in range(390)))
    assert await found(filled, well) == []
