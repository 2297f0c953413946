"""A submission server on loopback over TLS, between a directory and a store that are told what to do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from clientaccess.submission.session import Desk, SubmissionSession
from foundation.certificates import issue_certificate, make_authority
from foundation.interfaces.directory import AcceptedDomain, Credentials, DirectoryRecipient
from foundation.interfaces.mailbox_store import MailboxStore, Submission
from foundation.interfaces.world import World
from foundation.mail.address import address_key
from foundation.mail.errors import MailError, Unavailable
from foundation.smtp.client import SmtpConnection
from foundation.smtp.server import ServerOptions, SmtpServer
from foundation.tls import Identity
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from foundation.world.dns import DnsResolver
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor

ALICE = DirectoryRecipient(
    recipient_id="u-alice",
    kind="user",
    address="Alice@home.example",
    mailbox_id="m-alice",
    store="store-a",
)
BOB = DirectoryRecipient(recipient_id="u-bob", kind="user", address="bob@home.example")
KEYS = ("alice@home.example", "sales@home.example")


class FakeDirectory:
    def __init__(self) -> None:
        self.away = False
        self.users: dict[str, Credentials] = {
            "alice@home.example": Credentials(user=ALICE, password_hash="", addresses=KEYS)
        }

    def _ask(self) -> None:
        if self.away:
            raise Unavailable("The directory is away", 451, "4.3.0")

    async def credentials(self, login: str) -> Credentials | None:
        self._ask()
        return self.users.get(address_key(login))

    async def accepted_domain(self, domain: str) -> AcceptedDomain | None:
        self._ask()
        kinds = {"home.example": "authoritative", "relay.example": "internal-relay"}
        kind = cast(Any, kinds.get(domain.lower()))
        return AcceptedDomain(domain=domain.lower(), kind=kind) if kind else None

    async def find(self, address: str) -> DirectoryRecipient | None:
        self._ask()
        return BOB if address_key(address) == "bob@home.example" else None


class FakeAuthentication:
    def __init__(self, directory: FakeDirectory) -> None:
        self._directory = directory
        self.peers: list[str] = []

    async def password(self, login: str, password: str, peer: str) -> Credentials:
        self.peers.append(peer)
        found = await self._directory.credentials(login)
        if found is None or password != "secret":
            raise MailError(535, "5.7.8", "Wrong login or password")
        return found


@dataclass
class FakeStore:
    failures: list[Exception] = field(default_factory=list)
    """Raised by the next calls, after the content was read."""
    submitted: list[tuple[Submission, bytes]] = field(default_factory=list)
    silent: bool = False
    """After the first call there is no answer any more."""

    async def submit(self, submission: Submission, content: AsyncIterator[bytes]) -> None:
        body = b"".join([piece async for piece in content])
        self.submitted.append((submission, body))
        if self.silent and len(self.submitted) > 1:
            await asyncio.Event().wait()
        if self.failures:
            raise self.failures.pop(0)


@dataclass
class Office:
    port: int
    trust: ssl.SSLContext
    directory: FakeDirectory
    authentication: FakeAuthentication
    store: FakeStore
    world: World

    async def log_on(self, *, authenticated: bool = True, hostname: str = "laptop.example") -> SmtpConnection:
        return await SmtpConnection.open(
            "localhost",
            self.port,
            hostname=hostname,
            starttls=self.trust,
            require_tls=True,
            authentication=("alice@home.example", "secret") if authenticated else None,
        )


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Identity, ssl.SSLContext]]:
    folder: Path = tmp_path_factory.mktemp("submission")
    now_ms, disk = SystemClock().now_ms(), SystemDisk()
    make_authority(folder, "Test", now_ms=now_ms, disk=disk)
    issue_certificate(folder, "access", now_ms=now_ms, disk=disk)
    yield Identity(folder, "access"), ssl.create_default_context(cafile=str(folder / "ca.pem"))


@pytest.fixture
async def office(identity: tuple[Identity, ssl.SSLContext]) -> AsyncIterator[Office]:
    directory = FakeDirectory()
    authentication = FakeAuthentication(directory)
    store = FakeStore()
    world = World(
        clock=SystemClock(),
        entropy=SystemEntropy(),
        disk=SystemDisk(),
        resolver=DnsResolver(),
        executor=ThreadExecutor,
    )

    def store_of(user: DirectoryRecipient) -> MailboxStore:
        assert user.store == "store-a"
        return cast(MailboxStore, store)

    desk = Desk(
        server="access",
        hostname="access.home.example",
        default_domain="home.example",
        directory=cast(Any, directory),
        authentication=authentication,
        store_of=store_of,
        world=world,
        header_bytes_max=20_000,
        hops_max=3,
        repeat_seconds=0.2,
        repeat_interval_seconds=0.01,
    )
    options = ServerOptions(
        hostname=desk.hostname,
        listener="submission",
        starttls=identity[0].public_server(),
        authentication=True,
        bare_newlines="normalise",
    )
    server = SmtpServer(options, lambda peer: SubmissionSession(desk, peer), world.entropy)
    port = await server.start("127.0.0.1", 0)
    yield Office(port, identity[1], directory, authentication, store, world)
    await server.stop(0)
