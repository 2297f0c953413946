"""FETCH items that are the same for all messages but for one value each: rendered by column, some hundred
responses at a time (RFC 3501 7.4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from clientaccess.imap import responses
from clientaccess.imap.commands import FetchItem, Section
from clientaccess.imap.kept import Value
from clientaccess.imap.view import View
from foundation.interfaces.mailbox_store import Column
from foundation.mail.headers import select_fields
from foundation.mail.listed_fields import choose_fields


class Item(msgspec.Struct, frozen=True):
    """One FETCH item. Without `needs` the session itself knows its value."""

    template: bytes
    """With a place for the value, or for the number of its octets."""
    needs: tuple[Column, ...] = ()
    values: Callable[..., Iterable[Value]] = zip
    """Of the columns needed: what is shown of each message."""
    names: frozenset[bytes] = frozenset()
    """Header fields that it is made of, in lower case."""
    whole: bool = False
    """The message itself: it follows what the template says, and is not kept."""


class Table:
    """The items of one FETCH command, when all of them can be shown by column; at most one of them whole."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.stored = [item for item in items if item.needs]
        self.needs: tuple[Column, ...] = tuple(dict.fromkeys(n for item in items for n in item.needs))
        self.names = tuple(sorted({name for item in items for name in item.names}))
        self.whole = [item for item in items if item.whole]
        ends = 1 + next((place for place, item in enumerate(items) if item.whole), len(items))
        self._head, self._tail = items[:ends], items[ends:]
        templates = [item.template for item in items]
        self._before = b"* %d FETCH (" + b" ".join(templates[:ends])
        self._after = b"".join(b" " + template for template in templates[ends:]) + b")\r\n"

    def values(self, columns: Mapping[Column, Sequence[Any]]) -> list[Sequence[Any]]:
        """What is shown, for each stored item."""
        return [tuple(item.values(*[columns[name] for name in item.needs])) for item in self.stored]

    def render(
        self,
        view: View,
        numbers: Sequence[int],
        uids: Sequence[int],
        stored: Sequence[Sequence[Value | None]],
    ) -> tuple[bytes, int]:
        """Responses, and how many: none for a message that lacks a stored value."""
        if any(None in column for column in stored):
            places = [place for place, row in enumerate(zip(*stored, strict=True)) if None not in row]
            numbers, uids = _at(numbers, places), _at(uids, places)
            stored = [_at(column, places) for column in stored]
        values = iter(stored)

        def column(item: Item) -> Sequence[Any]:
            return next(values) if item.needs else _LOCAL[item.template](view, numbers, uids)

        before = [column(item) for item in self._head]
        if not self.whole:
            rendered = map((self._before + self._after).__mod__, zip(numbers, *before, strict=True))
            return b"".join(rendered), len(numbers)
        contents = before.pop()
        before.append(list(map(len, contents)))
        starts = map(self._before.__mod__, zip(numbers, *before, strict=True))
        after = [column(item) for item in self._tail]
        ends = map(self._after.__mod__, zip(*after, strict=True) if after else [()] * len(numbers))
        pieces = zip(starts, map(responses.char8, contents), ends, strict=True)
        return b"".join(chain.from_iterable(pieces)), len(numbers)


def _at(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    return [values[place] for place in places]


def table(items: Sequence[FetchItem]) -> Table | None:
    """None: some of them need what is no column."""
    found = [_section_item(item) if isinstance(item, Section) else _ITEMS.get(item) for item in items]
    known = [item for item in found if item is not None]
    if len(known) < len(found) or sum(item.whole for item in known) > 1:
        return None
    return Table(known)


def _section_item(section: Section) -> Item | None:
    if section.part or section.partial is not None:
        return None
    label = section.label.replace(b"%", b"%%")
    if section.text == "":
        return Item(label + b" {%d}\r\n", ("content",), iter, whole=True)
    if section.text != "HEADER.FIELDS":
        return None
    names = frozenset(field.lower() for field in section.fields)
    return Item(label + b" %b", ("header_fields",), partial(_header_fields, names), names)


def _header_fields(names: frozenset[bytes], texts: Sequence[bytes]) -> Iterable[Value]:
    return map(responses.literal, choose_fields(texts, names))


def from_header(header: bytes, names: Iterable[bytes]) -> bytes:
    """The column's value for a message whose header is known whole."""
    return select_fields(header, frozenset(names), exclude=False)


def _dates(times: Sequence[int], offsets: Sequence[int]) -> Iterable[Value]:
    return map(responses.date_time, times, offsets)


_UID, _FLAGS, _MODSEQ = b"UID %d", b"FLAGS (%b)", b"MODSEQ (%d)"
_ITEMS: dict[str, Item] = {
    "UID": Item(_UID),
    "FLAGS": Item(_FLAGS),
    "MODSEQ": Item(_MODSEQ),
    "ENVELOPE": Item(b"ENVELOPE %b", ("envelope",), iter),
    "BODYSTRUCTURE": Item(b"BODYSTRUCTURE %b", ("body_structure",), iter),
    "RFC822.SIZE": Item(b"RFC822.SIZE %d", ("size_bytes",), iter),
    "INTERNALDATE": Item(b"INTERNALDATE %b", ("internal_date_ms", "internal_offset_minutes"), _dates),
    "SAVEDATE": Item(
        b"SAVEDATE %b", ("save_date_ms",), lambda times: [responses.date_time(at_ms, 0) for at_ms in times]
    ),
    "EMAILID": Item(b"EMAILID (%b)", ("email_id",), iter),
    "THREADID": Item(
        b"THREADID %b",
        ("thread_id",),
        lambda ids: [b"(%b)" % name if name else b"NIL" for name in ids],
    ),
}
_LOCAL: dict[bytes, Callable[[View, Sequence[int], Sequence[int]], Sequence[Value]]] = {
    _UID: lambda view, numbers, uids: uids,
    _FLAGS: lambda view, numbers, uids: view.shown_flags(numbers),
    _MODSEQ: lambda view, numbers, uids: [view.modseq(number) for number in numbers],
}
