"""The header of a message, as bytes: found, counted, removed and prepended, never parsed and printed again.

Used by every station: submission completes and strips, each hop stamps and counts, the store prepends
Return-Path and finds what it indexes. Lines end in CRLF; a bare LF is understood, too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from foundation.mail.address import to_a_labels, valid_address, valid_domain
from foundation.mail.errors import MailError

if TYPE_CHECKING:
    from mmap import mmap

    Buffer = bytes | bytearray | mmap

BLIND_RECIPIENTS = frozenset({b"bcc", b"resent-bcc"})
PRIVATE_PREFIX = b"x-waypost-"
UNDECIDED_BYTES_MAX = 4096
"""Read beyond a limit of the header, to see whether the line that was cut there is a field."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

# A line that begins with `--` is a MIME delimiter, never a field. `From ` is the mark of an mbox file.
# No group here repeats possessively: CPython before 3.11.5 can leave such a group at the wrong place.
_HEADER_LINE = rb"(?!--)[!-9;-~]++[ \t]*+:|[ \t]|>?From "
_FIRST_LINE = re.compile(_HEADER_LINE)
_LAST_LINE_END = re.compile(rb"\n(?!%b)" % _HEADER_LINE)
_UNDECIDED = re.compile(rb"(?!--)[!-9;-~]*+[ \t]*+\Z|\r\Z")
_FIELD_END = re.compile(rb"\n(?![ \t])")
_FIELD_NAME = re.compile(rb"((?!--)[!-9;-~]++)[ \t]*+:")
_FIELDS = re.compile(rb"^(((?!--)[!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*)*\n?))", re.MULTILINE)
_MESSAGE_ID = re.compile(rb"<([^<>\s]{1,995})>")
_NOT_WORD = re.compile(r"[^A-Za-z0-9._-]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Field(NamedTuple):
    """Where a field stands: `buffer[start:end]` with its line end, its value from `value_start`."""

    name: bytes
    """Lower case."""
    start: int
    value_start: int
    end: int


class Content(Protocol):
    """A whole message, read in pieces."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes: ...


def read_header(content: Content, limit_bytes: int) -> bytes:
    """The header with its empty line. Raises MailError 552 5.3.4 beyond the limit."""
    return leading_header(content.read(0, limit_bytes + UNDECIDED_BYTES_MAX), content.size_bytes, limit_bytes)


def leading_header(start: bytes, size_bytes: int, limit_bytes: int) -> bytes:
    """The header of a content of `size_bytes` from its `start`: all of it, or more than `limit_bytes`.

    A line that `start` cuts where it may yet be a field is no end of the header. Raises MailError 552 5.3.4.
    """
    end = header_block(start)
    cut = len(start) < size_bytes and not _closed(start[:end]) and _UNDECIDED.match(start, end)
    if end > limit_bytes or cut:
        raise MailError(552, "5.3.4", f"The header is larger than {limit_bytes} bytes, the limit here")
    return start[:end]


def header_block(buffer: Buffer, start: int = 0) -> int:
    """Offset of the body: after the empty line, or at the first line that can't belong to a header."""
    end = start
    if _FIRST_LINE.match(buffer, start):
        last = _LAST_LINE_END.search(buffer, start)
        end = last.end() if last else len(buffer)
    following = buffer[end : end + 2]
    if following == b"\r\n":
        return end + 2
    return end + 1 if following[:1] == b"\n" else end


def find_fields(buffer: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of the header that lies in `buffer[start:end]`; lines that are none are passed over."""
    at = start
    for found in _FIELD_END.finditer(buffer, start, end):
        if name := _FIELD_NAME.match(buffer, at, end):
            yield Field(name[1].lower(), at, name.end(), found.end())
        at = found.end()
    if name := _FIELD_NAME.match(buffer, at, end):
        yield Field(name[1].lower(), at, name.end(), end)


def split_fields(block: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Text, name and value of each field of a header, as find_fields finds them: in one go, which is faster,
    and all of it copied.
    """
    return _FIELDS.findall(block)


def fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name in lower case, unfolded value without outer white space) of every field, in order."""
    for field in find_fields(header, 0, header_block(header)):
        yield field.name, unfold(header[field.value_start : field.end])


def unfold(value: bytes) -> bytes:
    """A field's value on one line (RFC 5322 2.2.3), without outer white space."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t\r")


def find_header(header: bytes, name: bytes) -> bytes | None:
    """The unfolded value of the first field of that name; None when there is none."""
    name = name.lower()
    for field in find_fields(header, 0, header_block(header)):
        if field.name == name:
            return unfold(header[field.value_start : field.end])
    return None


def message_id(header: bytes) -> str:
    """The Message-ID without its angle brackets; empty when there is none."""
    identifiers = message_ids(find_header(header, b"message-id") or b"")
    return identifiers[0] if identifiers else ""


def message_ids(value: bytes) -> tuple[str, ...]:
    """The ids of a Message-ID, In-Reply-To or References value; a value without any bracket is one id."""
    found = _MESSAGE_ID.findall(value)
    if not found and b"<" not in value:
        found = value.split()[:1]
    return tuple(identifier[:995].decode("utf-8", "replace") for identifier in found)


def count_received(header: bytes) -> int:
    """How many servers have stamped the message (RFC 5321 6.3)."""
    return sum(name.lower() == b"received" for _, name, _ in split_fields(header[: header_block(header)]))


def remove_headers(header: bytes, names: frozenset[bytes]) -> bytes:
    """Without the fields of these names (lower case), continuation lines included."""
    return _without(header, lambda name: name in names)


def remove_private(header: bytes) -> bytes:
    """Without the fields that only Waypost servers may write, the Return-Path of final delivery among them
    (RFC 5321 4.4: a message sent has none)."""
    return _without(header, lambda name: name.startswith(PRIVATE_PREFIX) or name == b"return-path")


def select_fields(header: bytes, names: frozenset[bytes], exclude: bool) -> bytes:
    """Fields of these lower-case names, or all others, as they stand, and an empty line: RFC 3501 6.4.5."""
    chosen = []
    for field in find_fields(header, 0, header_block(header)):
        if (field.name in names) is not exclude:
            text = header[field.start : field.end]
            chosen.append(text if text.endswith(b"\n") else text + b"\r\n")
    chosen.append(b"\r\n")
    return b"".join(chosen)


def complete_submission(header: bytes, *, at_ms: int, message_id: str) -> bytes:
    """Adds a missing Date and Message-ID (RFC 6409 8.2, 8.3) and a missing closing empty line; private fields
    go."""
    header = remove_private(header)
    names = {name.lower() for _, name, _ in split_fields(header[: header_block(header)])}
    added = []
    if b"date" not in names:
        added.append(f"Date: {date_value(at_ms)}\r\n".encode("ascii"))
    if b"message-id" not in names:
        added.append(f"Message-ID: <{_CONTROLS.sub('', message_id)}>\r\n".encode())
    if header and not header.endswith(b"\n"):
        header += b"\r\n"
    return b"".join(added) + header + (b"" if _closed(header) else b"\r\n")


def return_path_line(sender: str) -> bytes:
    """What the store prepends at final delivery (RFC 5321 4.4)."""
    return f"Return-Path: <{_CONTROLS.sub('', sender)}>\r\n".encode("utf-8", "replace")


def date_value(at_ms: int, offset_minutes: int = 0) -> str:
    """A date-time of RFC 5322 3.3 in the given offset from UTC."""
    return _date_value(at_ms // 1000, offset_minutes)


@lru_cache(maxsize=16)
def _date_value(at_seconds: int, offset_minutes: int) -> str:
    zone = timezone(timedelta(minutes=offset_minutes))
    at = datetime(1970, 1, 1, tzinfo=UTC).astimezone(zone) + timedelta(seconds=at_seconds)
    sign = "-" if offset_minutes < 0 else "+"
    hours, minutes = divmod(abs(offset_minutes), 60)
    return (
        f"{_DAYS[at.weekday()]}, {at.day} {_MONTHS[at.month - 1]} {at.year:04d} "
        f"{at.hour:02d}:{at.minute:02d}:{at.second:02d} {sign}{hours:02d}{minutes:02d}"
    )


def protocol_keyword(
    *, lmtp: bool = False, utf8: bool = False, tls: bool = False, auth: bool = False, esmtp: bool = True
) -> str:
    """The `with` keyword of a Received field (RFC 3848, RFC 6531 4.3); SMTP when the peer said HELO."""
    if not lmtp and not esmtp:
        return "SMTP"
    base = ("UTF8LMTP" if utf8 else "LMTP") if lmtp else ("UTF8SMTP" if utf8 else "ESMTP")
    return base + ("S" if tls else "") + ("A" if auth else "")


def received_line(
    *,
    peer_helo: str,
    peer_address: str,
    peer_name: str = "",
    by: str,
    protocol: str,
    identifier: str,
    for_recipient: str = "",
    at_ms: int,
    offset: int = 0,
) -> bytes:
    """A folded Received field with its CRLF (RFC 5321 4.4); `offset` in minutes from UTC.

    Nothing a peer says can end the line: what can't stand in a clause is replaced by `?` or left out.
    """
    literal = _address_literal(peer_address)
    tcp_info = " ".join(filter(None, (_host(peer_name), literal)))
    origin = _host(peer_helo) or literal or "unknown"
    clauses = [f"from {origin}" + (f" ({tcp_info})" if tcp_info else "")]
    clauses.append(f"by {_host(by)} with {_NOT_WORD.sub('?', protocol)}")
    clauses[-1] += f" id {_NOT_WORD.sub('?', identifier)}" if identifier else ""
    if for_recipient and valid_address(for_recipient, smtputf8=protocol.startswith("UTF8")):
        clauses.append(f"for <{for_recipient}>")
    folded = "\r\n\t".join(clauses)
    return f"Received: {folded};\r\n\t{date_value(at_ms, offset)}\r\n".encode()


def _closed(header: bytes) -> bool:
    """Whether it ends with its empty line."""
    return header in (b"\n", b"\r\n") or header.endswith((b"\n\n", b"\n\r\n"))


def _host(name: str) -> str:
    if valid_domain(name, smtputf8=True):
        return name if name.isascii() else to_a_labels(name) or ""  # RFC 6531 3.7.3
    return _NOT_WORD.sub("?", name[:255])


@lru_cache(maxsize=1024)
def _address_literal(address: str) -> str:
    if not address:
        return ""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"[{_NOT_WORD.sub('?', address[:255])}]"
    return f"[IPv6:{parsed}]" if parsed.version == 6 else f"[{parsed}]"  # RFC 5321 4.1.3


def _without(header: bytes, unwanted: Callable[[bytes], bool]) -> bytes:
    block = header_block(header)
    if not any(unwanted(name.lower()) for _, name, _ in split_fields(header[:block])):
        return header
    kept = []
    at = 0
    for field in find_fields(header, 0, block):
        if unwanted(field.name):
            kept.append(header[at : field.start])
            at = field.end
    kept.append(header[at:])
    return b"".join(kept)
