"""A store's rooms on a real database, with a clock that is set and a directory of a few users."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import Engine, func, select

from foundation.database.content import Contents, files_beside, with_files
from foundation.database.engine import open_engine, prepare_schema, sqlite_url
from foundation.database.readers import Readers
from foundation.database.writer import Writer
from foundation.interfaces.directory import AcceptedDomain, Credentials, DirectoryRecipient
from foundation.interfaces.mailbox_store import Fields, Record, Submission
from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import Executor, World
from foundation.mail.envelope import Recipient, Sender
from foundation.pressure.levels import Level
from foundation.smtp.session import Peer
from foundation.tracking.statements import Tracking
from foundation.world.disk import SystemDisk
from foundation.world.dns import DnsResolver
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor
from mailboxstore.api import Store
from mailboxstore.database import tables
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.units import State, Unit
from mailboxstore.delivery.session import DeliverySession
from mailboxstore.notifications import Notifications
from mailboxstore.outbox.kept import KeptEmail
from mailboxstore.outbox.submission import OutboxSubmission

STORE = "store-a"
ALICE = DirectoryRecipient(
    recipient_id="user-alice",
    kind="user",
    address="alice@example.org",
    mailbox_id="mailbox-alice",
    store=STORE,
)
BOB = DirectoryRecipient(
    recipient_id="user-bob", kind="user", address="bob@example.org", mailbox_id="mailbox-bob", store=STORE
)
CAROL = DirectoryRecipient(
    recipient_id="user-carol",
    kind="user",
    address="carol@example.org",
    mailbox_id="mailbox-carol",
    store="store-b",
)
EVERYTHING = Fields(
    envelope=True, body_structure=True, parts=True, header=True, content_up_to_bytes=1024 * 1024
)

PLAIN = (
    b"From: Alice <alice@example.org>\r\n"
    b"To: bob@example.org\r\n"
    b"Subject: Lunch\r\n"
    b"Date: Mon, 5 Jan 2026 10:00:00 +0100\r\n"
    b"Message-ID: <one@example.org>\r\n"
    b"\r\n"
    b"At noon?\r\n"
)


def message(subject: str = "Lunch", message_id: str = "", body: str = "At noon?", more: str = "") -> bytes:
    identifier = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    text = f"From: alice@example.org\r\nSubject: {subject}\r\n{identifier}{more}\r\n{body}\r\n"
    return text.encode()


class SetClock:
    """Stands still until it is set, or told to run."""

    def __init__(self) -> None:
        self.at_ms = 1_800_000_000_000
        self._running_since: float | None = None

    def run(self) -> None:
        self._running_since = time.monotonic()

    def now_ms(self) -> int:
        if self._running_since is None:
            return self.at_ms
        return self.at_ms + int((time.monotonic() - self._running_since) * 1000)

    def monotonic(self) -> float:
        return self.now_ms() / 1000

    def advance(self, seconds: float) -> None:
        self.at_ms += int(seconds * 1000)


class FewUsers:
    """A directory: `users` may be changed, `changed` says so."""

    def __init__(self, *users: DirectoryRecipient) -> None:
        self.users = {user.recipient_id: user for user in users}
        self._revision = 1

    def changed(self) -> None:
        self._revision += 1

    async def refresh(self) -> None:
        return None

    def revision(self) -> int:
        return self._revision

    async def find(self, address: str) -> DirectoryRecipient | None:
        return next((user for user in self.users.values() if user.address == address), None)

    async def find_id(self, recipient_id: str) -> DirectoryRecipient | None:
        return self.users.get(recipient_id)

    async def mailbox(self, mailbox_id: str) -> DirectoryRecipient | None:
        return next((user for user in self.users.values() if user.mailbox_id == mailbox_id), None)

    async def mailboxes_of(self, store: str) -> tuple[str, ...]:
        return tuple(user.mailbox_id for user in self.users.values() if user.store == store)

    async def accepted_domain(self, domain: str) -> AcceptedDomain | None:
        return AcceptedDomain(domain=domain) if domain == "example.org" else None

    async def accepted_domains(self) -> tuple[AcceptedDomain, ...]:
        return (AcceptedDomain(domain="example.org"),)

    async def members(self, group_id: str) -> tuple[DirectoryRecipient | str, ...]:
        return ()

    async def credentials(self, login: str) -> Credentials | None:
        return None

    async def postmaster(self) -> DirectoryRecipient | None:
        return next(iter(self.users.values()), None)


class RecordedTurns:
    """Takes new transfer units like the Outbox agent, and hands nothing over."""

    def __init__(self) -> None:
        self.state: State = "ready"
        self.units: list[Unit] = []
        self.kept: list[KeptEmail | None] = []
        self.abandoned_units = 0

    def assign(self) -> tuple[str, State]:
        return "hub-a", self.state

    def accepted(self, unit: Unit, kept: KeptEmail | None) -> None:
        self.units.append(unit)
        self.kept.append(kept)

    def abandoned(self, target: str, state: State) -> None:
        self.abandoned_units += 1


@dataclass
class Bench:
    engine: Engine
    database: MailboxDatabase
    clock: SetClock
    world: World
    directory: FewUsers
    notifications: Notifications
    turns: RecordedTurns
    store: Store
    executors: list[Executor] = field(default_factory=list)

    async def close(self) -> None:
        self.notifications.close()
        await self.database.writer.close()
        for executor in self.executors:
            executor.close()
        self.engine.dispose()

    def delivery(
        self, hub: str = "hub-a", *, pressure: Callable[[], Level] = lambda: "normal"
    ) -> DeliverySession:
        """An LMTP session, begun by this server."""
        return DeliverySession(
            Peer(address="127.0.0.1", port=1, tls=True, certificate_name=hub, listener="lmtp"),
            self.database,
            self.directory,
            self.notifications.publish,
            frozenset({"hub-a"}),
            hostname="store-a.example.test",
            pressure=pressure,
        )

    async def append(self, content: bytes = PLAIN, name: str = "INBOX", **values: object) -> int:
        given = {"flags": 0, "keywords": (), "internal_date_ms": 0, "internal_offset_minutes": 0, **values}
        appended = await self.store.append(
            ALICE.mailbox_id,
            name,
            given["flags"],
            given["keywords"],
            given["internal_date_ms"],
            given["internal_offset_minutes"],
            pieces(content),
        )
        return appended.uid

    async def folder_id(self, name: str = "INBOX", mailbox_id: str = ALICE.mailbox_id) -> str:
        return (await self.store.folder(mailbox_id, name)).folder_id

    async def records(
        self, name: str = "INBOX", fields: Fields = EVERYTHING, mailbox_id: str = ALICE.mailbox_id
    ) -> list[Record]:
        folder_id = await self.folder_id(name, mailbox_id)
        batches = self.store.records(mailbox_id, folder_id, ((1, 2**40),), fields)
        return [record async for batch in batches for record in batch]

    async def uids(self, name: str = "INBOX") -> list[int]:
        return [record.uid for record in await self.records(name, Fields())]

    async def submit(self, content: bytes = PLAIN, key: str = "key-1", **values: object) -> None:
        submission = Submission(
            key=key,
            network_message_id=f"network-{key}",
            mailbox_id=ALICE.mailbox_id,
            user_id=ALICE.recipient_id,
            sender=Sender(address=ALICE.address),
            recipients=(Recipient(address=BOB.address),),
            received=b"Received: from laptop by access with ESMTPSA;\r\n\tMon, 5 Jan 2026 09:00:00 +0000\r\n",
            client="192.0.2.1",
        )
        await self.store.submit(replace_struct(submission, values), pieces(content))

    async def events(self, *names: str) -> list[TrackingEvent]:
        statement = select(tables.tracking.c.network_message_id).distinct()
        identifiers = await self.database.readers.run(lambda c: list(c.execute(statement).scalars()))
        found = await self.database.readers.run(
            lambda c: self.database.tracking.find(c, "", [one for one in identifiers if one])
        )
        return [event for event in found if not names or event.event in names]

    async def count(self, table: str) -> int:
        statement = select(func.count()).select_from(tables.metadata.tables[table])
        return await self.database.readers.run(lambda c: int(c.execute(statement).scalar_one()))


def replace_struct(submission: Submission, values: dict[str, object]) -> Submission:
    return msgspec.structs.replace(submission, **values)


async def pieces(content: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


EXECUTORS = (("writer", 1), ("readers", 2), ("computing", 1), ("content", 1))


def open_bench(
    folder: Path,
    *,
    quota_bytes: int = 0,
    message_size_bytes: int = 1024 * 1024,
    executor: Callable[[str, int], Executor] = ThreadExecutor,
) -> Bench:
    engine = open_engine(sqlite_url(folder / "store.db"))
    prepare_schema(engine, tables.metadata, tables.COMPONENT, tables.REVISION)
    executors = [executor(name, threads) for name, threads in EXECUTORS]
    clock = SetClock()
    world = World(
        clock=clock,
        entropy=SystemEntropy(),
        disk=SystemDisk(),
        resolver=DnsResolver(),
        executor=executor,
    )
    files = files_beside(engine, world.disk, world.entropy.identifier, executors[3], takes_new=True)
    assert files is not None
    files.open()
    engine = with_files(engine, files)
    database = MailboxDatabase(
        server=STORE,
        writer=Writer(engine, executors[0]),
        readers=Readers(engine, executors[1]),
        contents=Contents(tables.contents),
        tracking=Tracking(tables.tracking),
        clock=clock,
        identifier=world.entropy.identifier,
        executor=executors[2],
        files=files,
        quota_bytes=quota_bytes,
    )
    directory = FewUsers(ALICE, BOB, CAROL)
    notifications = Notifications()
    turns = RecordedTurns()
    submission = OutboxSubmission(database, turns, notifications.publish, 48 * 3600 * 1000)
    store = Store(database, directory, notifications, submission, message_size_bytes=message_size_bytes)
    return Bench(
        engine, database, clock, world, directory, notifications, turns, store, list[Executor](executors)
    )
