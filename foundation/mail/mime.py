"""The MIME structure of a message: one light scan that gives a tree of parts with their offsets.

Made once, when a message reaches its mailbox store, and kept with it: IMAP sections are cut from the stored
bytes by these offsets. Content is never copied or changed. Any input gives a tree, in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from foundation.mail.content_fields import (
    BOUNDARY_OCTETS_MAX,
    ENCLOSED_MESSAGE,
    TEXT_PLAIN,
    MediaType,
    Params,
    boundary_of,
    disposition_of,
    first_word,
    media_type,
)
from foundation.mail.decoding import decode_header_block, decode_text
from foundation.mail.headers import find_fields, header_block, split_fields, unfold
from foundation.mail.imap_envelope import ENVELOPE_FIELDS, envelope_of, merge_fields

if TYPE_CHECKING:
    from foundation.mail.decoding import Octets
    from foundation.mail.headers import Buffer

__all__ = [
    "Params",
    "Part",
    "Scan",
    "decode_parts",
    "encode_parts",
    "find_part",
    "scan",
    "searchable_texts",
    "texts_of",
]

DEPTH_MAX = 100
PARTS_MAX = 10_000
SEARCHED_OCTETS_MAX = 32 * 1024 * 1024

_LINE_OCTETS_MAX = BOUNDARY_OCTETS_MAX + 64
_VALUE_OCTETS_MAX = 1_000_000
_HEADER_AT_ONCE_OCTETS = 64 * 1024
_EMPTY_ENVELOPE = envelope_of({})

_LANGUAGE = re.compile(rb"[A-Za-z0-9-]++")
_CONTENT_FIELDS = frozenset(
    {
        b"content-type",
        b"content-transfer-encoding",
        b"content-id",
        b"content-description",
        b"content-md5",
        b"content-disposition",
        b"content-language",
        b"content-location",
    }
)
_MESSAGE_FIELDS = _CONTENT_FIELDS | ENVELOPE_FIELDS | {b"references"}


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One body part. Offsets count from the first byte of the whole message.

    `buffer[header_start:body_start]` is its header with the closing empty line, `buffer[body_start:body_end]`
    its body as encoded. `multipart/*` always has children; one that can't be divided has a single text/plain
    child without a header that covers its body. `message/rfc822` has one child: the root part of the enclosed
    message, whose `header_start` is this part's `body_start`. All others have none.
    """

    type: str
    """Lower case, like `subtype` and `encoding`."""
    subtype: str
    params: Params
    id: bytes | None
    description: bytes | None
    encoding: str
    md5: bytes | None
    disposition: str
    """Empty when there is none."""
    disposition_params: Params
    language: tuple[bytes, ...]
    location: bytes | None
    header_start: int
    body_start: int
    body_end: int
    lines: int
    """Line ends in the body; counted for text and for message/rfc822, else 0."""
    envelope: bytes
    """message/rfc822: the enclosed message's rendered ENVELOPE; else empty."""
    children: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Octets of the encoded body."""
        return self.body_end - self.body_start

    @property
    def is_multipart(self) -> bool:
        return self.type == "multipart"

    @property
    def is_message(self) -> bool:
        return self.type == "message" and self.subtype == "rfc822"


class Scan(msgspec.Struct, frozen=True):
    """A scanned message: its root part, and the header values that an envelope and threading need."""

    part: Part
    values: dict[bytes, bytes]
    """Unfolded, by name in lower case; see imap_envelope.ENVELOPE_FIELDS, and References."""

    @property
    def header_end(self) -> int:
        return self.part.body_start


def scan(buffer: Buffer) -> Scan:
    """The structure of a whole message."""
    return _Scanner(buffer).run()


def encode_parts(part: Part) -> bytes:
    """As msgpack, to be stored."""
    return _ENCODER.encode(part)


def decode_parts(data: bytes) -> Part:
    """Raises msgspec.DecodeError for what encode_parts did not write."""
    return _DECODER.decode(data)


def find_part(root: Part, numbers: tuple[int, ...]) -> Part | None:
    """The part of an IMAP section number (RFC 3501 6.4.5); None when there is none. No numbers: the root.

    Part 1 of a message that is not multipart is its only body. Numbers below message/rfc822 count inside the
    enclosed message.
    """
    part: Part | None = None
    for number in numbers:
        if part is None:
            scope = root
        elif part.is_message:
            scope = part.children[0]
        elif part.is_multipart:
            scope = part
        else:
            return None
        if scope.is_multipart:
            if not 0 < number <= len(scope.children):
                return None
            part = scope.children[number - 1]
        elif number == 1:
            part = scope
        else:
            return None
    return part or root


def searchable_texts(
    buffer: Buffer, *, header: bool = True, root: Part | None = None, limit_octets: int = SEARCHED_OCTETS_MAX
) -> Iterator[str]:
    """The decoded header, if wanted, then every text part and the headers of enclosed messages, in order.

    At most limit_octets encoded octets are looked at. `root` saves the scan where the parts are known.
    """
    return texts_of(buffer, root or scan(buffer).part, header, limit_octets)


def texts_of(
    octets: Octets, root: Part, header: bool, limit_octets: int = SEARCHED_OCTETS_MAX
) -> Iterator[str]:
    """The same, of a message whose parts are known: nothing but headers and text parts is asked for."""
    remaining = limit_octets
    waiting = [(root, header)]
    while waiting and remaining > 0:
        part, with_header = waiting.pop()
        if with_header:
            end = min(part.body_start, part.header_start + remaining)
            yield decode_header_block(bytes(octets[part.header_start : end]))
            remaining -= end - part.header_start
        if part.children:
            waiting.extend((child, part.is_message) for child in reversed(part.children))
        elif part.type in ("text", "message") and remaining > 0:
            yield decode_text(octets, part, remaining)
            remaining -= part.size


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Part)


class _Frame:
    """A part whose end is not reached yet."""

    __slots__ = (
        "body_start",
        "boundary",
        "children",
        "delimited",
        "envelope",
        "lines_before",
        "media",
        "start",
        "values",
    )

    def __init__(self, start: int, body_start: int, values: dict[bytes, bytes], default: MediaType) -> None:
        self.start = start
        self.body_start = body_start
        self.values = values
        self.media = media_type(values.get(b"content-type"), default)
        self.children: list[Part] = []
        self.boundary = b""
        self.delimited = False
        self.envelope = _EMPTY_ENVELOPE
        self.lines_before = 0

    @property
    def is_message(self) -> bool:
        return self.media[:2] == ("message", "rfc822")


class _Scanner:
    """`frames` are the open parts from the root down; `boundaries` say which one a delimiter line divides."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.frames: list[_Frame] = []
        self.boundaries: dict[bytes, int] = {}
        self.parts = 0
        self.counted_to = 0
        self.counted = 0

    def run(self) -> Scan:
        buffer = self.buffer
        size = len(buffer)
        self._open(0, in_digest=False)
        values = self.frames[0].values
        position = max(0, self.frames[-1].body_start - 1)
        while self.boundaries and self.parts < PARTS_MAX:
            position = buffer.find(b"\n--", position)
            if position < 0:
                break
            line_end = buffer.find(b"\n", position + 3, position + _LINE_OCTETS_MAX)
            if line_end < 0:
                line_end = min(size, position + _LINE_OCTETS_MAX)
            line = bytes(buffer[position + 3 : line_end]).rstrip(b" \t\r")
            closing = False
            index = self.boundaries.get(line)
            if index is None and line.endswith(b"--"):
                closing = True
                index = self.boundaries.get(line[:-2])
            if index is None:
                position = line_end
                continue
            # RFC 2046 5.1.1: the line end before a delimiter belongs to the delimiter
            has_return = position > 0 and buffer[position - 1] == 0x0D
            if len(self.frames) > index + 1:
                self._close(index + 1, position - 1 if has_return else position)
            frame = self.frames[index]
            frame.delimited = True
            position = line_end
            if closing:
                del self.boundaries[frame.boundary]
            else:
                self._open(min(line_end + 1, size), in_digest=frame.media[1] == "digest")
                position = max(line_end, self.frames[-1].body_start - 1)
        return Scan(self._close(0, size), values)

    def _open(self, start: int, *, in_digest: bool) -> None:
        """Reads the header at `start` and, where the part is a message, the header its body begins with."""
        names = _CONTENT_FIELDS if self.frames else _MESSAGE_FIELDS
        while True:
            self.parts += 1
            body_start = header_block(self.buffer, start)
            values = _collect(self.buffer, start, body_start, names)
            frame = _Frame(start, body_start, values, ENCLOSED_MESSAGE if in_digest else TEXT_PLAIN)
            self.frames.append(frame)
            if frame.is_message:
                frame.lines_before = self._lines_to(body_start)
            if len(self.frames) > DEPTH_MAX:
                return
            if frame.media[0] == "multipart":
                boundary = boundary_of(frame.media[2])
                # A boundary that an outer part uses already is the outer part's.
                if boundary and boundary not in self.boundaries:
                    frame.boundary = boundary
                    self.boundaries[boundary] = len(self.frames) - 1
                return
            if not frame.is_message:
                return
            start, in_digest, names = body_start, False, _MESSAGE_FIELDS

    def _close(self, keep: int, end: int) -> Part:
        """Ends all parts but the first `keep` at `end`; gives the outermost of those it ended."""
        while True:
            frame = self.frames.pop()
            if self.boundaries.get(frame.boundary) == len(self.frames):
                del self.boundaries[frame.boundary]
            # A header that a delimiter ends keeps its last line end, and so does what encloses it.
            end = max(end, frame.body_start)
            part = self._part(frame, end)
            if self.frames:
                parent = self.frames[-1]
                parent.children.append(part)
                if parent.is_message:
                    parent.envelope = envelope_of(frame.values)
            if len(self.frames) <= keep:
                return part

    def _part(self, frame: _Frame, end: int) -> Part:
        values = frame.values
        type_, subtype, params = frame.media
        lines = 0
        envelope = b""
        children = tuple(frame.children)
        if type_ == "multipart" and not children:
            children = (
                _undivided(frame.body_start, frame.body_start if frame.delimited else end, self.buffer),
            )
        elif frame.is_message:
            envelope = frame.envelope
            children = children or (_undivided(frame.body_start, end, self.buffer),)
            lines = self._lines_to(end) - frame.lines_before
        elif type_ == "text":
            lines = _count_lines(self.buffer, frame.body_start, end)
        disposition, disposition_params = disposition_of(values.get(b"content-disposition"))
        return Part(
            type=type_,
            subtype=subtype,
            params=params,
            id=values.get(b"content-id"),
            description=values.get(b"content-description"),
            encoding=first_word(values.get(b"content-transfer-encoding")) or "7bit",
            md5=values.get(b"content-md5"),
            disposition=disposition,
            disposition_params=disposition_params,
            language=tuple(_LANGUAGE.findall(values.get(b"content-language", b""))),
            location=values.get(b"content-location"),
            header_start=frame.start,
            body_start=frame.body_start,
            body_end=end,
            lines=lines,
            envelope=envelope,
            children=children,
        )

    def _lines_to(self, position: int) -> int:
        """Line ends before `position`. Counts every octet once, however deep messages enclose each other."""
        if position >= self.counted_to:
            self.counted += _count_lines(self.buffer, self.counted_to, position)
        else:
            self.counted -= _count_lines(self.buffer, position, self.counted_to)
        self.counted_to = position
        return self.counted


