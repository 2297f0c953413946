"""Any split of the input gives the same; what is written is what is read; nothing crashes a parser."""

import contextlib
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.smtp.command import encode_mail, encode_rcpt, parse_mail, parse_rcpt, split_command
from foundation.smtp.content import (
    BareNewlines,
    DataReader,
    DataWriter,
    TextGuard,
    has_bare_newlines,
    parse_bdat,
)
from foundation.smtp.lines import InputBuffer, LineTooLong
from foundation.smtp.reply import ReplyError, ReplyReader

NASTY = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"\x00"]), max_size=40).map(
    b"".join
)
POLICIES = st.sampled_from(["refuse", "normalise", "keep"])
ANNOUNCED = frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "DSN", "AUTH"})


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    points = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *points], [*points, len(data)], strict=True)]


def read(pieces: list[bytes], policy: BareNewlines, line_max: int) -> tuple[bytes, bool, bytes, bool]:
    guard = TextGuard(policy, line_max)
    reader = DataReader(guard)
    content = b""
    rest = b""
    for piece in pieces:
        if reader.finished:
            rest += piece
        else:
            content += reader.feed(piece)
            rest += reader.rest
    return content, reader.finished, rest, guard.problem is not None


@settings(max_examples=300)
@given(NASTY)
def test_a_bare_newline_is_half_of_a_pair(data: bytes) -> None:
    assert has_bare_newlines(data) == bool(re.search(rb"\r(?!\n)|(?<!\r)\n", data))


@settings(max_examples=300)
@given(NASTY, st.lists(st.integers(0, 200), max_size=10), POLICIES, st.sampled_from([0, 4]))
def test_any_split_of_data_gives_the_same(
    data: bytes, cuts: list[int], policy: BareNewlines, line_max: int
) -> None:
    stream = data + b"\r\n.\r\nNOOP\r\n"
    assert read(pieces_of(stream, cuts), policy, line_max) == read([stream], policy, line_max)
    end = (b"\r\n" + stream).index(b"\r\n.\r\n")
    assert read([stream], policy, line_max)[2] == (b"\r\n" + stream)[end + 5 :]


@settings(max_examples=300)
@given(NASTY, st.lists(st.integers(0, 200), max_size=10), st.lists(st.integers(0, 200), max_size=10))
def test_what_is_written_is_what_is_read(data: bytes, cuts: list[int], other_cuts: list[int]) -> None:
    writer = DataWriter()
    wire = b"".join(map(writer.feed, pieces_of(data, cuts))) + writer.finish()
    content, finished, rest, refused = read(pieces_of(wire, other_cuts), "refuse", 0)
    assert finished and rest == b"" and not refused
    clean = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert content == (clean if clean.endswith(b"\r\n") or not clean else clean + b"\r\n")


@settings(max_examples=200)
@given(NASTY, st.lists(st.integers(0, 200), max_size=10))
def test_any_split_gives_the_same_lines(data: bytes, cuts: list[int]) -> None:
    def lines(pieces: list[bytes]) -> list[bytes | None]:
        buffer = InputBuffer(line_bytes_max=6)
        found: list[bytes | None] = []
        for piece in pieces:
            buffer.feed(piece)
            while True:
                try:
                    line = buffer.next_line()
                except LineTooLong:
                    found.append(None)
                    continue
                if line is None:
                    break
                found.append(line)
        return found

    assert lines(pieces_of(data, cuts)) == lines([data])


@settings(max_examples=200)
@given(st.binary(max_size=80) | NASTY)
def test_no_input_crashes_a_parser(data: bytes) -> None:
    for parse in (
        split_command,
        parse_bdat,
        lambda line: parse_mail(b"FROM:" + line, announced=ANNOUNCED),
        lambda line: parse_mail(b"FROM:<a@b.example> " + line, announced=ANNOUNCED, private=True),
        lambda line: parse_rcpt(b"TO:<" + line, announced=ANNOUNCED, smtputf8=True),
        lambda line: parse_rcpt(b"TO:<a@b.example> " + line, announced=ANNOUNCED, private=True),
    ):
        try:
            parse(data)
        except MailError as error:
            assert error.permanent
    with contextlib.suppress(ReplyError):
        ReplyReader().feed(data)


LOCAL = st.text("abcXYZ0189.+-_!", min_size=1, max_size=20).filter(
    lambda text: not text.startswith(".") and not text.endswith(".") and ".." not in text
)
ADDRESS = st.builds("{}@{}.example".format, LOCAL, st.sampled_from(["a", "b-c", "Ünï"]))
FEATURES = dict.fromkeys(("SIZE", "8BITMIME", "SMTPUTF8", "DSN", "XWAYPOST"), "")


@settings(max_examples=150)
@given(
    ADDRESS | st.just(""),
    st.text(min_size=1, max_size=20),
    st.text(max_size=20),
    st.integers(0, 10**9),
    st.sampled_from(["", "FULL", "HDRS"]),
    st.booleans(),
)
def test_mail_goes_over_and_comes_back(
    address: str, network_id: str, key: str, prefix: int, ret: str, first: bool
) -> None:
    network_id = network_id.encode("utf-8", "replace").decode()
    key = key.encode("utf-8", "replace").decode()
    sender = Sender(address=address, smtputf8=True, ret=ret)
    transfer = Transfer(
        network_message_id=network_id, transfer_key=key, prefix_bytes=prefix, first_attempt=first
    )
    argument = split_command(encode_mail(sender, transfer, FEATURES)[:-2])[1]
    command = parse_mail(argument, announced=ANNOUNCED, private=True)
    assert (command.sender, command.transfer) == (sender, transfer)


@settings(max_examples=100)
@given(ADDRESS, st.sampled_from(["", "NEVER", "SUCCESS,DELAY", "FAILURE"]), st.sampled_from(["", "id-1"]))
def test_rcpt_goes_over_and_comes_back(address: str, notify: str, recipient_id: str) -> None:
    recipient = Recipient(address=address, notify=notify, recipient_id=recipient_id)
    argument = split_command(encode_rcpt(recipient, FEATURES, smtputf8=True)[:-2])[1]
    assert parse_rcpt(argument, announced=ANNOUNCED, private=True, smtputf8=True) == recipient
