"""What the server says, as bytes (RFC 3501 7): strings, flags, sets, dates, status lines with response
codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from foundation.interfaces.mailbox_store import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, Role
from foundation.mail.errors import MailError
from foundation.rpc.errors import CallFailed

STORE_AWAY = "The mailbox store can't be reached now, try again later"

_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_QUOTABLE = re.compile(rb"[\x20-\x7e]*")
_EPOCH = datetime(1970, 1, 1)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FLAG_NAMES = (
    (ANSWERED, b"\\Answered"),
    (FLAGGED, b"\\Flagged"),
    (DELETED, b"\\Deleted"),
    (SEEN, b"\\Seen"),
    (DRAFT, b"\\Draft"),
)
SYSTEM_FLAGS = b" ".join(name for _, name in _FLAG_NAMES)
ROLE_ATTRIBUTES: dict[Role, bytes] = {
    "sent": b"\\Sent",
    "drafts": b"\\Drafts",
    "trash": b"\\Trash",
    "junk": b"\\Junk",
    "archive": b"\\Archive",
}


def quoted(value: bytes) -> bytes:
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def char8(value: bytes) -> bytes:
    """What a literal may hold, of the same length: NUL can't be said (RFC 3501 9) and becomes 0x80."""
    return value.replace(b"\0", b"\x80")


def literal(value: bytes) -> bytes:
    return b"{%d}\r\n%b" % (len(value), char8(value))


def string(value: bytes) -> bytes:
    return quoted(value) if _QUOTABLE.fullmatch(value) and len(value) <= 1000 else literal(value)


def nstring(value: bytes | None) -> bytes:
    return b"NIL" if value is None else string(value)


def astring(value: bytes) -> bytes:
    return value if _ASTRING.fullmatch(value) and value.upper() != b"NIL" else string(value)


def mailbox(encoded: bytes) -> bytes:
    """An encoded name; UTF-8 may be quoted, since only sessions that asked for it get it (RFC 6855 3)."""
    return astring(encoded) if encoded.isascii() else quoted(encoded)


def _render_flags(bits: int) -> bytes:
    return b" ".join(name for bit, name in _FLAG_NAMES if bits & bit)


_SYSTEM = tuple(_render_flags(bits) for bits in range(32))


def flags(bits: int, keywords: tuple[str, ...] = (), recent: bool = False) -> bytes:
    """Without the parentheses."""
    rendered = _SYSTEM[bits & 31]
    if not keywords and not recent:
        return rendered
    parts = [rendered] if rendered else []
    parts += [keyword.encode("ascii") for keyword in keywords]
    if recent:
        parts.append(b"\\Recent")
    return b" ".join(parts)


def number_set(numbers: Sequence[int]) -> bytes:
    """Rising numbers as a set in its shortest form."""
    pieces: list[bytes] = []
    index, count = 0, len(numbers)
    while index < count:
        first = last = numbers[index]
        index += 1
        while index < count and numbers[index] == last + 1:
            last += 1
            index += 1
        pieces.append(b"%d" % first if first == last else b"%d:%d" % (first, last))
    return b",".join(pieces)


def ordered_set(numbers: Iterable[int]) -> bytes:
    """Numbers in their given order, runs that rise by one joined (COPYUID, RFC 4315 3)."""
    pieces: list[bytes] = []
    first = last = 0
    for number in numbers:
        if first and number == last + 1:
            last = number
            continue
        if first:
            pieces.append(b"%d" % first if first == last else b"%d:%d" % (first, last))
        first = last = number
    if first:
        pieces.append(b"%d" % first if first == last else b"%d:%d" % (first, last))
    return b",".join(pieces)


def date_time(at_ms: int, offset_minutes: int) -> bytes:
    """RFC 3501 9 `date-time`."""
    value = _EPOCH + timedelta(milliseconds=at_ms, minutes=offset_minutes)
    sign = "-" if offset_minutes < 0 else "+"
    hours, minutes = divmod(abs(offset_minutes), 60)
    return (
        f'"{value.day:2d}-{_MONTHS[value.month - 1]}-{value.year:04d} '
        f'{value.hour:02d}:{value.minute:02d}:{value.second:02d} {sign}{hours:02d}{minutes:02d}"'
    ).encode("ascii")


def text(sentence: str) -> bytes:
    """RFC 3501 9 `text`: one line, never empty, never starting like a response code."""
    line = re.sub(r"[^\x20-\x7e]", "?", sentence.replace("\r\n", " ").replace("\n", " ")).strip()
    return line.lstrip("[").encode("ascii") or b"No more is known"


def status(tag: bytes, condition: bytes, sentence: str, code: bytes = b"") -> bytes:
    """A status line: OK, NO, BAD, BYE, PREAUTH; the tag is `*` for an untagged one."""
    bracketed = b"[%b] " % code if code else b""
    return b"%b %b %b%b\r\n" % (tag or b"*", condition, bracketed, text(sentence))


def failure(tag: bytes, error: MailError) -> bytes:
    """The NO of an error. Where servers inside are, and what is wrong with them, is not a client's matter."""
    away = isinstance(error, CallFailed)
    return status(tag, b"NO", STORE_AWAY if away else error.sentence, error_code(error))


_REASON_CODES = {
    "NONEXISTENT": b"NONEXISTENT",  # RFC 5530 3
    "ALREADYEXISTS": b"ALREADYEXISTS",
    "INUSE": b"INUSE",
    "CANNOT": b"CANNOT",
    "OVERQUOTA": b"OVERQUOTA",
    "LIMIT": b"LIMIT",
    "EXPUNGED": b"EXPUNGEISSUED",
    "SERVERBUG": b"SERVERBUG",
    "UNAVAILABLE": b"UNAVAILABLE",
    "TRYCREATE": b"TRYCREATE",  # RFC 3501 7.1
    "TOOBIG": b"TOOBIG",  # RFC 4469 4.3, RFC 7889
    "USEATTR": b"USEATTR",  # RFC 6154 6
}


def error_code(error: MailError) -> bytes:
    """The response code of a failure; empty where there is none that says more than NO."""
    code = _REASON_CODES.get(error.reason)
    if code is not None:
        return code
    if error.code == 535:
        return b"AUTHENTICATIONFAILED"
    return b"" if error.permanent else b"UNAVAILABLE"
