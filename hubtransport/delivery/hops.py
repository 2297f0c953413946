"""Delivery, next hops that fail: when they are probed, who takes over meanwhile, and the release at the first
success.

Promises: a failed next hop is tried by one connection at a time; a unit goes to another server of its
delivery group only when the first certainly did not take it, and that is committed before the next attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import World
from foundation.mail.errors import MailError
from hubtransport.delivery.outcome import source_of
from hubtransport.delivery.retry import RetryPolicy
from hubtransport.delivery.scheduler import Scheduler
from hubtransport.queues.delivery import clear_hop, redirect, save_hop
from hubtransport.queues.events import event_of
from hubtransport.queues.records import HopState, StoredHop, Unit
from hubtransport.queues.store import QueueStore
from hubtransport.routing.hop import Hop
from hubtransport.routing.table import RoutingTable

log = logging.getLogger("waypost.hubtransport")


class HopKeeper:
    def __init__(
        self,
        store: QueueStore,
        scheduler: Scheduler,
        retry: RetryPolicy,
        table: Callable[[], RoutingTable],
        world: World,
        server: str,
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._retry = retry
        self._table = table
        self._world = world
        self._server = server
        self._told: dict[str, frozenset[str]] = {}
        """Next hop -> units in memory that have their DEFER event for this outage."""

    async def failed(self, hop: str, sentence: str, began_ms: int) -> None:
        """No connection. `began_ms`: when that try began."""
        if self._scheduler.crowded(hop, self._world.clock.now_ms()):
            log.info("a further connection was refused", extra={"hop": hop, "reply": sentence})
            return
        await self.broke(hop, sentence, began_ms)

    async def broke(self, hop: str, sentence: str, began_ms: int) -> None:
        """The only connection broke, or none came about where none is of use."""
        queue = self._scheduler.queue(hop)
        before = queue.failing
        if before is not None and before.last_attempt_at_ms >= began_ms:
            return  # another connection of the same moment told of it
        now_ms = self._world.clock.now_ms()
        failures = (before.failures if before is not None else 0) + 1
        seconds = self._retry.hop_seconds(failures, internal=Hop.parse(hop).internal)
        state = HopState(
            hop=hop,
            failures=failures,
            failing_since_ms=before.failing_since_ms if before is not None else now_ms,
            last_attempt_at_ms=now_ms,
            next_attempt_at_ms=now_ms + round(seconds * 1000),
            last_reply=sentence,
        )
        self._scheduler.failed(state)
        log.warning(
            "a next hop can't be reached",
            extra={"hop": hop, "reply": sentence, "failures": failures, "again_seconds": round(seconds, 1)},
        )
        told = self._told.get(hop, frozenset())
        events = tuple(self._deferred(unit, state) for unit in queue.waiting if unit.key not in told)
        self._told[hop] = frozenset(unit.key for unit in queue.waiting)
        try:
            await self._store.writer.run(lambda connection: save_hop(connection, state, events))
        except MailError as error:
            log.error("the state of a next hop could not be stored", extra={"hop": hop, "error": str(error)})
        await self._hand_over(hop)

    async def reached(self, hop: str) -> None:
        """A connection stands, or an answer came: the whole queue is released."""
        if not self._scheduler.recovered(hop):
            return
        log.info("a next hop is reached again", extra={"hop": hop})
        self._told.pop(hop, None)
        try:
            await self._store.writer.run(lambda connection: clear_hop(connection, hop))
        except MailError as error:
            log.error("the state of a next hop could not be stored", extra={"hop": hop, "error": str(error)})

    async def _hand_over(self, hop: str) -> None:
        """Units of a delivery group go to a hub that answers; if none does, to the point of failure."""
        name = Hop.parse(hop).name
        queue = self._scheduler.queue(hop)
        movable = [unit for unit in queue.waiting if unit.group and not unit.pinned]
        if Hop.parse(hop).kind != "hub" or not (movable or queue.stored):
            return
        group = movable[0].group if movable else self._group_of(name)
        target, target_group = self._other_hub(name, group)
        if not target:
            return
        to_hop = Hop(kind="hub", name=target).key
        moved = self._scheduler.drop_waiting(hop, [unit.key for unit in movable])
        events = tuple(self._redirected(unit, name, target) for unit in moved)
        keys = [unit.key for unit in moved]

        def handed_over(summaries: tuple[StoredHop, StoredHop]) -> None:
            for summary in summaries:
                self._scheduler.set_stored(summary)
            self._scheduler.queue(to_hop).waiting.extend(
                msgspec.structs.replace(unit, hop=to_hop, group=target_group) for unit in moved
            )

        try:
            await self._store.writer.run(
                lambda connection: redirect(connection, keys, hop, to_hop, ",".join(target_group), events),
                handed_over,
            )
        except MailError as error:
            log.error("a queue could not be handed over", extra={"hop": hop, "error": str(error)})
            queue.waiting.extend(moved)

    def _group_of(self, hub: str) -> tuple[str, ...]:
        table = self._table()
        settings = table.map.hubs.get(hub)
        return table.map.hubs_of(settings.site) if settings is not None else ()

    def _other_hub(self, failed: str, group: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """(server, its delivery group); empty when nobody else is known to answer."""
        failing = self._scheduler.failing()
        table = self._table()
        settings = table.map.hubs.get(failed)
        groups = [tuple(group)]
        if settings is not None:
            groups += [fallback.hubs for fallback in table.fallbacks(settings.site)]
        for hubs in groups:
            for hub in hubs:
                if hub not in (failed, self._server) and Hop(kind="hub", name=hub).key not in failing:
                    return hub, hubs
        return "", ()

    def _deferred(self, unit: Unit, state: HopState) -> TrackingEvent:
        return event_of(
            unit.message,
            "DEFER",
            source_of(unit),
            at_ms=state.last_attempt_at_ms,
            server=self._server,
            recipients=tuple(queued.recipient.address for queued in unit.recipients),
            transfer_key=unit.key,
            next_hop=Hop.parse(state.hop).name,
            reply=state.last_reply,
            reason="the next hop can't be reached; it is probed, and its queue released at the first success",
        )

    def _redirected(self, unit: Unit, failed: str, target: str) -> TrackingEvent:
        return event_of(
            unit.message,
            "REDIRECT",
            "ROUTING",
            at_ms=self._world.clock.now_ms(),
            server=self._server,
            recipients=tuple(queued.recipient.address for queued in unit.recipients),
            transfer_key=unit.key,
            next_hop=target,
            related=failed,
            reason=f"{failed} can't be reached, and took nothing of it",
        )
