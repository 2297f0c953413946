"""What an IMAP client is shown of a message without reading it: ENVELOPE and BODYSTRUCTURE (RFC 3501 7.4.2),
rendered once when the store files the message, and the values that threads and searches are made of.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from foundation.mail.decoding import decode_header
from foundation.mail.headers import message_ids
from foundation.mail.imap_envelope import envelope_of, render_envelope, render_nstring, render_string
from foundation.mail.listed_fields import Listed, list_fields
from foundation.mail.mime import Params, Part, encode_parts, scan

if TYPE_CHECKING:
    from foundation.mail.headers import Buffer

__all__ = [
    "Summary",
    "base_subject",
    "parse_date",
    "render_body_structure",
    "render_envelope",
    "render_nstring",
    "render_string",
    "summarise",
]

REFERENCES_MAX = 1000
SUBJECT_CHARACTERS_MAX = 1000
WORD_CHARACTERS_MAX = 64

_DATE = re.compile(
    rb"(?:[A-Za-z]+[, ]\s*)?(\d{1,2})[\s-]+([A-Za-z]{3})[a-z]*[\s-]+(\d{2,4})"
    rb"(?:\s+(\d{1,2})\s*:\s*(\d{2})(?:\s*:\s*(\d{2}))?(?:\s*([+-]\d{4}|[A-Za-z]{1,5}))?)?"
)
_COMMENT = re.compile(rb"\([^()]*+\)")
_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
_ZONES = {b"EST": -5, b"EDT": -4, b"CST": -6, b"CDT": -5, b"MST": -7, b"MDT": -6, b"PST": -8, b"PDT": -7}
_BLOB = r"\[[^\[\]]*+\]\s*"
_REPLY = re.compile(rf"(?:{_BLOB})*(?:re|fwd?)\s*(?:{_BLOB})?:\s*", re.IGNORECASE)
_LEADING_BLOB = re.compile(_BLOB)
_SPACE = re.compile(r"\s+")


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a store keeps beside a message's content."""

    envelope: bytes
    body_structure: bytes
    """With extension data; what FETCH BODY shows is rendered from `parts`."""
    parts: bytes
    """mime.encode_parts of the root part."""
    header_size: int
    message_id: str
    """Without angle brackets, like in_reply_to and references; empty when there is none."""
    in_reply_to: str
    references: tuple[str, ...]
    subject_base: str
    """RFC 5256 2.1, casefolded."""
    sent_date: tuple[int, int, int] | None
    """Year, month, day as the Date field has it, in its own offset."""
    sent_at_ms: int | None
    listed: Listed = Listed()


def summarise(buffer: Buffer) -> Summary:
    """Everything that is computed once for a whole message."""
    scanned = scan(buffer)
    values = scanned.values
    identifiers = message_ids(values.get(b"message-id", b""))
    answered = message_ids(values.get(b"in-reply-to", b""))
    sent_date, sent_at_ms = parse_date(values.get(b"date", b""))
    return Summary(
        envelope=envelope_of(values),
        body_structure=render_body_structure(scanned.part),
        parts=encode_parts(scanned.part),
        header_size=scanned.header_end,
        message_id=identifiers[0] if identifiers else "",
        in_reply_to=answered[0] if answered else "",
        references=message_ids(values.get(b"references", b""))[-REFERENCES_MAX:],
        subject_base=base_subject(decode_header(values.get(b"subject", b""))).casefold(),
        sent_date=sent_date,
        sent_at_ms=sent_at_ms,
        listed=list_fields(bytes(buffer[: scanned.header_end])),
    )


def render_body_structure(part: Part, extensible: bool = True) -> bytes:
    """The `body` of a part; with extension data for BODYSTRUCTURE, without for BODY."""
    if part.is_multipart:
        rendered = b"".join([render_body_structure(child, extensible) for child in part.children])
        rendered += b" " + _text(part.subtype)
        return b"(%b%b)" % (rendered, b" " + _params(part.params) + _extension(part) if extensible else b"")
    items = [
        _text(part.type),
        _text(part.subtype),
        _params(part.params),
        render_nstring(part.id),
        render_nstring(part.description),
        _text(part.encoding),
        b"%d" % part.size,
    ]
    if part.is_message:
        items += [part.envelope, render_body_structure(part.children[0], extensible)]
    if part.is_message or part.type == "text":
        items.append(b"%d" % part.lines)
    rendered = b" ".join(items)
    if extensible:
        rendered += b" " + render_nstring(part.md5) + _extension(part)
    return b"(%b)" % rendered


def parse_date(value: bytes) -> tuple[tuple[int, int, int] | None, int | None]:
    """((year, month, day) as written, UTC milliseconds) of a Date field, also of RFC 5322 4.3."""
    found = _DATE.match(_COMMENT.sub(b" ", value).strip() if b"(" in value else value)
    if not found or found[2].lower() not in _MONTHS:
        return None, None
    year = int(found[3])
    if len(found[3]) < 4:
        year += 2000 if len(found[3]) == 2 and year < 50 else 1900
    month = _MONTHS.index(found[2].lower()) + 1
    try:
        at = datetime(
            year,
            month,
            int(found[1]),
            int(found[4] or b"0"),
            int(found[5] or b"0"),
            min(int(found[6] or b"0"), 59),  # a leap second
            tzinfo=_zone(found[7] or b""),
        )
    except ValueError:
        return None, None
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (at.year, at.month, at.day), (since.days * 86_400 + since.seconds) * 1000


def base_subject(subject: str) -> str:
    """The subject without marks of replies and forwards (RFC 5256 2.1); of a giant one the beginning."""
    subject = _SPACE.sub(" ", subject[:SUBJECT_CHARACTERS_MAX]).strip()
    while True:
        while subject[-5:].lower() == "(fwd)":
            subject = subject[:-5].rstrip()
        before = subject
        while leader := _REPLY.match(subject):
            subject = subject[leader.end() :]
        blob = _LEADING_BLOB.match(subject)
        if blob and blob.end() < len(subject):
            subject = subject[blob.end() :]
        if subject != before:
            continue
        if subject[:5].lower() == "[fwd:" and subject.endswith("]"):
            subject = subject[5:-1].strip()
            continue
        return subject


def _zone(text: bytes) -> timezone:
    if text[:1] in (b"+", b"-"):
        minutes = int(text[1:3]) * 60 + int(text[3:5])
        return timezone(timedelta(minutes=-minutes if text[:1] == b"-" else minutes))
    return timezone(timedelta(hours=_ZONES.get(text.upper(), 0)))


def _text(text: str) -> bytes:
    return _word(text) if len(text) <= WORD_CHARACTERS_MAX else render_string(text.encode("ascii", "replace"))


@lru_cache(maxsize=1024)
def _word(text: str) -> bytes:
    """Types, encodings, names of parameters: there are few."""
    return render_string(text.encode("ascii", "replace"))


def _params(params: Params) -> bytes:
    if not params:
        return b"NIL"
    return b"(%b)" % b" ".join([_text(name) + b" " + render_string(value) for name, value in params])


def _extension(part: Part) -> bytes:
    """Disposition, language, location: what ends the extension data of every part."""
    disposition = b"NIL"
    if part.disposition:
        disposition = b"(%b %b)" % (_text(part.disposition), _params(part.disposition_params))
    language = b"NIL"
    if part.language:
        language = b"(%b)" % b" ".join([render_string(tag) for tag in part.language])
    return b" %b %b %b" % (disposition, language, render_nstring(part.location))
