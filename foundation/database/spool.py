"""A message's content in a server: written once in pieces, read many times, never parsed here.

Promise: at most 256 KiB of it is in memory; more is in a file: one without a name, gone with the process, or
one that becomes the stored content itself (foundation/database/files.py).
"""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, ClassVar, Protocol

from foundation.database.files import ContentFile
from foundation.mail.errors import MailError

IN_MEMORY_BYTES = 256 * 1024
PIECE_BYTES = 256 * 1024


class SpoolFile(Protocol):
    """Where the content of a spool goes. Raises OSError."""

    def write(self, piece: bytes | bytearray | memoryview) -> None: ...

    def read(self, offset: int, length: int) -> bytes: ...

    def map(self, size_bytes: int) -> mmap.mmap: ...

    def close(self) -> None: ...


class _NamelessFile:
    """Where temporary files go; nobody finds it, and it is gone when it is closed."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        self._file.seek(0, 2)
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

    def read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        pieces = []
        while length > 0 and (piece := self._file.read(length)):
            pieces.append(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def map(self, size_bytes: int) -> mmap.mmap:
        return mmap.mmap(self._file.fileno(), size_bytes, access=mmap.ACCESS_READ)

    def close(self) -> None:
        self._file.close()


class Spool:
    """Closed by whoever made it."""

    start = 0

    def __init__(
        self,
        make_file: Callable[[], SpoolFile] = _NamelessFile,
        in_memory_bytes: int = IN_MEMORY_BYTES,
    ) -> None:
        """`make_file`: for what does not stay in memory."""
        self.size_bytes = 0
        self._make_file = make_file
        self._in_memory_bytes = in_memory_bytes
        self._memory = bytearray()
        self._file: SpoolFile | None = None
        self._map: mmap.mmap | None = None
        self._closed = False
        self._digests: dict[int, tuple[int, str]] = {}

    @classmethod
    def of(cls, content: bytes) -> Spool:
        spool = cls()
        spool.write(content)
        return spool

    @property
    def file(self) -> ContentFile | None:
        """The file that can become stored content."""
        return self._file if isinstance(self._file, ContentFile) else None

    @property
    def sha256(self) -> str:
        """Hex digest of what is written so far."""
        return self.sha256_from(0)

    @property
    def known_sha256(self) -> str:
        """The digest where somebody asked for it, else empty."""
        return self.known_sha256_from(0)

    @property
    def closed(self) -> bool:
        return self._closed

    def known_sha256_from(self, start: int) -> str:
        size_bytes, digest = self._digests.get(start, (-1, ""))
        return digest if size_bytes == self.size_bytes else ""

    def sha256_from(self, start: int) -> str:
        """Of what follows the first `start` bytes. Computed when first asked for: all of it is read then."""
        digest = self.known_sha256_from(start)
        if not digest:
            hashing = hashlib.sha256()
            for piece in self.chunks(start=start):
                hashing.update(piece)
            digest = hashing.hexdigest()
            self._digests[start] = (self.size_bytes, digest)
        return digest

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Appends. Raises OSError."""
        self.size_bytes += len(piece)
        if self._file is None and self.size_bytes <= self._in_memory_bytes:
            self._memory += piece
            return
        if self._file is None:
            self._file = self._make_file()
            self._file.write(self._memory)
            self._memory = bytearray()
        self._file.write(piece)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset+length), cut to the end."""
        if self._file is None:
            return bytes(self._memory[offset : offset + length])
        return self._file.read(offset, min(length, max(self.size_bytes - offset, 0)))

    def chunks(self, size: int = PIECE_BYTES, start: int = 0) -> Iterator[bytes]:
        for offset in range(start, self.size_bytes, size):
            yield self.read(offset, size)

    def buffer(self) -> bytes | mmap.mmap:
        """All of it, to read at offsets; a large one is mapped, not copied. Valid until close or write."""
        if self._file is None:
            return bytes(self._memory)
        if self._map is None or len(self._map) != self.size_bytes:
            self._map = self._file.map(self.size_bytes)
        return self._map

    def close(self) -> None:
        self._closed = True
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


class Tail:
    """What follows the first bytes of a spool, as content of its own, not copied. Closed with the spool."""

    def __init__(self, spool: Spool, start: int) -> None:
        self.start = start
        self.spool = spool

    @property
    def size_bytes(self) -> int:
        return self.spool.size_bytes - self.start

    @property
    def sha256(self) -> str:
        return self.spool.sha256_from(self.start)

    @property
    def known_sha256(self) -> str:
        return self.spool.known_sha256_from(self.start)

    @property
    def file(self) -> ContentFile | None:
        return self.spool.file

    @property
    def closed(self) -> bool:
        return self.spool.closed

    def read(self, offset: int, length: int) -> bytes:
        return self.spool.read(self.start + offset, length)

    def chunks(self, size: int = PIECE_BYTES) -> Iterator[bytes]:
        return self.spool.chunks(size, self.start)


@dataclass(frozen=True)
class Held:
    """Content that was there already when it was announced by its digest, and did not come again. It is
    referred to by that; as soon as somebody would have to read it, it is gone.
    """

    sha256: str
    size_bytes: int

    start: ClassVar[int] = 0
    file: ClassVar[ContentFile | None] = None
    closed: ClassVar[bool] = False

    @property
    def known_sha256(self) -> str:
        return self.sha256

    def read(self, offset: int, length: int) -> bytes:
        """Raises MailError 451 4.3.0."""
        raise MailError(451, "4.3.0", "The content was held here, and is gone: send it")

    def chunks(self, size: int = PIECE_BYTES) -> Iterator[bytes]:
        """Raises MailError 451 4.3.0."""
        yield self.read(0, size)


Stored = Spool | Tail | Held
"""What can become the content of a message."""


async def spool_from(
    pieces: AsyncIterator[bytes], limit_bytes: int, make: Callable[[], Spool] = Spool
) -> Spool:
    """Reads all pieces. Raises MailError 552 5.3.4 (reason TOOBIG) beyond the limit (RFC 1870 6.1 (3)), 452
    4.3.1 when there is no room.
    """
    spool = make()
    with _closed_on_failure(spool):
        async for piece in pieces:
            if spool.size_bytes + len(piece) > limit_bytes:
                raise too_big(limit_bytes)
            spool.write(piece)
    return spool


def with_header(content: Spool, header_bytes: int, header: bytes, changed: Spool) -> Spool:
    """`changed`, which was empty: a copy of the content whose first bytes are replaced. Raises MailError 452
    4.3.1 when there is no room for it.
    """
    with _closed_on_failure(changed):
        changed.write(header)
        for piece in content.chunks(start=header_bytes):
            changed.write(piece)
    return changed


@contextmanager
def _closed_on_failure(spool: Spool) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        spool.close()
        raise no_room() from error
    except BaseException:
        spool.close()
        raise


def too_big(limit_bytes: int) -> MailError:
    return MailError(
        552, "5.3.4", f"The message is larger than {limit_bytes} bytes, the limit here", "TOOBIG"
    )


def no_room() -> MailError:
    return MailError(452, "4.3.1", "No room for the message now")
