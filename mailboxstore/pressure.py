"""Back pressure of a store: its disk, its memory, its commits; level changes as tracking events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from config.model import Pressure
from foundation.database.dialects import reusable_bytes, space
from foundation.interfaces.world import World
from foundation.pressure.gauges import database_gauges, events_of
from foundation.pressure.levels import Change, Gauge, Level
from foundation.pressure.watch import PressureWatch, Read
from mailboxstore.database.access import MailboxDatabase


class StorePressure:
    def __init__(
        self,
        database: MailboxDatabase,
        settings: Pressure,
        world: World,
        folder: Path,
        *,
        bounded: bool = False,
    ) -> None:
        """`folder`: whose disk holds the database; `bounded`: which has a size of its own to keep."""
        self._bounded = bounded
        self._database = database
        self._world = world
        self._folder = folder
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

    def _gauges(self, settings: Pressure) -> tuple[tuple[Gauge, Read], ...]:
        database = self._database
        return database_gauges(
            self._world,
            self._folder,
            disk=settings.database_disk_percent,
            enough_bytes=settings.disk_enough_bytes,
            memory=settings.process_memory_percent,
            commits=settings.commits_waiting,
            reusable_bytes=lambda: database.readers.run(reusable_bytes),
            commits_waiting=lambda: database.writer.waiting,
            space=(lambda: database.readers.run(space)) if self._bounded else None,
        )

    async def _record(self, changes: Sequence[Change]) -> None:
        database = self._database
        events = events_of(changes, database.server, database.clock.now_ms())
        await database.writer.run(lambda connection: database.tracking.record(connection, events))
