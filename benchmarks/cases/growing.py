"""What happens with ten times as much: messages in a mailbox, mailboxes in a system."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from benchmarks.cases.case import CONSTANT, LINEAR, Case, Growth, Measures, Run, tenfold
from benchmarks.cases.reading import rest
from benchmarks.cases.sending import Flood, Load, until_visible
from benchmarks.cases.waiting import logons
from benchmarks.load import imap
from benchmarks.processes import Usage, cpu_seconds, memory_bytes
from benchmarks.systems.system import System, User

MESSAGES = 10_000
MESSAGE_BYTES = 2048
DELIVERED = 100

DELIVERIES = 600
STRIDE = 7919
"""A prime: each message goes to a mailbox far from the last one's."""
THROUGH_THE_HUB = 600

TIMES = 10
"""What is over at once is done so often."""
_COMMANDS: tuple[tuple[str, str, str, float], ...] = (
    ("select", "SELECT again", "SELECT INBOX", CONSTANT),
    ("one", "FETCH BODY[] of one in the middle", "FETCH {middle} BODY.PEEK[]", CONSTANT),
    ("flags", "FETCH FLAGS of all", "FETCH 1:* (UID FLAGS)", LINEAR),
    ("envelope", "FETCH ENVELOPE of all", "FETCH 1:* ENVELOPE", LINEAR),
    ("structure", "FETCH BODYSTRUCTURE of all", "FETCH 1:* BODYSTRUCTURE", LINEAR),
    (
        "header",
        "FETCH header fields of all",
        "FETCH 1:* BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)]",
        LINEAR,
    ),
    ("body", "FETCH BODY[] of all", "FETCH 1:* BODY.PEEK[]", LINEAR),
    ("subject", "SEARCH SUBJECT", "SEARCH SUBJECT meeting", LINEAR),
    ("text", "SEARCH TEXT", "SEARCH TEXT ustome", LINEAR),
    ("store", "STORE flags of all", r"STORE 1:* +FLAGS.SILENT (\Flagged)", LINEAR),
)


# --- messages in a mailbox ---


def small_and_large(system: System) -> tuple[User, User]:
    """Two that no other case sends to."""
    return system.users[-3], system.users[-5]


async def fill_both(run: Run, system: System) -> Measures:
    """Delivers what is missing, by LMTP."""
    for user, wanted in zip(small_and_large(system), (MESSAGES, 10 * MESSAGES), strict=True):
        session = await imap.connect(system.imaps, user)
        missing = run.count(wanted) - await session.select()
        await session.logout()
        if missing > 0:
            async with _deliveries(system, missing, [user.address]) as flood:
                await flood.send()
    return {}


def _deliveries(system: System, count: int, addresses: Sequence[str]) -> Flood:
    """By LMTP, to all of them in turns."""
    load = Load(count, MESSAGE_BYTES, door="lmtp", sessions=10)
    return Flood(system, load, lambda number: [addresses[number * STRIDE % len(addresses)]])


async def in_one_mailbox(run: Run, system: System) -> Measures:
    small, large = small_and_large(system)
    once, ten_times = [await _over(run, system, user) for user in (small, large)]
    return once | {tenfold(key): value for key, value in ten_times.items()}


