"""Categorizer, from decisions to rows: transfer units with their keys, recipients that end, events.

Pure but for the keys and times handed in; the worker commits it.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import msgspec

from foundation.interfaces.tracking import TrackingEvent
from hubtransport.categorizer.decision import Candidate, Decision
from hubtransport.categorizer.pipeline import Categorized
from hubtransport.categorizer.route import Share
from hubtransport.dsn import Notice, notice_wanted
from hubtransport.queues.delivery import Enqueue
from hubtransport.queues.events import event_of
from hubtransport.queues.records import QueuedMessage, QueuedRecipient, Unit
from hubtransport.routing.hop import Hop
from hubtransport.routing.table import choose_hub

EVENT_RECIPIENTS_MAX = 1000


class Planned(msgspec.Struct, frozen=True):
    enqueue: Enqueue
    notices: tuple[Notice, ...]
    """What the sender may want to know already."""
    failed: bool
    """There are recipients without a way."""


def plan(
    message: QueuedMessage,
    result: Categorized,
    *,
    failing: Container[str],
    new_key: Callable[[], str],
    now_ms: int,
    server: str,
) -> Planned:
    """`failing`: names of next-hop queues that can't be reached now."""
    assessed = msgspec.structs.replace(message, assessed=result.assessed, recipients=())
    next_position = message.next_position
    units: list[Unit] = []
    assigned = []
    added = []
    events = [_event(message, decision, now_ms, server) for decision in _told(result.decisions)]
    for share in result.shares:
        key = new_key()
        members: list[QueuedRecipient] = []
        for candidate in share.recipients:
            if candidate.position is None:
                queued = _queued(candidate, next_position)
                next_position += 1
                added.append((queued, key))
            else:
                queued = _queued(candidate, candidate.position)
                assigned.append((candidate.position, candidate.recipient, key))
            members.append(queued)
        unit = _unit(assessed, share, key, tuple(members), failing, now_ms)
        units.append(unit)
        events.append(_transfer(unit, share, now_ms, server))
    failed = [_failure(candidate, now_ms) for candidate in result.failed]
    events += [_failed_event(message, notice, now_ms, server) for notice in failed]
    expanded = [_expansion(candidate, now_ms) for candidate in result.expanded]
    ended = tuple(
        candidate.position
        for candidate in (*result.failed, *result.expanded, *result.merged)
        if candidate.position is not None
    )
    enqueue = Enqueue(
        message=assessed,
        assessed=result.assessed,
        next_position=next_position,
        units=tuple(units),
        assigned=tuple(assigned),
        added=tuple(added),
        ended=ended,
        events=tuple(events),
    )
    return Planned(enqueue, (*failed, *expanded), bool(failed))


def _unit(
    message: QueuedMessage,
    share: Share,
    key: str,
    recipients: tuple[QueuedRecipient, ...],
    failing: Container[str],
    now_ms: int,
) -> Unit:
    hop, group = share.route.hop, share.route.group
    if group is not None:
        down = tuple(name for name in group.hubs if Hop(kind="hub", name=name).key in failing)
        hop = Hop(kind="hub", name=choose_hub(group.hubs, message.network_message_id, down))
    told = bool(message.sender.address) and any(
        notice_wanted(queued.recipient.notify, "delayed") for queued in recipients
    )
    return Unit(
        key=key,
        message=message,
        recipients=recipients,
        hop=hop.key,
        group=group.hubs if group is not None else (),
        next_attempt_at_ms=now_ms,
        created_at_ms=now_ms,
        expires_at_ms=message.expires_at_ms,
        delay_at_ms=message.delay_at_ms if told else 0,
    )


def _queued(candidate: Candidate, position: int) -> QueuedRecipient:
    return QueuedRecipient(position=position, recipient=candidate.recipient, original=candidate.original)


def _told(decisions: tuple[Decision, ...]) -> list[Decision]:
    """Decisions that tracking keeps; one about very many recipients becomes several."""
    told: list[Decision] = []
    for decision in decisions:
        if decision.event is None:
            continue
        parts = range(0, max(len(decision.recipients), 1), EVENT_RECIPIENTS_MAX)
        told += [
            msgspec.structs.replace(
                decision, recipients=decision.recipients[start : start + EVENT_RECIPIENTS_MAX]
            )
            for start in parts
        ]
    return told


def _event(message: QueuedMessage, decision: Decision, now_ms: int, server: str) -> TrackingEvent:
    return event_of(
        message,
        decision.event or "AGENTINFO",
        decision.source,
        at_ms=now_ms,
        server=server,
        recipients=decision.recipients,
        related=decision.related,
        reason=f"{decision.what}: {decision.why}",
    )


def _transfer(unit: Unit, share: Share, now_ms: int, server: str) -> TrackingEvent:
    return event_of(
        unit.message,
        "TRANSFER",
        "ROUTING",
        at_ms=now_ms,
        server=server,
        recipients=tuple(queued.recipient.address for queued in unit.recipients),
        transfer_key=unit.key,
        next_hop=Hop.parse(unit.hop).name,
        reason=share.route.why,
    )


def _failure(candidate: Candidate, now_ms: int) -> Notice:
    error = candidate.failure
    if error is None:
        raise ValueError("a failed recipient has its failure")
    return Notice(
        recipient=_queued(candidate, candidate.position if candidate.position is not None else -1),
        action="failed",
        status=error.status,
        diagnostic=f"{error.code} {error.status} {error.sentence}",
        at_ms=now_ms,
    )


def _failed_event(message: QueuedMessage, notice: Notice, now_ms: int, server: str) -> TrackingEvent:
    return event_of(
        message,
        "FAIL",
        "ROUTING",
        at_ms=now_ms,
        server=server,
        recipients=(notice.recipient.recipient.address,),
        reply=notice.diagnostic,
        reason="the categorizer found no way for it",
    )


def _expansion(candidate: Candidate, now_ms: int) -> Notice:
    """RFC 3461 5.2.7.2: who asked for success is told that it went on to a group."""
    return Notice(
        recipient=_queued(candidate, candidate.position if candidate.position is not None else -1),
        action="expanded",
        status="2.0.0",
        diagnostic="250 2.0.0 Sent on to the members of the group",
        at_ms=now_ms,
    )
