"""Back pressure of a hub: its disk, its memory, its commits, its submission queue; level changes as tracking
events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from config.model import Pressure
from foundation.database.dialects import reusable_bytes, space
from foundation.interfaces.world import World
from foundation.pressure.gauges import QUEUE_SAMPLES, bounds, database_gauges, events_of
from foundation.pressure.levels import Change, Gauge, Level
from foundation.pressure.watch import PressureWatch, Read
from hubtransport.categorizer.worker import CategorizerWorker
from hubtransport.queues import statements
from hubtransport.queues.store import QueueStore
from hubtransport.queues.submission import count_submitted


class HubPressure:
    def __init__(
        self,
        store: QueueStore,
        categorizer: CategorizerWorker,
        settings: Pressure,
        world: World,
        *,
        folder: Path,
        server: str,
        bounded: bool = False,
    ) -> None:
        """`folder`: whose disk holds the database; `bounded`: which has a size of its own to keep."""
        self._bounded = bounded
        self._store = store
        self._categorizer = categorizer
        self._world = world
        self._folder = folder
        self._server = server
        self._watch = PressureWatch(self._gauges(settings), self._record)

    @property
    def level(self) -> Level:
        return self._watch.level

    @property
    def reasons(self) -> tuple[str, ...]:
        return self._watch.reasons

    async def start(self) -> None:
        """Sampled once before anything is taken."""
        await self._watch.sample()
        self._watch.start()

    async def stop(self) -> None:
        await self._watch.stop()

    def take(self, settings: Pressure) -> None:
        self._watch.replace(self._gauges(settings))

    def _gauges(self, settings: Pressure) -> list[tuple[Gauge, Read]]:
        store = self._store
        return [
            *database_gauges(
                self._world,
                self._folder,
                disk=settings.database_disk_percent,
                enough_bytes=settings.disk_enough_bytes,
                memory=settings.process_memory_percent,
                commits=settings.commits_waiting,
                reusable_bytes=lambda: store.readers.run(reusable_bytes),
                commits_waiting=lambda: store.writer.waiting,
                space=(lambda: store.readers.run(space)) if self._bounded else None,
            ),
            (
                Gauge("submission queue", "", bounds(settings.submission_queue, QUEUE_SAMPLES)),
                self._submitted,
            ),
        ]

    async def _submitted(self) -> float | None:
        if not self._categorizer.more_stored:
            return self._categorizer.in_memory
        return await self._store.readers.run(count_submitted)

    async def _record(self, changes: Sequence[Change]) -> None:
        events = events_of(changes, self._server, self._world.clock.now_ms())
        await self._store.writer.run(lambda connection: statements.tracking.record(connection, events))
