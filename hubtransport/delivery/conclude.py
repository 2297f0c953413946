"""Delivery, the end of an attempt: outcome, reports and events in one commit.

Promise: what a next hop said is not forgotten: the commit is tried until it succeeds, or the daemon ends and
finds the unit again as it was claimed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from foundation.interfaces.directory import Directory
from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import World
from foundation.mail.errors import MailError, Unavailable
from foundation.mail.status import MAILBOX_MOVED_NOW
from hubtransport.delivery.outcome import (
    Attempt,
    RecipientResult,
    events_of,
    expiry_notices,
    judge,
    notices_of,
    rest_of,
    source_of,
    unknown_rest,
)
from hubtransport.delivery.retry import RetryPolicy
from hubtransport.delivery.scheduler import Scheduler
from hubtransport.dsn import Notice, Reporter
from hubtransport.queues.delivery import Conclusion, conclude
from hubtransport.queues.events import event_of
from hubtransport.queues.records import QueuedMessage, Unit
from hubtransport.queues.store import QueueStore
from hubtransport.reports import make_reports
from hubtransport.routing.hop import Hop

log = logging.getLogger("waypost.hubtransport")

COMMIT_RETRY_SECONDS_FIRST = 1.0
COMMIT_RETRY_SECONDS_MAX = 30.0


class Concluder:
    def __init__(
        self,
        store: QueueStore,
        scheduler: Scheduler,
        retry: RetryPolicy,
        reporter: Reporter,
        directory: Directory,
        world: World,
        submitted: Callable[[Sequence[QueuedMessage]], None],
    ) -> None:
        """`submitted` gets what was queued for the categorizer, after its commit."""
        self._store = store
        self._scheduler = scheduler
        self._retry = retry
        self._reporter = reporter
        self._directory = directory
        self._world = world
        self._submitted = submitted
        self.possible_doubles = 0
        """Transfers to the outside whose final reply was lost (RFC 1047)."""

    async def answered(self, unit: Unit, attempt: Attempt) -> None:
        """The next hop answered, or can't take it."""
        now_ms = self._world.clock.now_ms()
        judged = judge(unit, attempt)
        moved = [result for result in judged if await self._moved(unit, result)]
        results = [result for result in judged if result not in moved]
        internal = Hop.parse(unit.hop).internal
        left = rest_of(
            unit,
            results,
            attempt,
            now_ms=now_ms,
            delay_ms=lambda attempts: round(self._retry.message_seconds(attempts, internal=internal) * 1000),
            new_key=self._world.entropy.identifier,
        )
        waits = max(0, left.next_attempt_at_ms - now_ms) // 1000 if left is not None else 0
        events = events_of(
            unit,
            results,
            attempt,
            now_ms=now_ms,
            server=self._reporter.server,
            next_attempt=f"tried again in {waits} s",
        )
        if moved:
            events = (*events, self._resubmitted(unit, moved, attempt, now_ms))
        ended = tuple(result.recipient.position for result in results if result.verdict != "deferred")
        resubmitted = tuple(result.recipient.position for result in moved)
        notices = notices_of(unit, results, attempt, now_ms)
        await self._commit(unit, ended, left, events, notices, resubmitted)

    async def broken(self, unit: Unit, attempt: Attempt) -> None:
        """The connection ended within the transfer."""
        now_ms = self._world.clock.now_ms()
        internal = Hop.parse(unit.hop).internal
        seconds = self._retry.message_seconds(unit.attempts + 1, internal=internal)
        left = unknown_rest(
            unit,
            attempt,
            now_ms=now_ms,
            next_ms=now_ms + round(seconds * 1000),
            pin=unit.pinned or (attempt.unknown and internal),
        )
        if attempt.unknown and not internal:
            self.possible_doubles += 1
        why = (
            "outcome unknown, repeated under the same key"
            if internal
            else "outcome unknown, a double is possible"
        )
        event = event_of(
            unit.message,
            "DEFER",
            source_of(unit),
            at_ms=now_ms,
            server=self._reporter.server,
            recipients=tuple(queued.recipient.address for queued in unit.recipients),
            transfer_key=unit.key,
            next_hop=attempt.remote,
            reply=attempt.broken,
            reason=why if attempt.unknown else "the connection broke before the message was sent",
        )
        await self._commit(unit, (), left, (event,), ())

    async def expired(self, unit: Unit, *, stored: bool = False) -> None:
        """Its time is over. `stored`: it was read from the database, and may have been taken up since."""
        now_ms = self._world.clock.now_ms()
        hop = Hop.parse(unit.hop)
        notices = (
            expiry_notices(unit, now_ms, f"5{hop.connector[1:]}")
            if hop.kind == "unreachable"
            else expiry_notices(unit, now_ms)
        )
        event = event_of(
            unit.message,
            "FAIL",
            "QUEUE",
            at_ms=now_ms,
            server=self._reporter.server,
            recipients=tuple(queued.recipient.address for queued in unit.recipients),
            transfer_key=unit.key,
            next_hop=hop.name,
            reply=unit.last_reply,
            reason=notices[0].diagnostic if notices else "",
        )
        ended = tuple(queued.position for queued in unit.recipients)
        await self._commit(unit, ended, None, (event,), notices, stored=stored)

    async def _moved(self, unit: Unit, result: RecipientResult) -> bool:
        """The store says that the mailbox lives elsewhere, and the directory knows that by now: another way
        can be found. Until it does, the recipient is deferred."""
        hop, recipient = Hop.parse(unit.hop), result.recipient.recipient
        if hop.kind != "store" or (result.verdict, result.status) != ("deferred", MAILBOX_MOVED_NOW):
            return False
        try:
            if recipient.recipient_id:
                found = await self._directory.find_id(recipient.recipient_id)
            else:
                found = await self._directory.find(recipient.address)
        except Unavailable:
            return False
        return found is None or found.store != hop.name

    def _resubmitted(
        self, unit: Unit, moved: Sequence[RecipientResult], attempt: Attempt, now_ms: int
    ) -> TrackingEvent:
        return event_of(
            unit.message,
            "RESUBMIT",
            "ROUTING",
            at_ms=now_ms,
            server=self._reporter.server,
            recipients=tuple(result.recipient.recipient.address for result in moved),
            transfer_key=unit.key,
            next_hop=attempt.remote,
            reply=moved[0].reply,
            reason="the mailbox lives on another server now: routed anew",
        )

    async def _commit(
        self,
        unit: Unit,
        ended: tuple[int, ...],
        left: Unit | None,
        events: tuple[TrackingEvent, ...],
        notices: Sequence[Notice],
        resubmitted: tuple[int, ...] = (),
        *,
        stored: bool = False,
    ) -> None:
        wait_seconds = COMMIT_RETRY_SECONDS_FIRST
        while True:
            try:
                await self._try_commit(unit, ended, left, events, notices, resubmitted, stored)
                return
            except MailError as error:
                log.error(
                    "the outcome of an attempt could not be committed, trying again",
                    extra={"transfer_key": unit.key, "error": str(error)},
                )
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, COMMIT_RETRY_SECONDS_MAX)

    async def _try_commit(
        self,
        unit: Unit,
        ended: tuple[int, ...],
        left: Unit | None,
        events: tuple[TrackingEvent, ...],
        notices: Sequence[Notice],
        resubmitted: tuple[int, ...],
        stored: bool,
    ) -> None:
        now_ms = self._world.clock.now_ms()
        reports, more = await make_reports(
            self._store, self._world, self._reporter, unit.message, notices, now_ms
        )
        conclusion = Conclusion(
            unit=unit,
            ended=ended,
            left=left,
            resubmitted=resubmitted,
            stored=stored,
            events=(*events, *more),
            reports=reports,
        )
        # Inside, an outcome that is lost in a crash is asked for again, under the unit's key: nobody waits.
        goes_on = left is not None or resubmitted or reports
        await self._store.writer.run(
            lambda connection: conclude(connection, conclusion),
            lambda queued: self._committed(conclusion, queued),
            lazy=Hop.parse(unit.hop).internal and not stored and not goes_on,
        )

    def _committed(self, conclusion: Conclusion, queued: tuple[QueuedMessage, ...] | None) -> None:
        left = conclusion.left
        if not conclusion.stored:
            self._scheduler.done(conclusion.unit)
        if queued is None:
            return
        if left is not None:
            self._scheduler.add_stored(left.hop, 1, left.next_attempt_at_ms)
        if queued:
            self._submitted(queued)
