"""Bytes of a client → whole commands with their literals (RFC 3501 4.3, 7.5; RFC 7888), whatever the reads'
cuts.

The first thing that touches input: it knows lines and literals and nothing else of the grammar, but for one
command: the message literal of APPEND is handed on in pieces and never held. A command over the limits is
dropped whole, its unasked literals too, so that no byte of it is ever taken for another command.
"""

from __future__ import annotations

import enum
import re

import msgspec

LINE_BYTES_MAX = 65536
"""All text of one command, literals apart."""
LITERAL_BYTES_MAX = 65536
"""All literals of one command but a message."""
LITERAL_BYTES_MAX_BEFORE_LOGON = 4096
_NUMBER_MAX = 0xFFFFFFFF  # RFC 3501 9: number is 32 bits

_LITERAL = re.compile(rb"(~?)\{([0-9]{1,40})(\+?)\}$")
_TAG = re.compile(rb"[!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,128}(?= |$)")
_APPEND_BEFORE_NAME = re.compile(rb"[^ ]+ APPEND $", re.IGNORECASE)
_APPEND = re.compile(rb"[^ ]+ APPEND ", re.IGNORECASE)
_TAIL_KEPT = 64


class Whole(msgspec.Struct, frozen=True):
    """A command without its last line end; each `{n}` CRLF in the text stands for the next literal."""

    text: bytes
    literals: tuple[bytes, ...] = ()


class Continuation(msgspec.Struct, frozen=True):
    """The client waits for `+` before it sends a literal."""


class MessageStart(msgspec.Struct, frozen=True):
    """An APPEND up to its message; answer with Fragments.accept or refuse before the next event.

    The text ends with `~` when the literal is binary (RFC 3516 4.4).
    """

    text: bytes
    literals: tuple[bytes, ...]
    size_bytes: int
    synchronising: bool


class MessageData(msgspec.Struct, frozen=True):
    data: bytes


class MessageEnd(msgspec.Struct, frozen=True):
    tail: bytes
    """What followed the message on its line (its beginning); should be empty, or `)`."""
    sentence: str = ""
    """What is wrong with that line in itself."""


class Line(msgspec.Struct, frozen=True):
    """A line asked for by expect_line."""

    data: bytes


class Bad(msgspec.Struct, frozen=True):
    tag: bytes
    """Empty where none can be told."""
    sentence: str
    fatal: bool = False
    """What comes can't be told from commands any more."""


Event = Whole | Continuation | MessageStart | MessageData | MessageEnd | Line | Bad


class _Again(enum.Enum):
    AGAIN = enum.auto()


_Step = Event | _Again | None


