"""The world outside a daemon, as types: clock, identifiers, disk, resolver, blocking work.

Every daemon is built as `Daemon(settings, world)`; `waypost` hands in the real world, tests and the
simulator hand in theirs. Protocol logic (p and s modules) knows the world only through these types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    def now_ms(self) -> int:
        """Wall clock: UTC milliseconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that never go back; for intervals within one process."""


class Entropy(Protocol):
    def identifier(self) -> str:
        """A new UUIDv7 as 36 characters of text, rising within a process (RFC 9562 5.7)."""

    def token(self, size_bytes: int) -> bytes:
        """Unguessable bytes."""

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high): jitter."""


class OpenFile(Protocol):
    """A file that was just made, and grows. Its calls raise OSError."""

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Appends all of it."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset+length), cut to the end."""

    def map(self, size_bytes: int) -> mmap:
        """So many of its bytes, not copied."""

    def sync(self) -> None:
        """Returns when the content, and the file's name in its folder, outlast a power cut."""

    def close(self) -> None: ...


class Disk(Protocol):
    def free_bytes(self, folder: Path) -> int: ...

    def read(self, file: Path, offset: int = 0, length: int = -1) -> bytes:
        """All of it, or bytes [offset, offset+length), cut to the end. Raises FileNotFoundError."""

    def write(self, file: Path, data: bytes, mode: int = 0o600) -> None:
        """Replaces the file in one step: temporary file, fsync, rename, fsync of the folder."""

    def create(self, file: Path) -> OpenFile:
        """A new file, its owner's alone. Raises OSError, FileExistsError."""

    def remove(self, file: Path) -> None:
        """One that is not there is removed already."""

    def make_folder(self, folder: Path) -> None:
        """With its parents, its owner's alone, as durable as a synced file. One that is there stays."""

    def size(self, file: Path) -> int:
        """Raises FileNotFoundError."""

    def names(self, folder: Path) -> Iterator[str]:
        """Its files, in no order."""


@dataclass(frozen=True)
class MailExchanger:
    preference: int
    host: str


class NameNotFound(Exception):
    """The name does not exist, or has no such record (NXDOMAIN, NODATA)."""


class NameServiceUnavailable(Exception):
    """No answer now: time-out, SERVFAIL. Try again later."""


class Resolver(Protocol):
    async def mail_exchangers(self, domain: str) -> tuple[MailExchanger, ...]:
        """MX records by preference; empty when the domain exists without any.

        Raises NameNotFound, NameServiceUnavailable.
        """

    async def addresses(self, host: str) -> tuple[str, ...]:
        """IPv6 and IPv4 addresses as text. Raises NameNotFound, NameServiceUnavailable."""


class Executor(Protocol):
    """Runs blocking functions off the event loop (threads), or inline in the simulator."""

    async def run(self, function: Callable[..., T], *arguments: object) -> T: ...

    def close(self) -> None:
        """Waits for what runs; refuses what comes after."""


class Resources(Protocol):
    """What a machine has and uses, in bytes; (0, 0) where nobody knows: it is not watched then."""

    def disk(self, folder: Path) -> tuple[int, int]:
        """Size of the file system, and what is free. Raises OSError."""

    def memory(self) -> tuple[int, int]:
        """What this process has, and what it could have."""


class Unwatched:
    """Resources that nobody measures."""

    def disk(self, folder: Path) -> tuple[int, int]:
        return 0, 0

    def memory(self) -> tuple[int, int]:
        return 0, 0


@dataclass(frozen=True)
class World:
    clock: Clock
    entropy: Entropy
    disk: Disk
    resolver: Resolver
    executor: Callable[[str, int], Executor]
    """executor(name, threads) makes one: `writer` with 1, `readers` and `passwords` with a few."""
    resources: Resources = field(default_factory=Unwatched)