def _undivided(start: int, end: int, buffer: Buffer) -> Part:
    """What a multipart or message that can't be divided shows as its only part."""
    return Part(
        type="text",
        subtype="plain",
        params=TEXT_PLAIN[2],
        id=None,
        description=None,
        encoding="7bit",
        md5=None,
        disposition="",
        disposition_params=(),
        language=(),
        location=None,
        header_start=start,
        body_start=start,
        body_end=end,
        lines=_count_lines(buffer, start, end),
        envelope=b"",
        children=(),
    )


def _count_lines(buffer: Buffer, start: int, end: int) -> int:
    if isinstance(buffer, bytes | bytearray):
        return buffer.count(b"\n", start, end)
    return sum(buffer[at : min(at + 65_536, end)].count(b"\n") for at in range(start, end, 65_536))


def _collect(buffer: Buffer, start: int, end: int, names: frozenset[bytes]) -> dict[bytes, bytes]:
    """Values of these fields, unfolded."""
    found: Iterable[tuple[bytes, bytes]]
    if end - start <= _HEADER_AT_ONCE_OCTETS:
        found = [
            (lowered, unfold(value))
            for _, name, value in split_fields(bytes(buffer[start:end]))
            if (lowered := name.lower()) in names
        ]
    else:
        found = (
            (name, unfold(bytes(buffer[value_start : min(field_end, value_start + _VALUE_OCTETS_MAX)])))
            for name, _, value_start, field_end in find_fields(buffer, start, end)
            if name in names
        )
    return merge_fields(found)
