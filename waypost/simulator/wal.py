"""What a power cut leaves of a SQLite write-ahead log: everything up to the last transaction that is surely
on the disk, and after it whatever the disk had in hand.

A transaction whose commit was not yet answered may be there whole, in part or not at all; what follows the
last whole one is no transaction, and SQLite must see that.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_BACKFILLED_AT = 96
"""In the -shm file: how many frames are in the database already (SQLite, walformat)."""
_GARBAGE_BYTES_MAX = 9000


@dataclass(frozen=True)
class Log:
    """Where transactions end in a log's bytes."""

    frame_bytes: int
    ends: tuple[int, ...]
    """Of each committed transaction, in order."""

    @property
    def end(self) -> int:
        return self.ends[-1] if self.ends else HEADER_BYTES

    @property
    def before_last(self) -> int:
        """Where the last transaction begins; with nothing before it, the log's header is a part of it."""
        return self.ends[-2] if len(self.ends) > 1 else 0


def read_log(data: bytes) -> Log | None:
    """None for what is no log. Frames of an earlier round have other salts (SQLite, walformat 4)."""
    if len(data) < HEADER_BYTES:
        return None
    (page_bytes,), salts = struct.unpack(">I", data[8:12]), data[16:24]
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    ends = []
    for at in range(HEADER_BYTES, len(data) - frame_bytes + 1, frame_bytes):
        if data[at + 8 : at + 16] != salts:
            break
        if data[at + 4 : at + 8] != bytes(4):  # the size after a commit: this frame ends one
            ends.append(at + frame_bytes)
    return Log(frame_bytes, tuple(ends))


def frames_in_database(index: bytes) -> int:
    """How many frames a checkpoint has copied, from the bytes of the -shm file."""
    if len(index) < _BACKFILLED_AT + 4:
        return 0
    (frames,) = struct.unpack("=I", index[_BACKFILLED_AT : _BACKFILLED_AT + 4])
    return int(frames)


def torn(data: bytes, index: bytes, pending: bool, random: Random) -> tuple[bytes, str]:
    """The log after a power cut, and what happened to it. `pending`: its last commit was not answered, and
    nobody has read what it wrote."""
    log = read_log(data)
    if log is None:
        return data, ""
    begin = log.before_last
    frames_before = max(begin - HEADER_BYTES, 0) // log.frame_bytes
    if pending and log.ends and frames_in_database(index) <= frames_before:
        cut = random.randrange(begin, log.end)
        return data[:cut] + _remains(random, data[cut : log.end]), "torn commit"
    # Of the next transaction, which had not come far: no salts fit.
    return data[: log.end] + random.randbytes(random.randint(1, _GARBAGE_BYTES_MAX)), "torn tail"


def _remains(random: Random, lost: bytes) -> bytes:
    """What is where the rest of a transaction should be; never the rest itself."""
    kind = random.choice(("nothing", "zeros", "garbage"))
    if kind == "nothing":
        return b""
    if kind == "zeros" and any(lost):
        return bytes(len(lost))
    return bytes(byte ^ 0xFF for byte in lost[:1]) + random.randbytes(len(lost) - 1)
