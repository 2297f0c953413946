import pytest

from foundation.mail.errors import MailError
from foundation.smtp.content import (
    BareNewlines,
    DataReader,
    DataWriter,
    TextGuard,
    encode_bdat,
    parse_bdat,
)

LINE_MAX = 1000


def read(
    stream: bytes, policy: BareNewlines = "refuse", line_max: int = LINE_MAX
) -> tuple[bytes, DataReader, TextGuard]:
    guard = TextGuard(policy, line_max)
    reader = DataReader(guard)
    return reader.feed(stream), reader, guard


@pytest.mark.parametrize(
    ("stream", "content", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..a\r\n..\r\n.\r\n", b".a\r\n.\r\n", b""),
        (b".a\r\n.\r\n", b"a\r\n", b""),
        (b"\r\n\r\n.\r\n", b"\r\n\r\n", b""),
        (b"a.\r\nb.c\r\n.\r\n.\r\n", b"a.\r\nb.c\r\n", b".\r\n"),
    ],
)
def test_dots_and_the_end(stream: bytes, content: bytes, rest: bytes) -> None:
    got, reader, guard = read(stream)
    assert (got, reader.rest, reader.finished, guard.problem) == (content, rest, True, None)


SMUGGLES = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\n\n.\r\n",
    b"\r\n\x00.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\n.\r",
]


@pytest.mark.parametrize("smuggle", SMUGGLES)
@pytest.mark.parametrize("policy", ["refuse", "normalise", "keep"])
def test_only_crlf_dot_crlf_ends_the_data(smuggle: bytes, policy: BareNewlines) -> None:
    stream = b"a" + smuggle + b"MAIL FROM:<evil@example.org>\r\n.\r\nNOOP\r\n"
    got, reader, guard = read(stream, policy)
    assert reader.finished and reader.rest == b"NOOP\r\n"
    assert got.count(b"MAIL FROM") == 1
    if policy == "normalise":
        assert got.count(b"\r\n") == got.count(b"\r") == got.count(b"\n")
    bare = smuggle.replace(b"\r\n", b"")
    if policy == "refuse" and (b"\r" in bare or b"\n" in bare):
        assert guard.problem is not None and guard.problem.status == "5.6.11"
    else:
        assert guard.problem is None


def test_a_normalised_message_stays_one_message_at_the_next_hop() -> None:
    got, _, _ = read(b"a\n.\nb\r\n.\r\n", "normalise")
    writer = DataWriter()
    assert writer.feed(got) + writer.finish() == b"a\r\n..\r\nb\r\n.\r\n"


def test_keep_changes_nothing() -> None:
    got, _, guard = read(b"a\rb\nc\r\n.\r\n", "keep", 0)
    assert got == b"a\rb\nc\r\n" and guard.problem is None


@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
def test_long_lines_up_to_the_limit(size: int) -> None:
    for length, fits in ((LINE_MAX - 1, True), (LINE_MAX, False)):
        guard = TextGuard("refuse", LINE_MAX)
        reader = DataReader(guard)
        stream = b"ok\r\n" + b"x" * length + b"\r\nok\r\n.\r\n"
        for start in range(0, len(stream), size):
            reader.feed(stream[start : start + size])
        assert (guard.problem is None) is fits
        assert fits or (guard.problem is not None and guard.problem.code == 554)


def test_guard_holds_a_cr_until_it_knows() -> None:
    guard = TextGuard("refuse", 0)
    assert guard.feed(b"a\r") == b"a"
    assert guard.feed(b"\nb\r") == b"\r\nb"
    assert guard.problem is None
    assert guard.finish() == b"\r"
    assert guard.problem is not None


@pytest.mark.parametrize(
    ("pieces", "wire"),
    [
        ([], b".\r\n"),
        ([b"a\r\n"], b"a\r\n.\r\n"),
        ([b"a"], b"a\r\n.\r\n"),
        ([b".a\r\n."], b"..a\r\n..\r\n.\r\n"),
        ([b"a\r", b"\n.b\r\n"], b"a\r\n..b\r\n.\r\n"),
        ([b"a\r\n", b".b\r\n"], b"a\r\n..b\r\n.\r\n"),
        ([b"a\n.\nb\r"], b"a\r\n..\r\nb\r\n.\r\n"),
        ([b"a\r", b"b"], b"a\r\nb\r\n.\r\n"),
        ([b"a\r", b"\r", b".", b"\r"], b"a\r\n\r\n..\r\n.\r\n"),
    ],
)
def test_writer(pieces: list[bytes], wire: bytes) -> None:
    writer = DataWriter()
    assert b"".join(map(writer.feed, pieces)) + writer.finish() == wire


def test_bdat() -> None:
    assert parse_bdat(b"100") == (100, False)
    assert parse_bdat(b"0 last") == (0, True)
    assert encode_bdat(7, last=True) == b"BDAT 7 LAST\r\n"
    assert encode_bdat(7, last=False) == b"BDAT 7\r\n"


@pytest.mark.parametrize("argument", [b"", b"x", b"-1", b"1 FIRST", b"1 LAST x", b"1" * 21, b"LAST"])
def test_malformed_bdat(argument: bytes) -> None:
    with pytest.raises(MailError) as caught:
        parse_bdat(argument)
    assert (caught.value.code, caught.value.status) == (501, "5.5.4")
