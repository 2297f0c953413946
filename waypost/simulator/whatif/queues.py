"""How long the queues are, as they lie in the databases: those of a server that is down, too."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from config.model import Topology
from foundation.mail.envelope import Recipient
from hubtransport.routing.hop import Hop

SUBMISSION = "categorizer"
OUTBOX = "outbox"

_HUB_DEPTH = """
SELECT '', count(*) FROM messages WHERE state != 'queued' UNION ALL
SELECT hop, count(*) FROM transfer_units GROUP BY hop ORDER BY 1
"""
_STORE_DEPTH = "SELECT target, count(*) FROM outbox_units GROUP BY target ORDER BY 1"
_HUB_WAITING = """
SELECT m.message_id, r.recipient, u.hop, u.last_reply FROM recipients r JOIN messages m ON m.id = r.message
LEFT JOIN transfer_units u ON u.key = r.unit ORDER BY m.id, r.position
"""
_STORE_WAITING = "SELECT message_id, recipients, target, last_reply FROM outbox_units ORDER BY transfer_key"
_recipient = msgspec.msgpack.Decoder(Recipient).decode
_recipients = msgspec.msgpack.Decoder(tuple[Recipient, ...]).decode


@dataclass(frozen=True)
class Depth:
    """Of one server at one moment: messages by where they go next."""

    by_next_hop: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.by_next_hop.values())


@dataclass(frozen=True)
class Waiting:
    """A recipient that a message waits for."""

    server: str
    message_id: str
    recipient: str
    next_hop: str
    last_reply: str


@dataclass(frozen=True)
class Sample:
    at: float
    depths: dict[str, Depth]
    """By server: hubs, then stores with their Outbox."""


def queueing(topology: Topology) -> list[str]:
    """Servers where messages wait: hubs, then stores."""
    return [server.name for server in topology.servers if server not in topology.access]


def sample(topology: Topology, at: float) -> Sample:
    depths = {}
    hubs = [hub.name for hub in topology.hubs]
    for name in queueing(topology):
        hub = name in hubs
        with reading(topology, name) as connection:
            rows = connection.execute(_HUB_DEPTH if hub else _STORE_DEPTH).fetchall() if connection else []
        depths[name] = Depth({next_hop_name(hop) if hub else hop: count for hop, count in rows if count})
    return Sample(at, depths)


def waiting(topology: Topology, shown: Callable[[str], str]) -> Iterator[Waiting]:
    """All that waits now; what is on its way between two servers may be told by both. `shown`: how replies
    are told."""
    for hub in topology.hubs:
        with reading(topology, hub.name) as connection:
            rows = connection.execute(_HUB_WAITING).fetchall() if connection else []
        for message_id, recipient, hop, reply in rows:
            address = _recipient(recipient).address
            yield Waiting(hub.name, message_id, address, next_hop_name(hop or ""), shown(reply or ""))
    for store in topology.stores:
        with reading(topology, store.name) as connection:
            rows = connection.execute(_STORE_WAITING).fetchall() if connection else []
        for message_id, recipients, target, reply in rows:
            for each in _recipients(recipients):
                yield Waiting(store.name, message_id, each.address, target, shown(reply))


@contextmanager
def reading(topology: Topology, name: str) -> Iterator[sqlite3.Connection | None]:
    """The database of a hub or store; None: it has none yet."""
    store = next((each for each in topology.stores if each.name == name), None)
    file = topology.server_folder(name) / (f"{store.database}.db" if store else "queue.db")
    if not file.exists():
        yield None
        return
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


def next_hop_name(key: str) -> str:
    return Hop.parse(key).name if key else SUBMISSION
