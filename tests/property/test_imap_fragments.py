"""Any cut of the input gives the same commands; no bytes crash the cutter or the parser."""

from __future__ import annotations

import contextlib
import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from clientaccess.imap import fragments as f
from clientaccess.imap.parser import BadCharset, Tagged, parse, parse_append
from clientaccess.imap.scanner import Malformed


def events_of(pieces: list[bytes]) -> list[f.Event]:
    fragments = f.Fragments(200)
    events: list[f.Event] = []
    for piece in pieces:
        fragments.feed(piece)
        while (event := fragments.next_event()) is not None:
            if isinstance(event, f.MessageStart):
                if event.size_bytes > 1000:
                    fragments.refuse()
                else:
                    fragments.accept()
            if isinstance(event, f.MessageData) and events and isinstance(events[-1], f.MessageData):
                event = f.MessageData(events.pop().data + event.data)  # type: ignore[union-attr]
            events.append(event)
            if isinstance(event, f.Bad) and event.fatal:
                return events
    return events


def literal(data: bytes, plus: bool) -> bytes:
    return b"{%d%b}\r\n%b" % (len(data), b"+" * plus, data)


words = st.sampled_from(
    [
        b"a ",
        b"b1 ",
        b"LOGIN ",
        b"APPEND ",
        b"INBOX ",
        b"UID ",
        b"FETCH ",
        b"SEARCH ",
        b"1:* ",
        b"(",
        b")",
        b'"quoted" ',
        b'"',
        b"BODY[",
        b"]",
        b"<0.5>",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"UTF8 (~",
        b"{3}\r\n",
        b"{4294967295+}\r\n",
        b"{99999999999}\r\n",
        b"CHARSET ",
        b"OR ",
        b"NOT ",
        b"$",
        b"*",
    ]
)
literals = st.builds(literal, st.binary(max_size=300), st.booleans())
streams = st.lists(st.one_of(words, literals, st.binary(max_size=20)), max_size=30).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(streams, st.data())
@example(b"a APPEND b {3+}\r\nabc\r\nb NOOP\r\n", None)
def test_any_cut_gives_the_same_events(stream: bytes, data: st.DataObject | None) -> None:
    whole = events_of([stream])
    assert events_of([stream[index : index + 1] for index in range(len(stream))]) == whole
    if data is not None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
        bounds = [0, *cuts, len(stream)]
        assert events_of([stream[a:b] for a, b in itertools.pairwise(bounds)]) == whole


def parsed(text: bytes, literals: tuple[bytes, ...], utf8: bool) -> None:
    for parser in (parse, parse_append):
        with contextlib.suppress(Malformed, BadCharset):
            assert isinstance(parser(text, literals, utf8), Tagged)


@settings(max_examples=300, deadline=None)
@given(streams, st.booleans())
def test_no_stream_crashes_the_parser(stream: bytes, utf8: bool) -> None:
    for event in events_of([stream]):
        if isinstance(event, f.Whole | f.MessageStart):
            parsed(event.text, event.literals, utf8)


KEYS = (
    b"ALL SEEN NEW OLD RECENT OR NOT ( ) FROM SUBJECT HEADER x SINCE 1-Jan-2020 32-Jan-2020 UID 1:* $ LARGER "
    b'99999999999999999999 MODSEQ "/flags/draft" all YOUNGER 0 RETURN (MIN MAX) CHARSET utf-7 zlib SAVEDON '
    b"EMAILID KEYWORD 1:2,3 FLAGS +FLAGS.SILENT (\\Seen x) BODY.PEEK[1.2.HEADER.FIELDS (a b)]<1.2> FAST "
    b"(UNCHANGEDSINCE 5) (CHANGEDSINCE 5) (SUBSCRIBED RECURSIVEMATCH) (% (STATUS (MESSAGES)) (USE (\\Sent))"
)
keys = st.sampled_from([*KEYS.split(), b"{1+}\r\n", b"(MIN MAX)", b"(\\Seen x)", b"(UNCHANGEDSINCE 5)"])
NAMES = b"SEARCH FETCH STORE COPY MOVE LIST LSUB STATUS CREATE ID ENABLE SELECT AUTHENTICATE"
names = st.sampled_from([*NAMES.split(), b"UID SEARCH", b"UID FETCH", b"UID STORE", b"UID EXPUNGE"])


@settings(max_examples=500, deadline=None)
@given(names, st.lists(keys, max_size=8), st.lists(st.binary(max_size=5), max_size=3), st.booleans())
def test_no_arguments_crash_the_parser(
    name: bytes, words: list[bytes], literals: list[bytes], utf8: bool
) -> None:
    parsed(b" ".join([b"a", name, *words]), tuple(literals), utf8)
