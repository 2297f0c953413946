"""What a system under test is to the load: doors, users, processes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

DOMAIN = "bench.example"
RELAY_DOMAIN = "relay.example"
"""Mail for it is handed on to the sink."""
REFUSING_DOMAIN = "refusing.example"
"""The next hop refuses connections."""
SILENT_DOMAIN = "silent.example"
"""The next hop takes connections and says nothing."""


@dataclass(frozen=True)
class User:
    address: str
    password: str


@dataclass(frozen=True)
class Door:
    """Where a protocol is spoken; with TLS from the first byte if there is a context."""

    port: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    host: str = "127.0.0.1"


class System(Protocol):
    name: str
    users: Sequence[User]
    submissions: Door
    smtp: Door
    imaps: Door
    imap: Door
    lmtp: Door
    two_sites: bool

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def sibling(self, mailboxes: int) -> System:
        """Another one of its kind beside it, with so many mailboxes; not yet started."""
        ...

    async def waiting(self) -> int:
        """How many messages wait for a later attempt."""
        ...

    async def try_now(self) -> None:
        """What waits for a later attempt is tried at once, as an operator asks for it."""
        ...

    def roots(self) -> Sequence[int]:
        """The processes all others descend from."""
        ...

    def forget_caches(self, user: User) -> None:
        """What was only computed for a reader of this mailbox is as after delivery."""
        ...

    @property
    def version(self) -> str: ...


def users(count: int) -> list[User]:
    return [User(f"user{number:04}@{DOMAIN}", "correct-horse-battery") for number in range(count)]


def free_ports(count: int) -> list[int]:
    """Of this machine's loopback, below the range from which outgoing connections take theirs."""
    found: list[int] = []
    port = 15000 + (id(found) >> 6) % 8000
    while len(found) < count:
        port += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def client_tls(authority: Path) -> ssl.SSLContext:
    """Verifies the chain, as a mail program does."""
    return ssl.create_default_context(cafile=str(authority))
