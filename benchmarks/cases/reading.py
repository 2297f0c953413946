"""IMAP over a large mailbox: each command twice, the first time with nothing computed for a reader before,
but for what SELECT shows: the mailbox was selected when it was filled.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.cases.case import Case, Measures, Metric, Run
from benchmarks.cases.sending import Flood, Load
from benchmarks.load import imap
from benchmarks.processes import cpu_seconds
from benchmarks.systems.system import System, User

MESSAGES = 10_000
MESSAGE_BYTES = 6 * 1024
REST_SECONDS_MAX = 300
RESTING_CPU = 0.02
"""Of one processor."""

_COMMANDS: tuple[tuple[str, str, str, tuple[float, float] | None, tuple[float, float] | None], ...] = (
    ("flags", "FETCH FLAGS", "FETCH 1:* (UID FLAGS)", (1, 2), (1, 2)),
    ("envelope", "FETCH ENVELOPE", "FETCH 1:* ENVELOPE", (3, 6), (1.2, 2)),
    ("structure", "FETCH BODYSTRUCTURE", "FETCH 1:* BODYSTRUCTURE", (3, 6), (1.2, 2)),
    (
        "header",
        "FETCH header fields",
        "FETCH 1:* BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)]",
        (1, 2),
        (1, 2),
    ),
    ("body", "FETCH BODY[]", "FETCH 1:* BODY.PEEK[]", (3, 6), (1.2, 2)),
    ("subject", "SEARCH SUBJECT", "SEARCH SUBJECT meeting", (1, 2), (1, 2)),
    ("text", "SEARCH TEXT", "SEARCH TEXT {needle}", (50, 200), (50, 200)),
    ("store", "STORE flags", r"STORE 1:* +FLAGS (\Flagged)", (1, 2), None),
)

_NEEDLES = ("ustome", "uestio", "chedul", "eadlin", "nvoice", "egards", "roject", "ttache", "nother")
"""Parts of words that every message has: another one each round, since Waypost keeps what it found last (from
the tenth on they come again)."""


def reader(system: System) -> User:
    """One that no other case sends to."""
    return system.users[-1]


async def fill(run: Run, system: System) -> Measures:
    """Delivers what is missing, by LMTP, then asks for text once: what is indexed for those who ask is
    indexed before the first round.
    """
    user, wanted = reader(system), run.count(MESSAGES)
    session = await imap.connect(system.imaps, user)
    missing = wanted - await session.select()
    await session.logout()
    load = Load(missing, MESSAGE_BYTES, door="lmtp", sessions=10)
    if missing > 0:
        async with Flood(system, load, lambda number: [user.address]) as flood:
            await flood.send()
    session = await imap.connect(system.imaps, user)
    await session.select()
    await session.command("SEARCH TEXT hrough")
    await session.logout()
    await rest(system)
    return {}


async def rest(system: System) -> None:
    """Until the system has done what it does by itself. Raises TimeoutError."""
    async with asyncio.timeout(REST_SECONDS_MAX):
        used = cpu_seconds(system.roots())
        while True:
            await asyncio.sleep(1)
            before, used = used, cpu_seconds(system.roots())
            if used - before < RESTING_CPU:
                return


async def read(run: Run, system: System) -> Measures:
    user = reader(system)
    system.forget_caches(user)
    session = await imap.connect(system.imaps, user)
    measures: Measures = {}
    before = int(run.known.get(system.name, 0))
    run.known[system.name] = before + 1
    needle = _NEEDLES[before % len(_NEEDLES)]

    async def timed(key: str, command: str) -> None:
        cpu, began = cpu_seconds(system.roots()), time.perf_counter()
        await session.command(command)
        measures[key] = (time.perf_counter() - began) * 1000
        measures[f"{key}_cpu"] = (cpu_seconds(system.roots()) - cpu) * 1000

    await timed("select", "SELECT INBOX")
    for key, _, command, _, repeated in _COMMANDS:
        await timed(key, command.format(needle=needle))
        if repeated is not None:
            await timed(f"{key}_again", command.format(needle=needle))
    await session.command(r"STORE 1:* -FLAGS.SILENT (\Flagged)")
    await session.logout()
    return measures


def _metrics() -> tuple[Metric, ...]:
    found = [Metric("select", "SELECT again, ms", less=True)]
    for key, title, _, first, repeated in _COMMANDS:
        goals = (("", "first", first), ("_again", "repeated", repeated))
        for suffix, when, goal in goals:
            if goal is not None:
                name = f"{title} {when}" if repeated is not None else title
                found.append(
                    Metric(f"{key}{suffix}", f"{name}, ms", less=True, goal=1 / goal[0], beyond=1 / goal[1])
                )
                found.append(Metric(f"{key}{suffix}_cpu", f"{name}, CPU ms", less=True))
    return tuple(found)


CASES: tuple[Case, ...] = (
    Case("imap", f"IMAP over {MESSAGES:,} messages of 6 KiB", _metrics(), read, prepare=fill),
)
