"""Checks that tracking tells a way without gaps for each message, and nothing that has no cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from foundation.interfaces.tracking import TrackingEvent
from waypost.simulator.ledger import Ledger
from waypost.simulator.organisation import People
from waypost.trace import TracedMessage, build_trace, every_visit


def broken_ways(
    events: Sequence[TrackingEvent], ledger: Ledger, people: People, servers: Sequence[str], *, calm: bool
) -> list[str]:
    """`calm`: nothing went wrong, so nothing can have come twice."""
    found: list[str] = []
    by_message: dict[str, list[TrackingEvent]] = {}
    for event in events:
        by_message.setdefault(event.network_message_id, []).append(event)
    names = {attempt.message_id: attempt.name for attempt in ledger.attempts.values()}
    for network_message_id, own in by_message.items():
        if not network_message_id:
            continue
        trace = build_trace(own, servers)
        for message in trace.messages:
            who = f"{names.get(message.message_id, 'a report')} ({network_message_id})"
            found += [f"{who}: {problem}" for problem in _problems(message, own)]
        found += [f"{network_message_id}: {problem}" for problem in _received_twice(own)]
        if calm:
            found += [f"{network_message_id}: {problem}" for problem in _doubled_in_calm(own)]
    found += _unknown_deliveries(by_message, people)
    return found


def _problems(message: TracedMessage, events: Sequence[TrackingEvent]) -> list[str]:
    found = []
    if len(message.visits) > 1:
        where = [f"{visit.server} {visit.events[0].event}" for visit in message.visits]
        found.append(f"its way begins {len(where)} times: {', '.join(where)}")
    for visit in every_visit(message):
        if visit.missing:
            found.append(f"{visit.server} handed it to {', '.join(visit.missing)}, who know nothing of it")
        if visit.waiting:
            found.append(f"its way ends at {visit.server} without an end")
    delivered = Counter(event.mailbox_id for event in events if event.event == "DELIVER" and event.mailbox_id)
    found += [f"{count} DELIVER events for one mailbox" for count in delivered.values() if count > 1]
    return found


def _received_twice(events: Sequence[TrackingEvent]) -> list[str]:
    """A transfer key is good for one acceptance, at one server."""
    accepted: dict[str, list[str]] = {}
    for event in events:
        if event.event == "RECEIVE" and event.transfer_key:
            accepted.setdefault(event.transfer_key, []).append(event.server)
    return [
        f"transfer key {key} was accepted {len(where)} times, by {', '.join(where)}"
        for key, where in accepted.items()
        if len(where) > 1
    ]


def _doubled_in_calm(events: Sequence[TrackingEvent]) -> list[str]:
    return [
        f"{event.server} had {', '.join(event.recipients)} before, though nothing was repeated"
        for event in events
        if event.event == "DUPLICATEDELIVER" and event.source == "LMTP"
    ]


def _unknown_deliveries(by_message: dict[str, list[TrackingEvent]], people: People) -> list[str]:
    known = set(people.every_mailbox())
    return [
        f"{event.network_message_id}: DELIVER to a mailbox {event.mailbox_id} that nobody has"
        for own in by_message.values()
        for event in own
        if event.event == "DELIVER" and event.mailbox_id and event.mailbox_id not in known
    ]
