"""FETCH of a table's items over many messages: from memory where they are kept, else by column from the
store, some hundred at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from clientaccess.imap.columns import Table, from_header, table
from clientaccess.imap.commands import FetchItem
from clientaccess.imap.context import Context
from clientaccess.imap.kept import Value, Values
from clientaccess.imap.search import as_ranges
from clientaccess.imap.selected import Selected
from clientaccess.imap.view import View
from foundation.interfaces.mailbox_store import Column, Fields, Ranges
from foundation.streaming import streaming

SHOWN_AT_ONCE = 500

Fresh = Mapping[int, Value | None]
"""An item's values as they came from the store; None: it has none for the message."""


class Shown(NamedTuple):
    given: int
    large: list[int]
    """Numbers of messages that are to be shown in another way: they are too large for a column."""


async def show_columns(context: Context, selected: Selected, wanted: Table, numbers: Sequence[int]) -> Shown:
    """Shows those messages that are not gone."""
    view = selected.view
    large: list[int] = []
    if selected.pending:
        gone = frozenset(selected.pending)
        numbers = [number for number in numbers if view.uid(number) not in gone]
    uids = view.uids_of(numbers)
    kept = [selected.kept.get(item.template) for item in wanted.stored]
    lacking = _lacking(uids, kept)
    given = at = 0

    async def show(end: int, fresh: Sequence[Fresh]) -> None:
        nonlocal at, given
        while at < end:
            stop = min(end, at + SHOWN_AT_ONCE)
            part = uids[at:stop]
            stored = [_found(part, new, old) for new, old in zip(fresh, kept, strict=True)]
            rendered, count = wanted.render(view, numbers[at:stop], part, stored)
            context.out.write(rendered)
            await context.out.flush()
            given += count
            at = stop

    if lacking:
        ranges = view.ranges(numbers) if len(lacking) == len(uids) else as_ranges(lacking)
        async with streaming(_fresh(context, selected, wanted, ranges)) as pages:
            async for last_uid, fresh in pages:
                if wanted.whole:
                    large += _lacking_value(view, fresh)
                await show(bisect_right(uids, last_uid), fresh)
    await show(len(uids), [{} for _ in kept])
    return Shown(given, large)


async def tell_known(
    context: Context, selected: Selected, items: Sequence[FetchItem], numbers: Sequence[int]
) -> None:
    """FETCH responses of what the session itself knows."""
    known = table(items)
    assert known is not None
    for start in range(0, len(numbers), SHOWN_AT_ONCE):
        part = numbers[start : start + SHOWN_AT_ONCE]
        context.out.write(known.render(selected.view, part, selected.view.uids_of(part), ())[0])
        await context.out.flush()


def _lacking_value(view: View, fresh: Sequence[Fresh]) -> list[int]:
    found = {uid for values in fresh for uid, value in values.items() if value is None}
    return [number for number in map(view.number, sorted(found)) if number]


def _lacking(uids: Sequence[int], kept: Sequence[Values]) -> Sequence[int]:
    """UIDs of which not all of the items are kept."""
    if not all(kept):
        return uids
    return [uid for uid in uids if any(uid not in values for values in kept)] if kept else []


def _found(uids: Sequence[int], fresh: Fresh, kept: Values) -> list[Value | None]:
    if not (fresh and kept):
        return list(map((fresh or kept).get, uids))
    return [fresh[uid] if uid in fresh else kept.get(uid) for uid in uids]


async def _fresh(
    context: Context, selected: Selected, wanted: Table, ranges: Ranges
) -> AsyncIterator[tuple[int, list[dict[int, Any]]]]:
    """Values of the stored items by UID, and the UID up to which they are known; what can be is kept."""
    pages = context.store.columns(context.mailbox_id, selected.folder_id, ranges, wanted.needs, wanted.names)
    async with streaming(pages) as batches:
        async for page in batches:
            columns: dict[Column, Sequence[Any]] = dict(zip(wanted.needs, page.values, strict=True))
            uids: Sequence[int] = page.uids
            if None in columns.get("header_fields", ()):
                uids, columns = await _with_headers(context, selected, wanted, uids, columns)
            shown = [dict(zip(uids, values, strict=True)) for values in wanted.values(columns)]
            for item, values in zip(wanted.stored, shown, strict=True):
                if not item.whole:
                    selected.kept.add(item.template, values)
            yield page.uids[-1], shown


async def _with_headers(
    context: Context,
    selected: Selected,
    wanted: Table,
    uids: Sequence[int],
    columns: Mapping[Column, Sequence[Any]],
) -> tuple[Sequence[int], dict[Column, Sequence[Any]]]:
    """Reads whole headers where the store has not listed the fields wanted; without what is gone."""
    known = dict(zip(uids, columns["header_fields"], strict=True))
    unknown = [uid for uid, fields in known.items() if fields is None]
    records = context.store.records(
        context.mailbox_id, selected.folder_id, as_ranges(unknown), Fields(header=True)
    )
    async with streaming(records) as batches:
        async for batch in batches:
            known |= {record.uid: from_header(record.header, wanted.names) for record in batch}
    places = [place for place, uid in enumerate(uids) if known[uid] is not None]
    chosen: dict[Column, Sequence[Any]] = {name: _at(values, places) for name, values in columns.items()}
    chosen["header_fields"] = [known[uids[place]] for place in places]
    return _at(uids, places), chosen


def _at(values: Sequence[Any], places: Iterable[int]) -> list[Any]:
    return [values[place] for place in places]
