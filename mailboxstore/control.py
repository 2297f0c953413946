"""What the store answers to the command line: status, trace, its Outbox as a queue, retry, reload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

import msgspec
from sqlalchemy import Connection

from foundation.interfaces.control import QueueEntry, ReloadOutcome, ServerStatus
from foundation.interfaces.tracking import TrackingEvent
from mailboxstore.database import units
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.units import Unit
from mailboxstore.outbox.agent import OutboxAgent

ENTRIES_A_BATCH = 100
EVENTS_A_BATCH = 500

_SHOWN: dict[str, Literal["ready", "active", "retry"]] = {
    "ready": "ready",
    "retry": "retry",
    "active": "active",
    "unknown": "retry",
    "repeat": "active",
}


class StoreControl:
    """Implements foundation.interfaces.control.Control."""

    def __init__(
        self,
        database: MailboxDatabase,
        agent: OutboxAgent,
        status: Callable[[], ServerStatus],
        reload: Callable[[], Awaitable[ReloadOutcome]],
    ) -> None:
        self._database = database
        self._agent = agent
        self._status = status
        self._reload = reload

    async def status(self) -> ServerStatus:
        await self._agent.written()
        status = self._status()
        queued = await self._database.readers.run(units.count_units)
        return msgspec.structs.replace(status, details={**status.details, "queued": queued})

    async def trace(
        self, message_id: str, network_message_ids: tuple[str, ...]
    ) -> AsyncIterator[tuple[TrackingEvent, ...]]:
        await self._agent.written()
        tracking = self._database.tracking
        after = 0

        def query(connection: Connection) -> tuple[TrackingEvent, ...]:
            return tracking.find(connection, message_id, network_message_ids, after, EVENTS_A_BATCH)

        while page := await self._database.readers.run(query):
            yield page
            after = page[-1].sequence

    async def events(self, since_ms: int) -> AsyncIterator[tuple[TrackingEvent, ...]]:
        await self._agent.written()
        tracking = self._database.tracking
        after = 0

        def query(connection: Connection) -> tuple[TrackingEvent, ...]:
            return tracking.since(connection, since_ms, after, EVENTS_A_BATCH)

        while page := await self._database.readers.run(query):
            yield page
            after = page[-1].sequence

    async def reload(self) -> ReloadOutcome:
        return await self._reload()

    async def queue(self) -> AsyncIterator[tuple[QueueEntry, ...]]:
        await self._agent.written()
        after = ""

        def query(connection: Connection) -> tuple[Unit, ...]:
            return units.units_page(connection, after, ENTRIES_A_BATCH)

        while page := await self._database.readers.run(query):
            yield tuple(self._entry(unit) for unit in page)
            after = page[-1].transfer_key

    async def retry(self, next_hop: str, entry_ids: tuple[str, ...]) -> int:
        return await self._agent.retry(next_hop, entry_ids)

    async def release(self, entry_ids: tuple[str, ...], reason: str) -> int:
        return await self._agent.release(entry_ids, reason)

    def _entry(self, unit: Unit) -> QueueEntry:
        state = _SHOWN[unit.state]
        next_attempt_ms = unit.next_attempt_at_ms if state == "retry" else 0
        probe_ms = self._agent.next_probe_ms(unit.target)
        if probe_ms and state != "active":
            state, next_attempt_ms = "retry", max(next_attempt_ms, probe_ms)
        return QueueEntry(
            entry_id=unit.transfer_key,
            queue="outbox",
            next_hop=unit.target,
            state=state,
            network_message_id=unit.network_message_id,
            message_id=unit.message_id,
            sender=unit.sender.address,
            recipients=unit.addresses,
            size_bytes=unit.size_bytes,
            received_at_ms=unit.received_at_ms,
            attempts=unit.attempts,
            last_attempt_at_ms=unit.last_attempt_at_ms,
            last_reply=unit.last_reply or self._agent.last_failure(unit.target),
            next_attempt_at_ms=next_attempt_ms,
            expires_at_ms=unit.expires_at_ms,
            outcome_unknown=unit.state in ("unknown", "repeat"),
        )
