"""The Outbox's lane to one hub: units in hand, up to 20 kept connections, and whether the hub answers.

A hub that fails is probed by one connection, 1 s doubling to 30 s with jitter; the first success releases
its whole queue. What was claimed and not begun when it failed goes back, so that another hub of the site can
take it. While units wait and the hub answers on none of its connections, it is probed, too: it may be gone
without a word.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

from foundation.interfaces.world import Clock
from foundation.smtp.client import ConnectionFailed
from foundation.tasks import end_tasks
from mailboxstore.database.units import Unit
from mailboxstore.outbox.hubs import Connect, Hub, HubConnection
from mailboxstore.outbox.retry import Backoff

CONNECTIONS_MAX = 20
IN_HAND_MAX = 60
"""Units claimed for one hub; the rest stays in the database, where it can be withdrawn."""
IDLE_SECONDS = 60.0
STALL_SECONDS = 10.0
"""After so long without any answer, the hub has to show that it is there."""
RUNNER_STOP_SECONDS = 1.0

log = logging.getLogger("waypost.mailboxstore")


class LaneWork(Protocol):
    """What the agent does for its lanes."""

    async def claim(self, hub: str, limit: int) -> tuple[Unit, ...]: ...

    async def hand_back(self, units: tuple[Unit, ...], reply: str) -> None: ...

    async def attempt(self, lane: Lane, connection: HubConnection | None, unit: Unit) -> HubConnection | None:
        """One unit to its end; returns the connection if it can be used again."""
        ...

    async def seconds_until_due(self, hub: str) -> float | None: ...

    def went_down(self, hub: str) -> None: ...


class Lane:
    def __init__(self, hub: Hub, work: LaneWork, connect: Connect, clock: Clock, backoff: Backoff) -> None:
        self.hub = hub
        self.up = True
        self.in_hand = 0
        self.backlog = False
        """More is due in the database than is in hand."""
        self.failures = 0
        self.last_reply = ""
        self.next_probe_ms = 0
        self._work = work
        self._connect = connect
        self._clock = clock
        self._backoff = backoff
        self._queue: deque[Unit] = deque()
        self._idle: deque[asyncio.Event] = deque()
        self._workers: dict[asyncio.Task[None], None] = {}
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._attempts = 0
        """Units that workers are at."""
        self._moved_at = 0.0
        """When last one of them was settled, a probe succeeded, or the first of them was begun."""
        self._stopping = False

    @property
    def connections(self) -> int:
        return len(self._workers)

    def start(self) -> None:
        self._runner = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    def probe_now(self) -> None:
        self.next_probe_ms = 0
        self._wake.set()

    def put(self, unit: Unit) -> None:
        """A unit that is active and counted in `in_hand`."""
        self._queue.append(unit)
        while self._idle:
            event = self._idle.popleft()
            if not event.is_set():
                event.set()
                return
        if len(self._workers) < CONNECTIONS_MAX:
            self._add_worker(None)
        else:
            self._wake.set()  # it may wait for long

    def finished(self) -> None:
        """A unit in hand was settled."""
        self.in_hand -= 1
        if self.backlog and self.in_hand <= IN_HAND_MAX // 2:
            self._wake.set()

    def came_up(self) -> None:
        if not self.up:
            log.info("hub answers again", extra={"hub": self.hub.name})
        self.up = True
        self.failures = 0
        self._wake.set()

    async def went_down(self, reply: str) -> None:
        """The hub can't be used now: what was not begun goes back."""
        now_ms = self._clock.now_ms()
        self.last_reply = reply
        if self.up or self.next_probe_ms <= now_ms:
            self.failures += 1
            self.next_probe_ms = self._backoff.next_ms(now_ms, self.failures)
            log.warning("hub does not answer", extra={"hub": self.hub.name, "reason": reply})
        self.up = False
        waiting = tuple(self._queue)
        self._queue.clear()
        if waiting:
            await self._work.hand_back(waiting, "")
            self.in_hand -= len(waiting)
        self._work.went_down(self.hub.name)
        self._wake.set()

    async def stop(self, grace_seconds: float) -> None:
        """Lets running attempts end; what is cut then has an unknown outcome, and is asked for after the
        start.
        """
        self._stopping = True
        self._wake.set()
        waiting = tuple(self._queue)
        self._queue.clear()
        for event in self._idle:
            event.set()
        if self._runner is not None:
            # It may be probing a hub that does not answer.
            await end_tasks([self._runner], RUNNER_STOP_SECONDS)
        if waiting:
            await self._work.hand_back(waiting, "")
        await end_tasks(self._workers, grace_seconds)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._step()
            except Exception:
                log.exception("the outbox's lane to a hub failed; it goes on", extra={"hub": self.hub.name})
                await self._pause(self._backoff.seconds(1))

    async def _step(self) -> None:
        if not self.up:
            await self._pause((self.next_probe_ms - self._clock.now_ms()) / 1000)
            if not self._stopping and self._clock.now_ms() >= self.next_probe_ms:
                await self._probe()
            return
        if self._seconds_until_stalled() == 0:
            await self._probe()
            return
        room = IN_HAND_MAX - self.in_hand
        if room > 0:
            self.in_hand += room
            claimed: tuple[Unit, ...] = ()
            try:
                claimed = await self._work.claim(self.hub.name, room)
            finally:
                self.in_hand -= room - len(claimed)
            if not self.up or self._stopping:
                await self._work.hand_back(claimed, "")
                self.in_hand -= len(claimed)
                return
            for unit in claimed:
                self.put(unit)
            self.backlog = len(claimed) == room
        else:
            self.backlog = True
        due = None if self.backlog else await self._work.seconds_until_due(self.hub.name)
        await self._pause(
            min((s for s in (due, self._seconds_until_stalled()) if s is not None), default=None)
        )

    def _seconds_until_stalled(self) -> float | None:
        """0: units wait, and nothing is answered. One connection beyond the others is made to find out."""
        if not self._queue or len(self._workers) != CONNECTIONS_MAX:
            return None
        if not self._attempts:
            return STALL_SECONDS  # they are about to begin
        return max(self._moved_at + STALL_SECONDS - self._clock.monotonic(), 0.0)

    async def _pause(self, seconds: float | None) -> None:
        """Until woken, or so many seconds."""
        try:
            async with asyncio.timeout(max(seconds, 0) if seconds is not None else None):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _probe(self) -> None:
        try:
            connection = await self._connect(self.hub)
        except ConnectionFailed as failure:
            await self.went_down(str(failure))
            return
        self.came_up()
        self._moved_at = self._clock.monotonic()
        self._add_worker(connection)

    def _add_worker(self, connection: HubConnection | None) -> None:
        task = asyncio.get_running_loop().create_task(self._worker(connection))
        self._workers[task] = None
        task.add_done_callback(lambda done: self._workers.pop(done, None))

    async def _worker(self, connection: HubConnection | None) -> None:
        """Keeps one connection and hands units over, until nothing came for a while."""
        try:
            while not self._stopping:
                if self._queue:
                    connection = await self._one(connection, self._queue.popleft())
                elif not await self._wait_for_work():
                    return
        finally:
            if connection is not None and connection.usable:
                await connection.quit()

    async def _one(self, connection: HubConnection | None, unit: Unit) -> HubConnection | None:
        if not self._attempts:
            self._moved_at = self._clock.monotonic()
        self._attempts += 1
        try:
            return await self._work.attempt(self, connection, unit)
        except Exception:
            log.exception(
                "an outbox attempt broke",
                extra={"hub": self.hub.name, "network_message_id": unit.network_message_id},
            )
            return None
        finally:
            self._attempts -= 1
            self._moved_at = self._clock.monotonic()
            self.finished()

    async def _wait_for_work(self) -> bool:
        """False: none came for long. Who is called may still find that another has taken it."""
        event = asyncio.Event()
        self._idle.append(event)
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await event.wait()
            return True
        except TimeoutError:
            return bool(self._queue)
        finally:
            if event in self._idle:
                self._idle.remove(event)
