"""What the organisation really holds when a run is over: mailboxes as the store's own interface shows them,
queues and tracking events as they lie in the databases."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, MetaData

from config.model import Topology
from foundation.database.content import Contents, content_tables, files_beside, with_files
from foundation.database.engine import open_engine, sqlite_url
from foundation.interfaces.mailbox_store import Fields, Folder, MailboxStore, Record
from foundation.interfaces.tracking import TrackingEvent
from foundation.rpc.client import RpcClient, TcpTarget
from foundation.world.disk import SystemDisk
from mailboxstore.database.folders import list_folders
from mailboxstore.database.mailboxes import find_mailbox
from mailboxstore.database.reading import records_page
from waypost.simulator.ledger import ATTEMPT_HEADER, attempt_of
from waypost.simulator.organisation import Former, Organisation, People
from waypost.simulator.world import SimulatedIdentity

T = TypeVar("T")

ALL_UIDS = ((1, 2**32 - 1),)
WHOLE = Fields(content_up_to_bytes=2**24)
_REPORTED = re.compile(rb"^" + ATTEMPT_HEADER.encode() + rb": (\S+)\r?$", re.MULTILINE)
_QUEUES = {
    "hub": ("queue.db", ("messages", "recipients", "transfer_units")),
    "store": ("default.db", ("outbox_units",)),
}


@dataclass(frozen=True)
class Held:
    """A message in a folder."""

    uid_validity: int
    uid: int
    attempt: str
    content: bytes


@dataclass(frozen=True)
class Report:
    """A delivery status notification that says somebody did not get it."""

    message_id: str
    attempt: str
    failed: tuple[str, ...]


@dataclass
class Mailbox:
    inbox: list[Held] = field(default_factory=list)
    sent: list[Held] = field(default_factory=list)
    outbox: list[Held] = field(default_factory=list)
    uid_next: int = 1


@dataclass
class Truth:
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)
    """By address; not of removed users."""
    former: list[tuple[str, Mailbox]] = field(default_factory=list)
    """What users left behind in mailboxes that are disconnected."""
    queued: dict[str, int] = field(default_factory=dict)
    """Rows that wait, by server and table."""
    events: list[TrackingEvent] = field(default_factory=list)
    """Of all servers, each server's in its own order."""

    def all_of(self, address: str) -> list[Mailbox]:
        """The mailboxes that a user has and had; empty for one who was removed."""
        if address not in self.mailboxes:
            return []
        return [self.mailboxes[address], *(left for owner, left in self.former if owner == address)]

    def every(self) -> list[tuple[str, Mailbox]]:
        return [*self.mailboxes.items(), *self.former]


async def read_mailboxes(organisation: Organisation, wanted: list[str]) -> dict[str, Mailbox]:
    """Called as a process of the simulation, with Client Access's name."""
    topology = organisation.topology
    identity = SimulatedIdentity(topology.access[0].name)
    clients = {
        store.name: RpcClient(TcpTarget(store.rpc.host, store.rpc.port, identity.internal_client()))
        for store in topology.stores
    }
    found: dict[str, Mailbox] = {}
    for address in wanted:
        store = clients[organisation.people.stores[address]].interface(MailboxStore)
        found[address] = await _mailbox(store, organisation.people.mailboxes[address])
    for client in clients.values():
        await client.close()
    return found


def read_former(topology: Topology, people: People) -> list[tuple[str, Mailbox]]:
    """No interface shows what is disconnected: it is read from the stores' databases, by the stores' code."""
    return [(each.address, _left(topology, each)) for each in people.former]


class _Inline:
    """Runs blocking work where it is asked for."""

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        return function(*arguments)


def _left(topology: Topology, former: Former) -> Mailbox:
    mailbox = Mailbox()
    name = next(store.database for store in topology.stores if store.name == former.store)
    engine = open_engine(sqlite_url(topology.server_folder(former.store) / f"{name}.db"))
    files = files_beside(engine, SystemDisk(), str, _Inline(), takes_new=False)
    try:
        with with_files(engine, files).connect() as connection:
            if find_mailbox(connection, former.mailbox_id) is None:
                return mailbox  # it was never used
            for folder in list_folders(connection, former.mailbox_id):
                into = _place(mailbox, folder)
                if into is not None:
                    into += _records(connection, former.mailbox_id, folder)
    finally:
        engine.dispose()
    return mailbox


def _records(connection: Connection, mailbox_id: str, folder: Folder) -> Iterator[Held]:
    contents, after = Contents(content_tables(MetaData())), 0
    while True:
        page = records_page(connection, contents, mailbox_id, folder.folder_id, ALL_UIDS, WHOLE, after)
        yield from (_held(folder, record) for record in page.records)
        after = page.after_uid
        if not after:
            return


def _place(mailbox: Mailbox, folder: Folder) -> list[Held] | None:
    kept = {"sent": mailbox.sent, "outbox": mailbox.outbox}
    return mailbox.inbox if folder.name == "INBOX" else kept.get(folder.role)


def _held(folder: Folder, record: Record) -> Held:
    content = record.content or b""
    return Held(folder.uid_validity, record.uid, attempt_of(content), content)


async def _mailbox(store: MailboxStore, mailbox_id: str) -> Mailbox:
    mailbox = Mailbox()
    for folder in await store.folders(mailbox_id):
        into = _place(mailbox, folder)
        if folder.name == "INBOX":
            mailbox.uid_next = folder.uid_next
        if into is None or not folder.messages:
            continue
        async for batch in store.records(mailbox_id, folder.folder_id, ALL_UIDS, WHOLE):
            into += [_held(folder, record) for record in batch]
    return mailbox


def read_queues(topology: Topology) -> dict[str, int]:
    found: dict[str, int] = {}
    for role, servers in (("hub", topology.hubs), ("store", topology.stores)):
        file, tables = _QUEUES[role]
        for server in servers:
            for table in tables:
                rows = _query(topology.server_folder(server.name) / file, f"SELECT count(*) FROM {table}")
                if rows[0][0]:
                    found[f"{server.name} {table}"] = rows[0][0]
    return found


def read_events(topology: Topology) -> list[TrackingEvent]:
    found: list[TrackingEvent] = []
    columns = TrackingEvent.__struct_fields__
    query = f"SELECT {', '.join(columns)} FROM tracking_events ORDER BY sequence"
    for role, servers in (("hub", topology.hubs), ("store", topology.stores)):
        for server in servers:
            for row in _query(topology.server_folder(server.name) / _QUEUES[role][0], query):
                values = dict(zip(columns, row, strict=True))
                values["recipients"] = tuple(json.loads(values["recipients"]))
                values["probe"] = bool(values["probe"])
                found.append(TrackingEvent(**values))
    return found


def report_of(content: bytes) -> Report | None:
    """None: this is no report of a failure."""
    if b"multipart/report" not in content.partition(b"\r\n\r\n")[0]:
        return None
    message = message_from_bytes(content)
    failed = []
    for part in message.walk():
        if part.get_content_type() != "message/delivery-status":
            continue
        for block in part.get_payload():
            if str(block.get("Action", "")).strip().lower() == "failed":  # type: ignore[union-attr]
                recipient = str(block.get("Final-Recipient", ""))  # type: ignore[union-attr]
                failed.append(recipient.partition(";")[2].strip())
    attempt = _REPORTED.search(content)
    if not failed or attempt is None:
        return None
    return Report(str(message["Message-ID"]), attempt[1].decode(), tuple(failed))


def _query(file: Path, query: str) -> list[tuple[Any, ...]]:
    if not file.exists():
        return [(0,)] if "count" in query else []
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