class Fragments:
    """feed(bytes), then next_event() until it gives None."""

    __slots__ = (
        "_buffer",
        "_collected",
        "_left",
        "_literals",
        "_problem",
        "_raw",
        "_scanned",
        "_state",
        "_tail",
        "_text",
        "literal_bytes_max",
    )

    def __init__(self, literal_bytes_max: int = LITERAL_BYTES_MAX_BEFORE_LOGON) -> None:
        self.literal_bytes_max = literal_bytes_max
        self._buffer = bytearray()
        self._raw = False
        self._reset()

    def _reset(self) -> None:
        self._state = "line"
        self._text = b""
        self._literals: list[bytes] = []
        self._collected = 0
        self._left = 0
        self._scanned = 0
        self._tail = b""
        self._problem: Bad | None = None

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def buffered_bytes(self) -> int:
        return len(self._buffer)

    def clear(self) -> None:
        """Forgets everything not handed on yet (RFC 3501 6.2.1: what came in plain text behind STARTTLS)."""
        self._buffer = bytearray()
        self._raw = False
        self._reset()

    def expect_line(self) -> None:
        """The next event is the next line as it is: a SASL response, or DONE."""
        self._raw = True

    def accept(self) -> None:
        """Take the message just announced."""
        self._state = "message"

    def refuse(self) -> None:
        """Drop the APPEND just announced; its answer has been given."""
        self._drop(None, self._tail)

    def next_event(self) -> Event | None:
        while True:
            if self._state in ("line", "tail"):
                event = self._read_line()
            elif self._state == "literal":
                event = self._read_literal()
            elif self._state == "message":
                event = self._read_message()
            elif self._state == "drop-line":
                event = self._drop_line()
            elif self._state == "drop-literal":
                event = self._drop_literal()
            else:
                return None  # a message was announced and is not decided on
            if event is not _Again.AGAIN:
                return event

    def _take_line(self, limit: int) -> tuple[bytes, str] | None:
        """The next line without its end, and what is wrong with it; None: not whole yet."""
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned <= limit + 1:
                return None
            line = bytes(self._buffer)
            self._tail = line[-_TAIL_KEPT:]
            self._buffer.clear()
            self._scanned = 0
            return line, "unfinished"
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        if len(line) > limit + 1:
            return line.removesuffix(b"\r"), "The command is too long"
        if not line.endswith(b"\r"):
            return line, "A line must end with CRLF"
        return line[:-1], ""

    def _read_line(self) -> _Step:
        taken = self._take_line(LINE_BYTES_MAX - len(self._text))
        if taken is None:
            return None
        line, wrong = taken
        if self._raw:
            return self._finish_raw(line, wrong)
        if self._state == "tail":
            return self._finish_message(line, wrong)
        tag = _TAG.match(self._text or line)
        if wrong:
            problem = Bad(tag.group() if tag else b"", wrong)
            if wrong == "unfinished":
                self._problem = Bad(problem.tag, "The command is too long")
                self._state = "drop-line"
                return _Again.AGAIN
            return self._drop(problem, line)
        literal = _LITERAL.search(line)
        if literal is None:
            whole = Whole(self._text + line, tuple(self._literals))
            self._reset()
            return whole
        return self._start_literal(line, literal, tag.group() if tag else b"")

    def _start_literal(self, line: bytes, literal: re.Match[bytes], tag: bytes) -> _Step:
        size = int(literal.group(2))
        synchronising = not literal.group(3)
        before = self._text + line[: literal.start()]
        if size > _NUMBER_MAX:
            return self._drop(Bad(tag, "The literal's size is no number of 32 bits"), line)
        if _APPEND.match(before) and not _APPEND_BEFORE_NAME.match(before):
            self._state = "decide"
            self._left = size
            self._tail = line[-_TAIL_KEPT:]
            return MessageStart(before + literal.group(1), tuple(self._literals), size, synchronising)
        if literal.group(1):
            return self._drop(Bad(tag, "A binary literal has no place here"), line)
        self._collected += size
        if self._collected > self.literal_bytes_max:
            return self._drop(Bad(tag, "The literal is too long"), line)
        self._text += line + b"\r\n"
        self._left = size
        self._state = "literal"
        return Continuation() if synchronising else _Again.AGAIN

    def _read_literal(self) -> _Step:
        if len(self._buffer) < self._left:
            return None
        self._literals.append(bytes(self._buffer[: self._left]))
        del self._buffer[: self._left]
        self._state = "line"
        return _Again.AGAIN

    def _read_message(self) -> _Step:
        if self._left == 0:
            self._text = b""
            self._state = "tail"
            return _Again.AGAIN
        if not self._buffer:
            return None
        if len(self._buffer) <= self._left:
            data, self._buffer = bytes(self._buffer), bytearray()
        else:
            data = bytes(self._buffer[: self._left])
            del self._buffer[: self._left]
        self._left -= len(data)
        return MessageData(data)

    def _finish_message(self, line: bytes, wrong: str) -> _Step:
        if wrong == "unfinished":
            self._state = "drop-line"
            return MessageEnd(line[:_TAIL_KEPT], "The command is too long")
        dropped = self._drop(None, line)
        return dropped if isinstance(dropped, Bad) else MessageEnd(line[:_TAIL_KEPT], wrong)

    def _finish_raw(self, line: bytes, wrong: str) -> _Step:
        self._raw = False
        if wrong != "unfinished":
            self._reset()
            return Bad(b"", wrong) if wrong else Line(line)
        self._problem = Bad(b"", "The line is too long")
        self._state = "drop-line"
        return _Again.AGAIN

    def _drop(self, problem: Bad | None, line: bytes) -> _Step:
        """Ends a command that is not handed on: also the literals that come unasked belong to it (RFC 7888
        4)."""
        literal = _LITERAL.search(line[-_TAIL_KEPT:].removesuffix(b"\r"))
        self._reset()
        if literal is None or not literal.group(3):
            return problem if problem is not None else _Again.AGAIN
        size = int(literal.group(2))
        if size > _NUMBER_MAX:
            return Bad(problem.tag if problem else b"", "The literal is too long", fatal=True)
        self._problem = problem
        self._left = size
        self._state = "drop-literal"
        return _Again.AGAIN

    def _drop_literal(self) -> _Step:
        dropped = min(self._left, len(self._buffer))
        del self._buffer[:dropped]
        self._left -= dropped
        if self._left:
            return None
        self._tail = b""
        self._state = "drop-line"
        return _Again.AGAIN

    def _drop_line(self) -> _Step:
        end = self._buffer.find(b"\n")
        line = self._tail + bytes(self._buffer[: end if end >= 0 else len(self._buffer)])
        self._tail = line[-_TAIL_KEPT:]
        if end < 0:
            self._buffer.clear()
            return None
        del self._buffer[: end + 1]
        return self._drop(self._problem, self._tail)
