"""Delivery, whose turn it is: queues of units by next hop, with windows, fair to every next hop.

Promises: no next hop has more than its share of connections, a failed one is probed by a single connection
when its time has come, and nobody's long queue keeps another's short one waiting. Where an own server answers
on no connection for a while, one more is made for what waits behind them: it shows whether the server is
there. At most `window` units of a
next hop are in memory; the others stay in the database and are asked for in pages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from hubtransport.queues.records import HopState, StoredHop, Unit
from hubtransport.routing.hop import Hop

CONNECTIONS_PER_HOP = 20
CONNECTIONS_TOTAL = 1000
WINDOW = 500
"""Units of one next hop in memory, waiting or being sent."""
WINDOW_FAILING = 20
STALL_MS = 10_000
"""After so long without any answer, an own server has to show that it is there."""


class HopQueue:
    """One next hop."""

    def __init__(self, hop: str) -> None:
        self.hop = hop
        self.internal = Hop.parse(hop).internal
        self.waiting: deque[Unit] = deque()
        self.sending: dict[str, Unit] = {}
        self.reserved = 0
        """Units about to come into memory."""
        self.connections = 0
        """Opened or being opened."""
        self.open = 0
        """Those of them that stand."""
        self.connections_max = CONNECTIONS_PER_HOP
        self.idle = 0
        """Connections that wait for a unit."""
        self.unanswered = 0
        """Units that are on a connection."""
        self.moved_at_ms = 0
        """When last an answer came, or a connection, or a unit was begun where none was."""
        self.stored = 0
        """Units in the database alone."""
        self.stored_due_ms = 0
        self.loading = False
        self.failing: HopState | None = None

    @property
    def in_memory(self) -> int:
        return len(self.waiting) + len(self.sending) + self.reserved

    @property
    def length(self) -> int:
        """All of its units, wherever they are."""
        return len(self.waiting) + len(self.sending) + self.stored

    @property
    def room(self) -> int:
        return max((WINDOW if self.failing is None else WINDOW_FAILING) - self.in_memory, 0)

    def begun(self, now_ms: int) -> None:
        """A unit goes to a connection."""
        if not self.unanswered:
            self.moved_at_ms = now_ms
        self.unanswered += 1

    def stalled(self, now_ms: int) -> bool:
        """Nothing is answered though something was asked; or the clock went back, and nobody knows."""
        return self.internal and self.unanswered > 0 and not 0 <= now_ms - self.moved_at_ms < STALL_MS

    @property
    def opening(self) -> bool:
        return self.connections > self.open

    @property
    def empty(self) -> bool:
        return not (self.in_memory or self.stored or self.connections or self.failing or self.loading)


class Scheduler:
    def __init__(self, total: int = CONNECTIONS_TOTAL) -> None:
        self._total = total
        self._connections = 0
        self._queues: dict[str, HopQueue] = {}
        self._turn: deque[str] = deque()
        """Next hops in the order of their next turn."""

    def queues(self) -> Iterable[HopQueue]:
        return self._queues.values()

    def queue(self, hop: str) -> HopQueue:
        found = self._queues.get(hop)
        if found is None:
            found = self._queues[hop] = HopQueue(hop)
            self._turn.append(hop)
        return found

    def peek(self, hop: str) -> HopQueue | None:
        return self._queues.get(hop)

    def failing(self) -> frozenset[str]:
        """Names of the queues whose next hop failed."""
        return frozenset(hop for hop, queue in self._queues.items() if queue.failing is not None)

    def reserve(self, hop: str, now_ms: int) -> bool:
        """A place in memory for a unit that is about to be committed; else it stays in the database."""
        queue = self.queue(hop)
        # What is stored is older: it goes first, unless none of it is due yet.
        if queue.room == 0 or (queue.stored and queue.stored_due_ms <= now_ms):
            return False
        queue.reserved += 1
        return True

    def unreserve(self, hop: str) -> None:
        self.queue(hop).reserved -= 1

    def add(self, unit: Unit) -> None:
        """A unit with a reserved place."""
        queue = self.queue(unit.hop)
        queue.reserved -= 1
        queue.waiting.append(unit)

    def add_stored(self, hop: str, count: int, due_at_ms: int) -> None:
        """Units that are in the database alone."""
        queue = self.queue(hop)
        queue.stored_due_ms = min(queue.stored_due_ms, due_at_ms) if queue.stored else due_at_ms
        queue.stored += count

    def take_page(self, hop: str, page: Sequence[Unit]) -> None:
        """The units of the database that are due first come into memory, and there may be more."""
        queue = self.queue(hop)
        queue.waiting.extend(page)
        # At least one, so that the database is asked until it has no full page.
        queue.stored = max(queue.stored - len(page), 1)
        queue.stored_due_ms = page[-1].next_attempt_at_ms

    def set_stored(self, summary: StoredHop) -> None:
        """What the database says."""
        queue = self.queue(summary.hop)
        queue.stored, queue.stored_due_ms = summary.count, summary.due_at_ms

    def take(self, hop: str) -> Unit | None:
        """The next unit for a connection to this hop."""
        queue = self._queues.get(hop)
        if queue is None or not queue.waiting:
            return None
        unit = queue.waiting.popleft()
        queue.sending[unit.key] = unit
        return unit

    def put_back(self, unit: Unit) -> None:
        """It was not sent; it is first again."""
        queue = self.queue(unit.hop)
        queue.sending.pop(unit.key, None)
        queue.waiting.appendleft(unit)

    def done(self, unit: Unit) -> None:
        """The unit leaves the memory."""
        self.queue(unit.hop).sending.pop(unit.key, None)

    def drop_waiting(self, hop: str, keys: Iterable[str]) -> list[Unit]:
        """Takes waiting units out of memory."""
        queue, gone = self.queue(hop), frozenset(keys)
        taken = [unit for unit in queue.waiting if unit.key in gone]
        if taken:
            queue.waiting = deque(unit for unit in queue.waiting if unit.key not in gone)
        return taken

    def to_open(self, now_ms: int) -> list[str]:
        """Next hops that should get one more connection now, in turn; each counts as opened."""
        chosen: list[str] = []
        progress = True
        while progress and self._connections < self._total:
            progress = False
            for _ in range(len(self._turn)):
                hop = self._turn[0]
                self._turn.rotate(-1)
                if self._connections < self._total and self._wants_connection(self._queues[hop], now_ms):
                    self._queues[hop].connections += 1
                    self._queues[hop].idle += 1  # counts as idle until it takes its first unit
                    self._connections += 1
                    chosen.append(hop)
                    progress = True
        return chosen

    def closed(self, hop: str) -> None:
        queue = self.queue(hop)
        queue.connections -= 1
        self._connections -= 1

    def crowded(self, hop: str, now_ms: int) -> bool:
        """One more connection was refused: whether others are of use, so that it only takes fewer at once."""
        queue = self.queue(hop)
        if not queue.open or queue.stalled(now_ms):
            return False
        queue.connections_max = queue.open
        return True

    def failed(self, state: HopState) -> None:
        self.queue(state.hop).failing = state

    def recovered(self, hop: str) -> bool:
        """Whether it had failed before; its whole queue is released."""
        queue = self.queue(hop)
        was_failing = queue.failing is not None
        queue.failing = None
        return was_failing

    def due_now(self, hop: str) -> None:
        """A failed next hop is probed at once."""
        queue = self.queue(hop)
        if queue.failing is not None:
            queue.failing = msgspec.structs.replace(queue.failing, next_attempt_at_ms=0)

    def to_load(self, now_ms: int) -> list[HopQueue]:
        """Queues that should get a page from the database now."""
        return [queue for queue in self._queues.values() if self._wants_page(queue, now_ms)]

    def next_time_ms(self, now_ms: int) -> int | None:
        """When time alone will change something: a probe, a stall, or a stored unit that becomes due."""
        times = []
        for queue in self._queues.values():
            if queue.failing is not None:
                if not queue.opening and (queue.waiting or queue.stored or queue.internal):
                    times.append(queue.failing.next_attempt_at_ms)
                continue
            if queue.stored and not queue.loading and queue.stored_due_ms > now_ms:
                times.append(queue.stored_due_ms)
            if queue.internal and queue.waiting and queue.unanswered and not queue.stalled(now_ms):
                times.append(queue.moved_at_ms + STALL_MS)
        return min(times, default=None)

    def done_failing(self, now_ms: int) -> list[str]:
        """Next hops outside that failed and that nobody waits for any more: the failure is forgotten."""
        gone = [
            queue
            for queue in self._queues.values()
            if queue.failing is not None
            and not queue.internal
            and not queue.length
            and queue.failing.next_attempt_at_ms <= now_ms
        ]
        for queue in gone:
            queue.failing = None
        return [queue.hop for queue in gone]

    def tidy(self) -> None:
        """Now and then: queues without anything cost nothing, and a lowered share rises again."""
        for queue in self._queues.values():
            queue.connections_max = min(queue.connections_max + 1, CONNECTIONS_PER_HOP)
        for hop in [hop for hop, queue in self._queues.items() if queue.empty]:
            del self._queues[hop]
            self._turn.remove(hop)

    def _wants_connection(self, queue: HopQueue, now_ms: int) -> bool:
        if queue.failing is not None:
            # A server of ours is probed even when nobody waits for it: it may be chosen again then.
            wanted = queue.waiting or (queue.internal and not queue.stored and not queue.loading)
            return bool(wanted) and not queue.opening and queue.failing.next_attempt_at_ms <= now_ms
        if not queue.waiting:
            return False
        if queue.stalled(now_ms):
            return not queue.opening and queue.connections <= CONNECTIONS_PER_HOP
        return queue.connections < queue.connections_max and queue.idle < len(queue.waiting)

    def _wants_page(self, queue: HopQueue, now_ms: int) -> bool:
        if not queue.stored or queue.loading or queue.stored_due_ms > now_ms:
            return False
        if queue.failing is not None:
            return not queue.waiting and queue.failing.next_attempt_at_ms <= now_ms
        return len(queue.waiting) * 2 <= WINDOW and queue.room > 0
