"""The words of the IMAP grammar (RFC 3501 9, RFC 9051 9): a cursor over one whole command, strict."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from clientaccess.imap.commands import SequenceSet
from foundation.interfaces.mailbox_store import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN

_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_LIST_MAILBOX = re.compile(rb"[!#$%&'*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_LITERAL = re.compile(rb"\{[0-9]+\+?\}\r\n")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*)"')
_QUOTED_UTF8 = re.compile(rb'"((?:[^"\\\r\n\x00]|\\["\\])*)"')
_ESCAPE = re.compile(rb"\\(.)")
_NUMBER = re.compile(rb"[0-9]{1,20}")
_SEQUENCE = re.compile(
    rb"(?:[0-9]{1,10}|\*)(?::(?:[0-9]{1,10}|\*))?(?:,(?:[0-9]{1,10}|\*)(?::(?:[0-9]{1,10}|\*))?)*"
)
_DATE = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_DATE_TIME = re.compile(
    rb'"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)
MONTHS = (b"JAN", b"FEB", b"MAR", b"APR", b"MAY", b"JUN", b"JUL", b"AUG", b"SEP", b"OCT", b"NOV", b"DEC")
SYSTEM_FLAGS = {
    b"SEEN": SEEN,
    b"ANSWERED": ANSWERED,
    b"FLAGGED": FLAGGED,
    b"DELETED": DELETED,
    b"DRAFT": DRAFT,
}
KEYWORDS_MAX = 64
KEYWORD_BYTES_MAX = 128
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Malformed(Exception):
    """Not a command of the grammar: BAD. `tag` is empty where none can be told."""

    def __init__(self, sentence: str, tag: bytes = b"") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.tag = tag


class Scanner:
    __slots__ = ("_literal", "_literals", "position", "text", "utf8")

    def __init__(self, text: bytes, literals: tuple[bytes, ...], utf8: bool) -> None:
        self.text = text
        self.position = 0
        self._literals = literals
        self._literal = 0
        self.utf8 = utf8

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        match = pattern.match(self.text, self.position)
        if match is not None:
            self.position = match.end()
        return match

    def peek(self) -> bytes:
        """The next octet; empty at the end."""
        return self.text[self.position : self.position + 1]

    def accept(self, expected: bytes) -> bool:
        if self.text.startswith(expected, self.position):
            self.position += len(expected)
            return True
        return False

    def expect(self, expected: bytes, what: str = "") -> None:
        if not self.accept(expected):
            raise Malformed(what or f"Expected {expected.decode('ascii')!r}")

    def space(self) -> None:
        self.expect(b" ", "Expected a space and an argument")

    def end(self) -> None:
        if self.position != len(self.text):
            raise Malformed("There is something after the command's end")

    def atom(self, what: str = "a word") -> bytes:
        match = self._match(_ATOM)
        if match is None:
            raise Malformed(f"Expected {what}")
        return match.group()

    def word(self, what: str = "a word") -> str:
        """An atom as a name of the grammar: upper case."""
        return self.atom(what).decode("ascii").upper()

    def string(self) -> bytes:
        value = self._string()
        if value is None:
            raise Malformed("Expected a string")
        return value

    def _string(self, eight_bit: bool = False) -> bytes | None:
        opening = self.peek()
        if opening == b'"':
            match = self._match(_QUOTED_UTF8 if self.utf8 or eight_bit else _QUOTED)
            if match is None:
                raise Malformed("A quoted string is not closed or holds what it must not")
            value = match.group(1)
            return _ESCAPE.sub(rb"\1", value) if b"\\" in value else value
        if opening == b"{" and self._match(_LITERAL) is not None and self._literal < len(self._literals):
            value = self._literals[self._literal]
            self._literal += 1
            if b"\0" in value:  # RFC 3501 9: CHAR8 is without NUL
                raise Malformed("A literal holds NUL")
            return value
        return None

    def nstring(self) -> bytes | None:
        value = self._string()
        if value is None and self.word("a string or NIL") != "NIL":
            raise Malformed("Expected a string or NIL")
        return value

    def astring(self, eight_bit: bool = False) -> bytes:
        """`eight_bit`: a quoted string may hold UTF-8 without ENABLE, as clients send it (RFC 9051 4.3)."""
        return self._word_or_string(_ASTRING, "Expected a string", eight_bit)

    def list_mailbox(self) -> bytes:
        return self._word_or_string(_LIST_MAILBOX, "Expected a mailbox pattern")

    def _word_or_string(self, pattern: re.Pattern[bytes], sentence: str, eight_bit: bool = False) -> bytes:
        value = self._string(eight_bit)
        if value is not None:
            return value
        match = self._match(pattern)
        if match is None:
            raise Malformed(sentence)
        return match.group()

    def number(self, maximum: int = 0xFFFFFFFF) -> int:
        match = self._match(_NUMBER)
        if match is None or int(match.group()) > maximum:
            raise Malformed("Expected a number that is not too big")
        return int(match.group())

    def nz_number(self) -> int:
        value = self.number()
        if value == 0:
            raise Malformed("Expected a number other than 0")
        return value

    def modseq(self, zero: bool = True) -> int:
        """RFC 7162 7: 63 bits."""
        value = self.number(0x7FFFFFFFFFFFFFFF)
        if value == 0 and not zero:
            raise Malformed("Expected a number other than 0")
        return value

    def sequence_set(self) -> SequenceSet:
        if self.accept(b"$"):
            return SequenceSet(saved=True)
        match = self._match(_SEQUENCE)
        if match is None:
            raise Malformed("Expected a sequence set")
        ranges = []
        for piece in match.group().split(b","):
            first, colon, last = piece.partition(b":")
            low = self._sequence_number(first)
            ranges.append((low, self._sequence_number(last) if colon else low))
        return SequenceSet(tuple(ranges))

    @staticmethod
    def _sequence_number(text: bytes) -> int:
        if text == b"*":
            return 0
        number = int(text)
        if not 0 < number <= 0xFFFFFFFF:
            raise Malformed("A number of the sequence set is 0 or too big")
        return number

    def at_sequence_set(self) -> bool:
        return self.peek() in b"0123456789*$" and self.peek() != b""

    def date(self) -> tuple[int, int, int]:
        """RFC 3501 9 `date`: year, month, day."""
        quoted = self.accept(b'"')
        match = self._match(_DATE)
        if match is None:
            raise Malformed("Expected a date")
        if quoted:
            self.expect(b'"')
        day, month, year = match.groups()
        try:
            value = datetime(int(year), MONTHS.index(month.upper()) + 1, int(day))
        except ValueError as error:
            raise Malformed("There is no such date") from error
        return value.year, value.month, value.day

    def date_time(self) -> tuple[int, int]:
        """RFC 3501 9 `date-time`: UTC milliseconds, offset in minutes."""
        match = self._match(_DATE_TIME)
        if match is None:
            raise Malformed("Expected a date and time")
        day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
        offset = (int(hours) * 60 + int(minutes)) * (-1 if sign == b"-" else 1)
        try:
            value = datetime(
                int(year),
                MONTHS.index(month.upper()) + 1,
                int(day),
                int(hour),
                int(minute),
                min(int(second), 59) if int(second) == 60 else int(second),
                tzinfo=timezone(timedelta(minutes=offset)),
            )
        except ValueError as error:
            raise Malformed("There is no such date and time") from error
        return (value - _EPOCH) // timedelta(milliseconds=1), offset

    def flag(self) -> tuple[int, str]:
        """A system flag's bit, or a keyword."""
        if self.accept(b"\\"):
            bit = SYSTEM_FLAGS.get(self.atom("a flag").upper())
            if bit is None:  # \Recent can't be changed, others are not permanent here (RFC 3501 2.3.2)
                raise Malformed("No flag that can be set")
            return bit, ""
        keyword = self.atom("a flag")
        if len(keyword) > KEYWORD_BYTES_MAX or b"]" in keyword:
            raise Malformed("The keyword is too long")
        return 0, keyword.decode("ascii")

    def flag_list(self) -> tuple[int, tuple[str, ...]]:
        """`(…)`; keywords in order, without doubles."""
        self.expect(b"(", "Expected a list of flags")
        return (0, ()) if self.accept(b")") else self.flags(b")")

    def flags(self, closing: bytes = b"") -> tuple[int, tuple[str, ...]]:
        """One flag or more, to `closing` or the command's end."""
        bits, keywords = 0, dict[str, None]()
        while True:
            bit, keyword = self.flag()
            bits |= bit
            if keyword:
                keywords[keyword] = None
            if not self.accept(b" "):
                break
        if closing:
            self.expect(closing)
        if len(keywords) > KEYWORDS_MAX:
            raise Malformed("Too many keywords")
        return bits, tuple(keywords)
