"""Delivery, the runner: opens connections as the scheduler says, sends units over them, hands outcomes on.

Promises: no unit is sent by two connections at once; a next hop that fails holds up only its own queue; after
a stop everything that was not being sent is free for any server again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any

from sqlalchemy import Connection

from foundation.interfaces.world import World
from foundation.mail.errors import MailError, unexpected
from foundation.tasks import end_tasks
from hubtransport.delivery.conclude import Concluder
from hubtransport.delivery.courier import Courier, HopFailed, HopRefused, Line
from hubtransport.delivery.hops import HopKeeper
from hubtransport.delivery.outcome import Attempt
from hubtransport.delivery.scheduler import HopQueue, Scheduler
from hubtransport.queues.delivery import claim_due, stored, unclaim
from hubtransport.queues.records import StoredHop, Unit
from hubtransport.queues.store import QueueStore
from hubtransport.routing.hop import Hop, HopKind

log = logging.getLogger("waypost.hubtransport")

PAGE = 200
CONCLUDING_MAX = 100
"""Outcomes whose commit is waited for, while the next units are sent."""
LOAD_RETRY_SECONDS = 5.0


class DeliveryRunner:
    def __init__(
        self,
        store: QueueStore,
        scheduler: Scheduler,
        couriers: Mapping[HopKind, Courier],
        concluder: Concluder,
        hops: HopKeeper,
        world: World,
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._couriers = couriers
        self._concluder = concluder
        self._hops = hops
        self._world = world
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._concluding = asyncio.Semaphore(CONCLUDING_MAX)
        self._waiters: dict[str, deque[asyncio.Future[None]]] = {}
        self._glitches: dict[str, None] = {}
        """Units whose kept connection broke once before anything was sent; the next time counts."""
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False
        self._stopping = False

    # --- what the categorizer and the others call

    def add(self, unit: Unit) -> None:
        """A committed unit that has a reserved place in memory."""
        self._scheduler.add(unit)
        self.wake()

    def wake(self) -> None:
        """Something changed: look soon whom to serve."""
        if not self._woken and not self._stopping:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._look)

    async def stop(self, grace_seconds: float) -> None:
        """Finishes the transfers that run, within the grace; the others are let go."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        for hop in list(self._waiters):
            while self._call_idle(hop):
                pass
        await end_tasks(self._tasks, grace_seconds)
        free = [unit.key for queue in self._scheduler.queues() for unit in queue.waiting]
        if free:
            try:
                await self._store.writer.run(lambda connection: unclaim(connection, free))
            except MailError as error:  # the next start finds them as if they had been sent, and asks again
                log.error("what waits could not be given free", extra={"error": str(error)})

    # --- whom to serve

    def _look(self) -> None:
        self._woken = False
        if self._stopping:
            return
        now_ms = self._world.clock.now_ms()
        for queue in self._scheduler.to_load(now_ms):
            queue.loading = True
            self._spawn(self._load(queue))
        for hop, waiters in list(self._waiters.items()):
            queue = self._scheduler.queue(hop)
            for _ in range(min(len(queue.waiting), len(waiters))):
                self._call_idle(hop)
        for hop in self._scheduler.to_open(now_ms):
            self._spawn(self._serve(hop))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        next_ms = self._scheduler.next_time_ms(now_ms)
        if next_ms is not None:
            seconds = max(next_ms - now_ms, 10) / 1000
            self._timer = asyncio.get_running_loop().call_later(seconds, self.wake)

    async def _load(self, queue: HopQueue) -> None:
        """A page of due units from the database."""
        count = min(PAGE, max(queue.room, 1))
        queue.reserved += count
        now_ms = self._world.clock.now_ms()

        def claim(connection: Connection) -> tuple[list[Unit], StoredHop | None]:
            page = claim_due(connection, queue.hop, now_ms, count)
            # Counting takes as long as the queue is: once at its end, not at every page.
            return page, None if len(page) == count else stored(connection, queue.hop)

        def claimed(found: tuple[list[Unit], StoredHop | None]) -> None:
            # Told in the order of the commits: the outcomes of the next one are counted on top.
            page, rest = found
            if rest is None:
                self._scheduler.take_page(queue.hop, page)
            else:
                queue.waiting.extend(page)
                self._scheduler.set_stored(rest)

        try:
            await self._store.writer.run(claim, claimed)
        except MailError as error:
            log.error("a queue could not be read", extra={"hop": queue.hop, "error": str(error)})
            await asyncio.sleep(LOAD_RETRY_SECONDS)
            return
        finally:
            queue.reserved -= count
            queue.loading = False
            self.wake()

    # --- one connection

    async def _serve(self, hop: str) -> None:
        queue = self._scheduler.queue(hop)
        began_ms = self._world.clock.now_ms()
        kind = Hop.parse(hop).kind
        line: Line | None = None
        try:
            line = await self._couriers[kind].connect(Hop.parse(hop))
        except HopFailed as failure:
            await self._hops.failed(hop, failure.sentence, began_ms)
        except HopRefused as refusal:
            await self._hops.reached(hop)  # an answer, if not the one hoped for
            await self._refuse(queue, refusal.error)
        except Exception:
            trace_id = self._world.entropy.identifier()
            log.exception("a connection could not be made", extra={"hop": hop, "trace_id": trace_id})
            await self._hops.failed(hop, unexpected(trace_id).sentence, began_ms)
        finally:
            queue.idle -= 1
        try:
            if line is not None:
                queue.open += 1
                queue.moved_at_ms = self._world.clock.now_ms()
                try:
                    await self._hops.reached(hop)
                    await self._use(queue, line)
                finally:
                    queue.open -= 1
                    await line.close()
        finally:
            self._scheduler.closed(hop)
            self.wake()

    async def _use(self, queue: HopQueue, line: Line) -> None:
        """Sends units over a connection while there are any."""
        internal = Hop.parse(queue.hop).internal
        while line.usable and line.messages_sent < line.messages_max:
            unit = await self._next(queue, line.idle_seconds)
            if unit is None:
                return
            if unit.expires_at_ms <= self._world.clock.now_ms() and not unit.pinned:
                self._glitches.pop(unit.key, None)
                await self._concluder.expired(unit)
                continue
            if not line.usable:
                self._scheduler.put_back(unit)
                return
            used_before = line.messages_sent > 0
            queue.begun(self._world.clock.now_ms())
            try:
                attempt = await self._send(line, unit)
            finally:
                queue.unanswered -= 1
            if attempt.broken:
                await self._broken(queue, unit, attempt, used_before)
                return
            self._glitches.pop(unit.key, None)
            queue.moved_at_ms = self._world.clock.now_ms()
            await self._hops.reached(queue.hop)
            if internal:
                # The key makes a repeat harmless: the next unit need not wait for this one's commit.
                await self._concluding.acquire()
                self._spawn(self._conclude_later(unit, attempt))
            else:
                await self._concluder.answered(unit, attempt)
                self.wake()

    async def _send(self, line: Line, unit: Unit) -> Attempt:
        try:
            return await line.send(unit, lambda: self._store.chunks(unit.message))
        except MailError as error:
            log.error("a message could not be read", extra={"transfer_key": unit.key, "error": str(error)})
            return Attempt(remote=line.remote, broken="the message could not be read", unknown=unit.pinned)
        except Exception:
            trace_id = self._world.entropy.identifier()
            log.exception("a transfer failed", extra={"transfer_key": unit.key, "trace_id": trace_id})
            return Attempt(remote=line.remote, broken=unexpected(trace_id).sentence, unknown=True)

    async def _broken(self, queue: HopQueue, unit: Unit, attempt: Attempt, used_before: bool) -> None:
        if not attempt.unknown and used_before and unit.key not in self._glitches:
            # A kept connection that had ended meanwhile says nothing of the next hop.
            self._glitches[unit.key] = None
            self._scheduler.put_back(unit)
            return
        self._glitches.pop(unit.key, None)
        began_ms = self._world.clock.now_ms()
        await self._concluder.broken(unit, attempt)
        if queue.open == 1:  # the others, where they stand, tell more of the next hop
            await self._hops.broke(unit.hop, attempt.broken, began_ms)

    async def _conclude_later(self, unit: Unit, attempt: Attempt) -> None:
        try:
            await self._concluder.answered(unit, attempt)
        finally:
            self._concluding.release()
            self.wake()

    async def _refuse(self, queue: HopQueue, error: MailError) -> None:
        """What waits for a next hop that takes no mail at all has failed."""
        attempt = Attempt(refused=error)
        while (unit := self._scheduler.take(queue.hop)) is not None:
            await self._concluder.answered(unit, attempt)

    async def _next(self, queue: HopQueue, idle_seconds: float) -> Unit | None:
        """The next unit; None when none comes in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + idle_seconds
        queue.idle += 1
        try:
            while not self._stopping:
                unit = self._scheduler.take(queue.hop)
                if unit is not None:
                    return unit
                waiter = loop.create_future()
                waiting = self._waiters.setdefault(queue.hop, deque())
                waiting.append(waiter)
                self.wake()
                try:
                    async with asyncio.timeout_at(until):
                        await waiter
                except TimeoutError:
                    return None
                finally:
                    if waiter in waiting:
                        waiting.remove(waiter)
                    # others may wait in another one by now
                    if not waiting and self._waiters.get(queue.hop) is waiting:
                        del self._waiters[queue.hop]
            return None
        finally:
            queue.idle -= 1

    def _call_idle(self, hop: str) -> bool:
        """Wakes one connection that waits for work."""
        waiting = self._waiters.get(hop)
        while waiting:
            waiter = waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return True
        return False

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivery work failed unexpectedly", exc_info=error)
