"""FETCH items that are the same for all messages but for one value each: rendered by column, some hundred
responses at a time (RFC 3501 7.4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
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
    """With a place for the value."""
    needs: tuple[Column, ...] = ()
    values: Callable[..., Iterable[Value | None]] = zip
    """Of the columns needed: what is shown of each message."""
    names: frozenset[bytes] = frozenset()
    """Header fields that it is made of, in lower case."""
    kept: bool = True
    """Small enough to be kept."""


class Table:
    """The items of one FETCH command, when all of them can be shown by column."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.stored = [item for item in items if item.needs]
        self.needs: tuple[Column, ...] = tuple(dict.fromkeys(n for item in items for n in item.needs))
        self.names = tuple(sorted({name for item in items for name in item.names}))
        self._template = b"* %d FETCH (" + b" ".join(item.template for item in items) + b")\r\n"

    @property
    def whole(self) -> bool:
        """Messages themselves are shown."""
        return "content" in self.needs

    def values(self, columns: Mapping[Column, Sequence[Any]]) -> list[list[Value | None]]:
        """What is shown, for each stored item."""
        return [list(item.values(*[columns[name] for name in item.needs])) for item in self.stored]

    def render(
        self,
        view: View,
        numbers: Sequence[int],
        uids: Sequence[int],
        stored: Iterable[Sequence[Value | None]],
    ) -> tuple[bytes, int]:
        """Responses, and how many: none for a message that lacks a stored value."""
        values = iter(stored)
        columns: list[Sequence[Value | None]] = []
        whole = True
        for item in self.items:
            if item.needs:
                column = next(values)
                whole = whole and None not in column
            else:
                column = _LOCAL[item.template](view, numbers, uids)
            columns.append(column)
        rows: Iterable[tuple[Any, ...]] = zip(numbers, *columns, strict=True)
        if not whole:
            rows = [row for row in rows if None not in row]
        rendered = list(map(self._template.__mod__, rows))
        return b"".join(rendered), len(rendered)


def table(items: Sequence[FetchItem]) -> Table | None:
    """None: some of them need the message itself."""
    found = [_section_item(item) if isinstance(item, Section) else _ITEMS.get(item) for item in items]
    known = [item for item in found if item is not None]
    return Table(known) if len(known) == len(found) else None


def _section_item(section: Section) -> Item | None:
    if section.part or section.partial is not None:
        return None
    template = section.label.replace(b"%", b"%%") + b" %b"
    if section.text == "":
        return Item(template, ("content",), _contents, kept=False)
    if section.text != "HEADER.FIELDS":
        return None
    names = frozenset(field.lower() for field in section.fields)
    return Item(template, ("header_fields",), partial(_header_fields, names), names)


def _header_fields(names: frozenset[bytes], texts: Sequence[bytes]) -> Iterable[Value]:
    return map(responses.literal, choose_fields(texts, names))


def _contents(messages: Sequence[bytes | None]) -> Iterable[Value | None]:
    return [responses.literal(content) if content is not None else None for content in messages]


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
