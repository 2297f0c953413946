"""Lists by column: pages, gaps between ranges, whole messages, readers that go away."""

from __future__ import annotations

from contextlib import aclosing
from typing import get_args

import pytest

from foundation.interfaces.mailbox_store import (
    CONTENT_IN_COLUMN_BYTES,
    Column,
    Columns,
    Fields,
    Ranges,
    Refusal,
)
from mailboxstore.database import reading
from tests.unit.mailboxstore.bench import ALICE, Bench, message

ME = ALICE.mailbox_id
ALL: Ranges = ((1, 2**32 - 1),)


async def pages(
    bench: Bench, columns: tuple[Column, ...], uids: Ranges = ALL, names: tuple[bytes, ...] = ()
) -> list[Columns]:
    wanted = bench.store.columns(ME, await bench.folder_id(), uids, columns, names)
    return [page async for page in wanted]


async def test_columns_are_what_records_have(bench: Bench) -> None:
    for number in range(3):
        await bench.append(message(f"{number}", f"{number}@x"), internal_date_ms=number + 1)
    columns: tuple[Column, ...] = tuple(name for name in get_args(Column) if name != "header_fields")
    assert len(columns) >= 9
    [page] = await pages(bench, columns)
    records = await bench.records()
    assert page.uids == tuple(record.uid for record in records)
    for name, values in zip(columns, page.values, strict=True):
        expected = [getattr(record, name) for record in records]
        assert list(values) == [one.encode() if isinstance(one, str) else one for one in expected], name


async def test_pages_and_gaps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "COLUMNS_A_PAGE", 3)
    for number in range(10):
        await bench.append(message(f"{number}"))
    folder_id = await bench.folder_id()
    await bench.store.expunge(ME, folder_id, ((4, 4),), deleted_only=False)
    found = await pages(bench, ("size_bytes",), ((1, 2), (4, 5), (7, 7), (9, 9), (900, 901)))
    assert [page.uids for page in found] == [(1, 2), (5, 7), (9,)]
    assert [page.uids for page in await pages(bench, ("size_bytes",))] == [(1, 2, 3), (5, 6, 7), (8, 9, 10)]
    assert await pages(bench, ("size_bytes",), ()) == []


async def test_whole_messages_in_pieces(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CONTENTS_A_PAGE", 4)
    monkeypatch.setattr(reading, "PAGE_BYTES", 100_000)
    monkeypatch.setattr(reading, "FRAME_BYTES", 50_000)
    sizes = [10, 30_000, 30_000, 30_000, 30_000, CONTENT_IN_COLUMN_BYTES, 100_000, 10, 20]
    for number, size in enumerate(sizes):
        await bench.append(message(f"{number}", body="x" * size))
    found = await pages(bench, ("size_bytes", "content"))
    whole = {record.uid: record.content for record in await bench.records()}
    shown = {uid: content for page in found for uid, content in zip(page.uids, page.values[1], strict=True)}
    assert list(shown) == list(range(1, 10))
    assert shown.pop(6) is None and whole.pop(6)
    assert shown == whole
    assert all(sum(len(c) for c in page.values[1] if isinstance(c, bytes)) < 180_000 for page in found)
    assert len(found) >= 4


async def test_header_fields_that_are_listed(bench: Bench) -> None:
    await bench.append(message("One", "one@x", more="To: bob@example.org\r\n"))
    [page] = await pages(bench, ("header_fields",), names=(b"subject", b"to"))
    fields = page.values[0][0]
    assert isinstance(fields, bytes) and b"Subject: One\r\n" in fields and b"To: bob" in fields
    [page] = await pages(bench, ("header_fields",), names=(b"subject", b"x-other"))
    assert page.values == ((None,),)


async def test_a_reader_that_goes_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "COLUMNS_A_PAGE", 1)
    for number in range(3):
        await bench.append(message(f"{number}"))
    async with aclosing(
        bench.store.columns(ME, await bench.folder_id(), ALL, ("size_bytes",))  # type: ignore[type-var]
    ) as wanted:
        assert (await anext(wanted)).uids == (1,)
    assert [record.uid for record in await bench.records(fields=Fields())] == [1, 2, 3]
    with pytest.raises(Refusal, match="folder is gone"):
        await anext(bench.store.columns(ME, "nowhere", ALL, ("size_bytes",)))
