"""What waits: a hub that starts with a long queue, how fast it is drained, and mail beside dead next hops."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import median

from benchmarks.cases.case import CONSTANT, Case, Growth, Measures, Metric, Run, tenfold
from benchmarks.cases.sending import PEAK_MEMORY, Flood, Load, costs, others, relayed
from benchmarks.load import smtp
from benchmarks.load.sink import Sink
from benchmarks.processes import Usage, cpu_seconds, memory_bytes
from benchmarks.systems.system import REFUSING_DOMAIN, RELAY_DOMAIN, SILENT_DOMAIN, System

QUEUED = 100_000
DRAINED = 5_000
BEHIND_EACH = 2_000
BESIDE = 1_000
SIZE = 1024
STARTS = 3
SETTLE_SECONDS = 3.0
LOOK_SECONDS = 0.02
STALLED_SECONDS = 5.0


async def fill(system: System, count: int, domain: str) -> None:
    load = Load(count, SIZE, door="smtp")
    async with Flood(system, load, others(domain)) as flood:
        await flood.send()


async def drain(system: System, *expected: tuple[Sink, int]) -> None:
    """The next hops are back: until each has so many. Attempts that ran when it was asked to try again may
    have failed since, so it is asked again where nothing comes any more."""
    arrived = asyncio.gather(*(sink.wait_for(count) for sink, count in expected))
    while not arrived.done():
        await system.try_now()
        before = -1
        while before != (before := sum(sink.count for sink, _ in expected)) and not arrived.done():
            await asyncio.wait([arrived], timeout=STALLED_SECONDS)
    await arrived


async def _deferred(system: System, count: int) -> None:
    """Until so many wait for a later attempt: the last ones may be on their first one."""
    while True:
        if await system.waiting() >= count:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def drained(run: Run, system: System) -> Measures:
    """A queue that waits for a next hop, from its return on."""
    count, sink = run.count(DRAINED), run.hops.sink
    await sink.stop()
    await fill(system, count, RELAY_DOMAIN)
    await _deferred(system, count)
    sink.reset()
    await sink.start()
    async with Usage(system.roots()) as usage:
        began = time.perf_counter()
        await drain(system, (sink, count))
        seconds = time.perf_counter() - began
    return {"rate": count / seconds, **costs(usage, count)}


async def beside_dead_hops(run: Run, system: System) -> Measures:
    """Mail to a good next hop, without and with messages that wait for two dead ones."""
    load, waiting, hops = Load(run.count(BESIDE), door="smtp"), run.count(BEHIND_EACH), run.hops
    without = await relayed(run, system, load)
    await hops.silence.start()
    for domain in (REFUSING_DOMAIN, SILENT_DOMAIN):
        await fill(system, waiting, domain)
    beside = await relayed(run, system, load)
    await hops.silence.stop()
    for sink in (hops.refusing, hops.silent):
        sink.reset()
        await sink.start()
    await drain(system, (hops.refusing, waiting), (hops.silent, waiting))
    for sink in (hops.refusing, hops.silent):
        await sink.stop()
    return {
        "rate": beside["rate"],
        "cpu": beside["cpu"],
        "memory": beside["memory"],
        "without": without["rate"],
        "share": beside["rate"] / without["rate"] * 100,
        "cpu_share": beside["cpu"] / without["cpu"] * 100,
    }


@dataclass(frozen=True)
class Started:
    hub_seconds: float
    """Until the hub greets."""
    all_seconds: float
    """Until all servers are ready."""
    cpu_seconds: float
    """Of all servers until then."""
    memory: int


async def _start_anew(system: System) -> Started:
    """The median of some starts."""
    found = [await _restart(system) for _ in range(STARTS)]
    return Started(
        median(start.hub_seconds for start in found),
        median(start.all_seconds for start in found),
        median(start.cpu_seconds for start in found),
        max(start.memory for start in found),
    )


async def _restart(system: System) -> Started:
    await system.stop()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:  # a start that fails is told, and nobody waits for its greeting
        group.create_task(system.start())
        await _greeted(system)
        hub_seconds = time.perf_counter() - began
    all_seconds = time.perf_counter() - began
    cpu, memory = cpu_seconds(system.roots()), memory_bytes(system.roots())
    await asyncio.sleep(SETTLE_SECONDS)
    return Started(hub_seconds, all_seconds, cpu, max(memory, memory_bytes(system.roots())))


async def _greeted(system: System) -> None:
    while True:
        try:
            session = await smtp.connect(system.smtp)
        except OSError:
            await asyncio.sleep(LOOK_SECONDS)
            continue
        await session.quit()
        return


async def long_queue(run: Run, system: System) -> Measures:
    """A tenth, then all: fills the queue of a next hop that is away, starts anew, lets the hop come back."""
    sink, whole = run.hops.sink, run.count(QUEUED)
    await sink.stop()
    empty = await _start_anew(system)
    tenth_figures, _ = await _queue_of(system, sink, whole // 10)
    figures, memory = await _queue_of(system, sink, whole)
    await sink.start()
    return {
        "longer": figures["start"] - empty.hub_seconds,
        "memory": (memory - empty.memory) / 2**20,
        **tenth_figures,
        **{tenfold(key): value for key, value in figures.items()},
    }


async def _queue_of(system: System, sink: Sink, count: int) -> tuple[Measures, int]:
    """Also the memory after a start with it, in octets."""
    async with Usage(system.roots()) as filling:
        began = time.perf_counter()
        await fill(system, count, RELAY_DOMAIN)
        accepted = count / (time.perf_counter() - began)
    started = await _start_anew(system)
    sink.reset()
    await sink.start()
    async with Usage(system.roots()) as draining:
        began = time.perf_counter()
        await drain(system, (sink, count))
        rate = count / (time.perf_counter() - began)
    await sink.stop()
    measures = {
        "accepted": accepted,
        "accept_cpu": filling.cpu_seconds / count * 1000,
        "start": started.hub_seconds,
        "ready": started.all_seconds,
        "start_cpu": started.cpu_seconds,
        "drain": rate,
        "drain_cpu": draining.cpu_seconds / count * 1000,
    }
    return measures, started.memory


CASES: tuple[Case, ...] = (
    Case(
        "drain",
        f"A queue of {DRAINED:,} messages, from its next hop's return on",
        (Metric("rate", "messages a second"), Metric("cpu", "CPU ms a message", less=True), PEAK_MEMORY),
        drained,
    ),
    Case(
        "dead-hop",
        f"Hub relay beside {BEHIND_EACH:,} messages for a next hop that refuses, as many for a silent one",
        (
            Metric("rate", "messages a second"),
            Metric("without", "the same without them", less=False),
            Metric("share", "rate, % of that without them"),
            Metric("cpu", "CPU ms a message", less=True),
            Metric("cpu_share", "CPU, % of that without them", less=True),
            PEAK_MEMORY,
        ),
        beside_dead_hops,
    ),
    Case(
        "queue",
        f"{QUEUED:,} messages queued",
        (
            Metric(tenfold("start"), "start until the hub greets, s", less=True, goal=2, absolute=True),
            Metric("longer", "longer than with an empty queue, s", less=True),
            Metric(tenfold("ready"), "start until all servers are ready, s", less=True),
            Metric("memory", "memory over an empty hub, MiB", less=True, goal=100, absolute=True),
            Metric(tenfold("accepted"), "accepted a second while the next hop is away"),
            Metric(tenfold("drain"), "drained a second, from the next hop's return on"),
        ),
        long_queue,
        alone=True,
        growths=(
            Growth("start", "start until the hub greets, s", CONSTANT),
            Growth("start_cpu", "CPU s of all servers until they are ready", CONSTANT),
            Growth("accept_cpu", "CPU ms a message accepted", CONSTANT),
            Growth("drain_cpu", "CPU ms a message drained", CONSTANT),
        ),
        rounds_most=1,
    ),
)
