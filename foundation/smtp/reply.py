"""SMTP replies, both ways: what a server says, and what a client reads (RFC 5321 4.2).

Promises: an encoded reply is never more than it says (no line ends from a sentence get through), and a reply
that is read is either whole and of one code or a ReplyError; memory stays bounded whatever the peer sends.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from foundation.mail.errors import MailError

TEXT_BYTES_MAX = 480
"""With code, status and line end below the 512 octets of RFC 5321 4.5.3.1.5."""
LINE_BYTES_MAX = 8192
REPLY_BYTES_MAX = 65536
OFTEN_BYTES_MAX = 48
"""A longer line has names or identifiers in it, and does not come again."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]+")
_PLAIN = re.compile(rf"[ -~]{{1,{TEXT_BYTES_MAX}}}")
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\r\n]*))?\r?\n")
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")


class ReplyError(Exception):
    """The peer sent something that is no reply: from here on nothing it says can be matched to a command."""


class Reply(msgspec.Struct, frozen=True):
    code: int
    status: str
    """Enhanced status code (RFC 3463); empty where there is none."""
    lines: tuple[str, ...]

    @staticmethod
    def of(code: int, status: str, *lines: str) -> Reply:
        return Reply(code, status, lines)

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 300

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        return self.code >= 500

    def encode(self) -> bytes:
        """The reply's lines with their CRLF, the status on each (RFC 2034 4)."""
        if len(self.lines) == 1 and _PLAIN.fullmatch(self.lines[0]):
            return f"{self.code} {self.status}{' ' if self.status else ''}{self.lines[0]}\r\n".encode("ascii")
        texts = [piece for line in self.lines for piece in _pieces(line)] or [""]
        prefix = f"{self.status} " if self.status else ""
        last = len(texts) - 1
        return "".join(
            f"{self.code}{' ' if index == last else '-'}{prefix}{text}\r\n"
            for index, text in enumerate(texts)
        ).encode("ascii", "backslashreplace")

    def __str__(self) -> str:
        head = f"{self.code} {self.status}" if self.status else str(self.code)
        text = " ".join(line for line in self.lines if line)
        return f"{head} {text}" if text else head


def from_error(error: MailError) -> Reply:
    return Reply(error.code, error.status, (error.sentence,))


def _pieces(line: str) -> list[str]:
    text = _UNSAFE.sub(" ", line)
    return [text[start : start + TEXT_BYTES_MAX] for start in range(0, len(text), TEXT_BYTES_MAX)] or [""]


class ReplyReader:
    """Bytes of a server in, whole replies out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code = 0
        self._status = ""
        self._lines: list[str] = []
        self._size = 0

    @property
    def idle(self) -> bool:
        """Nothing of a reply was read yet."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> list[Reply]:
        """Raises ReplyError; the connection is of no use after that."""
        self._buffer += data
        replies: list[Reply] = []
        start = 0
        while (end := self._buffer.find(b"\n", start)) >= 0:
            reply = self._line(bytes(self._buffer[start : end + 1]))
            start = end + 1
            if reply is not None:
                replies.append(reply)
        del self._buffer[:start]
        if len(self._buffer) > LINE_BYTES_MAX:
            raise ReplyError("the reply line is too long")
        return replies

    def _line(self, line: bytes) -> Reply | None:
        code, is_last, status, text = (_parsed_often if len(line) <= OFTEN_BYTES_MAX else _parsed)(line)
        self._size += len(line)
        if len(line) > LINE_BYTES_MAX or self._size > REPLY_BYTES_MAX:
            raise ReplyError("the reply is too long")
        if self._lines and code != self._code:
            # RFC 5321 4.2.1: every line of a reply carries the same code
            raise ReplyError(f"one reply with the codes {self._code} and {code}")
        self._status = status or self._status
        self._code = code
        self._lines.append(text)
        if not is_last:
            return None
        reply = Reply(code, self._status, tuple(self._lines))
        self._code, self._status, self._lines, self._size = 0, "", [], 0
        return reply


def _parsed(line: bytes) -> tuple[int, bool, str, str]:
    """Code, whether the reply ends here, status (empty: none), text. Raises ReplyError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ReplyError(f"not a reply: {line[:80]!r}")
    code = int(match[1])
    text = (match[3] or b"").decode("utf-8", "backslashreplace")
    status = _STATUS.match(text)
    if status is not None and status[1][0] == str(code)[0]:
        return code, match[2] != b"-", status[1], text[status.end() :]
    return code, match[2] != b"-", "", text


_parsed_often = lru_cache(maxsize=256)(_parsed)
"""Servers say the same to most commands."""
