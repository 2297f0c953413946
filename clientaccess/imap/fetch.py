"""FETCH items and a store's record → the response (RFC 3501 7.4.2). What the record does not carry is named
as a Piece of the stored message, and the session copies it through without holding it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from clientaccess.imap import responses
from clientaccess.imap.commands import FetchItem, Section
from foundation.interfaces.mailbox_store import Fields, FlagEntry, Record
from foundation.mail.headers import select_fields
from foundation.mail.mime import Part, decode_parts, find_part
from foundation.mail.rendering import render_body_structure

CONTENT_IN_RECORD_BYTES = 131072
"""Messages up to this size come within their record when their content is asked for."""
NESTED_HEADER_BYTES_MAX = 1048576


class Piece(msgspec.Struct, frozen=True):
    """Octets of the stored message."""

    offset: int
    length: int


Token = bytes | Piece


class Plan:
    """One FETCH command's items, understood once for all its messages."""

    __slots__ = ("_parts", "fields", "items", "sees")

    def __init__(self, items: tuple[FetchItem, ...]) -> None:
        self.items = items
        sections = [item for item in items if isinstance(item, Section)]
        header = any(not section.part and section.text.startswith("HEADER") for section in sections)
        content = any(section.part or not section.text.startswith("HEADER") for section in sections)
        self._parts = "BODY" in items or any(section.part or section.text == "TEXT" for section in sections)
        self.sees = any(not section.peek for section in sections)
        """Sets \\Seen (RFC 3501 6.4.5)."""
        self.fields = Fields(
            envelope="ENVELOPE" in items,
            body_structure="BODYSTRUCTURE" in items,
            parts=self._parts,
            header=header,
            content_up_to_bytes=CONTENT_IN_RECORD_BYTES if content else 0,
        )

    def root(self, record: Record) -> Part | None:
        return decode_parts(record.parts) if self._parts else None

    def nested_headers(self, record: Record, root: Part | None) -> list[Piece]:
        """Headers of enclosed messages that fields are to be chosen from, where the record has no content."""
        if root is None or record.content is not None:
            return []
        wanted: list[Piece] = []
        for item in self.items:
            if isinstance(item, Section) and item.part and item.fields:
                piece = _nested(item, root)
                if piece is not None:
                    wanted.append(_cut(piece))
        return wanted

    def render(
        self,
        number: int,
        record: Record,
        flags: bytes,
        root: Part | None = None,
        nested: dict[Piece, bytes] | None = None,
        extra: bytes = b"",
    ) -> list[Token]:
        """One response; `flags` as shown, `extra` an item that was not asked for."""
        tokens: list[Token] = [b"* %d FETCH (" % number]
        for index, item in enumerate(self.items):
            if index:
                tokens.append(b" ")
            if isinstance(item, Section):
                self._section(tokens, item, record, root, nested or {})
            elif item == "FLAGS":
                tokens.append(b"FLAGS (%b)" % flags)
            elif item == "BODY":
                assert root is not None
                tokens.append(b"BODY " + render_body_structure(root, extensible=False))
            else:
                tokens.append(_SIMPLE[item](record))
        tokens.append(extra + b")\r\n")
        return tokens

    @staticmethod
    def _section(
        tokens: list[Token], section: Section, record: Record, root: Part | None, nested: dict[Piece, bytes]
    ) -> None:
        tokens.append(section.label)
        if section.partial is not None:
            tokens.append(b"<%d>" % section.partial[0])
        tokens.append(b" ")
        found = _find(section, record, root, nested)
        if found is None:
            tokens.append(b"NIL")
            return
        if section.partial is not None:
            origin, length = section.partial
            if isinstance(found, Piece):
                begin = min(origin, found.length)
                found = Piece(found.offset + begin, min(length, found.length - begin))
            else:
                found = found[origin : origin + length]
        if isinstance(found, bytes):
            tokens.append(responses.literal(found) if found else b'""')
        elif record.content is not None:
            tokens.append(responses.literal(record.content[found.offset : found.offset + found.length]))
        else:
            tokens.append(b"{%d}\r\n" % found.length)
            if found.length:
                tokens.append(found)


def local_response(
    items: tuple[FetchItem, ...],
    number: int,
    entry: FlagEntry,
    recent: bool,
    extra: tuple[FetchItem, ...] = (),
) -> bytes:
    """A FETCH response of what the session itself knows."""
    parts: list[bytes] = []
    for item in (*items, *(item for item in extra if item not in items)):
        if item == "FLAGS":
            parts.append(b"FLAGS (%b)" % responses.flags(entry.flags, entry.keywords, recent))
        elif item == "UID":
            parts.append(b"UID %d" % entry.uid)
        elif item == "MODSEQ":
            parts.append(b"MODSEQ (%d)" % entry.modseq)
    return b"* %d FETCH (%b)\r\n" % (number, b" ".join(parts))


def _find(
    section: Section, record: Record, root: Part | None, nested: dict[Piece, bytes]
) -> bytes | Piece | None:
    if not section.part:
        if section.text == "":
            return Piece(0, record.size_bytes)
        if section.text == "HEADER":
            return record.header
        if section.text == "TEXT":
            assert root is not None
            return Piece(root.body_start, record.size_bytes - root.body_start)
        return _chosen(section, record.header)
    assert root is not None
    piece = _nested(section, root)
    if piece is None or not section.fields:
        return piece
    cut = _cut(piece)
    if record.content is not None:
        return _chosen(section, record.content[cut.offset : cut.offset + cut.length])
    return _chosen(section, nested[cut])


def _nested(section: Section, root: Part) -> Piece | None:
    """Where a section with a part number lies; HEADER.FIELDS: the header it is chosen from."""
    part = find_part(root, section.part)
    if part is None:
        return None
    if section.text == "":
        return Piece(part.body_start, part.body_end - part.body_start)
    if section.text == "MIME":
        return Piece(part.header_start, part.body_start - part.header_start)
    if not part.is_message:  # RFC 3501 6.4.5: HEADER and TEXT belong to message/rfc822
        return None
    message = part.children[0]
    if section.text == "TEXT":
        return Piece(message.body_start, message.body_end - message.body_start)
    return Piece(message.header_start, message.body_start - message.header_start)


def _cut(piece: Piece) -> Piece:
    return Piece(piece.offset, min(piece.length, NESTED_HEADER_BYTES_MAX))


def _chosen(section: Section, header: bytes) -> bytes:
    names = frozenset(field.lower() for field in section.fields)
    return select_fields(header, names, section.text == "HEADER.FIELDS.NOT")


_SIMPLE: dict[str, Callable[[Record], bytes]] = {
    "UID": lambda record: b"UID %d" % record.uid,
    "MODSEQ": lambda record: b"MODSEQ (%d)" % record.modseq,
    "ENVELOPE": lambda record: b"ENVELOPE " + record.envelope,
    "BODYSTRUCTURE": lambda record: b"BODYSTRUCTURE " + record.body_structure,
    "INTERNALDATE": lambda record: (
        b"INTERNALDATE " + responses.date_time(record.internal_date_ms, record.internal_offset_minutes)
    ),
    "RFC822.SIZE": lambda record: b"RFC822.SIZE %d" % record.size_bytes,
    "EMAILID": lambda record: b"EMAILID (%b)" % record.email_id.encode("ascii"),
    "THREADID": lambda record: (
        b"THREADID (%b)" % record.thread_id.encode("ascii") if record.thread_id else b"THREADID NIL"
    ),
    "SAVEDATE": lambda record: b"SAVEDATE " + responses.date_time(record.save_date_ms, 0),
}
