"""The log (WAL) of a SQLite database as a crash or a broken disk may leave it.

File format: https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import struct
from pathlib import Path

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
BIG_ENDIAN_SUMS = 0x377F0683


def log_of(database: Path) -> Path:
    return Path(f"{database}-wal")


def ends_of_commits(log: Path) -> list[int]:
    """Where each transaction that is still in the log ends, in order."""
    octets = log.read_bytes() if log.exists() else b""
    if len(octets) < HEADER_BYTES:
        return []
    magic, _, page_bytes, _, *salts = struct.unpack(">6I", octets[:24])
    order = ">" if magic == BIG_ENDIAN_SUMS else "<"
    sums = _sums(order, octets[:24], (0, 0))
    ends: list[int] = []
    size = FRAME_HEADER_BYTES + page_bytes
    for start in range(HEADER_BYTES, len(octets) - size + 1, size):
        frame = octets[start : start + size]
        _, pages_after_commit, *rest = struct.unpack(">6I", frame[:FRAME_HEADER_BYTES])
        sums = _sums(order, frame[FRAME_HEADER_BYTES:], _sums(order, frame[:8], sums))
        if rest != [*salts, *sums]:
            break  # of an earlier turn of the log, or never written whole
        if pages_after_commit:
            ends.append(start + size)
    return ends


def put_after_last_commit(log: Path, octets: bytes) -> None:
    """Over what an earlier turn of the log may have left there."""
    with open(log, "r+b") as stream:
        stream.seek((ends_of_commits(log) or [HEADER_BYTES])[-1])
        stream.write(octets)


def damage(log: Path, offset: int) -> None:
    """One octet is another one."""
    with open(log, "r+b") as stream:
        stream.seek(offset)
        (octet,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes((octet ^ 0xFF,)))


def _sums(order: str, octets: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(octets) // 4}I", octets)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
