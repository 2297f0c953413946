"""Delivery reports: what the sender of a message is told of its fate (RFC 3461 6, 3464, 6522, 6533).

First sentences for a person: what happened, to whom, why, what to do. Then the same for programs, then the
header or the whole of the message meant. The same values give the same octets: nothing here is random.
"""

from __future__ import annotations

import base64
import hashlib
import re
import textwrap
from collections.abc import Sequence
from typing import Literal

import msgspec

from foundation.mail.decoding import decode_header
from foundation.mail.headers import (
    date_value,
    find_header,
    header_block,
    remove_private,
)
from foundation.mail.headers import (
    message_id as message_id_of,
)
from foundation.mail.status import WAIT, explain
from foundation.mail.xtext import decode_orcpt, decode_xtext, encode_utf8_address

Kind = Literal["failed", "delayed", "delivered", "relayed", "expanded"]
"""The actions of RFC 3464 2.3.3."""

DIAGNOSTIC_CHARACTERS_MAX = 2000

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_SMTP_REPLY = re.compile(r"[245][0-9]{2}(?:[ -]|$)")
_LINE_COLUMNS = 76
_WORD_COLUMNS = 225  # RFC 5322 2.1.1: no line over 998 octets; a character has up to 4

_SUBJECTS: dict[Kind, str] = {
    "failed": "Not delivered",
    "delayed": "Delayed",
    "delivered": "Delivered",
    "relayed": "Passed on",
    "expanded": "Sent to a group",
}
_OPENINGS: dict[Kind, str] = {
    "failed": "Your message could not be delivered to {who}.",
    "delayed": (
        "Your message has not been delivered to {who} yet. You need not send it again: it is still tried."
    ),
    "delivered": "Your message was delivered to {who}.",
    "relayed": (
        "Your message was passed on to a mail system that sends no confirmations, for {who}. "
        "Whether it arrived there will not be reported."
    ),
    "expanded": "Your message was sent on to all members of {who}. No further confirmation will follow.",
}


class ReportedRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient's group of fields (RFC 3464 2.3)."""

    address: str
    orcpt: str = ""
    """As received: `type;xtext`."""
    action: Kind
    status: str
    """Enhanced status code (RFC 3463)."""
    diagnostic: str = ""
    """The reply of a server, or a sentence of our own."""
    remote_mta: str = ""
    """Host name of the server that gave the diagnostic; empty when it was this one."""
    last_attempt_ms: int | None = None
    will_retry_until_ms: int | None = None


