"""Reports ready to be queued: dsn.py decides who is told, here the message itself is fetched for it.

Used by the categorizer and by delivery, each in the commit of what the report tells of.
"""

from __future__ import annotations

from collections.abc import Sequence

from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import World
from hubtransport import dsn
from hubtransport.dsn import Notice, Reporter
from hubtransport.queues.delivery import Reports
from hubtransport.queues.events import event_of, received_report
from hubtransport.queues.records import QueuedMessage
from hubtransport.queues.store import QueueStore


async def make_reports(
    store: QueueStore,
    world: World,
    reporter: Reporter,
    message: QueuedMessage,
    notices: Sequence[Notice],
    now_ms: int,
) -> tuple[Reports, tuple[TrackingEvent, ...]]:
    """Reports for what became of recipients, ready to be queued, with the events of both messages."""
    wanted = dsn.reports(message.sender, notices)
    events: list[TrackingEvent] = []
    reports: list[tuple[QueuedMessage, bytes]] = []
    for report in wanted:
        header = await store.header(message)
        original = await store.whole(message) if dsn.returns_content(message, report) else None
        queued, content = dsn.compose(
            report,
            message,
            reporter,
            header=header,
            original=original,
            now_ms=now_ms,
            network_message_id=world.entropy.identifier(),
            entry_id=world.entropy.identifier(),
        )
        reports.append((queued, content))
        told = tuple(notice.recipient.recipient.address for notice in report.notices)
        events.append(
            event_of(
                message,
                "DSN",
                "DSN",
                at_ms=now_ms,
                server=reporter.server,
                recipients=told,
                related=queued.network_message_id,
                reason=f"{report.action}: reported to {message.sender.address}",
                reply=report.notices[0].diagnostic,
            )
        )
        events.append(received_report(queued, message, at_ms=now_ms, server=reporter.server))
    events += _not_reported(message, notices, reporter, now_ms)
    return tuple(reports), tuple(events)


def _not_reported(
    message: QueuedMessage, notices: Sequence[Notice], reporter: Reporter, now_ms: int
) -> list[TrackingEvent]:
    """Failures that nobody is told of, and why."""
    lost = [
        notice
        for notice in notices
        if notice.action == "failed"
        and (not message.sender.address or not dsn.notice_wanted(notice.recipient.recipient.notify, "failed"))
    ]
    if not lost:
        return []
    why = "NOTIFY asks for no report" if message.sender.address else "the sender is null: nobody to report to"
    return [
        event_of(
            message,
            "BADMAIL",
            "DSN",
            at_ms=now_ms,
            server=reporter.server,
            recipients=tuple(notice.recipient.recipient.address for notice in lost),
            reason=why,
        )
    ]
