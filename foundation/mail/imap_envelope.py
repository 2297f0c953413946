"""The ENVELOPE that IMAP shows of a header (RFC 3501 7.4.2), and the strings it is written with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from foundation.mail.address_list import Mailbox, parse_addresses
from foundation.mail.headers import fields

ENVELOPE_FIELDS = frozenset(
    {
        b"date",
        b"subject",
        b"from",
        b"sender",
        b"reply-to",
        b"to",
        b"cc",
        b"bcc",
        b"in-reply-to",
        b"message-id",
    }
)
REPEATED_OCTETS_MAX = 1_000_000
"""How much of repeated address fields is shown beyond the first of each name."""
ADDRESS_FIELDS = frozenset({b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"})

_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*+")
_TO_ESCAPE = re.compile(rb'(["\\])')


def render_string(value: bytes) -> bytes:
    """A quoted string, or a literal where it must be (RFC 3501 4.3). NUL can't be said and is left out."""
    if b"\0" in value:
        value = value.replace(b"\0", b"")
    if _QUOTABLE.fullmatch(value):
        if b'"' in value or b"\\" in value:
            value = _TO_ESCAPE.sub(rb"\\\1", value)
        return b'"%b"' % value
    return b"{%d}\r\n%b" % (len(value), value)


def render_nstring(value: bytes | None) -> bytes:
    return b"NIL" if value is None else render_string(value)


def render_envelope(header: bytes) -> bytes:
    """The `envelope` of a header."""
    return envelope_of(collect_fields(header))


def collect_fields(header: bytes) -> dict[bytes, bytes]:
    """The values an envelope shows: the first of each name; a repeated address field counts as one list."""
    return merge_fields((name, value) for name, value in fields(header) if name in ENVELOPE_FIELDS)


def merge_fields(found: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """One value of each name, from (name in lower case, value) in the order of the header."""
    merged: dict[bytes, bytes] = {}
    repeated: dict[bytes, list[bytes]] = {}
    room = REPEATED_OCTETS_MAX
    for name, value in found:
        if name not in merged:
            merged[name] = value
        elif name in ADDRESS_FIELDS and len(value) < room:
            room -= len(value) + 2
            repeated.setdefault(name, [merged[name]]).append(value)
    for name, values in repeated.items():
        merged[name] = b", ".join(values)
    return merged


def envelope_of(values: Mapping[bytes, bytes]) -> bytes:
    """The `envelope` of collected fields, by name in lower case."""
    sender = _addresses(values.get(b"from"))
    shown = [
        render_nstring(values.get(b"date")),
        render_nstring(values.get(b"subject")),
        sender,
        # RFC 3501 7.4.2: absent or empty Sender and Reply-To are the same as From
        _addresses(values.get(b"sender"), sender),
        _addresses(values.get(b"reply-to"), sender),
        _addresses(values.get(b"to")),
        _addresses(values.get(b"cc")),
        _addresses(values.get(b"bcc")),
        render_nstring(values.get(b"in-reply-to")),
        render_nstring(values.get(b"message-id")),
    ]
    return b"(%b)" % b" ".join(shown)


def _addresses(value: bytes | None, otherwise: bytes = b"NIL") -> bytes:
    if not value:
        return otherwise
    mailboxes = parse_addresses(value)
    if not mailboxes:
        return otherwise
    return b"(%b)" % b"".join([_address(mailbox) for mailbox in mailboxes])


def _address(mailbox: Mailbox) -> bytes:
    name, local, domain = mailbox
    return b"(%b NIL %b %b)" % (render_nstring(name), render_nstring(local), render_nstring(domain))
