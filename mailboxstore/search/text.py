"""Whether a message's text has what a search asks for: decoded, without regard to case (RFC 9051 6.4.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from foundation.interfaces.mailbox_store import (
    And,
    BodyContains,
    HeaderContains,
    Key,
    Not,
    Or,
    TextContains,
)
from foundation.mail.decoding import decode_header, fold
from foundation.mail.headers import find_fields, header_block, unfold
from foundation.mail.mime import decode_parts, texts_of

Predicate = Callable[["MessageText"], bool]

WHOLE_BYTES_MAX = 262144
"""Smaller messages are read at once and their texts kept; of larger ones one text part is in memory at a
time, and what is no text is not read."""


class MessageText:
    """One message's text, read and decoded as far as it is asked for.

    `read(offset, length)` gives bytes of the message.
    """

    def __init__(
        self, read: Callable[[int, int], bytes], size_bytes: int, header_size: int, parts: bytes
    ) -> None:
        self._read = read
        self._size_bytes = size_bytes
        self._header_size = header_size
        self._parts = parts
        self._header: bytes | None = None
        self._body: list[str] | None = None
        self.bytes_read = 0

    def header_values(self, name: bytes) -> Iterator[str]:
        """Of all fields of this name (lower case), folded for comparison."""
        return (value for _, value in self._fields(name))

    def header_text(self) -> str:
        return "\n".join(f"{name.decode('ascii', 'replace')}: {value}" for name, value in self._fields())

    def _fields(self, wanted: bytes | None = None) -> Iterator[tuple[bytes, str]]:
        if self._header is None:
            self.bytes_read += self._header_size
            self._header = self._read(0, self._header_size)
        header = self._header
        for field in find_fields(header, 0, header_block(header)):
            if wanted is None or field.name == wanted:
                value = unfold(header[field.value_start : field.end])
                yield field.name, fold(decode_header(value).strip())

    def body_texts(self) -> Iterable[str]:
        """Of all text parts, folded for comparison."""
        root = decode_parts(self._parts)
        if self._size_bytes > WHOLE_BYTES_MAX:
            return map(fold, texts_of(self, root, header=False))
        if self._body is None:
            self._body = [fold(text) for text in texts_of(self[0 : self._size_bytes], root, header=False)]
        return self._body

    def __getitem__(self, span: slice, /) -> bytes:
        """These of its bytes."""
        self.bytes_read += span.stop - span.start
        return self._read(span.start, span.stop - span.start)


def predicate(key: Key) -> Predicate:
    """A function that decides the key for one message. Only keys of the text (keys.in_text)."""
    if isinstance(key, And | Or):
        parts = [predicate(child) for child in key.keys]
        if isinstance(key, And):
            return lambda message: all(part(message) for part in parts)
        return lambda message: any(part(message) for part in parts)
    if isinstance(key, Not):
        inner = predicate(key.key)
        return lambda message: not inner(message)
    if isinstance(key, HeaderContains):
        name, wanted = key.name.lower().encode("ascii", "replace"), fold(key.text)
        return lambda message: any(wanted in value for value in message.header_values(name))
    if isinstance(key, BodyContains | TextContains):
        return _contains(fold(key.text), with_header=isinstance(key, TextContains))
    raise TypeError(f"{type(key).__name__} is not a key of the text")


def _contains(wanted: str, *, with_header: bool) -> Predicate:
    def decide(message: MessageText) -> bool:
        if not wanted or (with_header and wanted in message.header_text()):
            return True
        return any(wanted in text for text in message.body_texts())

    return decide
