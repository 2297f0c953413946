"""What waits: a hub that starts with a long queue, and how fast the queue is drained."""

from __future__ import annotations

import time

from benchmarks.cases.case import Case, Measures, Metric, Run
from benchmarks.cases.sending import Flood, Load
from benchmarks.processes import memory_bytes
from benchmarks.systems.system import RELAY_DOMAIN, System

QUEUED = 100_000
ANSWER_BYTES = 1024


async def long_queue(run: Run, system: System) -> Measures:
    """Fills the queue of a next hop that is away, starts the system anew, lets the next hop come back."""
    count = run.count(QUEUED)
    empty_start, empty_bytes = await _restart(system)
    await run.sink.stop()
    load = Load(count, ANSWER_BYTES, sessions=20, door="smtp")
    async with Flood(system, load, lambda number: [f"someone{number % 50}@{RELAY_DOMAIN}"]) as flood:
        await flood.send()
    full_start, full_bytes = await _restart(system)
    run.sink.reset()
    await run.sink.start(run.sink.port)
    began = time.perf_counter()
    await run.sink.wait_for(count)
    return {
        "start": full_start,
        "longer": full_start - empty_start,
        "memory": (full_bytes - empty_bytes) / 2**20,
        "drain": count / (time.perf_counter() - began),
    }


async def _restart(system: System) -> tuple[float, int]:
    """Seconds until it is ready, and its memory then."""
    await system.stop()
    began = time.perf_counter()
    await system.start()
    return time.perf_counter() - began, memory_bytes(system.roots())


CASES: tuple[Case, ...] = (
    Case(
        "queue",
        f"{QUEUED:,} messages queued: start, memory, drain",
        (
            Metric("start", "until all servers are ready, s", less=True),
            Metric("longer", "longer than with an empty queue, s", less=True, goal=2, absolute=True),
            Metric("memory", "memory over an empty hub, MiB", less=True, goal=100, absolute=True),
            Metric("drain", "drained a second, from the next hop's return on"),
        ),
        long_queue,
        alone=True,
    ),
)
