import pytest

from foundation.smtp.lines import InputBuffer, LineTooLong


def test_lines_and_data_take_turns() -> None:
    buffer = InputBuffer()
    buffer.feed(b"BDAT 3\r\nabcNOOP\nEHL")
    assert buffer.next_line() == b"BDAT 3\r\n"
    assert buffer.take(3) == b"abc"
    assert buffer.next_line() == b"NOOP\n"
    assert buffer.next_line() is None
    assert buffer.take() == b"EHL"
    buffer.put_back(b"O x\r\n")
    assert buffer.next_line() == b"O x\r\n"


def test_an_overlong_line_is_thrown_away_and_told_once() -> None:
    buffer = InputBuffer(line_bytes_max=10)
    for _ in range(100):
        buffer.feed(b"x" * 7)
        assert buffer.next_line() is None
        assert len(buffer) <= 17
    buffer.feed(b"\r\nNOOP\r\n")
    with pytest.raises(LineTooLong):
        buffer.next_line()
    assert buffer.next_line() == b"NOOP\r\n"


def test_an_overlong_line_in_one_piece() -> None:
    buffer = InputBuffer(line_bytes_max=10)
    buffer.feed(b"x" * 50 + b"\r\nRSET\r\n")
    with pytest.raises(LineTooLong):
        buffer.next_line()
    assert buffer.next_line() == b"RSET\r\n"
