"""Tracking events about a queued message: what they all have in common."""

from __future__ import annotations

from typing import Any

from foundation.interfaces.tracking import EventName, Source, TrackingEvent
from hubtransport.queues.records import QueuedMessage


def event_of(
    message: QueuedMessage, event: EventName, source: Source, *, at_ms: int, server: str, **fields: Any
) -> TrackingEvent:
    return TrackingEvent(
        event=event,
        source=source,
        at_ms=at_ms,
        server=server,
        network_message_id=message.network_message_id,
        message_id=message.message_id,
        sender=message.sender.address,
        size_bytes=message.size_bytes,
        probe=message.probe,
        **fields,
    )


def received_report(report: QueuedMessage, about: QueuedMessage, *, at_ms: int, server: str) -> TrackingEvent:
    """The beginning of a report's own trace."""
    return event_of(
        report,
        "RECEIVE",
        "DSN",
        at_ms=at_ms,
        server=server,
        recipients=tuple(queued.recipient.address for queued in report.recipients),
        next_hop=server,
        related=about.network_message_id,
        reason="report to the sender",
    )
