import email.utils
from datetime import UTC, datetime

import pytest

from foundation.mail.headers import (
    BLIND_RECIPIENTS,
    complete_submission,
    count_received,
    date_value,
    fields,
    find_header,
    header_block,
    message_id,
    message_ids,
    protocol_keyword,
    received_line,
    remove_headers,
    remove_private,
    return_path_line,
    select_fields,
)

AT_MS = int(datetime(2026, 1, 5, 9, 0, 0, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (b"A: b\r\n\r\nbody", b"body"),
        (b"A: b\n\nbody", b"body"),
        (b"\r\nbody", b"body"),
        (b"\nA: b\n\n", b"A: b\n\n"),
        (b"A: b\r\nnot a field\r\n\r\nx", b"not a field\r\n\r\nx"),
        (b"Hello world\r\nA: b\r\n", b"Hello world\r\nA: b\r\n"),
        (b"A: b\r\n", b""),
        (b"A: b", b""),
        (b"", b""),
        (b"A: b\r\n folded\r\n\ttwice\r\n\r\nx", b"x"),
        (b"A : obsolete blank\r\n\r\nx", b"x"),
        (b"From alice Mon Jan  5\r\nA: b\r\n\r\nx", b"x"),
        (b">Fromage\r\nA: b\r\n\r\nx", b">Fromage\r\nA: b\r\n\r\nx"),
        (b" continued first\r\nA: b\r\n\r\nx", b"x"),
        (b"A: b\r\n--bound:ary\r\n\r\nx", b"--bound:ary\r\n\r\nx"),
        (b"A: b\r\n \r\n\r\nx", b"x"),
    ],
)
def test_where_the_body_begins(message: bytes, body: bytes) -> None:
    assert message[header_block(message) :] == body


def test_fields_are_unfolded_and_named_in_lower_case() -> None:
    header = b"Subject: a\r\n b\r\nX-Y :\tc \r\nEmpty:\r\nFolded:\r\n x\r\n\r\nNot: this"
    assert list(fields(header)) == [(b"subject", b"a b"), (b"x-y", b"c"), (b"empty", b""), (b"folded", b"x")]


def test_find_header_takes_the_first_and_ignores_case() -> None:
    header = b"a: 1\r\nA: 2\r\n\r\nb: 3\r\n"
    assert find_header(header, b"A") == b"1"
    assert find_header(header, b"b") is None
    assert find_header(b"not header\r\na: 1\r\n", b"a") is None


@pytest.mark.parametrize(
    ("value", "identifier"),
    [
        (b"<a@b>", "a@b"),
        (b" <a@b> (comment)", "a@b"),
        (b"bare@id", "bare@id"),
        (b"\r\n <folded@id>", "folded@id"),
        (b"<>", ""),
        (b"<\xff@b>", "\ufffd@b"),
        (b"", ""),
    ],
)
def test_message_id(value: bytes, identifier: str) -> None:
    assert message_id(b"Message-ID:" + value + b"\r\n\r\n") == identifier


def test_message_ids_of_references() -> None:
    assert message_ids(b"<a@b>\t<c@d><e@f> junk <bad id>") == ("a@b", "c@d", "e@f")


def test_received_fields_are_counted_in_the_header_only() -> None:
    assert count_received(b"Received: a\r\nreceived: b\r\n by c\r\nX-Received: d\r\n\r\nReceived: e\r\n") == 2


def test_bcc_goes_with_its_folded_lines_and_nothing_else_changes() -> None:
    header = (
        b"To: a@b\r\nBcc: hidden@x,\r\n\tother@y\r\nbcc : again@z\r\nSubject: bcc: stays\r\n"
        b"Resent-Bcc: r@s\r\nX-Bcc-Not: 1\r\n\r\n"
    )
    left = remove_headers(header, BLIND_RECIPIENTS)
    assert left == b"To: a@b\r\nSubject: bcc: stays\r\nX-Bcc-Not: 1\r\n\r\n"
    assert remove_headers(left, BLIND_RECIPIENTS) is left


def test_bcc_at_the_end_without_an_empty_line() -> None:
    assert remove_headers(b"To: a@b\r\nBcc: c@d", BLIND_RECIPIENTS) == b"To: a@b\r\n"


def test_private_fields_are_removed_from_the_header_not_the_body() -> None:
    message = (
        b"X-Waypost-Key: 1\r\n 2\r\nA: b\r\nx-WAYPOST-other: 3\r\nReturn-path:\r\n\t<x@y>\r\n\r\n"
        b"X-Waypost-Body: 4\r\n"
    )
    assert remove_private(message) == b"A: b\r\n\r\nX-Waypost-Body: 4\r\n"


def test_select_fields() -> None:
    header = b"From: a\r\nTo: b,\r\n c\r\nTO: d\r\nSubject: e\r\n\r\n"
    assert select_fields(header, frozenset({b"to", b"cc"}), False) == b"To: b,\r\n c\r\nTO: d\r\n\r\n"
    assert select_fields(header, frozenset({b"to"}), True) == b"From: a\r\nSubject: e\r\n\r\n"
    assert select_fields(header, frozenset({b"cc"}), False) == b"\r\n"
    assert select_fields(b"From: a", frozenset({b"from"}), False) == b"From: a\r\n\r\n"


def test_a_submission_carries_no_private_fields() -> None:
    header = b"Return-Path: <x@y>\r\nDate: x\r\nX-Waypost-Key: 1\r\nMessage-ID: <x@y>\r\n\r\n"
    completed = complete_submission(header, at_ms=AT_MS, message_id="z@w")
    assert completed == b"Date: x\r\nMessage-ID: <x@y>\r\n\r\n"


