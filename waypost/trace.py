"""A message's way from the tracking events of all servers: one tree a message, ordered by cause and not by
clocks.

A *visit* is one stay of a message on one server: from the RECEIVE or DELIVER that brought it until the
events that sent it on. Visits are joined by transfer keys: the key it came with is the key that a
TRANSFER, SUBMIT or SEND left with. Within a server the database's sequence orders; clocks of different
servers are compared only to say how far they are apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from foundation.interfaces.tracking import TrackingEvent

ARRIVING = ("RECEIVE", "DELIVER", "DUPLICATEDELIVER")
"""Carry the key that the message came with, and name in `next_hop` where it came from."""
_FILED = ("DELIVER", "DUPLICATEDELIVER")
_ANSWERED = ("SEND", "SUBMIT")
_LEAVING = ("TRANSFER", "SUBMIT", "SEND", "DEFER")
_ENDING = ("SEND", "SUBMIT", "DELIVER", "DUPLICATEDELIVER", "FAIL", "DROP", "WITHDRAW", "HAREDIRECT")


@dataclass
class Visit:
    server: str
    key: str
    """The transfer key it came with; empty for a message made here or handed in without one."""
    events: list[TrackingEvent] = field(default_factory=list)
    next: list[Visit] = field(default_factory=list)
    reports: list[TracedMessage] = field(default_factory=list)
    """Delivery status notifications made here, with their own way."""
    missing: tuple[str, ...] = ()
    """Servers that took it from here and have no record that could be read."""

    @property
    def received_at_ms(self) -> int:
        return self.events[0].at_ms

    @property
    def spent_ms(self) -> int:
        """By this server's own clock: from its coming until the last thing that was done for good."""
        ended = [event.at_ms for event in self.events if event.event in _ENDING]
        return (ended[-1] if ended else self.events[-1].at_ms) - self.received_at_ms

    @property
    def waiting(self) -> bool:
        """Nothing has ended it yet: it waits in a queue, or was just being handled."""
        return not any(_ends(event) for event in self.events) and not self.next

    def leaving_keys(self) -> list[str]:
        keys = (e.transfer_key for e in self.events if e.event in _LEAVING and e.transfer_key != self.key)
        return [key for key in dict.fromkeys(keys) if key]


def _ends(event: TrackingEvent) -> bool:
    """A store files its reports itself: the event that one was made is then its delivery, too."""
    return event.event in _ENDING or (event.event == "DSN" and event.uid > 0)


@dataclass
class TracedMessage:
    network_message_id: str
    message_id: str
    sender: str
    recipients: tuple[str, ...]
    """As the first server got them."""
    visits: list[Visit]
    """Where it began; the way leads on through `next`."""


@dataclass(frozen=True)
class ClockDifference:
    server: str
    compared_with: str
    at_least_ms: int
    """Positive: `server` is ahead."""


@dataclass(frozen=True)
class Trace:
    messages: tuple[TracedMessage, ...]
    clock_differences: tuple[ClockDifference, ...]


def further_ids(events: Iterable[TrackingEvent]) -> tuple[str, ...]:
    """Network message ids to ask every server for: of these events, and of the reports they made."""
    found: dict[str, None] = {}
    for event in events:
        found[event.network_message_id] = None
        if event.event == "DSN" and event.related:
            found[event.related] = None
    found.pop("", None)
    return tuple(found)


def build_trace(events: Iterable[TrackingEvent], servers: Iterable[str] = ()) -> Trace:
    """Events of any messages from any servers, in each server's order. `servers`: names of the
    organisation's own."""
    by_message: dict[str, list[TrackingEvent]] = {}
    for event in events:
        by_message.setdefault(event.network_message_id, []).append(event)
    known = frozenset(servers)
    messages: dict[str, TracedMessage] = {}
    clocks: dict[tuple[str, str], int] = {}
    for network_message_id, own in by_message.items():
        visits = _visits(own)
        roots = _join(visits, known, clocks)
        messages[network_message_id] = _message(network_message_id, own, roots)
    reported = _attach_reports(messages)
    top = [message for name, message in messages.items() if name not in reported]
    top.sort(key=lambda message: (message.visits[0].received_at_ms, message.network_message_id))
    differences = (ClockDifference(server, other, ms) for (server, other), ms in clocks.items() if ms)
    return Trace(tuple(top), tuple(differences))


def _visits(events: Sequence[TrackingEvent]) -> list[Visit]:
    by_server: dict[str, list[TrackingEvent]] = {}
    for event in events:
        by_server.setdefault(event.server, []).append(event)
    visits: list[Visit] = []
    for server, own in by_server.items():
        here: list[Visit] = []
        for event in own:
            visit = None if _opens(event, here) else _visit_of(event, here)
            if visit is None:
                visit = Visit(server, "" if event.event in _LEAVING else event.transfer_key)
                here.append(visit)
            visit.events.append(event)
        visits += here
    return visits


