from __future__ import annotations

import pytest

from clientaccess.imap.fragments import (
    LINE_BYTES_MAX,
    LITERAL_BYTES_MAX,
    Bad,
    Continuation,
    Event,
    Fragments,
    Line,
    MessageData,
    MessageEnd,
    MessageStart,
    Whole,
)


def events_of(data: bytes, step: int = 0, accept: bool = True) -> list[Event]:
    """All events of the input, fed in pieces of `step`; message data joined."""
    fragments = Fragments(LITERAL_BYTES_MAX)
    events: list[Event] = []
    for start in range(0, len(data), step or len(data) or 1):
        fragments.feed(data[start : start + step] if step else data)
        while (event := fragments.next_event()) is not None:
            if isinstance(event, MessageStart):
                if accept:
                    fragments.accept()
                else:
                    fragments.refuse()
            if isinstance(event, MessageData) and events and isinstance(events[-1], MessageData):
                event = MessageData(events.pop().data + event.data)
            events.append(event)
    return events


TALKS: dict[str, tuple[bytes, list[Event]]] = {
    "line": (b"a NOOP\r\n", [Whole(b"a NOOP")]),
    "two": (b"a NOOP\r\nb NOOP\r\n", [Whole(b"a NOOP"), Whole(b"b NOOP")]),
    "empty": (b"\r\n", [Whole(b"")]),
    "literals": (
        b"a LOGIN {5}\r\nalice {2}\r\n\r\n\r\n",
        [Continuation(), Continuation(), Whole(b"a LOGIN {5}\r\n {2}\r\n", (b"alice", b"\r\n"))],
    ),
    "unasked": (
        b"a LOGIN {5+}\r\nalice {0+}\r\n\r\n",
        [Whole(b"a LOGIN {5+}\r\n {0+}\r\n", (b"alice", b""))],
    ),
    "append": (
        b"a APPEND INBOX {6+}\r\nHello!\r\nb NOOP\r\n",
        [
            MessageStart(b"a APPEND INBOX ", (), 6, False),
            MessageData(b"Hello!"),
            MessageEnd(b""),
            Whole(b"b NOOP"),
        ],
    ),
    "append to a literal name": (
        b"a append {5}\r\nINBOX (\\Seen) {1}\r\nx\r\n",
        [
            Continuation(),
            MessageStart(b"a append {5}\r\n (\\Seen) ", (b"INBOX",), 1, True),
            MessageData(b"x"),
            MessageEnd(b""),
        ],
    ),
    "empty message": (
        b"a APPEND b {0+}\r\n\r\n",
        [MessageStart(b"a APPEND b ", (), 0, False), MessageEnd(b"")],
    ),
    "binary": (
        b"a APPEND b UTF8 (~{1+}\r\nx)\r\n",
        [MessageStart(b"a APPEND b UTF8 (~", (), 1, False), MessageData(b"x"), MessageEnd(b")")],
    ),
    "bare LF": (b"a NOOP\nb NOOP\r\n", [Bad(b"a", "A line must end with CRLF"), Whole(b"b NOOP")]),
    "huge number": (b"a LOGIN {4294967296}\r\n", [Bad(b"a", "The literal's size is no number of 32 bits")]),
    "huge number unasked": (
        b"a LOGIN {99999999999+}\r\n",
        [Bad(b"a", "The literal is too long", fatal=True)],
    ),
    "no tag": (b'"x {99999999999}\r\n', [Bad(b"", "The literal's size is no number of 32 bits")]),
    "second message": (
        b"a APPEND b {1+}\r\nx (\\Seen) {8+}\r\nz NOOP\r\n\r\nb NOOP\r\n",
        [
            MessageStart(b"a APPEND b ", (), 1, False),
            MessageData(b"x"),
            MessageEnd(b" (\\Seen) {8+}"),
            Whole(b"b NOOP"),
        ],
    ),
}


@pytest.mark.parametrize("name", TALKS)
def test_whole_and_byte_by_byte_and_with_a_tail(name: str) -> None:
    data, expected = TALKS[name]
    assert events_of(data) == expected
    assert events_of(data, step=1) == expected
    if not (isinstance(expected[-1], Bad) and expected[-1].fatal):
        assert events_of(data + b"z CHECK\r\nhalf") == [*expected, Whole(b"z CHECK")]


def test_a_line_over_the_limit_is_dropped_with_its_unasked_literal() -> None:
    smuggled = b"x DELETE INBOX\r\n"
    long = (
        b"a SEARCH " + b"k" * LINE_BYTES_MAX + b" {%d+}\r\n" % len(smuggled) + smuggled + b" y\r\nb NOOP\r\n"
    )
    expected = [Bad(b"a", "The command is too long"), Whole(b"b NOOP")]
    assert events_of(long) == expected
    assert events_of(long, step=1000) == expected
    assert events_of(long, step=LINE_BYTES_MAX + 20) == expected


