"""Inputs made from other inputs: octets flipped, cut, doubled, spliced, and words of the grammar put in."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

INPUT_BYTES_MAX = 256 * 1024
_NASTY = (
    b"\0",
    b"\r",
    b"\n",
    b"\x7f",
    b"\x80",
    b"\xff",
    b'"',
    b"\\",
    b"(",
    b"<",
    b"{",
    b"=",
    b"0",
    b"9" * 20,
)
_REPEATED = (2, 3, 10, 100, 1000, 10_000)


class Mutator:
    """The same seed makes the same inputs from the same pool."""

    def __init__(self, seed: int, words: Sequence[bytes]) -> None:
        self._random = random.Random(seed)
        self._words = (*words, *_NASTY)
        self._changes: tuple[Callable[[bytes, Sequence[bytes]], bytes], ...] = (
            self._flip,
            self._cut,
            self._insert,
            self._insert,
            self._replace,
            self._double,
            self._splice,
            self._repeat,
        )

    def next(self, pool: Sequence[bytes]) -> bytes:
        data = self._random.choice(pool)
        for _ in range(self._random.choice((1, 1, 1, 2, 3, 5, 12))):
            data = self._random.choice(self._changes)(data, pool)
        return data[:INPUT_BYTES_MAX]

    def _place(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + self._random.choice((1, 2, 4, 8, 20, 100, len(data))))

    def _flip(self, data: bytes, pool: Sequence[bytes]) -> bytes:
        if not data:
            return data
        place = self._random.randrange(len(data))
        changed = data[place] ^ (1 << self._random.randrange(8))
        return data[:place] + bytes((changed,)) + data[place + 1 :]

    def _cut(self, data: bytes, pool: Sequence[bytes]) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _insert(self, data: bytes, pool: Sequence[bytes]) -> bytes:
        place = self._place(data)
        return data[:place] + self._random.choice(self._words) + data[place:]

    def _replace(self, data: bytes, pool: Sequence[bytes]) -> bytes:
        start, end = self._span(data)
        return data[:start] + self._random.choice(self._words) + data[end:]

    def _double(self, data: bytes, pool: Sequence[bytes]) -> bytes:
        start, end = self._span(data)
        place = self._place(data)
        return data[:place] + data[start:end] + data[place:]

    def _splice(self, data: bytes, pool: Sequence[bytes]) -> bytes:
        other = self._random.choice(pool)
        return data[: self._place(data)] + other[self._place(other) :]

    def _repeat(self, data: bytes, pool: Sequence[bytes]) -> bytes:
        """Now and then up to the largest input: what is not linear shows."""
        if self._random.random() < 0.9:
            return data
        start, end = self._span(data)
        piece = data[start:end] if self._random.random() < 0.5 else self._random.choice(self._words)
        count = min(self._random.choice(_REPEATED), INPUT_BYTES_MAX // (len(piece) or 1))
        return data[:start] + piece * count + data[end:]
