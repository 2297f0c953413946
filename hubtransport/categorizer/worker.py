"""Categorizer, the worker: takes messages of the submission queue through the pipeline and commits what it
says.

It gets what could not be decided at once, when the message arrived: handed over in memory, or read in pages,
the database being the truth. Promises: a message is in the pipeline once at a time; what can't be decided now
waits, what crashes the pipeline twice is set aside as poison, and the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

import msgspec

from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import World
from foundation.mail.errors import MailError
from foundation.mail.status import DELIVERY_EXPIRED
from foundation.tasks import end_tasks
from hubtransport.categorizer.enqueue import Planned
from hubtransport.categorizer.forwarder import Forwarder
from hubtransport.queues.delivery import Enqueue, enqueue
from hubtransport.queues.events import event_of
from hubtransport.queues.records import QueuedMessage
from hubtransport.queues.store import QueueStore
from hubtransport.queues.submission import crashed, load

log = logging.getLogger("waypost.hubtransport")

MEMORY_MAX = 1000
"""Messages in memory: waiting, deferred, in the pipeline."""
AT_ONCE = 64
PAGE = 200
POISON_THRESHOLD = 2
DEFERRED_SECONDS = 1.0
DEFERRED_SECONDS_MAX = 60.0


class CategorizerWorker:
    def __init__(
        self,
        store: QueueStore,
        forwarder: Forwarder,
        world: World,
        server: str,
    ) -> None:
        self._store = store
        self._forwarder = forwarder
        self._world = world
        self._server = server
        self._waiting: deque[QueuedMessage] = deque()
        self._known: set[int] = set()
        """Rows in memory."""
        self._grown: dict[int, None] = {}
        """Rows in memory to which recipients came back meanwhile."""
        self._attempts: dict[int, int] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._stored = False
        """There may be messages that are in the database alone."""
        self._loading = False
        self._left: set[int] = set()
        """Rows that left the memory since the page that is being read was asked for."""
        self._reload: asyncio.TimerHandle | None = None
        self._stopping = False

    @property
    def in_memory(self) -> int:
        return len(self._known)

    @property
    def more_stored(self) -> bool:
        """There may be messages that are in the database alone."""
        return self._stored

    def start(self, stored: bool) -> None:
        self._stored = stored
        self._look()

    def submitted(self, messages: Sequence[QueuedMessage]) -> None:
        """Messages that were just committed."""
        for message in messages:
            if message.id in self._known:
                self._grown[message.id] = None
                continue
            if len(self._known) >= MEMORY_MAX or self._stopping:
                self._stored = True
                continue
            self._known.add(message.id)
            self._waiting.append(message)
        self._look()

    async def at_once(self, message: QueuedMessage) -> Enqueue | None:
        """What becomes of a message that is arriving; None: it waits for its turn in the submission queue."""
        if self._stopping or self._waiting or self._stored:
            return None
        return await self._forwarder.at_once(message)

    async def stop(self, grace_seconds: float) -> None:
        """Finishes what is in the pipeline, within the grace."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        if self._reload is not None:
            self._reload.cancel()
        await end_tasks(self._tasks, grace_seconds)

    def _look(self) -> None:
        if self._stopping:
            return
        while self._waiting and len(self._tasks) < AT_ONCE:
            self._spawn(self._waiting.popleft())
        if self._stored and not self._loading and not self._waiting and len(self._known) < MEMORY_MAX:
            self._loading = True
            task = asyncio.get_running_loop().create_task(self._load())
            self._tasks[task] = None
            task.add_done_callback(self._ended)

    def _spawn(self, message: QueuedMessage) -> None:
        task = asyncio.get_running_loop().create_task(self._process(message))
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("categorizer work failed unexpectedly", exc_info=error)
        self._look()

    async def _load(self) -> None:
        """A page of the submission queue, without what was done while it was read."""
        count = PAGE + len(self._known)
        self._stored = False
        self._left.clear()
        try:
            page = await self._store.readers.run(lambda connection: load(connection, 0, count))
        except MailError as error:
            log.error("the submission queue could not be read", extra={"error": str(error)})
            self._stored = False
            self._look_later()
            return
        finally:
            self._loading = False
        fresh = [message for message in page if message.id not in self._known | self._left]
        self._stored = self._stored or len(page) == count
        self._known.update(message.id for message in fresh)
        self._waiting.extend(fresh)

    def _look_later(self) -> None:
        """Reads the queue again after a while."""

        def again() -> None:
            self._reload = None
            self._stored = True
            self._look()

        if self._reload is None and not self._stopping:
            self._reload = asyncio.get_running_loop().call_later(DEFERRED_SECONDS_MAX / 2, again)

    # --- one message

    async def _process(self, message: QueuedMessage) -> None:
        try:
            try:
                await self._move_on(message)
            except MailError:
                raise
            except Exception as error:
                await self._crashed(message, error)
        except MailError as error:
            log.error(
                "a message could not be moved on, trying again",
                extra={"network_message_id": message.network_message_id, "error": str(error)},
            )
            self._again_later(message)

    async def _move_on(self, message: QueuedMessage) -> None:
        try:
            planned = await self._forwarder.decide(message)
        except MailError as error:
            await self._defer(message, error)
            return
        await self._commit(message, planned)
        self._forget(message.id)

    async def _commit(self, message: QueuedMessage, planned: Planned) -> None:
        work = await self._forwarder.prepare(message, planned)

        def committed(reports: Sequence[QueuedMessage]) -> None:
            self._forwarder.committed(work, work.units)
            self.submitted(reports)

        try:
            await self._store.writer.run(lambda connection: enqueue(connection, work), committed)
        except Exception:
            self._forwarder.withdraw(work)
            raise

    async def _defer(self, message: QueuedMessage, error: MailError) -> None:
        """The directory can't be asked now."""
        now_ms = self._world.clock.now_ms()
        if message.expires_at_ms <= now_ms:
            expired = MailError(
                554, f"5{DELIVERY_EXPIRED[1:]}", f"Not delivered within the time for it: {error}"
            )
            await self._commit(message, self._forwarder.give_up(message, expired))
            self._forget(message.id)
            return
        if message.id not in self._attempts:
            event = event_of(
                message,
                "DEFER",
                "ROUTING",
                at_ms=now_ms,
                server=self._server,
                recipients=tuple(queued.recipient.address for queued in message.recipients),
                reply=str(error),
                reason="the directory can't be asked now",
            )
            await self._store.writer.run(
                lambda connection: crashed(connection, message.id, message.crashes, False, (event,))
            )
        self._again_later(message)

    async def _crashed(self, message: QueuedMessage, error: Exception) -> None:
        """Poison is counted in the database: a restart does not forget it."""
        crashes = message.crashes + 1
        poison = crashes >= POISON_THRESHOLD
        log.error(
            "the categorizer failed on a message",
            exc_info=error,
            extra={"network_message_id": message.network_message_id, "crashes": crashes, "poison": poison},
        )
        events: tuple[TrackingEvent, ...] = ()
        if poison:
            events = (
                event_of(
                    message,
                    "POISONMESSAGE",
                    "QUEUE",
                    at_ms=self._world.clock.now_ms(),
                    server=self._server,
                    recipients=tuple(queued.recipient.address for queued in message.recipients),
                    reason=f"the categorizer failed on it {crashes} times ({type(error).__name__})",
                ),
            )
        await self._store.writer.run(
            lambda connection: crashed(connection, message.id, crashes, poison, events)
        )
        if poison:
            self._forget(message.id)
        else:
            self._again_later(msgspec.structs.replace(message, crashes=crashes))

    def _again_later(self, message: QueuedMessage) -> None:
        if self._stopping:
            return
        attempts = self._attempts[message.id] = self._attempts.get(message.id, 0) + 1
        if len(self._timers) >= MEMORY_MAX // 2:
            self._forget(message.id)
            self._look_later()
            return
        seconds = min(DEFERRED_SECONDS * 2.0 ** min(attempts - 1, 16), DEFERRED_SECONDS_MAX)

        def again() -> None:
            self._timers.pop(message.id, None)
            self._waiting.append(message)
            self._look()

        self._timers[message.id] = asyncio.get_running_loop().call_later(seconds, again)

    def _forget(self, message: int) -> None:
        self._known.discard(message)
        self._attempts.pop(message, None)
        if self._loading:
            self._left.add(message)
        if message in self._grown:
            del self._grown[message]
            self._stored = True
