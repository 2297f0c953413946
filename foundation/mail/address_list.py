"""The address list of a header field (RFC 5322 3.4 and its obsolete forms) taken apart, whatever it is.

One pass over the bytes: hostile input gives odd addresses, never an error and never more than linear time.
Encoded words stay raw.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(
    rb'[ \t\r\n]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\[[^\]]*+\]?|[<>,;:@.]|[^ \t\r\n"<>,;:@.()\[\]]++|.',
    re.DOTALL,
)
_IN_COMMENT = re.compile(rb"[^()\\]++|\\.|.", re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_ATEXT = rb"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_SIMPLE = re.compile(rb"(?:([%b ]++)|\"([^\"\\]++)\" )?<([%b.]++)@([A-Za-z0-9.-]++)>" % ((_ATEXT,) * 2))


class Mailbox(NamedTuple):
    """As in an IMAP address (RFC 3501 7.4.2): domain None with a local part opens the group of that name,
    both None close it. A mailbox without a domain has an empty one."""

    name: bytes | None
    local: bytes | None
    domain: bytes | None


_GROUP_END = Mailbox(None, None, None)


def parse_addresses(value: bytes) -> list[Mailbox]:
    """The mailboxes and group marks of a field's value, in order."""
    if (simple := _SIMPLE.fullmatch(value)) and b"  " not in value:
        return [Mailbox((simple[1] or b"").strip() or simple[2], simple[3], simple[4])]
    parser = _Parser(value)
    parser.run()
    return parser.found


class _Parser:
    """`pieces` holds the tokens of the address being read, None for white space; `at` is its last `@`."""

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.found: list[Mailbox] = []
        self.in_group = False
        self._clear()

    def _clear(self) -> None:
        self.pieces: list[bytes | None] = []
        self.at = -1
        self.route = False
        self.name: bytes | None = None
        self.comment: bytes | None = None
        self.angle = ""

    def run(self) -> None:
        position = 0
        while token := _TOKEN.match(self.value, position):
            position = token.end()
            text = token[0]
            if text == b"(":
                position = self._read_comment(position)
            elif text[0] in b" \t\r\n":
                self.pieces.append(None)
            elif text[0] == 0x22:
                self._add(
                    _QUOTED_PAIR.sub(rb"\1", text[1:-1] if len(text) > 1 and text[-1:] == b'"' else text[1:])
                )
            elif len(text) == 1 and text in b"<>,;:@":
                self._special(text)
            else:
                self._add(text)
        self._flush()
        if self.in_group:
            self.found.append(_GROUP_END)

    def _add(self, piece: bytes) -> None:
        if self.angle != "closed":
            self.pieces.append(piece)

    def _special(self, text: bytes) -> None:
        if text == b"<":
            if self.angle == "open" and not any(self.pieces):
                return
            if self.angle:
                self._flush()
            self.name = _phrase(self.pieces)
            self.pieces, self.at, self.angle = [], -1, "open"
        elif text == b">":
            self.angle = "closed" if self.angle else ""
        elif text == b"@":
            if self.angle != "closed":
                self.route = self.route or (self.angle == "open" and not any(self.pieces))
                self.at = len(self.pieces)
                self.pieces.append(text)
        elif text == b":":
            self._colon()
        elif not (text == b"," and self.angle == "open" and self.route):
            self._flush()
            if text == b";" and self.in_group:
                self.found.append(_GROUP_END)
                self.in_group = False

    def _colon(self) -> None:
        if self.angle == "open":  # RFC 5322 4.4: obs-route
            self.pieces, self.at, self.route = [], -1, False
        elif not self.angle and self.at < 0 and not self.in_group:
            self.found.append(Mailbox(None, _phrase(self.pieces) or b"", None))
            self._clear()
            self.in_group = True
        else:
            self._add(b":")

    def _read_comment(self, position: int) -> int:
        parts: list[bytes] = []
        depth = 1
        while piece := _IN_COMMENT.match(self.value, position):
            position = piece.end()
            text = piece[0]
            depth += (text == b"(") - (text == b")")
            if depth == 0:
                break
            parts.append(text[1:] if text[0] == 0x5C else text)
        self.comment = b"".join(parts).strip() or self.comment
        return position

    def _flush(self) -> None:
        name = self.name
        if self.angle or self.at >= 0:
            before, after = (
                (self.pieces[: self.at], self.pieces[self.at + 1 :]) if self.at >= 0 else (self.pieces, [])
            )
            cut = 0 if self.angle else _last_gap(before)
            local = b"".join(filter(None, before[cut:]))
            domain = b"".join(filter(None, after[: _first_gap(after)]))
            self.found.append(Mailbox(name or _phrase(before[:cut]) or self.comment, local, domain))
        elif any(self.pieces):
            self.found.append(Mailbox(self.comment, _phrase(self.pieces) or b"", b""))
        self._clear()


def _phrase(pieces: list[bytes | None]) -> bytes | None:
    return b"".join(b" " if piece is None else piece for piece in pieces).strip() or None


def _last_gap(pieces: list[bytes | None]) -> int:
    """Where the local part begins: after the last white space that does not stand beside a dot."""
    end = len(pieces)
    while end and pieces[end - 1] is None:
        end -= 1
    for index in range(end - 1, 0, -1):
        if (
            pieces[index] is None
            and pieces[index - 1] not in (b".", None)
            and pieces[index + 1] not in (b".", None)
        ):
            return index + 1
    return 0


def _first_gap(pieces: list[bytes | None]) -> int:
    """Where the domain ends: at the first white space that does not stand beside a dot."""
    start = 0
    while start < len(pieces) and pieces[start] is None:
        start += 1
    for index in range(start + 1, len(pieces)):
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        if pieces[index] is None and pieces[index - 1] != b"." and following != b".":
            return index
    return len(pieces)