async def _over(run: Run, system: System, user: User) -> Measures:
    """All commands over a mailbox, and deliveries into it, which are removed again."""
    measures: Measures = {}
    delivered = run.count(DELIVERED)

    async def timed(key: str, work: Callable[[], Awaitable[object]], parts: int = 1, times: int = 1) -> None:
        cpu, began = cpu_seconds(system.roots()), time.perf_counter()
        for _ in range(times):
            await work()
        measures[key] = (time.perf_counter() - began) * 1000 / (parts * times)
        measures[f"{key}_cpu"] = (cpu_seconds(system.roots()) - cpu) * 1000 / (parts * times)

    session = await imap.connect(system.imaps, user)
    before = await session.select()
    for key, _, command, growth in _COMMANDS:
        text = command.format(middle=before // 2)
        await timed(key, partial(session.command, text), times=TIMES if growth == CONSTANT else 1)
        await rest(system)  # a search in text may have something indexed
        if key == "one":
            await timed("noop", session.noop, times=TIMES)
    await session.command(r"STORE 1:* -FLAGS.SILENT (\Flagged)")
    async with _deliveries(system, delivered, [user.address]) as flood:
        await timed("deliver", flood.send, parts=delivered)
    while session.exists < before + delivered:
        await session.noop()
    await session.command(rf"STORE {before + 1}:* +FLAGS.SILENT (\Deleted)")
    await timed("expunge", partial(session.command, "EXPUNGE"), parts=delivered)
    await session.logout()
    return measures


# --- mailboxes in a system ---


async def start_both(run: Run, system: System) -> Measures:
    """Two new ones, where every mailbox has got something before."""
    for factor in (1, 10):
        sibling = system.sibling(factor * len(system.users))
        run.siblings.append(sibling)
        await sibling.start()
        async with _deliveries(sibling, len(sibling.users), _addresses(sibling)) as flood:
            await flood.send()
    return {}


def _addresses(system: System) -> list[str]:
    return [user.address for user in system.users]


async def among_many_mailboxes(run: Run, system: System) -> Measures:
    siblings = [sibling for sibling in run.siblings if sibling.name == system.name]
    once, ten_times = [await _among(run, sibling) for sibling in siblings]
    return once | {tenfold(key): value for key, value in ten_times.items()}


async def _among(run: Run, system: System) -> Measures:
    await system.stop()
    began = time.perf_counter()
    await system.start()
    start = time.perf_counter() - began
    memory = memory_bytes(system.roots())
    await logons(run, system)  # the first one of each user verifies the password
    logged_on = await logons(run, system)
    hub = await until_visible(system, Load(run.count(THROUGH_THE_HUB), door="smtp"))
    count = run.count(DELIVERIES)
    async with (
        _deliveries(system, count, _addresses(system)) as flood,
        Usage(system.roots()) as usage,
    ):
        await flood.send()
    return {
        "start": start,
        "memory": memory / 2**20,
        "logon": logged_on["cpu"],
        "hub": hub["cpu"],
        "deliver": usage.cpu_seconds / count * 1000,
    }


def _growths() -> tuple[Growth, ...]:
    figures = [(key, f"{title}, {{}}", growth) for key, title, _, growth in _COMMANDS]
    figures += [
        ("noop", "NOOP, {}", CONSTANT),
        ("deliver", "delivery into it, {} a message", CONSTANT),
        ("expunge", f"EXPUNGE of {DELIVERED}, {{}} a message", CONSTANT),
    ]
    found = []
    for key, title, most in figures:
        found.append(Growth(key, title.format("ms"), most))
        found.append(Growth(f"{key}_cpu", title.format("CPU ms"), most))
    return tuple(found)


CASES: tuple[Case, ...] = (
    Case(
        "growth-messages",
        f"{MESSAGES:,} messages of 2 KiB in a mailbox",
        (),
        in_one_mailbox,
        prepare=fill_both,
        alone=True,
        growths=_growths(),
    ),
    Case(
        "growth-mailboxes",
        "Mailboxes",
        (),
        among_many_mailboxes,
        prepare=start_both,
        growths=(
            Growth("start", "start until all servers are ready, s", CONSTANT),
            Growth("memory", "memory after the start, MiB", CONSTANT),
            Growth("logon", "CPU ms a logon", CONSTANT),
            Growth("hub", "plain into the hub, 10 KiB, CPU ms a message", CONSTANT),
            Growth("deliver", "LMTP delivery to all mailboxes in turns, CPU ms a message", CONSTANT),
        ),
    ),
)
