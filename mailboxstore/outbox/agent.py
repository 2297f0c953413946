"""The Outbox agent: hands what was submitted to a hub of its own site, and settles what the hub answers.

Promises: an entry leaves the Outbox in the commit after the hub's 250, never before; an attempt whose
outcome is unknown is repeated under its key to the same hub only; a permanent refusal becomes an NDR in the
same commit that takes the entry away; everything else is tried again until it is too old.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from sqlalchemy import Connection

from foundation.database.content import Contents
from foundation.interfaces.mailbox_store import Notice
from foundation.interfaces.world import World
from foundation.mail.envelope import Transfer
from foundation.mail.errors import MailError
from foundation.recent import Recent
from foundation.smtp.client import ConnectionBroken, ConnectionFailed
from foundation.smtp.reply import Reply
from foundation.smtp.sending import SendResult
from mailboxstore.database import units
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.emails import StoredEmail, find_email, read_email
from mailboxstore.database.units import State, Unit
from mailboxstore.outbox.hubs import Connect, Hub, HubConnection
from mailboxstore.outbox.kept import ALL_KEPT_BYTES_MAX, KeptEmail
from mailboxstore.outbox.lane import IN_HAND_MAX, Lane
from mailboxstore.outbox.outcome import Outcome, Refused, decide, refused_before_sending
from mailboxstore.outbox.reports import Report, Reports
from mailboxstore.outbox.retry import Backoff
from mailboxstore.outbox.settlement import (
    Attempt,
    Settled,
    Taken,
    release,
    report_delay,
    settle,
    settle_taken,
)
from mailboxstore.outbox.taken import TakenUnits

READ_BYTES = 512 * 1024
SWEEP_SECONDS = 60.0
SWEPT_AT_ONCE = 50
STOP_SECONDS = 10.0
WRITTEN_SECONDS = 1.0

log = logging.getLogger("waypost.mailboxstore")

Publish = Callable[[tuple[tuple[str, Notice], ...]], None]


class OutboxAgent:
    """Implements outbox.submission.Turns and outbox.lane.LaneWork."""

    def __init__(
        self,
        database: MailboxDatabase,
        hubs: Sequence[Hub],
        connect: Connect,
        reports: Reports,
        publish: Publish,
        world: World,
        *,
        backoff: Backoff,
        delay_notice_ms: int,
    ) -> None:
        self._database = database
        self._connect = connect
        self._reports = reports
        self._publish = publish
        self._clock = world.clock
        self._backoff = backoff
        self._delay_notice_ms = delay_notice_ms
        self._kept: Recent[str, KeptEmail] = Recent(ALL_KEPT_BYTES_MAX)
        self._lanes = {hub.name: Lane(hub, self, connect, world.clock, backoff) for hub in hubs}
        self._taken = TakenUnits(self._write_taken)
        self._turn = 0
        self._sweeper: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        names = list(self._lanes)
        await self._database.writer.run(lambda connection: units.recover(connection, names))
        for lane in self._lanes.values():
            lane.start()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep_always())

    async def stop(self) -> None:
        self._stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        await asyncio.gather(*(lane.stop(STOP_SECONDS) for lane in self._lanes.values()))
        await self._taken.stop(STOP_SECONDS)

    async def written(self) -> None:
        """For who looks at the Outbox's units or events: what hubs have taken is written down, unless the
        database is slow.
        """
        await self._taken.written(WRITTEN_SECONDS)

    @property
    def in_hand(self) -> int:
        return sum(lane.in_hand for lane in self._lanes.values()) + self._taken.waiting

    @property
    def connections(self) -> int:
        return sum(lane.connections for lane in self._lanes.values())

    def next_probe_ms(self, hub: str) -> int:
        """When a hub that is away is asked again; 0 when it answers."""
        lane = self._lanes.get(hub)
        return lane.next_probe_ms if lane is not None and not lane.up else 0

    def last_failure(self, hub: str) -> str:
        """Why a hub is away; empty when it answers."""
        lane = self._lanes.get(hub)
        return lane.last_reply if lane is not None and not lane.up else ""

    async def retry(self, hub: str, keys: tuple[str, ...]) -> int:
        now_ms = self._clock.now_ms()
        count = await self._database.writer.run(
            lambda connection: units.make_due(connection, hub, keys, now_ms)
        )
        for lane in self._lanes.values():
            if not hub or lane.hub.name == hub:
                lane.probe_now()
        return count

    async def release(self, keys: Sequence[str], reason: str) -> int:
        """Any hub may have them from now on, under new keys. Returns how many: not what is being asked for
        at this moment."""
        database, now_ms = self._database, self._clock.now_ms()
        count = await database.writer.run(
            lambda connection: release(connection, database, keys, reason, now_ms)
        )
        for lane in self._lanes.values():
            lane.wake()
        return count

    # --- Turns ---

    def assign(self) -> tuple[str, State]:
        lanes = [lane for lane in self._lanes.values() if lane.up] or list(self._lanes.values())
        self._turn += 1
        # The least busy one; equal ones take turns.
        lane = min(
            (lanes[(self._turn + offset) % len(lanes)] for offset in range(len(lanes))),
            key=lambda lane: lane.in_hand,
        )
        if self._stopping or not lane.up or lane.backlog or lane.in_hand >= IN_HAND_MAX:
            return lane.hub.name, "ready"
        lane.in_hand += 1
        return lane.hub.name, "active"

    def accepted(self, unit: Unit, kept: KeptEmail | None) -> None:
        lane = self._lanes[unit.target]
        if kept is not None:
            self._kept.keep(unit.transfer_key, kept, len(kept.content))
        if unit.state == "active":
            lane.put(unit)
        else:
            lane.backlog = True
            lane.wake()

    def abandoned(self, target: str, state: State) -> None:
        if state == "active":
            self._lanes[target].finished()

    # --- LaneWork ---

    async def claim(self, hub: str, limit: int) -> tuple[Unit, ...]:
        away = self._away(hub)
        now_ms = self._clock.now_ms()
        horizon_ms = self._horizon_ms(now_ms)
        return await self._database.writer.run(
            lambda connection: units.claim_due(connection, hub, away, now_ms, horizon_ms, limit)
        )

    async def hand_back(self, handed: tuple[Unit, ...], reply: str) -> None:
        now_ms = self._clock.now_ms()

        def unit_of_work(connection: Connection) -> None:
            for unit in handed:
                state: State = "unknown" if unit.state == "repeat" else "retry"
                units.set_state(connection, unit.transfer_key, state, reply or unit.last_reply, now_ms)

        if handed:
            await self._commit(unit_of_work)

    async def seconds_until_due(self, hub: str) -> float | None:
        away = self._away(hub)
        due_ms = await self._database.readers.run(lambda c: units.next_due_ms(c, hub, away))
        if due_ms is None:
            return None
        now_ms = self._clock.now_ms()
        return 0 if due_ms > self._horizon_ms(now_ms) else (due_ms - now_ms) / 1000

    def went_down(self, hub: str) -> None:
        for lane in self._lanes.values():
            if lane.up and lane.hub.name != hub:
                lane.wake()

    async def attempt(self, lane: Lane, connection: HubConnection | None, unit: Unit) -> HubConnection | None:
        kept = self._kept.take(unit.transfer_key)
        while True:
            reused = connection is not None and connection.usable
            if connection is None or not reused:
                try:
                    connection = await self._connect(lane.hub)
                except ConnectionFailed as failure:
                    await self.hand_back((unit,), str(failure))
                    await lane.went_down(str(failure))
                    return None
                lane.came_up()
            try:
                outcome = await self._send(connection, unit, kept)
            except ConnectionBroken as broken:
                if broken.outcome_unknown:
                    await self._unknown(unit, str(broken))
                elif reused:
                    # A kept connection that the hub had closed meanwhile: nothing was tried yet.
                    connection = None
                    continue
                else:
                    reply = Reply.of(451, "4.4.2", str(broken))
                    deferred = tuple(Refused(recipient, reply) for recipient in unit.recipients)
                    await self._settle(unit, lane.hub.name, Outcome(deferred=deferred, reply=str(reply)))
                await lane.went_down(str(broken))
                return None
            if outcome.whole:
                # The key makes a repeat harmless: the next unit need not wait for this one's commit.
                self._taken.put(Taken(unit, lane.hub.name, outcome.reply, self._clock.now_ms()))
            elif await self._settle(unit, lane.hub.name, outcome):
                lane.wake()
            return connection if connection.usable else None

    # --- an attempt ---

    async def _send(self, connection: HubConnection, unit: Unit, kept: KeptEmail | None) -> Outcome:
        database = self._database
        try:
            if kept is not None:
                stored = StoredEmail(b"", 0, kept.sha256, len(kept.content), 0)
                result = await self._hand_over(connection, unit, stored, kept.content)
            else:
                found = await database.readers.run(lambda c: _beginning(c, database.contents, unit.email))
                if found is None:
                    text = "The message's content is gone"
                    return refused_before_sending(unit.recipients, 550, "5.3.0", text)
                result = await self._hand_over(connection, unit, *found)
        except MailError as error:
            return refused_before_sending(unit.recipients, error.code, error.status, error.sentence)
        return decide(unit.recipients, result.sender, result.recipients, result.final)

    async def _hand_over(
        self, connection: HubConnection, unit: Unit, stored: StoredEmail, beginning: bytes
    ) -> SendResult:
        transfer = Transfer(
            network_message_id=unit.network_message_id,
            transfer_key=unit.transfer_key,
            prefix_bytes=len(unit.prefix) + len(stored.prefix),
            content_sha256=stored.content_sha256,
            probe=unit.probe,
            first_attempt=unit.state == "active" and unit.attempts == 1,
        )
        return await connection.send(
            unit.sender,
            transfer,
            unit.recipients,
            lambda: self._content(unit.prefix, stored, beginning),
            len(unit.prefix) + stored.size_bytes,
        )

    async def _content(self, prefix: bytes, stored: StoredEmail, beginning: bytes) -> AsyncIterator[bytes]:
        contents = self._database.contents
        if prefix or beginning:
            yield prefix + beginning
        for offset in range(len(beginning), stored.size_bytes, READ_BYTES):

            def read(connection: Connection, offset: int = offset) -> bytes:
                return read_email(connection, contents, stored, offset, READ_BYTES)

            yield await self._database.readers.run(read)

    async def _settle(self, unit: Unit, hub: str, outcome: Outcome) -> bool:
        """Whether something of it waits for another attempt."""
        database = self._database
        report = await self._reports.failed(unit, outcome.failed, hub) if outcome.failed else None
        now_ms = self._clock.now_ms()
        attempt = Attempt(
            unit=unit,
            hub=hub,
            outcome=outcome,
            report=report,
            now_ms=now_ms,
            next_attempt_ms=self._backoff.next_ms(now_ms, unit.attempts),
            new_key=database.identifier(),
        )
        settled = await self._commit(lambda connection: settle(connection, database, attempt))
        return settled is not None and settled.waits

    async def _write_taken(self, together: Sequence[Taken]) -> None:
        database = self._database
        await self._commit(lambda connection: settle_taken(connection, database, together), lazy=True)

    async def _unknown(self, unit: Unit, reply: str) -> None:
        now_ms = self._clock.now_ms()
        log.warning(
            "a hub may have the message; it is asked again",
            extra={"hub": unit.target, "network_message_id": unit.network_message_id},
        )
        await self._commit(
            lambda connection: units.set_state(connection, unit.transfer_key, "unknown", reply, now_ms)
        )

    async def _commit(
        self, unit_of_work: Callable[[Connection], Settled | None], *, lazy: bool = False
    ) -> Settled | None:
        """Until it is written: the database may be full or locked for a while. None when the store stops
        first; the unit is then found as interrupted after the start, and the same hub is asked again.
        """
        failures = 0
        while True:
            try:
                return await self._database.writer.run(unit_of_work, self._publish_settled, lazy=lazy)
            except MailError as error:
                failures += 1
                log.error("an outbox outcome could not be written yet", extra={"reason": str(error)})
                if self._stopping:
                    return None
                await asyncio.sleep(self._backoff.seconds(failures))

    def _publish_settled(self, settled: Settled | None) -> None:
        if settled is not None:
            self._publish(settled.notices)

    def _away(self, hub: str) -> list[str]:
        return [lane.hub.name for lane in self._lanes.values() if not lane.up and lane.hub.name != hub]

    def _horizon_ms(self, now_ms: int) -> int:
        """No next attempt is set further away than this: one that is, was set before the clock went back."""
        return now_ms + int(self._backoff.longest_seconds * 1000)

    # --- what waits too long ---

    async def _sweep_always(self) -> None:
        while True:
            try:
                await self.sweep()
            except MailError as error:
                log.error("the outbox could not be looked through", extra={"reason": str(error)})
            except Exception:
                log.exception("looking through the outbox failed; it goes on")
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Gives up what is too old, and tells of what is late."""
        database = self._database
        now_ms = self._clock.now_ms()
        while expired := await database.readers.run(lambda c: units.overdue(c, now_ms, SWEPT_AT_ONCE)):
            for unit in expired:
                text = "It could not be handed to a hub in time"
                reply = Reply.of(
                    451, "4.4.7", f"{text}; last: {unit.last_reply}" if unit.last_reply else text
                )
                failed = tuple(Refused(recipient, reply) for recipient in unit.recipients)
                await self._settle(unit, "", Outcome(failed=failed, reply=str(reply)))
        before_ms = now_ms - self._delay_notice_ms
        while late := await database.readers.run(lambda c: units.delayed(c, before_ms, SWEPT_AT_ONCE)):
            for unit in late:
                report = await self._reports.delayed(unit)

                def note(
                    connection: Connection, unit: Unit = unit, report: Report | None = report
                ) -> Settled:
                    return report_delay(connection, database, unit, report, now_ms)

                await self._commit(note)


def _beginning(connection: Connection, contents: Contents, email: int) -> tuple[StoredEmail, bytes] | None:
    """Where an email is, and its first bytes: for most that is all."""
    stored = find_email(connection, email)
    return None if stored is None else (stored, read_email(connection, contents, stored, 0, READ_BYTES))
