"""FETCH's arguments: items, sections, partials (RFC 3501 6.4.5 and 9, RFC 7162 3.1.4, RFC 8474, RFC 8514)."""

from __future__ import annotations

import re
from typing import cast

from clientaccess.imap.commands import Command, Fetch, FetchItem, FetchName, Section, SectionText
from clientaccess.imap.responses import astring
from clientaccess.imap.scanner import Malformed, Scanner

_NAME = re.compile(rb"[A-Z0-9.]+", re.IGNORECASE)
_PART = re.compile(rb"[1-9][0-9]{0,5}(?:\.[1-9][0-9]{0,5})*")
_PARTIAL = re.compile(rb"<([0-9]{1,10})\.([0-9]{1,10})>")
_FIELDS_MAX = 500
_ITEMS_MAX = 500
_MACROS: dict[str, tuple[FetchItem, ...]] = {
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}
_SIMPLE = frozenset(
    (
        "ENVELOPE",
        "FLAGS",
        "INTERNALDATE",
        "RFC822.SIZE",
        "BODYSTRUCTURE",
        "UID",
        "MODSEQ",
        "EMAILID",
        "THREADID",
        "SAVEDATE",
    )
)
_RFC822 = {
    "RFC822": Section(b"RFC822"),
    "RFC822.HEADER": Section(b"RFC822.HEADER", text="HEADER", peek=True),
    "RFC822.TEXT": Section(b"RFC822.TEXT", text="TEXT"),
}


def fetch(scanner: Scanner, uid: bool = False) -> Command:
    messages = scanner.sequence_set()
    scanner.space()
    items = list(_items(scanner))
    changed_since = None
    if scanner.accept(b" "):
        scanner.expect(b"(")
        if scanner.word("a modifier") != "CHANGEDSINCE":
            raise Malformed("Unknown modifier")
        scanner.space()
        changed_since = scanner.modseq(zero=False)
        scanner.expect(b")")
        if "MODSEQ" not in items:  # RFC 7162 3.1.4.1
            items.append("MODSEQ")
    if uid and "UID" not in items:  # RFC 3501 6.4.8
        items.insert(0, "UID")
    return Fetch(messages, tuple(dict.fromkeys(items)), uid, changed_since)


def _items(scanner: Scanner) -> tuple[FetchItem, ...]:
    if not scanner.accept(b"("):
        start = scanner.position
        macro = _MACROS.get(_name(scanner))
        if macro is not None:
            return macro
        scanner.position = start
        return (_item(scanner),)
    items = [_item(scanner)]
    while scanner.accept(b" "):
        items.append(_item(scanner))
        if len(items) > _ITEMS_MAX:
            raise Malformed("Too many items")
    scanner.expect(b")")
    return tuple(items)


def _name(scanner: Scanner) -> str:
    match = _NAME.match(scanner.text, scanner.position)
    if match is None:
        raise Malformed("Expected an item")
    scanner.position = match.end()
    return match.group().decode("ascii").upper()


def _item(scanner: Scanner) -> FetchItem:
    name = _name(scanner)
    if name in ("BODY", "BODY.PEEK") and scanner.accept(b"["):
        return _section(scanner, peek=name == "BODY.PEEK")
    if name == "BODY" or name in _SIMPLE:
        return cast("FetchName", name)
    section = _RFC822.get(name)
    if section is None:
        raise Malformed("Unknown item")
    return section


def _section(scanner: Scanner, peek: bool) -> Section:
    part: tuple[int, ...] = ()
    label = b""
    numbers = _PART.match(scanner.text, scanner.position)
    if numbers is not None:
        scanner.position = numbers.end()
        label = numbers.group()
        part = tuple(int(number) for number in label.split(b"."))
    text: SectionText = ""
    fields: tuple[bytes, ...] = ()
    if scanner.peek() != b"]":
        if part:
            scanner.expect(b".")
            label += b"."
        name = _name_of_text(scanner, bool(part))
        label += name.encode("ascii")
        text = name
        if name in ("HEADER.FIELDS", "HEADER.FIELDS.NOT"):
            fields = _fields(scanner)
            label += b" (" + b" ".join(astring(field) for field in fields) + b")"
    scanner.expect(b"]")
    return Section(b"BODY[" + label + b"]", part, text, fields, _partial(scanner), peek)


def _name_of_text(scanner: Scanner, inside_part: bool) -> SectionText:
    name = _name(scanner)
    if name == "MIME" and not inside_part:  # RFC 3501 6.4.5: MIME needs a part number
        raise Malformed("MIME needs a part number")
    if name not in ("HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"):
        raise Malformed("Unknown section")
    return cast("SectionText", name)


def _fields(scanner: Scanner) -> tuple[bytes, ...]:
    scanner.space()
    scanner.expect(b"(", "Expected a list of header fields")
    fields = [scanner.astring()]
    while scanner.accept(b" "):
        fields.append(scanner.astring())
    scanner.expect(b")")
    if len(fields) > _FIELDS_MAX:
        raise Malformed("Too many header fields")
    return tuple(fields)


def _partial(scanner: Scanner) -> tuple[int, int] | None:
    if scanner.peek() != b"<":
        return None
    match = _PARTIAL.match(scanner.text, scanner.position)
    if match is None or int(match.group(2)) == 0:
        raise Malformed("Expected <origin.length>")
    scanner.position = match.end()
    return int(match.group(1)), int(match.group(2))
