"""Control: what a hub answers to the command line: status, trace, queues, retry, reload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from foundation.interfaces.control import QueueEntry, ReloadOutcome, ServerStatus, released_because
from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import World
from hubtransport.delivery.runner import DeliveryRunner
from hubtransport.delivery.scheduler import Scheduler
from hubtransport.delivery.sweep import Sweeper
from hubtransport.queues import statements
from hubtransport.queues.delivery import exactly, retry_keys, retry_now, stored, units_after
from hubtransport.queues.events import event_of
from hubtransport.queues.records import QueuedMessage, Unit
from hubtransport.queues.store import QueueStore
from hubtransport.queues.submission import load_state, release_poison
from hubtransport.routing.hop import Hop
from hubtransport.routing.table import RoutingTable

PAGE = 200
_RELOADED = "settings were loaded anew"


class HubControl:
    """Implements foundation.interfaces.control.Control."""

    def __init__(
        self,
        store: QueueStore,
        scheduler: Scheduler,
        runner: DeliveryRunner,
        sweeper: Sweeper,
        world: World,
        server: str,
        *,
        status: Callable[[], ServerStatus],
        reload: Callable[[], ReloadOutcome],
        table: Callable[[], RoutingTable],
        submitted: Callable[[tuple[QueuedMessage, ...]], None],
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._runner = runner
        self._sweeper = sweeper
        self._world = world
        self._server = server
        self._status = status
        self._reload = reload
        self._table = table
        self._submitted = submitted

    async def status(self) -> ServerStatus:
        return self._status()

    async def trace(
        self, message_id: str, network_message_ids: tuple[str, ...]
    ) -> AsyncIterator[tuple[TrackingEvent, ...]]:
        after = 0
        while True:
            page = await self._store.readers.run(
                lambda connection, after=after: statements.tracking.find(  # type: ignore[misc]
                    connection, message_id, network_message_ids, after, PAGE
                )
            )
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = page[-1].sequence

    async def events(self, since_ms: int) -> AsyncIterator[tuple[TrackingEvent, ...]]:
        after = 0
        while page := await self._store.readers.run(
            lambda connection, after=after: statements.tracking.since(connection, since_ms, after, PAGE)  # type: ignore[misc]
        ):
            yield page
            after = page[-1].sequence

    async def reload(self) -> ReloadOutcome:
        """New settings; units without a way, or whose way is none any more, are routed anew."""
        outcome = self._reload()
        if outcome.problems:
            return outcome
        await self._sweeper.reroute("unreachable:%", _RELOADED)
        for hop in [queue.hop for queue in self._scheduler.queues()]:
            if not self._table().leads_outside(Hop.parse(hop)):
                await self._sweeper.reroute_hop(hop, _RELOADED)
        return outcome

    async def queue(self) -> AsyncIterator[tuple[QueueEntry, ...]]:
        for state in ("submitted", "poison"):
            row = 0
            while messages := await self._store.readers.run(
                lambda connection, state=state, row=row: load_state(connection, state, row, PAGE)  # type: ignore[misc]
            ):
                yield tuple(_message_entry(message, state) for message in messages)
                row = messages[-1].id
        key = ""
        while units := await self._store.readers.run(
            lambda connection, key=key: units_after(connection, key, PAGE)  # type: ignore[misc]
        ):
            yield tuple(self._unit_entry(unit) for unit in units)
            key = units[-1].key

    async def retry(self, next_hop: str, entry_ids: tuple[str, ...]) -> int:
        """`next_hop`: a queue's name, or the server or domain in it."""
        if entry_ids:
            return await self._retry_entries(entry_ids)
        total = 0
        hops = [queue.hop for queue in self._scheduler.queues()]
        for hop in hops:
            if not next_hop or next_hop in (hop, Hop.parse(hop).name):
                total += await self._retry_hop(hop)
        if not next_hop or next_hop == "unreachable":
            total += await self._sweeper.reroute("unreachable:%", "an operator asked for it")
        return total

    async def release(self, entry_ids: tuple[str, ...], reason: str) -> int:
        return await self._sweeper.release(entry_ids, released_because(reason))

    async def _retry_hop(self, hop: str) -> int:
        count = await self._store.writer.run(lambda connection: retry_now(connection, hop))
        await self._release(hop)
        return count

    async def _retry_entries(self, entry_ids: tuple[str, ...]) -> int:
        hops = await self._store.writer.run(lambda connection: retry_keys(connection, entry_ids))
        for hop in dict.fromkeys(hops):
            if Hop.parse(hop).kind == "unreachable":
                await self._sweeper.reroute(exactly(hop), "an operator asked for it")
            else:
                await self._release(hop)
        poison = [
            message
            for message in await self._store.readers.run(
                lambda connection: load_state(connection, "poison", 0, PAGE)
            )
            if message.entry_id in entry_ids
        ]
        if poison:
            now_ms = self._world.clock.now_ms()
            events = [
                event_of(
                    message,
                    "RESUBMIT",
                    "ADMIN",
                    at_ms=now_ms,
                    server=self._server,
                    reason="an operator released it from the poison queue",
                )
                for message in poison
            ]
            await self._store.writer.run(lambda connection: release_poison(connection, poison, events))
            self._submitted(tuple(poison))
        return len(hops) + len(poison)

    async def _release(self, hop: str) -> None:
        """The hop is tried now, whatever failed before."""
        # By the writer: counted between two commits, told before the next one is.
        await self._store.writer.run(lambda connection: stored(connection, hop), self._scheduler.set_stored)
        self._scheduler.due_now(hop)
        self._runner.wake()

    def _unit_entry(self, unit: Unit) -> QueueEntry:
        hop = Hop.parse(unit.hop)
        queue = self._scheduler.peek(unit.hop)
        failing = queue.failing if queue is not None else None
        sending = queue is not None and unit.key in queue.sending
        waits = failing is not None or unit.next_attempt_at_ms > self._world.clock.now_ms()
        unreachable = hop.kind == "unreachable"
        return QueueEntry(
            entry_id=unit.key,
            queue="unreachable" if unreachable else "delivery",
            next_hop=hop.name,
            state="active" if sending else "suspended" if unreachable else "retry" if waits else "ready",
            network_message_id=unit.message.network_message_id,
            message_id=unit.message.message_id,
            sender=unit.message.sender.address,
            recipients=tuple(queued.recipient.address for queued in unit.recipients),
            size_bytes=unit.message.size_bytes,
            received_at_ms=unit.message.received_at_ms,
            attempts=unit.attempts,
            last_attempt_at_ms=max(unit.last_attempt_at_ms, failing.last_attempt_at_ms if failing else 0),
            last_reply=failing.last_reply if failing else unit.last_reply,
            next_attempt_at_ms=max(unit.next_attempt_at_ms, failing.next_attempt_at_ms if failing else 0),
            expires_at_ms=unit.expires_at_ms,
            outcome_unknown=unit.pinned,
        )


def _message_entry(message: QueuedMessage, state: str) -> QueueEntry:
    return QueueEntry(
        entry_id=message.entry_id,
        queue="poison" if state == "poison" else "submission",
        next_hop="",
        state="suspended" if state == "poison" else "ready",
        network_message_id=message.network_message_id,
        message_id=message.message_id,
        sender=message.sender.address,
        recipients=tuple(queued.recipient.address for queued in message.recipients),
        size_bytes=message.size_bytes,
        received_at_ms=message.received_at_ms,
        attempts=message.crashes,
        expires_at_ms=message.expires_at_ms,
    )
