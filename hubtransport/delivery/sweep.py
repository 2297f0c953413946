"""Delivery, what time alone brings about: expiry, delay notices, stuck queues back to the categorizer, old
rows.

Runs now and then, in small commits. Promise: a unit whose outcome is unknown is never given up here: it would
be a report for something that may have arrived.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from foundation.interfaces.tracking import Source, TrackingEvent
from foundation.interfaces.world import World
from foundation.mail.errors import MailError
from hubtransport.delivery.conclude import Concluder
from hubtransport.delivery.outcome import delay_notices
from hubtransport.delivery.retry import RetryPolicy
from hubtransport.delivery.scheduler import Scheduler
from hubtransport.dsn import Reporter
from hubtransport.queues import statements
from hubtransport.queues.arrival import prune_keys
from hubtransport.queues.delivery import (
    clear_hop,
    delay_told,
    delayed,
    exactly,
    expired,
    last_stored,
    release,
    resubmit,
    stored,
    stored_units,
)
from hubtransport.queues.events import event_of
from hubtransport.queues.records import QueuedMessage, Unit
from hubtransport.queues.store import QueueStore
from hubtransport.reports import make_reports
from hubtransport.routing.hop import Hop

log = logging.getLogger("waypost.hubtransport")

PAGE = 100
RESUBMIT_AFTER_MS = 12 * 3600 * 1000
"""MaxIdleTimeBeforeResubmit: a queue that failed for so long is routed anew."""
KEYS_KEPT_MS = 14 * 24 * 3600 * 1000
TRACKING_KEPT_MS = 30 * 24 * 3600 * 1000
TRACKING_BYTES_MAX = 1024 * 1024 * 1024


class Sweeper:
    def __init__(
        self,
        store: QueueStore,
        scheduler: Scheduler,
        concluder: Concluder,
        retry: RetryPolicy,
        reporter: Reporter,
        world: World,
        submitted: Callable[[Sequence[QueuedMessage]], None],
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._concluder = concluder
        self._retry = retry
        self._reporter = reporter
        self._world = world
        self._submitted = submitted
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._retry.sweep_seconds)
            try:
                await self.sweep()
            except MailError as error:
                log.error("a sweep of the queues was not finished", extra={"error": str(error)})
            except Exception:
                log.exception("a sweep of the queues failed")

    async def sweep(self) -> None:
        await self.expire()
        await self.tell_delays()
        await self._reroute()
        await self._prune()
        for hop in self._scheduler.done_failing(self._world.clock.now_ms()):
            await self._store.writer.run(lambda connection, hop=hop: clear_hop(connection, hop))  # type: ignore[misc]
        self._scheduler.tidy()

    async def expire(self) -> None:
        """Units whose time is over, in memory and in the database."""
        now_ms = self._world.clock.now_ms()
        for queue in list(self._scheduler.queues()):
            over = [u.key for u in queue.waiting if u.expires_at_ms <= now_ms and not u.pinned]
            for unit in self._scheduler.drop_waiting(queue.hop, over):
                await self._concluder.expired(unit)
        while page := await self._store.readers.run(lambda connection: expired(connection, now_ms, PAGE)):
            for unit in page:
                await self._concluder.expired(unit, stored=True)
            for hop in dict.fromkeys(unit.hop for unit in page):
                await self._count(hop)

    async def tell_delays(self) -> None:
        """Senders whose messages wait for long are told once."""
        now_ms = self._world.clock.now_ms()
        while page := await self._store.readers.run(lambda connection: delayed(connection, now_ms, PAGE)):
            for unit in page:
                await self._tell_delay(unit, now_ms)

    async def reroute(self, pattern: str, why: str) -> int:
        """Sends units of next hops like `pattern` back to the categorizer. Returns how many.

        Those that come back meanwhile, because nothing has changed for them, have greater keys.
        """
        total = 0
        last = await self._store.readers.run(lambda connection: last_stored(connection, pattern))
        while units := await self._store.readers.run(
            lambda connection: stored_units(connection, pattern, last, PAGE)
        ):
            await self._resubmit(units, why, stored=True)
            total += len(units)
        return total

    async def reroute_hop(self, hop: str, why: str) -> int:
        """The same for one next hop, also for its units in memory, as far as they are not pinned."""
        waiting = self._scheduler.queue(hop).waiting
        free = [unit.key for unit in waiting if not unit.pinned]
        total = await self._resubmit_waiting(hop, free, why)
        total += await self.reroute(exactly(hop), why)
        await self._count(hop)
        return total

    async def release(self, keys: Sequence[str], why: str) -> int:
        """Gives units of unknown outcome back to the categorizer, on an operator's word. Returns how many:
        not those that are being sent."""
        wanted, total = frozenset(keys), 0
        for queue in list(self._scheduler.queues()):
            held = [unit.key for unit in queue.waiting if unit.pinned and unit.key in wanted]
            total += await self._resubmit_waiting(queue.hop, held, why, "ADMIN")
        stored_ones, _ = await self._store.writer.run(
            lambda connection: release(connection, keys, lambda unit: self._resubmitted(unit, why, "ADMIN")),
            lambda released: self._submitted(released[1]),
        )
        for hop in dict.fromkeys(unit.hop for unit in stored_ones):
            await self._count(hop)
        return total + len(stored_ones)

    async def _resubmit_waiting(
        self, hop: str, keys: Sequence[str], why: str, source: Source = "QUEUE"
    ) -> int:
        units = self._scheduler.drop_waiting(hop, keys)
        try:
            await self._resubmit(units, why, source)
        except Exception:
            # The queue may have been tidied away meanwhile: found anew.
            self._scheduler.queue(hop).waiting.extend(units)
            raise
        return len(units)

    async def _resubmit(
        self, units: Sequence[Unit], why: str, source: Source = "QUEUE", *, stored: bool = False
    ) -> None:
        if not units:
            return
        events = tuple(self._resubmitted(unit, why, source) for unit in units)
        await self._store.writer.run(
            lambda connection: resubmit(connection, units, events, stored=stored), self._submitted
        )

    async def _count(self, hop: str) -> None:
        if Hop.parse(hop).kind == "unreachable":
            return
        # By the writer: counted between two commits, told before the next one is.
        await self._store.writer.run(lambda connection: stored(connection, hop), self._scheduler.set_stored)

    async def _tell_delay(self, unit: Unit, now_ms: int) -> None:
        queue = self._scheduler.peek(unit.hop)
        failing = queue.failing if queue is not None else None
        last_reply = failing.last_reply if failing is not None else ""
        reports, events = await make_reports(
            self._store,
            self._world,
            self._reporter,
            unit.message,
            delay_notices(unit, now_ms, last_reply),
            now_ms,
        )
        await self._store.writer.run(
            lambda connection: delay_told(connection, unit.key, events, reports), self._submitted
        )

    async def _reroute(self) -> None:
        now_ms = self._world.clock.now_ms()
        for queue in list(self._scheduler.queues()):
            failing = queue.failing
            if failing is None or now_ms - failing.failing_since_ms < RESUBMIT_AFTER_MS or not queue.length:
                continue
            why = f"its next hop could not be reached for long: {failing.last_reply}"
            await self.reroute_hop(queue.hop, why)

    async def _prune(self) -> None:
        now_ms = self._world.clock.now_ms()
        while await self._store.writer.run(
            lambda connection: prune_keys(connection, now_ms - KEYS_KEPT_MS, PAGE)
        ):
            pass
        while await self._store.writer.run(
            lambda connection: statements.tracking.prune(
                connection, now_ms - TRACKING_KEPT_MS, TRACKING_BYTES_MAX, PAGE
            )
        ):
            pass

    def _resubmitted(self, unit: Unit, why: str, source: Source) -> TrackingEvent:
        return event_of(
            unit.message,
            "RESUBMIT",
            source,
            at_ms=self._world.clock.now_ms(),
            server=self._reporter.server,
            recipients=tuple(queued.recipient.address for queued in unit.recipients),
            transfer_key=unit.key,
            next_hop=Hop.parse(unit.hop).name,
            reason=why,
        )
