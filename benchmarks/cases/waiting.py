"""Clients that wait: latency to IDLE and to NOOP, fan-out to many, logons, memory of idle connections."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import AsyncExitStack
from statistics import quantiles

from benchmarks.cases.case import Case, Measures, Metric, Run
from benchmarks.cases.sending import PEAK_MEMORY, STRANGER, Load, costs, receivers, senders, until_visible
from benchmarks.load import imap, smtp
from benchmarks.load.letters import letter
from benchmarks.processes import Usage, memory_bytes
from benchmarks.systems.system import Door, System, User

SIZE = 10 * 1024
WATCHED = 20
LATENCY_MESSAGES = 2000
SENDING = 30
POLL_SECONDS = 0.05
FAN_OUT = 200
LOGONS = 300
LOGONS_AT_ONCE = 10
IDLE_CONNECTIONS = 1000
WARMING_CONNECTIONS = 20


async def calibrate(run: Run, system: System) -> Measures:
    """Finds how fast the slower system is."""
    measures = await until_visible(system, Load(run.count(600)))
    run.known["rate"] = min(run.known.get("rate", measures["rate"]), measures["rate"])
    return {}


class Mailbox:
    """When messages for it left, and how long each took to be seen."""

    def __init__(self) -> None:
        self.sent: deque[float] = deque()
        self.seen = 0
        self.latencies: list[float] = []
        self.complete = asyncio.Event()

    def exists(self, count: int) -> None:
        now = time.perf_counter()
        while self.seen < count and self.sent:
            self.latencies.append(now - self.sent.popleft())
            self.seen += 1
        self.complete.set()


async def latency(run: Run, system: System, *, polling: bool) -> Measures:
    """Open loop: messages leave when it is their time, whether or not those before were answered."""
    count, rate = run.count(LATENCY_MESSAGES), run.known["rate"] / 2
    users = receivers(system, WATCHED)
    boxes = [Mailbox() for _ in users]
    async with AsyncExitStack() as stack:
        for user, box in zip(users, boxes, strict=True):
            await _watch(stack, system, user, box, polling=polling)
        idle: asyncio.Queue[tuple[User, smtp.SmtpSession]] = asyncio.Queue()
        for place in range(SENDING):
            user = senders(system)[place % len(senders(system))]
            session = await smtp.connect(system.submissions, user)
            stack.push_async_callback(session.quit)
            idle.put_nowait((user, session))

        async def send(number: int, due: float) -> None:
            box, to = boxes[number % len(boxes)], users[number % len(users)].address
            box.sent.append(due)
            user, session = await idle.get()
            content = letter(number, SIZE, sender=user.address, recipient=to)
            await session.send(smtp.envelope(user.address, [to]), 1, content)
            idle.put_nowait((user, session))

        async with Usage(system.roots()) as usage, asyncio.TaskGroup() as group:
            began = time.perf_counter()
            for number in range(count):
                due = began + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(send(number, due))
        for box in boxes:
            while box.sent:
                box.complete.clear()
                await box.complete.wait()
    latencies = [value * 1000 for box in boxes for value in box.latencies]
    cuts = quantiles(latencies, n=1000)
    return {
        "p50": cuts[499],
        "p99": cuts[989],
        "p99.9": cuts[998],
        "rate": rate,
        "cpu": usage.cpu_seconds / count * 1000,
    }


async def _watch(stack: AsyncExitStack, system: System, user: User, box: Mailbox, *, polling: bool) -> None:
    session = await imap.connect(system.imaps, user)
    stack.push_async_callback(session.logout)
    box.seen = await session.select()
    if not polling:
        await session.idle(box.exists)
        stack.push_async_callback(session.done)
        return

    async def poll() -> None:
        while True:
            box.exists(await session.noop())
            await asyncio.sleep(POLL_SECONDS)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    task = asyncio.create_task(poll())
    stack.push_async_callback(end)


async def idle_latency(run: Run, system: System) -> Measures:
    return await latency(run, system, polling=False)


async def polled_latency(run: Run, system: System) -> Measures:
    return await latency(run, system, polling=True)


async def fan_out(run: Run, system: System) -> Measures:
    """One delivery into a mailbox which many clients watch: until the first and the last one know."""
    (user,) = receivers(system, 1)
    arrived: list[float] = []
    complete = asyncio.Event()

    def seen(_: int) -> None:
        arrived.append(time.perf_counter())
        if len(arrived) == FAN_OUT:
            complete.set()

    async with AsyncExitStack() as stack:
        for _ in range(FAN_OUT):
            session = await imap.connect(system.imaps, user)
            stack.push_async_callback(session.logout)
            await session.select()
            await session.idle(seen)
            stack.push_async_callback(session.done)
        sender = await smtp.connect(system.lmtp, lmtp=True)
        stack.push_async_callback(sender.quit)
        content = letter(1, 1024, sender=STRANGER, recipient=user.address)
        began = time.perf_counter()
        await sender.send(smtp.envelope(STRANGER, [user.address]), 1, content)
        delivered = time.perf_counter()
        await complete.wait()
    return {
        "last": (max(arrived) - began) * 1000,
        "first": (min(arrived) - began) * 1000,
        "delivered": (delivered - began) * 1000,
    }


async def logons(run: Run, system: System) -> Measures:
    """Connect with TLS, LOGIN, LOGOUT."""
    count = run.count(LOGONS)
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            session = await imap.connect(system.imaps, system.users[number % 20])
            await session.logout()

    async with Usage(system.roots()) as usage:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(LOGONS_AT_ONCE):
                group.create_task(client())
        seconds = time.perf_counter() - began
    return {"rate": count / seconds, **costs(usage, count)}


async def idle_memory(run: Run, system: System, door: Door) -> Measures:
    """What many connections in IDLE take, each. In new processes: those that had many before keep memory."""
    count = run.count(IDLE_CONNECTIONS)
    await system.stop()
    await system.start()
    async with AsyncExitStack() as stack:
        for number in range(WARMING_CONNECTIONS):  # what the first ones need once is not theirs
            await _idle(stack, system, door, number)
        before = memory_bytes(system.roots())
        for number in range(count):
            await _idle(stack, system, door, number)
        taken = memory_bytes(system.roots()) - before
    return {"each": taken / count / 1024}


async def _idle(stack: AsyncExitStack, system: System, door: Door, number: int) -> None:
    users = senders(system)  # nothing was sent to them: what messages take in memory is not the connection's
    session = await imap.connect(door, users[number % len(users)])
    stack.push_async_callback(session.logout)
    await session.select()
    await session.idle(lambda _: None)
    stack.push_async_callback(session.done)


async def idle_memory_tls(run: Run, system: System) -> Measures:
    return await idle_memory(run, system, system.imaps)


async def idle_memory_plain(run: Run, system: System) -> Measures:
    return await idle_memory(run, system, system.imap)


_LATENCIES = (Metric("p50", "p50, ms", less=True), Metric("p99.9", "p99.9, ms", less=True))
CASES: tuple[Case, ...] = (
    Case(
        "latency",
        "Latency to IDLE, open loop at half of the slower rate, 10 KiB",
        (Metric("p99", "p99, ms", less=True, goal=0.1, beyond_absolute=10), *_LATENCIES),
        idle_latency,
        prepare=calibrate,
        run_in=True,
    ),
    Case(
        "latency-noop",
        "The same, seen by NOOP",
        (Metric("p99", "p99, ms", less=True, goal=0.8, beyond=0.5), *_LATENCIES),
        polled_latency,
        prepare=calibrate,
        run_in=True,
    ),
    Case(
        "fan-out",
        f"One delivery to {FAN_OUT} clients in IDLE",
        (
            Metric("last", "last one, ms", less=True, goal=0.05, beyond_absolute=10),
            Metric("first", "first one, ms", less=True),
            Metric("delivered", "250, ms", less=True),
        ),
        fan_out,
    ),
    Case(
        "logons",
        "IMAP logons with TLS",
        (
            Metric("rate", "a second", goal=5, beyond=20),
            Metric("cpu", "CPU ms a logon", less=True),
            PEAK_MEMORY,
        ),
        logons,
    ),
    Case(
        "idle-memory",
        f"{IDLE_CONNECTIONS:,} connections in IDLE with TLS",
        (Metric("each", "KiB each", less=True, goal=35, absolute=True),),
        idle_memory_tls,
    ),
    Case(
        "idle-memory-plain",
        f"{IDLE_CONNECTIONS:,} connections in IDLE without TLS",
        (Metric("each", "KiB each", less=True, goal=10, absolute=True),),
        idle_memory_plain,
    ),
)
