import pytest

from foundation.mail.address_list import Mailbox, parse_addresses
from foundation.mail.imap_envelope import render_envelope, render_nstring, render_string

END = Mailbox(None, None, None)


def group(name: bytes) -> Mailbox:
    return Mailbox(None, name, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a@b.c", [Mailbox(None, b"a", b"b.c")]),
        (b"<a@b.c>", [Mailbox(None, b"a", b"b.c")]),
        (b"Joe Q. Public <a@b.c>", [Mailbox(b"Joe Q. Public", b"a", b"b.c")]),
        (b"Joe   Doe\r\n <a@b.c>", [Mailbox(b"Joe Doe", b"a", b"b.c")]),
        (b'"Doe, \\"Joe\\"" <a@b.c>', [Mailbox(b'Doe, "Joe"', b"a", b"b.c")]),
        (b"a@b.c (Joe (the) \\) Doe)", [Mailbox(b"Joe (the) ) Doe", b"a", b"b.c")]),
        (b"Joe <a@b.c> (ignored)", [Mailbox(b"Joe", b"a", b"b.c")]),
        (b"=?utf-8?Q?J=C3=B6rg?= <a@b.c>", [Mailbox(b"=?utf-8?Q?J=C3=B6rg?=", b"a", b"b.c")]),
        (b"J\xc3\xb6rg <a@b.c>", [Mailbox(b"J\xc3\xb6rg", b"a", b"b.c")]),
        (b'"quoted local"@b.c', [Mailbox(None, b"quoted local", b"b.c")]),
        (b'"a@b"@c', [Mailbox(None, b"a@b", b"c")]),
        (b"a . b @ c . d", [Mailbox(None, b"a.b", b"c.d")]),
        (b"a@[192.0.2.1]", [Mailbox(None, b"a", b"[192.0.2.1]")]),
        (b"<@r1,@r2:a@b>", [Mailbox(None, b"a", b"b")]),
        (b"a@b, c@d,, e@f,", [Mailbox(None, x, y) for x, y in ((b"a", b"b"), (b"c", b"d"), (b"e", b"f"))]),
        (b"Us: a@b, J <c@d>;", [group(b"Us"), Mailbox(None, b"a", b"b"), Mailbox(b"J", b"c", b"d"), END]),
        (b"undisclosed-recipients:;", [group(b"undisclosed-recipients"), END]),
        (b"Us: a@b", [group(b"Us"), Mailbox(None, b"a", b"b"), END]),
        (b"Us:; c@d", [group(b"Us"), END, Mailbox(None, b"c", b"d")]),
        (b"root", [Mailbox(None, b"root", b"")]),
        (b"Joe Doe a@b.c trailing", [Mailbox(b"Joe Doe", b"a", b"b.c")]),
        (b"Joe <a@b, c@d", [Mailbox(b"Joe", b"a", b"b"), Mailbox(None, b"c", b"d")]),
        (b"J <a@b> <c@d>", [Mailbox(b"J", b"a", b"b"), Mailbox(None, b"c", b"d")]),
        (b"Joe <>", [Mailbox(b"Joe", b"", b"")]),
        (b'"open <a@b>', [Mailbox(None, b"open <a@b>", b"")]),
        (b"(open", []),
        (b" \t, ;", []),
        (b"", []),
    ],
)
def test_address_lists(value: bytes, expected: list[Mailbox]) -> None:
    assert parse_addresses(value) == expected


@pytest.mark.parametrize(
    "piece", [b"(", b"<", b'"', b"\\", b",", b"a@", b"@", b":", b";", b"[", b"a ", b"a: ", b"<a@b>,"]
)
def test_hostile_lists_come_to_an_end(piece: bytes) -> None:
    """Square time would be minutes here."""
    assert len(parse_addresses(piece * (200_000 // len(piece)))) <= 200_000 // len(piece)


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        (b"", b'""'),
        (b"plain", b'"plain"'),
        (b'say "x" \\', b'"say \\"x\\" \\\\"'),
        (b"tab\there", b'"tab\there"'),
        (b"line\r\nend", b"{9}\r\nline\r\nend"),
        (b"bare\rreturn", b"{11}\r\nbare\rreturn"),
        (b"\xc3\xbc", b"{2}\r\n\xc3\xbc"),
        (b"nul\0gone", b'"nulgone"'),
    ],
)
def test_strings(value: bytes, rendered: bytes) -> None:
    assert render_string(value) == render_nstring(value) == rendered


def test_no_string_is_nil() -> None:
    assert render_nstring(None) == b"NIL"


def test_envelope_of_every_field() -> None:
    header = (
        b'Date: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: Hello\r\n "all"\r\nFrom: A <a@x>\r\n'
        b"Sender: s@x\r\nReply-To: r@x\r\nTo: b@y, c@z\r\nCc: Us: d@y;\r\nBcc: e@y\r\n"
        b"In-Reply-To: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n"
    )
    assert render_envelope(header) == (
        b'("Mon, 5 Jan 2026 10:00:00 +0100" "Hello \\"all\\"" (("A" NIL "a" "x")) ((NIL NIL "s" "x")) '
        b'((NIL NIL "r" "x")) ((NIL NIL "b" "y")(NIL NIL "c" "z")) '
        b'((NIL NIL "Us" NIL)(NIL NIL "d" "y")(NIL NIL NIL NIL)) ((NIL NIL "e" "y")) "<1@x>" "<2@x>")'
    )


def test_envelope_of_nothing() -> None:
    assert render_envelope(b"\r\n") == b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"


def test_empty_fields_are_empty_strings_but_empty_addresses_are_nil() -> None:
    header = b"Date:\r\nSubject: \r\nFrom: \r\nTo:\r\nCc: ,\r\nIn-Reply-To:\r\nMessage-ID:\r\n\r\n"
    assert render_envelope(header) == b'("" "" NIL NIL NIL NIL NIL NIL "" "")'


def test_sender_and_reply_to_default_to_from_also_when_empty() -> None:
    shown = b'((NIL NIL "a" "x"))'
    assert render_envelope(b"From: a@x\r\nSender:\r\n\r\n").count(shown) == 3


def test_the_first_subject_counts_and_address_fields_add_up() -> None:
    rendered = render_envelope(b"Subject: 1\r\nSubject: 2\r\nTo: a@x\r\nTo: b@x\r\n\r\n")
    assert rendered == b'(NIL "1" NIL NIL NIL ((NIL NIL "a" "x")(NIL NIL "b" "x")) NIL NIL NIL NIL)'


def test_eight_bit_values_become_literals() -> None:
    assert render_envelope("Subject: Grüße\r\n\r\n".encode()).startswith("(NIL {7}\r\nGrüße NIL".encode())
