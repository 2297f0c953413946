from __future__ import annotations

import pytest

from clientaccess.imap import commands as c
from clientaccess.imap.commands import SequenceSet
from clientaccess.imap.parser import BadCharset, parse, parse_append
from clientaccess.imap.scanner import Malformed
from foundation.interfaces.mailbox_store import (
    DELETED,
    SEEN,
    BodyContains,
    DateIs,
    Everything,
    HasFlag,
    HasKeyword,
    HeaderContains,
    IdIs,
    ModseqFrom,
    SizeIs,
    TextContains,
    YoungerThan,
)

FAST: tuple[c.FetchItem, ...] = ("FLAGS", "INTERNALDATE", "RFC822.SIZE")
ONE = SequenceSet(((1, 1),))
BODY = c.Section(b"BODY[]")

GOOD: list[tuple[str, c.Command]] = [
    ("noop", c.Noop()),
    ("CAPABILITY", c.Capability()),
    ("UNSELECT", c.Close(expunge=False)),
    ("LOGIN alice secret", c.Login(b"alice", b"secret")),
    ('LOGIN "al\\"i\\\\ce" ""', c.Login(b'al"i\\ce', b"")),
    ("LOGIN a]b c", c.Login(b"a]b", b"c")),
    ("AUTHENTICATE plain", c.Authenticate("PLAIN")),
    ("AUTHENTICATE PLAIN =", c.Authenticate("PLAIN", b"")),
    ("AUTHENTICATE PLAIN AGFi", c.Authenticate("PLAIN", b"AGFi")),
    ("ENABLE CONDSTORE utf8=accept", c.Enable(("CONDSTORE", "UTF8=ACCEPT"))),
    ('ID ("name" "x" "version" NIL)', c.Identify(((b"name", b"x"), (b"version", None)))),
    ("ID NIL", c.Identify()),
    ("SELECT inbox", c.Select(b"inbox")),
    ("EXAMINE inbox (CONDSTORE)", c.Select(b"inbox", True, True)),
    ('CREATE "a b"', c.Create(b"a b")),
    ("CREATE a (USE (\\Sent \\Drafts))", c.Create(b"a", ("sent", "drafts"))),
    ("RENAME a b", c.Rename(b"a", b"b")),
    ("UNSUBSCRIBE a", c.Subscribe(b"a", subscribed=False)),
    ("LSUB \"\" *", c.ListSubscribed(b"", b"*")),
    ('LIST "" %', c.ListMailboxes(b"", (b"%",))),
    (
        'LIST (SUBSCRIBED RECURSIVEMATCH) "" (a% "b c") RETURN (CHILDREN STATUS (MESSAGES UNSEEN))',
        c.ListMailboxes(
            b"", (b"a%", b"b c"), True, True, False, True, ("MESSAGES", "UNSEEN"), extended=True
        ),
    ),
    ('LIST () "" a', c.ListMailboxes(b"", (b"a",), extended=True)),
    ("STATUS a (MESSAGES SIZE size)", c.Status(b"a", ("MESSAGES", "SIZE"))),
    ("UID EXPUNGE 1:3,7", c.Expunge(SequenceSet(((1, 3), (7, 7))))),
    ("FETCH 1 FAST", c.Fetch(ONE, ("FLAGS", "INTERNALDATE", "RFC822.SIZE"))),
    ("FETCH 1 all", c.Fetch(ONE, ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"))),
    ("FETCH 2:* full", c.Fetch(SequenceSet(((2, 0),)), (*FAST, "ENVELOPE", "BODY"))),
    ("UID FETCH $ (FLAGS)", c.Fetch(SequenceSet(saved=True), ("UID", "FLAGS"), uid=True)),
    ("FETCH 1 (FLAGS UID FLAGS)", c.Fetch(ONE, ("FLAGS", "UID"))),
    ("FETCH 1 BODY[]", c.Fetch(ONE, (BODY,))),
    ("FETCH 1 BODY", c.Fetch(ONE, ("BODY",))),
    ("FETCH 1 (body.peek[])", c.Fetch(ONE, (c.Section(b"BODY[]", peek=True),))),
    (
        'FETCH 1 BODY.PEEK[1.2.HEADER.FIELDS (From "to")]<5.10>',
        c.Fetch(
            ONE,
            (
                c.Section(
                    b"BODY[1.2.HEADER.FIELDS (From to)]",
                    (1, 2),
                    "HEADER.FIELDS",
                    (b"From", b"to"),
                    (5, 10),
                    True,
                ),
            ),
        ),
    ),
    ("FETCH 1 BODY[3.MIME]", c.Fetch(ONE, (c.Section(b"BODY[3.MIME]", (3,), "MIME"),))),
    ("FETCH 1 RFC822.HEADER", c.Fetch(ONE, (c.Section(b"RFC822.HEADER", text="HEADER", peek=True),))),
    ("FETCH 1 (FLAGS) (CHANGEDSINCE 9)", c.Fetch(ONE, ("FLAGS", "MODSEQ"), changed_since=9)),
    ("STORE 1 +FLAGS (\\Seen x)", c.Store(ONE, "add", SEEN, ("x",))),
    ("STORE 1 -flags.silent \\Deleted", c.Store(ONE, "remove", DELETED, (), silent=True)),
    ("UID STORE 1 (UNCHANGEDSINCE 0) FLAGS ()", c.Store(ONE, "replace", 0, (), uid=True, unchanged_since=0)),
    ("COPY 1 b", c.Copy(ONE, b"b")),
    ("UID MOVE 1 b", c.Copy(ONE, b"b", uid=True, move=True)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "command"), GOOD)
def test_grammar(text: str, command: c.Command) -> None:
    tagged = parse(b"A1 " + text.encode())
    assert tagged.tag == b"A1"
    assert tagged.command == command


BAD = [
    "",
    "NOSUCH",
    "NOOP x",
    "LOGIN a",
    'LOGIN "a b',
    "LOGIN a b c",
    "LOGIN a\x01b c",
    "LOGIN  a b",
    "SELECT",
    "SELECT a (QRESYNC)",
    "FETCH 0 FLAGS",
    "FETCH 4294967296 FLAGS",
    "FETCH 1,, FLAGS",
    "FETCH 1 ()",
    "FETCH 1 (FLAGS",
    "FETCH 1 NOSUCH",
    "FETCH 1 BODY[MIME]",
    "FETCH 1 BODY[1.]",
    "FETCH 1 BODY[0]",
    "FETCH 1 BODY[TEXT]<0.0>",
    "FETCH 1 BODY[HEADER.FIELDS ()]",
    "FETCH 1 (FAST)",
    "STORE 1 FLAGS (\\Recent)",
    "STORE 1 +FLAGS \\Nosuch",
    "STORE 1 FLAGS",
    "SEARCH",
    "SEARCH NOSUCH",
    "SEARCH (ALL",
    "SEARCH OR ALL",
    "SEARCH ON 31-Feb-2020",
    "SEARCH RETURN (NOSUCH) ALL",
    "SEARCH YOUNGER 0",
    "STATUS a ()",
    "STATUS a (NOSUCH)",
    'LIST (RECURSIVEMATCH) "" *',
    'LIST (NOSUCH) "" *',
    "APPEND a",
    "APPEND a ",
    "UID NOOP",
    "ENABLE",
    "CREATE a (USE (Sent))",
]


@pytest.mark.parametrize("text", BAD)
def test_what_the_grammar_does_not_know(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(b"A1 " + text.encode())
    assert caught.value.tag == b"A1"


@pytest.mark.parametrize("text", [b"", b" NOOP", b"A1", b"+ NOOP", b"(a NOOP", b'"a" NOOP'])
def test_no_tag(text: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse(text)
    assert caught.value.tag == b""


SEARCHES: list[tuple[str, c.Search]] = [
    ("ALL", c.Search(Everything())),
    ("1:* UNSEEN", c.Search(c.AllOf((c.MessageNumbers(SequenceSet(((1, 0),))), c.Negated(HasFlag(SEEN)))))),
    ("NEW", c.Search(c.AllOf((c.Recent(), c.Negated(HasFlag(SEEN)))))),
    ("OLD", c.Search(c.Negated(c.Recent()))),
    ("OR FROM a (SUBJECT b)", c.Search(c.AnyOf(HeaderContains("From", "a"), HeaderContains("Subject", "b")))),
    ("NOT NOT KEYWORD x", c.Search(c.Negated(c.Negated(HasKeyword("x"))))),
    ("HEADER X-a \"\"", c.Search(HeaderContains("X-a", ""))),
    ("BODY b TEXT t", c.Search(c.AllOf((BodyContains("b"), TextContains("t"))))),
    ('SENTSINCE "1-Feb-2020"', c.Search(DateIs("sent", "since", 2020, 2, 1))),
    ("BEFORE 01-feb-2020", c.Search(DateIs("internal", "before", 2020, 2, 1))),
    ("SAVEDON 1-Feb-2020", c.Search(DateIs("saved", "on", 2020, 2, 1))),
    ("LARGER 5 SMALLER 9", c.Search(c.AllOf((SizeIs("larger", 5), SizeIs("smaller", 9))))),
    ("YOUNGER 60", c.Search(YoungerThan(60))),
    ("OLDER 60", c.Search(c.Negated(YoungerThan(60)))),
    ("UID 5,$", c.Search(Everything())),
    ("UID $", c.Search(c.MessageUids(SequenceSet(saved=True)))),
    ("EMAILID E1", c.Search(IdIs("email", "E1"))),
    ("MODSEQ 5", c.Search(ModseqFrom(5), modseq=True)),
    ('MODSEQ "/flags/\\\\seen" all 5', c.Search(ModseqFrom(5), modseq=True)),
    ("RETURN () ALL", c.Search(Everything(), returns=("ALL",))),
    ("RETURN (MIN COUNT SAVE) ALL", c.Search(Everything(), returns=("MIN", "COUNT", "SAVE"))),
    ("CHARSET US-ASCII ALL", c.Search(Everything())),
]  # fmt: skip


@pytest.mark.parametrize(("text", "search"), SEARCHES)
def test_search_keys(text: str, search: c.Search) -> None:
    if text == "UID 5,$":  # `$` stands alone (RFC 5182 2.3)
        with pytest.raises(Malformed):
            parse(b"A1 SEARCH " + text.encode())
        return
    assert parse(b"A1 SEARCH " + text.encode()).command == search


def test_search_in_a_charset() -> None:
    text = b"A1 SEARCH CHARSET iso-8859-1 SUBJECT {2}\r\n"
    assert parse(text, (b"\xe4b",)).command == c.Search(HeaderContains("Subject", "äb"))
    assert parse(b"A1 SEARCH SUBJECT {2}\r\n", ("ä".encode(),)).command == c.Search(
        HeaderContains("Subject", "ä")
    )
    with pytest.raises(Malformed):
        parse(b"A1 SEARCH CHARSET UTF-8 SUBJECT {1}\r\n", (b"\xe4",))


@pytest.mark.parametrize("charset", ["x-nosuch", "idna", "zlib", "hex", "unicode_escape", '"a b"', "rot13"])
def test_search_in_an_unknown_charset(charset: str) -> None:
    with pytest.raises(BadCharset) as caught:
        parse(b"A1 SEARCH CHARSET " + charset.encode() + b" ALL")
    assert caught.value.tag == b"A1"


def test_no_charset_after_utf8_is_enabled() -> None:
    with pytest.raises(Malformed):
        parse(b"A1 SEARCH CHARSET UTF-8 ALL", utf8=True)


def test_deep_searches_are_refused_without_a_crash() -> None:
    for deep in (
        b"NOT " * 20_000 + b"ALL",
        b"(" * 20_000 + b"ALL" + b")" * 20_000,
        b"OR ALL " * 9000 + b"ALL",
    ):
        with pytest.raises(Malformed):
            parse(b"A1 SEARCH " + deep)


def test_quoted_utf8_only_when_enabled() -> None:
    text = 'A1 SELECT "ä"'.encode()
    assert parse(text, utf8=True).command == c.Select("ä".encode())
    with pytest.raises(Malformed):
        parse(text)


def test_quoted_utf8_that_clients_send_unasked() -> None:
    assert parse('A1 LOGIN "jörg" "schlüssel"'.encode()).command == c.Login(
        "jörg".encode(), "schlüssel".encode()
    )
    for charset in ("", "CHARSET utf-8 "):
        assert (
            parse(f'A1 SEARCH {charset}BODY "grüße"'.encode()).command
            == parse(b"A1 SEARCH CHARSET UTF-8 BODY {8}\r\n", ("grüße".encode(),)).command
        )
    for wrong in (b'A1 SEARCH BODY "\xff"', b'A1 SEARCH CHARSET US-ASCII BODY "\xc3\xa4"'):
        with pytest.raises(Malformed):
            parse(wrong)


def test_nul_in_a_literal() -> None:
    with pytest.raises(Malformed):
        parse(b"A1 LOGIN {1}\r\n x", (b"\0",))


def test_append() -> None:
    assert parse_append(b"A1 APPEND box ").command == c.Append(b"box")
    flags = b'A1 APPEND {3}\r\n (\\Seen x) " 1-Feb-2020 03:04:05 +0130" '
    assert parse_append(flags, (b"box",)).command == c.Append(b"box", SEEN, ("x",), 1580520845000, 90)
    assert parse_append(b"A1 APPEND box () UTF8 (~").command == c.Append(b"box", utf8=True)
    for wrong in (
        b"A1 APPEND box ~",
        b"A1 APPEND box UTF8 (",
        b"A1 APPEND box",
        b"A1 NOOP ",
        b"A1 APPEND b (\\Recent) ",
    ):
        with pytest.raises(Malformed):
            parse_append(wrong)


@pytest.mark.parametrize(
    "date",
    [
        " 1-Foo-2020 00:00:00 +0000",
        "31-Apr-2020 00:00:00 +0000",
        " 1-Jan-2020 25:00:00 +0000",
        " 1-Jan-2020 00:00:00 +9900",
        "1-Jan-2020 00:00:00 +0000",
    ],
)
def test_dates_that_are_none(date: str) -> None:
    with pytest.raises(Malformed):
        parse_append(f'A1 APPEND b "{date}" '.encode())
