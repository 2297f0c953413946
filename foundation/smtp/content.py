"""Message content on the wire: DATA with its dots and its end (RFC 5321 4.5.2), BDAT chunks (RFC 3030).

Only CRLF.CRLF ends DATA. A CR or an LF alone never does, whatever stands around it (SMTP smuggling,
CVE-2023-51764); what becomes of it in the content is the listener's policy. Any split of the input into reads
gives the same content.
"""

from __future__ import annotations

import re
from typing import Literal

from foundation.mail.errors import MailError

BareNewlines = Literal["refuse", "normalise", "keep"]

_DOT = b"\r\n."
_END = b"\r\n.\r\n"
_NEWLINE = re.compile(rb"\r\n|\r|\n")


def has_bare_newlines(data: bytes) -> bool:
    """A CR or an LF that is not part of a CRLF: it is left when each CRLF is taken out."""
    rest = data.replace(b"\r\n", b"")
    return b"\n" in rest or b"\r" in rest


class TextGuard:
    """Watches content for bare CR and LF and for overlong lines, whatever the reads are cut at."""

    def __init__(self, bare_newlines: BareNewlines, line_bytes_max: int) -> None:
        self._policy = bare_newlines
        self._line_bytes_max = line_bytes_max
        self._line_bytes = 0
        self._held = b""
        self.problem: MailError | None = None

    def feed(self, data: bytes) -> bytes:
        """Content to keep; a CR at the end is held back until what follows it is known."""
        if self._policy == "keep" and not self._line_bytes_max:
            return data
        if self._held:
            data = self._held + data
            self._held = b""
        if data.endswith(b"\r"):
            self._held = b"\r"
            data = data[:-1]
        return self._check(data)

    def finish(self) -> bytes:
        """The content has ended: what was held back."""
        data, self._held = self._held, b""
        return self._check(data)

    def _check(self, data: bytes) -> bytes:
        if self._policy != "keep" and has_bare_newlines(data):
            if self._policy == "refuse":
                self.problem = self.problem or MailError(
                    550,
                    "5.6.11",
                    "The message has a CR or LF that is not part of a CRLF (RFC 5321 2.3.8)",
                )
            else:
                data = _NEWLINE.sub(b"\r\n", data)
        if self._line_bytes_max:
            self._measure(data)
        return data

    def _measure(self, data: bytes) -> None:
        limit = self._line_bytes_max
        first = data.find(b"\n")
        longest = self._line_bytes + (first if first >= 0 else len(data))
        if first < 0:
            self._line_bytes = longest
        else:
            self._line_bytes = len(data) - data.rfind(b"\n") - 1
            if len(data) > limit:
                longest = max(longest, self._line_bytes, max(map(len, data.split(b"\n")[1:])))
        if max(longest, self._line_bytes) > limit:
            self.problem = self.problem or MailError(554, "5.6.0", f"A line has more than {limit} octets")


class DataReader:
    """The stream after 354 in, content out, up to the end of data."""

    def __init__(self, guard: TextGuard) -> None:
        self._guard = guard
        self._tail = b"\r\n"  # the start of the content is the start of a line
        self._skip = 2
        self.finished = False
        self.rest = b""
        """What came after the end of data: the next commands."""

    def feed(self, data: bytes) -> bytes:
        """Content that is certain by now, dots removed."""
        data = self._tail + data
        dot = data.find(_DOT)
        end = data.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self.finished = True
            self.rest = data[end + len(_END) :]
            return self._guard.feed(self._unstuff(data[: end + 2], dot)) + self._guard.finish()
        keep = _undecided(data)
        self._tail = data[len(data) - keep :]
        return self._guard.feed(self._unstuff(data[: len(data) - keep], dot))

    def _unstuff(self, data: bytes, dot: int) -> bytes:
        """`dot`: the first one at the start of a line, if there is any."""
        if dot >= 0:
            data = data[:dot] + data[dot:].replace(_DOT, b"\r\n")
        if self._skip and data:
            data = data[self._skip :]
            self._skip = 0
        return data


def _undecided(data: bytes) -> int:
    """Length of the longest end of data that may be the beginning of CRLF.CRLF."""
    for length in (4, 3, 2, 1):
        if data.endswith(_END[:length]):
            return length
    return 0


class DataWriter:
    """Content in, the stream after 354 out: dots doubled, every line end a CRLF, the end of data."""

    def __init__(self) -> None:
        self._at_line_start = True
        self._held_cr = False

    def feed(self, data: bytes) -> bytes:
        if self._held_cr:
            data = b"\r" + data
            self._held_cr = False
        if data.endswith(b"\r"):
            data = data[:-1]
            self._held_cr = True
        if not data:
            return b""
        if has_bare_newlines(data):
            data = _NEWLINE.sub(b"\r\n", data)  # RFC 5321 2.3.8: never sent as they are
        stuffed = data.replace(b"\n.", b"\n..")
        if self._at_line_start and stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_line_start = data.endswith(b"\n")
        return stuffed

    def finish(self) -> bytes:
        """What closes the content: its last line end when it has none, and the lone dot."""
        line_end = b"" if self._at_line_start and not self._held_cr else b"\r\n"
        return line_end + b".\r\n"


def parse_bdat(argument: bytes) -> tuple[int, bool]:
    """Octets, and whether it is the last chunk (RFC 3030 2). Raises MailError 501 5.5.4."""
    words = argument.split()
    last = len(words) == 2 and words[1].upper() == b"LAST"
    if not words or len(words) > 2 or (len(words) == 2 and not last):
        raise MailError(501, "5.5.4", "The command's form is BDAT octets [LAST]")
    if not words[0].isdigit() or len(words[0]) > 20:
        raise MailError(501, "5.5.4", "BDAT takes a number of octets")
    return int(words[0]), last


def encode_bdat(size_bytes: int, *, last: bool) -> bytes:
    return b"BDAT %d LAST\r\n" % size_bytes if last else b"BDAT %d\r\n" % size_bytes