def test_a_complete_submission_stays_as_it_is() -> None:
    header = b"Date: x\r\nmessage-id: <y>\r\n\r\n"
    assert complete_submission(header, at_ms=AT_MS, message_id="z@w") == header


@pytest.mark.parametrize(
    ("header", "completed"),
    [
        (b"A: b\r\n\r\n", b"A: b\r\n\r\n"),
        (b"A: b\r\n", b"A: b\r\n\r\n"),
        (b"A: b", b"A: b\r\n\r\n"),
        (b"", b"\r\n"),
        (b"\r\n", b"\r\n"),
        (b"A: b\n\n", b"A: b\n\n"),
    ],
)
def test_date_and_message_id_are_added(header: bytes, completed: bytes) -> None:
    added = b"Date: Mon, 5 Jan 2026 09:00:00 +0000\r\nMessage-ID: <z@w>\r\n"
    assert complete_submission(header, at_ms=AT_MS, message_id="z@w") == added + completed


def test_return_path() -> None:
    assert return_path_line("a@b") == b"Return-Path: <a@b>\r\n"
    assert return_path_line("") == b"Return-Path: <>\r\n"
    assert return_path_line("a\r\nX: y@b") == b"Return-Path: <aX: y@b>\r\n"


@pytest.mark.parametrize("offset", [0, 60, -90, 345, -720])
def test_dates_are_what_the_library_reads(offset: int) -> None:
    text = date_value(AT_MS + 999, offset)
    parsed = email.utils.parsedate_to_datetime(text)
    assert parsed.timestamp() * 1000 == AT_MS
    offset_of = parsed.utcoffset()
    assert offset_of is not None
    assert offset_of.total_seconds() == offset * 60


@pytest.mark.parametrize(
    ("keyword", "arguments"),
    [
        ("SMTP", {"esmtp": False}),
        ("ESMTP", {}),
        ("ESMTPA", {"auth": True}),
        ("ESMTPS", {"tls": True}),
        ("ESMTPSA", {"tls": True, "auth": True}),
        ("LMTP", {"lmtp": True, "esmtp": False}),
        ("LMTPS", {"lmtp": True, "tls": True}),
        ("LMTPSA", {"lmtp": True, "tls": True, "auth": True}),
        ("UTF8SMTP", {"utf8": True}),
        ("UTF8SMTPSA", {"utf8": True, "tls": True, "auth": True}),
        ("UTF8LMTPS", {"utf8": True, "lmtp": True, "tls": True}),
    ],
)
def test_protocol_keywords(keyword: str, arguments: dict[str, bool]) -> None:
    assert protocol_keyword(**arguments) == keyword


def stamp(**changed: str) -> bytes:
    values = {
        "peer_helo": "client.example",
        "peer_address": "192.0.2.1",
        "by": "hub-a.example",
        "protocol": "ESMTPSA",
        "identifier": "0198-77",
    }
    return received_line(**(values | changed), at_ms=AT_MS, offset=60)


def test_received_line() -> None:
    assert stamp(peer_name="host.example", for_recipient="bob@example.org") == (
        b"Received: from client.example (host.example [192.0.2.1])\r\n"
        b"\tby hub-a.example with ESMTPSA id 0198-77\r\n"
        b"\tfor <bob@example.org>;\r\n"
        b"\tMon, 5 Jan 2026 10:00:00 +0100\r\n"
    )


def test_received_line_with_literals_and_gaps() -> None:
    assert stamp(peer_helo="[IPv6:2001:db8::1]", peer_address="2001:DB8::1").startswith(
        b"Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n"
    )
    assert stamp(peer_helo="").startswith(b"Received: from [192.0.2.1] ([192.0.2.1])\r\n")
    assert stamp(peer_helo="", peer_address="").startswith(b"Received: from unknown\r\n")
    assert stamp(peer_helo="bücher.example").startswith(b"Received: from xn--bcher-kva.example (")


def test_a_recipient_beyond_ascii_is_named_only_under_utf8() -> None:
    assert b"for <" not in stamp(for_recipient="bü@example.org")
    assert "for <bü@example.org>".encode() in stamp(for_recipient="bü@example.org", protocol="UTF8SMTPS")


@pytest.mark.parametrize(
    "hostile", ["a\r\nBcc: x@y", "a\n\nbody", "(", ");", "a\0b", "x" * 5000, "ü\u2028", "a b"]
)
def test_no_peer_can_break_out_of_the_line(hostile: str) -> None:
    line = stamp(peer_helo=hostile, peer_name=hostile, peer_address=hostile, for_recipient=hostile + "@x")
    assert [name for name, _ in fields(line + b"\r\n")] == [b"received"]
    assert line.count(b"\r\n") == line.count(b"\n") == 3
    assert line.isascii()
    assert line.count(b"(") == line.count(b")") == 1
    assert max(map(len, line.split(b"\r\n"))) < 998


def test_headers_of_many_or_giant_fields_take_linear_time() -> None:
    for header in (
        b"a:\n" * 200_000,
        b"a" * 5_000_000,
        b"a:" + b"\n b" * 1_000_000,
        b"a:" + b" " * 5_000_000,
    ):
        assert header_block(header) in (0, len(header))
        assert sum(1 for _ in fields(header)) in (0, 1, 200_000)
