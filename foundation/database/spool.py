"""A message's content in a server: written once in pieces, read many times, never parsed here.

Promise: at most 256 KiB of it is in memory; more is in a file without a name, gone with the process.
"""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from foundation.mail.errors import MailError

IN_MEMORY_BYTES = 256 * 1024
PIECE_BYTES = 256 * 1024


class Spool:
    """Closed by whoever made it. A large one goes to `folder`, or where temporary files go."""

    def __init__(self, folder: Path | None = None) -> None:
        self.size_bytes = 0
        self._folder = folder
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._digest = hashlib.sha256()

    @classmethod
    def of(cls, content: bytes, folder: Path | None = None) -> Spool:
        spool = cls(folder)
        spool.write(content)
        return spool

    @property
    def sha256(self) -> str:
        """Hex digest of what is written so far."""
        return self._digest.hexdigest()

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Appends."""
        self._digest.update(piece)
        self.size_bytes += len(piece)
        if self._file is None and self.size_bytes <= IN_MEMORY_BYTES:
            self._memory += piece
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            self._put(self._memory)
            self._memory = bytearray()
        self._put(piece)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset+length), cut to the end."""
        if self._file is None:
            return bytes(self._memory[offset : offset + length])
        self._file.seek(offset)
        wanted = min(length, max(self.size_bytes - offset, 0))
        pieces = []
        while wanted > 0 and (piece := self._file.read(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    def chunks(self, size: int = PIECE_BYTES) -> Iterator[bytes]:
        for offset in range(0, self.size_bytes, size):
            yield self.read(offset, size)

    def buffer(self) -> bytes | mmap.mmap:
        """All of it, to read at offsets; a large one is mapped, not copied. Valid until close or write."""
        if self._file is None:
            return bytes(self._memory)
        if self._map is None or len(self._map) != self.size_bytes:
            self._map = mmap.mmap(self._file.fileno(), self.size_bytes, access=mmap.ACCESS_READ)
        return self._map

    def close(self) -> None:
        self._memory = bytearray()
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def _put(self, piece: bytes | bytearray | memoryview) -> None:
        if self._file is None:
            raise ValueError("the spool has no file")
        self._file.seek(0, 2)
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]


async def spool_from(pieces: AsyncIterator[bytes], limit_bytes: int, folder: Path | None = None) -> Spool:
    """Reads all pieces. Raises MailError 552 5.3.4 (reason TOOBIG) beyond the limit (RFC 1870 6.1 (3))."""
    spool = Spool(folder)
    try:
        async for piece in pieces:
            if spool.size_bytes + len(piece) > limit_bytes:
                raise too_big(limit_bytes)
            spool.write(piece)
    except BaseException:
        spool.close()
        raise
    return spool


def too_big(limit_bytes: int) -> MailError:
    return MailError(
        552, "5.3.4", f"The message is larger than {limit_bytes} bytes, the limit here", "TOOBIG"
    )
