"""What `waypost explain` says before a message is sent, compared with what tracking shows afterwards, hop for
hop. Only for runs in which nothing goes wrong."""

from __future__ import annotations

from collections.abc import Sequence

from foundation.interfaces.explanation import Explains, Onward, Question
from foundation.interfaces.tracking import TrackingEvent
from foundation.mail.envelope import Recipient, Sender
from foundation.rpc.client import RpcClient, TcpTarget
from foundation.tls import OPERATOR
from waypost.explain import Answered, Hop, Way, follow
from waypost.simulator.ledger import Attempt
from waypost.simulator.organisation import Organisation
from waypost.simulator.people import Draft
from waypost.simulator.world import SimulatedIdentity
from waypost.trace import Trace, TracedMessage, Visit, build_trace

Shown = tuple[str, tuple[str, ...], str, str]

_REASONED = ("RESOLVE", "EXPAND", "TRANSFER", "DUPLICATEDELIVER", "FAIL")
"""Decisions whose reason is known beforehand, whichever of several hubs takes the message."""


async def foretell(organisation: Organisation, draft: Draft, size_bytes: int) -> Way:
    """Asks the running servers, as the operator does."""
    topology = organisation.topology
    identity = SimulatedIdentity(OPERATOR)
    clients: list[RpcClient] = []

    async def ask(name: str, question: Question) -> Answered:
        server = next(server for server in topology.servers if server.name == name)
        client = RpcClient(TcpTarget(server.rpc.host, server.rpc.port, identity.internal_client()))
        clients.append(client)
        return Answered(await client.interface(Explains).explain(question))

    question = Question(
        door="submission",
        sender=Sender(address=draft.sender, size_bytes=size_bytes),
        recipients=tuple(Recipient(address=address) for address in draft.recipients),
        size_bytes=size_bytes,
    )
    try:
        return await follow(topology.access[0].name, question, ask)
    finally:
        for client in clients:
            await client.close()


def differences(
    attempt: Attempt, way: Way, events: Sequence[TrackingEvent], servers: Sequence[str]
) -> list[str]:
    """What came otherwise than it was foretold."""
    own = [event for event in events if event.message_id == attempt.message_id]
    trace: Trace = build_trace(own, servers)
    stations = [(onward, hop) for onward, hop in way.first.next if hop is not None]
    if not stations or not trace.messages:
        return [] if bool(stations) == bool(trace.messages) else [f"{attempt.name}: foretold otherwise"]
    message: TracedMessage = trace.messages[0]
    ((onward, hop),) = stations
    return [f"{attempt.name}: {each}" for each in _compare(onward, hop, message.visits[0])]


def _compare(onward: Onward, hop: Hop, visit: Visit) -> list[str]:
    found = []
    if visit.server not in (onward.choices or (onward.next_hop,)):
        found.append(f"{visit.server} took it, foretold was {onward.next_hop}")
    expected, happened = _foretold_events(hop), _tracked_events(visit)
    if expected != happened:
        found.append(f"at {visit.server} foretold was {expected}, tracked is {happened}")
    following = [(ahead, station) for ahead, station in hop.next if station is not None]
    if len(following) != len(visit.next):
        went = [each.server for each in visit.next]
        return [*found, f"from {visit.server} it went to {went}, foretold were {len(following)} ways"]
    for ahead, station in following:
        wanted = {going.recipient.address for going in ahead.recipients}
        next_visit = next((each for each in visit.next if _recipients(each) == wanted), None)
        if next_visit is None:
            found.append(f"from {visit.server} nothing went on for {sorted(wanted)}")
        else:
            found += _compare(ahead, station, next_visit)
    return found


def _recipients(visit: Visit) -> set[str]:
    arriving = [event for event in visit.events if event.event in ("RECEIVE", "DELIVER")]
    return {recipient for event in arriving for recipient in event.recipients}


def _foretold_events(hop: Hop) -> list[Shown]:
    return [_shown(event) for event in hop.answer.explanation.events]


def _tracked_events(visit: Visit) -> list[Shown]:
    return [
        _shown(event)
        for event in visit.events
        if event.source in ("ROUTING", "AGENT") or event.event == "DELIVER"
    ]


def _shown(event: TrackingEvent) -> Shown:
    reason = event.reason if event.event in _REASONED else ""
    return event.event, event.recipients, event.related, reason
