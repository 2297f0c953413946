"""Back pressure, the watch: samples a server's resources every two seconds and tells of each change of level.

What can't be sampled keeps its level. A change that can't be told (a full disk takes no event) is told again
at the next sample.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from foundation.interfaces.world import World
from foundation.mail.errors import MailError
from foundation.pressure.levels import Change, Gauge, Level, worst

INTERVAL_SECONDS = 2.0
CHANGES_KEPT = 100

Read = Callable[[], Awaitable[float | None]]
"""A sample; None where the resource is not watched here."""

log = logging.getLogger("waypost.pressure")


class PressureWatch:
    def __init__(
        self,
        gauges: Sequence[tuple[Gauge, Read]],
        changed: Callable[[Sequence[Change]], Awaitable[object]],
    ) -> None:
        """`changed` records changes; MailError: later again."""
        self._gauges = tuple(gauges)
        self._changed = changed
        self._untold: list[Change] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def level(self) -> Level:
        return worst([gauge.level for gauge, _ in self._gauges])

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is not normal, for people."""
        return tuple(
            f"{gauge.resource} {gauge.level}: {gauge.value:.6g}{gauge.unit}"
            for gauge, _ in self._gauges
            if gauge.level != "normal"
        )

    @property
    def figures(self) -> dict[str, int]:
        """The last samples by resource."""
        return {gauge.resource.replace(" ", "_"): round(gauge.value) for gauge, _ in self._gauges}

    def replace(self, gauges: Sequence[tuple[Gauge, Read]]) -> None:
        """The same resources with other bounds; levels stay until the next sample."""
        levels = {gauge.resource: gauge.level for gauge, _ in self._gauges}
        for gauge, _ in gauges:
            gauge.level = levels.get(gauge.resource, "normal")
        self._gauges = tuple(gauges)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._always())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def sample(self) -> None:
        for gauge, read in self._gauges:
            try:
                value = await read()
            except (MailError, OSError) as error:
                log.error("a resource could not be sampled: %s", error, extra={"resource": gauge.resource})
                continue
            change = None if value is None else gauge.sample(value)
            if change is not None:
                log.warning(
                    "back pressure: %s is %s",
                    change.resource,
                    change.after,
                    extra={"before": change.before, "value": round(change.value, 1)},
                )
                self._untold.append(change)
        del self._untold[:-CHANGES_KEPT]
        if self._untold:
            told = tuple(self._untold)
            try:
                await self._changed(told)
            except MailError as error:
                log.error("a change of level could not be recorded yet: %s", error)
            else:
                del self._untold[: len(told)]

    async def _always(self) -> None:
        while True:
            try:
                await self.sample()
            except Exception:
                log.exception("the watch over resources failed; it goes on")
            await asyncio.sleep(INTERVAL_SECONDS)


def disk_percent(
    world: World, folder: Path, enough_bytes: int, reusable: Callable[[], Awaitable[int]]
) -> Read:
    """Used share of the folder's disk; 0 while `enough_bytes` are free.

    `reusable`: bytes inside the database file that are free for new rows; asked only when they count.
    """

    async def read() -> float | None:
        total, free = world.resources.disk(folder)
        if not total:
            return None
        if free < enough_bytes:
            free += await reusable()
        return 0.0 if free >= enough_bytes else max(100 * (total - free) / total, 0.0)

    return read


def database_percent(enough_bytes: int, space: Callable[[], Awaitable[tuple[int, int]]]) -> Read:
    """Used share of what the database may have; 0 while `enough_bytes` are free."""

    async def read() -> float | None:
        most, free = await space()
        return 0.0 if free >= enough_bytes else 100 * (most - free) / most

    return read


def memory_percent(world: World) -> Read:
    """Share of the memory that this process may have."""

    async def read() -> float | None:
        used, available = world.resources.memory()
        return 100 * used / available if available else None

    return read
