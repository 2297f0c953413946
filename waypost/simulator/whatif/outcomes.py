"""What became of all that was accepted, by what mailboxes, hosts outside and queues really hold, and by the
failures in tracking: each recipient of each message has exactly one end, or waits for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from config.model import Topology
from foundation.interfaces.tracking import REFUSED_AT_THE_END
from waypost.simulator.whatif.books import Books
from waypost.simulator.whatif.people import kind_of
from waypost.simulator.whatif.queues import Waiting, queueing, reading, waiting
from waypost.simulator.whatif.surroundings import Names
from waypost.simulator.world import BEGIN_MS

LATE_SECONDS = 10.0
"""Who gets a message later than that got it late."""
SHOWN_MAX = 20
"""Of what is lost or doubled, how many are named."""

_DELIVERED = """
SELECT e.message_id, b.mailbox_id, m.save_date_ms FROM messages m JOIN emails e ON e.email = m.email
JOIN folders f ON f.folder = m.folder JOIN mailboxes b ON b.mailbox = f.mailbox
WHERE f.name = 'INBOX' ORDER BY m.folder, m.uid
"""
_FAILED = """
SELECT message_id, recipients, server, next_hop, reply, reason FROM tracking_events WHERE event = 'FAIL'
ORDER BY sequence
"""
Pair = tuple[str, str]
"""Message-ID and recipient."""


@dataclass(frozen=True)
class Slowest:
    seconds: float
    sender: str
    recipient: str
    sent_at: float
    next_hop: str = ""
    """Where it still waits, and for whom; empty: it arrived."""
    reply: str = ""


@dataclass
class Outcomes:
    """Numbers are of recipients of accepted messages."""

    accepted: int = 0
    delivered: int = 0
    relayed: int = 0
    bounced: int = 0
    waiting: int = 0
    late: int = 0
    """Of those delivered and relayed."""
    waits: list[float] = field(default_factory=list)
    """Of those delivered and relayed, in order."""
    longest: Slowest | None = None
    waiting_longest: Slowest | None = None
    bounces: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By server, next hop and reason."""
    waiting_at: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By server, next hop and last reply."""
    unanswered: int = 0
    """Arrived although the client read no answer, and so perhaps twice."""
    lost: int = 0
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)
    """The first of what is lost and doubled."""


@dataclass
class Ends:
    """What was found, by Message-ID and recipient."""

    delivered: dict[Pair, list[float]] = field(default_factory=dict)
    relayed: dict[Pair, list[float]] = field(default_factory=dict)
    bounced: dict[Pair, tuple[str, str, str]] = field(default_factory=dict)
    waiting: dict[Pair, Waiting] = field(default_factory=dict)


def outcomes(
    topology: Topology,
    books: Books,
    taken: Iterable[tuple[str, str, float]],
    mailboxes: Mapping[str, str],
    names: Names,
    now: float,
) -> Outcomes:
    """`taken`: by hosts outside, as Sink has it. `mailboxes`: mailbox id to address."""
    ends = Ends()
    for message_id, recipient, at in taken:
        ends.relayed.setdefault((message_id, recipient), []).append(at)
    for store in topology.stores:
        _read_mailboxes(topology, store.name, mailboxes, ends)
    for name in queueing(topology):
        _read_failures(topology, name, names, ends)
    for each in waiting(topology, names.shown):
        ends.waiting.setdefault((each.message_id, each.recipient), each)
    return settle(books, ends, now)


def _read_mailboxes(topology: Topology, store: str, mailboxes: Mapping[str, str], ends: Ends) -> None:
    with reading(topology, store) as connection:
        for message_id, mailbox_id, at_ms in connection.execute(_DELIVERED) if connection else ():
            pair = message_id, mailboxes[mailbox_id]
            ends.delivered.setdefault(pair, []).append((at_ms - BEGIN_MS) / 1000)


def _read_failures(topology: Topology, server: str, names: Names, ends: Ends) -> None:
    with reading(topology, server) as connection:
        for message_id, recipients, where, hop, reply, reason in (
            connection.execute(_FAILED) if connection else ()
        ):
            if reason != REFUSED_AT_THE_END:
                for recipient in json.loads(recipients):
                    ends.bounced[message_id, recipient] = where, hop, kind_of(names.shown(reason or reply))


def settle(books: Books, ends: Ends, now: float) -> Outcomes:
    found = Outcomes()
    for message_id, accepted in books.accepted.items():
        for recipient in accepted.recipients:
            found.accepted += 1
            pair = message_id, recipient
            arrivals = [*ends.delivered.get(pair, ()), *ends.relayed.get(pair, ())]
            bounce, waits = ends.bounced.get(pair), ends.waiting.get(pair)
            if len(arrivals) + (bounce is not None) > 1:
                found.doubled += 1
                _note(
                    found, f"{message_id} to {recipient} ended {len(arrivals) + (bounce is not None)} times"
                )
            if arrivals:
                found.delivered += pair in ends.delivered
                found.relayed += pair not in ends.delivered
                _arrived(found, accepted.sender, recipient, accepted.sent_at, min(arrivals))
            elif bounce is not None:
                found.bounced += 1
                found.bounces[bounce] += 1
            elif waits is not None:
                found.waiting += 1
                _waits(found, accepted.sender, accepted.sent_at, now, waits)
            else:
                found.lost += 1
                _note(found, f"{message_id} to {recipient} is nowhere")
    found.waits.sort()
    found.unanswered = sum(
        1 for each in (ends.delivered, ends.relayed) for pair in each if pair[0] in books.unanswered
    )
    return found


def _note(found: Outcomes, what: str) -> None:
    if len(found.wrong) < SHOWN_MAX:
        found.wrong.append(what)


def _arrived(found: Outcomes, sender: str, recipient: str, sent_at: float, at: float) -> None:
    seconds = at - sent_at
    found.waits.append(seconds)
    found.late += seconds > LATE_SECONDS
    if found.longest is None or seconds > found.longest.seconds:
        found.longest = Slowest(seconds, sender, recipient, sent_at)


def _waits(found: Outcomes, sender: str, sent_at: float, now: float, waits: Waiting) -> None:
    found.waiting_at[waits.server, waits.next_hop, waits.last_reply] += 1
    seconds = now - sent_at
    if found.waiting_longest is None or seconds > found.waiting_longest.seconds:
        way = f"{waits.server} → {waits.next_hop}"
        found.waiting_longest = Slowest(seconds, sender, waits.recipient, sent_at, way, waits.last_reply)
