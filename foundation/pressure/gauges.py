"""Back pressure, what is watched of a server with a database: disk, memory, commits; and its events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import World
from foundation.pressure.levels import Bounds, Change, Gauge
from foundation.pressure.watch import Read, database_percent, disk_percent, memory_percent

Levels = tuple[float, float, float, float]
"""Above medium, above high, back to medium, back to normal."""

MEMORY_SAMPLES = 30
COMMIT_SAMPLES = 10
QUEUE_SAMPLES = 300


def bounds(levels: Levels, samples: int = 1) -> Bounds:
    medium, high, back_to_medium, back_to_normal = levels
    return Bounds(
        medium=medium,
        high=high,
        back_to_medium=back_to_medium,
        back_to_normal=back_to_normal,
        samples=samples,
    )


def database_gauges(
    world: World,
    folder: Path,
    *,
    disk: Levels,
    enough_bytes: int,
    memory: Levels,
    commits: Levels,
    reusable_bytes: Callable[[], Awaitable[int]],
    commits_waiting: Callable[[], int],
    space: Callable[[], Awaitable[tuple[int, int]]] | None = None,
) -> tuple[tuple[Gauge, Read], ...]:
    """`space`: how large the database may become and what of it is free, where it has a bound of its own."""

    async def waiting() -> float | None:
        return commits_waiting()

    bounded = (
        ()
        if space is None
        else ((Gauge("database", " %", bounds(disk)), database_percent(enough_bytes, space)),)
    )
    return (
        (Gauge("disk", " %", bounds(disk)), disk_percent(world, folder, enough_bytes, reusable_bytes)),
        (Gauge("memory", " %", bounds(memory, MEMORY_SAMPLES)), memory_percent(world)),
        (Gauge("commits waiting", "", bounds(commits, COMMIT_SAMPLES)), waiting),
        *bounded,
    )


def events_of(changes: Sequence[Change], server: str, now_ms: int) -> tuple[TrackingEvent, ...]:
    """Exchange's event for it."""
    return tuple(
        TrackingEvent(
            event="THROTTLE",
            source="QUEUE",
            at_ms=now_ms,
            server=server,
            reason=f"{change.resource}: {change.before} to {change.after} at {change.value:.6g}{change.unit}",
        )
        for change in changes
    )
