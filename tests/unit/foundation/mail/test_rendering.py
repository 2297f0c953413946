from datetime import UTC, datetime

import pytest

from foundation.mail.mime import decode_parts, encode_parts, scan
from foundation.mail.rendering import base_subject, parse_date, render_body_structure, summarise


def structure(message: bytes, extensible: bool = True) -> bytes:
    part = decode_parts(encode_parts(scan(message).part))
    return render_body_structure(part, extensible)


def test_a_simple_text() -> None:
    message = b"Content-Type: text/plain; charset=utf-8\r\n\r\na\r\nb\r\n"
    assert structure(message) == b'("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 6 2 NIL NIL NIL NIL)'
    assert structure(message, False) == b'("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 6 2)'


def test_a_basic_part_with_everything() -> None:
    message = (
        b'Content-Type: image/png; name="\xc3\xbc.png"\r\nContent-ID: <1>\r\nContent-Description: a "b"\r\n'
        b"Content-Transfer-Encoding: base64\r\nContent-MD5: Q2\r\nContent-Disposition: inline; filename=x\r\n"
        b"Content-Language: en, de\r\nContent-Location: http://x\r\n\r\nAAAA"
    )
    assert structure(message) == (
        b'("image" "png" ("name" {6}\r\n\xc3\xbc.png) "<1>" "a \\"b\\"" "base64" 4 "Q2" '
        b'("inline" ("filename" "x")) ("en" "de") "http://x")'
    )
    assert structure(message, False).endswith(b'"base64" 4)')


def test_multipart_and_enclosed_message() -> None:
    message = (
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Disposition: inline\r\n\r\n"
        b"--b\r\n\r\nhi\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: s\r\nFrom: a@b\r\n\r\none\r\ntwo\r\n--b--\r\n"
    )
    text = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" '
    envelope = b'(NIL "s" ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)'
    assert structure(message, False) == (
        b"("
        + text
        + b'2 0)("message" "rfc822" NIL NIL NIL "7bit" 33 '
        + envelope
        + b" "
        + text
        + b'8 1) 4) "mixed")'
    )
    assert structure(message) == (
        b"("
        + text
        + b'2 0 NIL NIL NIL NIL)("message" "rfc822" NIL NIL NIL "7bit" 33 '
        + envelope
        + b" "
        + text
        + b'8 1 NIL NIL NIL NIL) 4 NIL NIL NIL NIL) "mixed" ("boundary" "b") ("inline" NIL) NIL NIL)'
    )


def test_a_multipart_is_never_without_a_part() -> None:
    assert structure(b"Content-Type: multipart/mixed\r\n\r\nx", False) == (
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0) "mixed")'
    )


@pytest.mark.parametrize(
    ("value", "day", "at"),
    [
        (b"Mon, 5 Jan 2026 10:00:00 +0100", (2026, 1, 5), datetime(2026, 1, 5, 9, tzinfo=UTC)),
        (b"5 Jan 2026 23:30 -0500", (2026, 1, 5), datetime(2026, 1, 6, 4, 30, tzinfo=UTC)),
        (
            b"Mon, 05 January 2026 10:00:00 (noon) GMT (comment)",
            (2026, 1, 5),
            datetime(2026, 1, 5, 10, tzinfo=UTC),
        ),
        (b"Mon, 5 Jan 26 10:00:00 EST", (2026, 1, 5), datetime(2026, 1, 5, 15, tzinfo=UTC)),
        (b"5 Jan 99 00:00:00 Z", (1999, 1, 5), datetime(1999, 1, 5, tzinfo=UTC)),
        (b"5 Jan 126 00:00:00 Z", (2026, 1, 5), datetime(2026, 1, 5, tzinfo=UTC)),
        (b"5-Jan-2026 00:00:60 +0000", (2026, 1, 5), datetime(2026, 1, 5, 0, 0, 59, tzinfo=UTC)),
        (b"5 Jan 2026", (2026, 1, 5), datetime(2026, 1, 5, tzinfo=UTC)),
    ],
)
def test_dates(value: bytes, day: tuple[int, int, int], at: datetime) -> None:
    assert parse_date(value) == (day, int(at.timestamp() * 1000))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"yesterday",
        b"31 Feb 2026 10:00 +0000",
        b"5 Foo 2026",
        b"1 Jan 0000",
        b"5 Jan 2026 25:00 +0000",
        b"5 Jan 2026 1:00 +9999",
    ],
)
def test_what_is_no_date(value: bytes) -> None:
    assert parse_date(value) == (None, None)


@pytest.mark.parametrize(
    ("subject", "base"),
    [
        ("Hello", "Hello"),
        ("Re: Hello", "Hello"),
        ("RE :  re: Fwd: FW: Hello (fwd) (FWD)", "Hello"),
        ("Re[2]: Hello", "Hello"),
        ("[list] Re: [list] Hello", "Hello"),
        ("[only a blob]", "[only a blob]"),
        ("[Fwd: Re: Hello]", "Hello"),
        ("Re: \t Hello\n  world ", "Hello world"),
        ("Re:", ""),
        ("Regards: x", "Regards: x"),
        ("re: " * 250_000 + "x", ""),
        ("[a] " * 250_000, "[a]"),
        ("", ""),
    ],
)
def test_base_subjects(subject: str, base: str) -> None:
    assert base_subject(subject) == base


def test_a_summary_has_what_a_store_keeps() -> None:
    message = (
        b"Date: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: Re: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"
        b"Message-ID: <2@x>\r\n"
        b"In-Reply-To: <1@x>\r\nReferences: <0@x>\r\n <1@x>\r\n\r\nbody"
    )
    summary = summarise(message)
    assert message[summary.header_size :] == b"body"
    assert (summary.message_id, summary.in_reply_to, summary.references) == ("2@x", "1@x", ("0@x", "1@x"))
    assert (summary.subject_base, summary.sent_date) == ("grüsse", (2026, 1, 5))
    assert summary.sent_at_ms == 1767603600000
    assert summary.envelope.startswith(
        b'("Mon, 5 Jan 2026 10:00:00 +0100" "Re: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=" NIL'
    )
    assert summary.body_structure == render_body_structure(decode_parts(summary.parts))


def test_a_summary_of_nothing() -> None:
    summary = summarise(b"")
    assert (summary.message_id, summary.references, summary.sent_date, summary.sent_at_ms) == (
        "",
        (),
        None,
        None,
    )
    assert summary.header_size == 0
