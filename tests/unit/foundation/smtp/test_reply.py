import pytest

from foundation.mail.errors import MailError
from foundation.smtp.reply import LINE_BYTES_MAX, Reply, ReplyError, ReplyReader, from_error


def test_encodes_status_on_every_line() -> None:
    assert Reply.of(250, "2.1.5", "one", "two").encode() == b"250-2.1.5 one\r\n250 2.1.5 two\r\n"


def test_encodes_without_status_and_without_text() -> None:
    assert Reply.of(250, "", "host", "SIZE 5").encode() == b"250-host\r\n250 SIZE 5\r\n"
    assert Reply.of(250, "2.0.0").encode() == b"250 2.0.0 \r\n"


def test_no_line_end_gets_through_a_sentence() -> None:
    encoded = Reply.of(550, "5.1.1", "no\r\n250 yes\x00\r").encode()
    assert encoded == b"550 5.1.1 no 250 yes \r\n"


def test_a_long_sentence_becomes_lines_of_legal_length() -> None:
    lines = Reply.of(550, "5.1.1", "x" * 1200).encode().split(b"\r\n")
    assert [len(line) + 2 <= 512 for line in lines] == [True] * 4
    assert lines[0].startswith(b"550-5.1.1 ") and lines[2].startswith(b"550 5.1.1 ")


def test_non_ascii_is_escaped() -> None:
    assert Reply.of(550, "5.1.1", "José").encode().isascii()


def test_kinds() -> None:
    assert from_error(MailError(451, "4.3.2", "later")).temporary
    assert Reply.of(250, "2.0.0").positive
    assert Reply.of(550, "5.0.0").permanent
    assert not Reply.of(354, "").positive


def test_text_of_a_reply() -> None:
    assert str(Reply.of(550, "5.1.1", "No such", "user")) == "550 5.1.1 No such user"
    assert str(Reply.of(421, "")) == "421"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_reads_replies_in_any_pieces(size: int) -> None:
    stream = b"250-2.1.0 one\r\n250 2.1.0 two\r\n354 go\r\n550 5.1.1\r\n220\n"
    reader = ReplyReader()
    replies = []
    for start in range(0, len(stream), size):
        replies += reader.feed(stream[start : start + size])
    assert replies == [
        Reply(250, "2.1.0", ("one", "two")),
        Reply(354, "", ("go",)),
        Reply(550, "5.1.1", ("",)),
        Reply(220, "", ("",)),
    ]
    assert reader.idle


def test_a_status_of_another_class_is_text() -> None:
    assert ReplyReader().feed(b"550 2.1.5 odd\r\n") == [Reply(550, "", ("2.1.5 odd",))]


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n",
        b"\r\n",
        b"99 x\r\n",
        b"650 x\r\n",
        b"250x\r\n",
        b"2500 x\r\n",
        b"250-one\r\n251 two\r\n",
        b"250 a\rb\r\n",
        b"2" * (LINE_BYTES_MAX + 1),
        b"250 " + b"x" * LINE_BYTES_MAX + b"\r\n",
        b"250-line\r\n" * 7000,
    ],
)
def test_what_is_no_reply_is_an_error(garbage: bytes) -> None:
    with pytest.raises(ReplyError):
        ReplyReader().feed(garbage)


def test_a_reply_begun_is_not_idle() -> None:
    reader = ReplyReader()
    reader.feed(b"25")
    assert not reader.idle
    reader.feed(b"0-x\r\n")
    assert not reader.idle