def test_a_line_of_the_limit_passes() -> None:
    line = b"a" * LINE_BYTES_MAX
    assert events_of(line + b"\r\n", step=4096) == [Whole(line)]
    assert events_of(line + b"b\r\n", step=4096) == [Bad(b"", "The command is too long")]


def test_the_text_of_all_lines_of_a_command_counts() -> None:
    part = b"b" * (LINE_BYTES_MAX // 2)
    assert events_of(b"a " + part + b" {1+}\r\nx" + part + b"\r\nc NOOP\r\n") == [
        Bad(b"a", "The command is too long"),
        Whole(b"c NOOP"),
    ]


def test_a_literal_over_the_limit_is_not_asked_for() -> None:
    data = b"a LOGIN {%d}\r\nb NOOP\r\n" % (LITERAL_BYTES_MAX + 1)
    assert events_of(data, step=3) == [Bad(b"a", "The literal is too long"), Whole(b"b NOOP")]


def test_an_unasked_literal_over_the_limit_is_skipped() -> None:
    smuggled = b"x NOOP\r\n" * (LITERAL_BYTES_MAX // 8 + 1)
    data = b"a LOGIN {%d+}\r\n%b {3+}\r\nabc\r\nb NOOP\r\n" % (len(smuggled), smuggled)
    assert events_of(data, step=777) == [Bad(b"a", "The literal is too long"), Whole(b"b NOOP")]


def test_literals_of_a_command_count_together() -> None:
    half = b"h" * (LITERAL_BYTES_MAX // 2 + 1)
    data = b"a LOGIN {%d+}\r\n%b {%d+}\r\n%b\r\nb NOOP\r\n" % (len(half), half, len(half), half)
    assert events_of(data) == [Bad(b"a", "The literal is too long"), Whole(b"b NOOP")]


def test_a_refused_message_is_skipped_when_it_comes_unasked() -> None:
    smuggled = b"x DELETE INBOX\r\n"
    data = b"a APPEND INBOX {%d+}\r\n%b\r\nb NOOP\r\n" % (len(smuggled), smuggled)
    for step in (0, 1):
        assert events_of(data, step, accept=False)[1:] == [Whole(b"b NOOP")]


def test_a_refused_message_never_comes_when_it_was_to_be_asked_for() -> None:
    assert events_of(b"a APPEND INBOX {16}\r\nb NOOP\r\n", accept=False)[1:] == [Whole(b"b NOOP")]


def test_nothing_is_read_before_the_decision() -> None:
    fragments = Fragments()
    fragments.feed(b"a APPEND INBOX {3+}\r\nxyz\r\n")
    assert isinstance(fragments.next_event(), MessageStart)
    assert fragments.next_event() is None
    fragments.accept()
    assert fragments.next_event() == MessageData(b"xyz")


def test_message_data_is_not_held() -> None:
    fragments = Fragments()
    fragments.feed(b"a APPEND INBOX {1000000}\r\n")
    fragments.next_event()
    fragments.accept()
    for _ in range(10):
        fragments.feed(b"x" * 100_000)
        assert fragments.next_event() == MessageData(b"x" * 100_000)
        assert fragments.buffered_bytes == 0


def test_a_line_asked_for_is_no_command() -> None:
    fragments = Fragments()
    fragments.expect_line()
    fragments.feed(b"AGFsaWNlAHNlY3JldA== {3+}\r\nb NOOP\r\n")
    assert fragments.next_event() == Line(b"AGFsaWNlAHNlY3JldA== {3+}")
    assert fragments.next_event() == Whole(b"b NOOP")


def test_a_line_asked_for_has_a_limit() -> None:
    fragments = Fragments()
    fragments.expect_line()
    fragments.feed(b"x" * (LINE_BYTES_MAX + 10))
    assert fragments.next_event() is None
    assert fragments.buffered_bytes == 0
    fragments.feed(b"\r\nb NOOP\r\n")
    assert fragments.next_event() == Bad(b"", "The line is too long")
    assert fragments.next_event() == Whole(b"b NOOP")


def test_clear_forgets_what_waits() -> None:
    fragments = Fragments()
    fragments.feed(b"a STARTTLS\r\nb NOOP\r\nc LOGIN {3}\r\n")
    assert fragments.next_event() == Whole(b"a STARTTLS")
    fragments.clear()
    fragments.feed(b"d NOOP\r\n")
    assert fragments.next_event() == Whole(b"d NOOP")