def delivery_report(
    *,
    kind: Kind,
    reporting_mta: str,
    sender: str,
    recipients: Sequence[ReportedRecipient],
    envid: str = "",
    original_header: bytes,
    original: bytes | None = None,
    at_ms: int,
    message_id: str,
    from_address: str,
    arrival_ms: int | None = None,
    network_message_id: str = "",
) -> bytes:
    """The whole report as a message to `sender`, CRLF lines, to be sent from the null sender.

    `envid` is xtext as received; `original` is given for RET=FULL, its header alone is returned otherwise.
    It needs SMTPUTF8 when `sender` does, and 8BITMIME when it is not ASCII.
    """
    utf8 = not all(recipient.address.isascii() for recipient in recipients)
    returned_type, returned = _returned(original_header, original)
    status_type = "message/global-delivery-status" if utf8 else "message/delivery-status"
    sentences = _sentences(kind, recipients, original_header, reporting_mta, network_message_id)
    groups = [_message_group(reporting_mta, envid, arrival_ms, utf8)]
    groups += [_recipient_group(recipient, utf8) for recipient in recipients]
    parts = [
        ("text/plain; charset=utf-8", sentences.encode("utf-8", "replace")),
        (status_type, b"\r\n".join(groups)),
        (returned_type, returned),
    ]
    boundary = _boundary(message_id, parts)
    encoding = "7bit" if all(body.isascii() for _, body in parts) else "8bit"
    header = _report_header(kind, sender, from_address, original_header, at_ms, message_id)
    header += (
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"\r\n'
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    pieces = [header.encode("utf-8", "replace")]
    pieces += [_part(boundary, media_type, body) for media_type, body in parts]
    pieces.append(f"--{boundary}--\r\n".encode("ascii"))
    return b"".join(pieces)


def _report_header(
    kind: Kind, sender: str, from_address: str, original_header: bytes, at_ms: int, message_id: str
) -> str:
    subject = _clean(decode_header(find_header(original_header, b"subject") or b""))[:120].strip()
    answered = _clean(message_id_of(original_header))
    lines = [
        f"Date: {date_value(at_ms)}",
        f"From: Mail Delivery System <{_clean(from_address)}>",
        f"To: <{_clean(sender)}>",
        f"Subject: {_SUBJECTS[kind]}" + (f": {_encoded_words(subject)}" if subject else ""),
        f"Message-ID: <{_clean(message_id)}>",
    ]
    if answered and answered.isascii():
        lines += [f"In-Reply-To: <{answered}>", f"References: <{answered}>"]  # RFC 3834 3.1.5
    lines.append("Auto-Submitted: auto-replied")  # RFC 3834 5
    return "\r\n".join(lines) + "\r\n"


def _sentences(
    kind: Kind,
    recipients: Sequence[ReportedRecipient],
    original_header: bytes,
    reporting_mta: str,
    network_message_id: str,
) -> str:
    who = f"{len(recipients)} recipients" if len(recipients) != 1 else recipients[0].address
    paragraphs = [_wrapped(_OPENINGS[kind].format(who=_clean(who)))]
    if subject := _clean(decode_header(find_header(original_header, b"subject") or b"")).strip():
        paragraphs.append(_wrapped(f"Its subject: {subject[:400]}"))
    paragraphs += [_told_of(recipient) for recipient in recipients]
    marks = [f"reported by {_clean(reporting_mta)}"]
    if original_id := message_id_of(original_header):
        marks.append(f"Message-ID <{_clean(original_id)}>")
    if network_message_id:
        marks.append(f"network message id {_clean(network_message_id)}")
    paragraphs.append(_wrapped("For your mail administrator: " + ", ".join(marks) + "."))
    return "\r\n\r\n".join(paragraphs) + "\r\n"


def _told_of(recipient: ReportedRecipient) -> str:
    lines = [_wrapped(_clean(recipient.address), "  ")]
    _, wanted = decode_orcpt(recipient.orcpt)
    if wanted and wanted.lower() != recipient.address.lower():
        lines.append(_wrapped(f"You wrote to {_clean(wanted)}.", "    "))
    if recipient.action in ("failed", "delayed"):
        explanation = explain(recipient.status)
        lines.append(_wrapped(f"{explanation.sentence} ({recipient.status})", "    "))
        if diagnostic := _diagnostic(recipient):
            speaker = f"The server {_clean(recipient.remote_mta)} said" if recipient.remote_mta else "Reason"
            lines.append(_wrapped(f"{speaker}: {diagnostic}", "    "))
        if recipient.action == "delayed" and recipient.will_retry_until_ms is not None:
            lines.append(
                _wrapped(f"It will be tried until {date_value(recipient.will_retry_until_ms)}.", "    ")
            )
        mend = WAIT if recipient.action == "delayed" else explanation.mend
        if recipient.action == "failed" and mend == WAIT:
            mend = "Send the message again later, or ask the recipient in another way."
        lines.append(_wrapped(f"What you can do: {mend}", "    "))
    return "\r\n".join(lines)


def _message_group(reporting_mta: str, envid: str, arrival_ms: int | None, utf8: bool) -> bytes:
    """RFC 3464 2.2."""
    fields = []
    if envid:
        fields.append(("Original-Envelope-Id", decode_xtext(envid)))  # RFC 3461 6.3 (b)
    fields.append(("Reporting-MTA", f"dns; {reporting_mta}"))
    if arrival_ms is not None:
        fields.append(("Arrival-Date", date_value(arrival_ms)))
    return _fields(fields, utf8)


def _recipient_group(recipient: ReportedRecipient, utf8: bool) -> bytes:
    """RFC 3464 2.3."""
    fields = []
    if recipient.orcpt:
        kind, wanted = decode_orcpt(recipient.orcpt)
        kind = kind or "rfc822"
        if not utf8 and not wanted.isascii():
            # RFC 6533 3: an address beyond ASCII inside a report of ASCII
            kind, wanted = "utf-8", encode_utf8_address(wanted, ascii_only=True)
        fields.append(("Original-Recipient", f"{kind}; {wanted}"))
    final_kind = "rfc822" if recipient.address.isascii() else "utf-8"
    fields += [
        ("Final-Recipient", f"{final_kind}; {recipient.address}"),
        ("Action", recipient.action),
        ("Status", recipient.status),
    ]
    if recipient.remote_mta:
        fields.append(("Remote-MTA", f"dns; {recipient.remote_mta}"))
    if diagnostic := _diagnostic(recipient):
        kind = "smtp" if recipient.remote_mta or _SMTP_REPLY.match(diagnostic) else "X-Waypost"
        fields.append(("Diagnostic-Code", f"{kind}; {diagnostic}"))
    if recipient.last_attempt_ms is not None:
        fields.append(("Last-Attempt-Date", date_value(recipient.last_attempt_ms)))
    if recipient.will_retry_until_ms is not None and recipient.action == "delayed":
        fields.append(("Will-Retry-Until", date_value(recipient.will_retry_until_ms)))  # RFC 3464 2.3.8
    return _fields(fields, utf8)


def _diagnostic(recipient: ReportedRecipient) -> str:
    return _clean(recipient.diagnostic)[:DIAGNOSTIC_CHARACTERS_MAX].strip()


def _fields(fields: Sequence[tuple[str, str]], utf8: bool) -> bytes:
    lines = [_folded(f"{name}: {_clean(value)}") for name, value in fields]
    return ("\r\n".join(lines) + "\r\n").encode("utf-8" if utf8 else "ascii", "replace")


def _returned(original_header: bytes, original: bytes | None) -> tuple[str, bytes]:
    """Media type and octets of the third part (RFC 6522 3, RFC 6533 6)."""
    content = remove_private(original_header if original is None else original)
    header = content[: header_block(content)]
    try:
        utf8 = not header.isascii() and bool(header.decode("utf-8"))
    except UnicodeDecodeError:
        utf8 = False
    if original is not None:
        return ("message/global" if utf8 else "message/rfc822"), content
    return ("message/global-headers" if utf8 else "text/rfc822-headers"), header


def _part(boundary: str, media_type: str, body: bytes) -> bytes:
    encoding = "7bit" if body.isascii() else "8bit"
    head = f"--{boundary}\r\nContent-Type: {media_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    # RFC 2046 5.1.1: this line end belongs to the delimiter, the body keeps its own
    return head.encode("ascii") + body + b"\r\n"


def _boundary(message_id: str, parts: Sequence[tuple[str, bytes]]) -> str:
    """Derived from the report's own id, and found in none of the parts."""
    seed = message_id.encode("utf-8", "replace")
    while True:
        seed = hashlib.sha256(seed).digest()
        boundary = f"=_report_{seed.hex()[:32]}"
        if not any(boundary.encode("ascii") in body for _, body in parts):
            return boundary


def _clean(text: str) -> str:
    """Without anything that could end a line."""
    return _CONTROLS.sub(" ", text)


def _wrapped(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(
        text,
        _LINE_COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=len(text) > _WORD_COLUMNS,
    )
    return "\r\n".join(lines)


def _folded(field: str) -> str:
    """Lines of at most 76 columns where there are blanks to fold at, never over 998 octets."""
    lines = [""]
    for word in field.split(" "):
        for at in range(0, len(word) or 1, _WORD_COLUMNS):
            piece = word[at : at + _WORD_COLUMNS]
            if len(lines[-1]) + 1 + len(piece) > _LINE_COLUMNS and lines[-1].strip():
                lines.append("")
            lines[-1] += (" " if lines[-1] or len(lines) > 1 else "") + piece
    return "\r\n".join(line for line in lines if line.strip())


def _encoded_words(text: str) -> str:
    """As it is when ASCII, else in encoded words of at most 75 characters (RFC 2047 2), folded."""
    if text.isascii() and "=?" not in text:
        return text
    words = []
    octets = b""
    for character in text:
        encoded = character.encode("utf-8", "replace")
        if len(octets) + len(encoded) > 42:
            words.append(octets)
            octets = b""
        octets += encoded
    words.append(octets)
    return "\r\n ".join(f"=?utf-8?B?{base64.b64encode(word).decode('ascii')}?=" for word in words)