def _opens(event: TrackingEvent, here: Sequence[Visit]) -> bool:
    """What came in with a key that is not known yet begins a visit; a RECEIVE without a key always does."""
    if event.event not in ARRIVING:
        return False
    if not event.transfer_key:
        return event.event == "RECEIVE"
    return all(event.transfer_key != visit.key for visit in here)


def _visit_of(event: TrackingEvent, here: Sequence[Visit]) -> Visit | None:
    """Whose event it is: by transfer key, else the latest visit for one of its recipients, else the
    latest. What was delivered to a mailbox stays there: it is not what leaves this server."""
    if event.transfer_key:
        for visit in here:
            if event.transfer_key == visit.key or event.transfer_key in visit.leaving_keys():
                return visit
    if event.event in _LEAVING:
        here = [visit for visit in here if visit.events[0].event not in _FILED] or here
    wanted = {recipient.casefold() for recipient in event.recipients}
    for visit in reversed(here):
        if any(recipient.casefold() in wanted for recipient in visit.events[0].recipients):
            return visit
    return here[-1] if here else None


def _join(visits: Sequence[Visit], known: frozenset[str], clocks: dict[tuple[str, str], int]) -> list[Visit]:
    """Joins visits by their keys; returns those that nothing led to."""
    by_key: dict[str, Visit] = {}
    for visit in visits:
        if visit.key:
            by_key.setdefault(visit.key, visit)
    led_to: set[int] = set()
    for visit in visits:
        missing: list[str] = []
        for key in visit.leaving_keys():
            follower = by_key.get(key)
            if follower is not None and follower is not visit and id(follower) not in led_to:
                led_to.add(id(follower))
                visit.next.append(follower)
                _compare_clocks(visit, follower, key, clocks)
            elif follower is None:
                missing += _took(visit, key, known)
        visit.missing = tuple(dict.fromkeys(missing))
    return [visit for visit in visits if id(visit) not in led_to] or list(visits[:1])


def _took(visit: Visit, key: str, known: frozenset[str]) -> list[str]:
    """The organisation's server that answered 250 to this key."""
    return [
        event.next_hop
        for event in visit.events
        if event.transfer_key == key and event.event in _ANSWERED and event.next_hop in known
    ]


def _compare_clocks(parent: Visit, child: Visit, key: str, clocks: dict[tuple[str, str], int]) -> None:
    """What was received after it was made and before the answer to it was read was stamped by clocks that
    agree. A SUBMIT or SEND is noted after that answer."""
    own = [event for event in parent.events if event.transfer_key == key]
    earliest = next((event.at_ms for event in own if event.event not in _ANSWERED), parent.received_at_ms)
    latest = next((event.at_ms for event in own if event.event in _ANSWERED), None)
    received = child.received_at_ms
    difference = 0
    if received < earliest:
        difference = received - earliest
    elif latest is not None and received > latest:
        difference = received - latest
    pair = (child.server, parent.server)
    if abs(difference) > abs(clocks.get(pair, 0)):
        clocks[pair] = difference


def _message(network_message_id: str, events: Sequence[TrackingEvent], roots: list[Visit]) -> TracedMessage:
    roots.sort(key=lambda visit: visit.received_at_ms)
    first = roots[0].events[0]
    message_id = next((event.message_id for event in events if event.message_id), "")
    return TracedMessage(network_message_id, message_id, first.sender, first.recipients, roots)


def _attach_reports(messages: Mapping[str, TracedMessage]) -> set[str]:
    """Puts each delivery status notification under the visit that made it; returns their ids."""
    attached: set[str] = set()
    for message in messages.values():
        for visit in every_visit(message):
            for event in visit.events:
                if event.event != "DSN" or event.related not in messages:
                    continue
                if event.related == message.network_message_id:
                    continue
                report = message.network_message_id if event.uid else event.related
                if report not in attached:
                    told_of = _visit_at(messages[event.related], event.server) if event.uid else visit
                    told_of.reports.append(messages[report])
                    attached.add(report)
    return attached


def _visit_at(message: TracedMessage, server: str) -> Visit:
    """Its first visit there."""
    return next((visit for visit in every_visit(message) if visit.server == server), message.visits[0])


def every_visit(message: TracedMessage) -> list[Visit]:
    """All visits of a message, each before those it led to."""
    found: list[Visit] = []
    pending = list(reversed(message.visits))
    while pending:
        visit = pending.pop()
        found.append(visit)
        pending += reversed(visit.next)
    return found
