"""Mail through a system: from the client's first byte until the last message is visible by IMAP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.cases.case import Case, Measures, Metric, Run
from benchmarks.load import imap, smtp
from benchmarks.load.letters import letter, prepare
from benchmarks.processes import Usage
from benchmarks.systems.system import RELAY_DOMAIN, Door, System, User

MAILBOXES = 20
"""So many mailboxes receive, in turns."""
POLL_SECONDS = 0.02
STRANGER = "load@elsewhere.example"


@dataclass(frozen=True)
class Load:
    """What is sent, and how."""

    count: int
    size: int = 10 * 1024
    sessions: int = 20
    recipients: int = 1
    door: str = "submissions"
    kept: bool = True
    """Connections stay; else one message each."""

    @property
    def authenticated(self) -> bool:
        return self.door == "submissions"


RUN_IN = Load(5000)
"""What a system has carried before its first round."""


def senders(system: System) -> Sequence[User]:
    """With two sites they are at the first one."""
    return system.users[::2]


def receivers(system: System, count: int = MAILBOXES) -> Sequence[User]:
    """With two sites they are at the second one."""
    return system.users[1::2][:count]


class Flood:
    """Sends all of a load. Kept connections stand, logged on, and bodies are made, before it begins."""

    def __init__(self, system: System, load: Load, recipients: Callable[[int], Sequence[str]]) -> None:
        self._load = load
        self._recipients = recipients
        self._door: Door = getattr(system, load.door)
        who = senders(system) if load.authenticated else [None]
        self._users = [who[place % len(who)] for place in range(min(load.sessions, load.count))]
        self._lmtp = load.door == "lmtp"
        self._sessions: list[smtp.SmtpSession | None] = []

    async def __aenter__(self) -> Flood:
        prepare(self._load.size)
        for user in self._users:
            self._sessions.append(await self._connect(user) if self._load.kept else None)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions:
            if session is not None:
                await session.quit()

    async def _connect(self, user: User | None) -> smtp.SmtpSession:
        return await smtp.connect(self._door, user, lmtp=self._lmtp)

    async def send(self) -> None:
        """Over when the last message is accepted."""
        numbers = iter(range(self._load.count))
        async with asyncio.TaskGroup() as group:
            for user, session in zip(self._users, self._sessions, strict=True):
                group.create_task(self._worker(numbers, user, session))

    async def _worker(self, numbers: Iterator[int], user: User | None, kept: smtp.SmtpSession | None) -> None:
        sender = user.address if user else STRANGER
        for number in numbers:
            to = self._recipients(number)
            content = letter(number, self._load.size, sender=sender, recipient=to[0])
            session = kept or await self._connect(user)
            finals = len(to) if self._lmtp else 1
            await session.send(smtp.envelope(sender, to), len(to), content, finals)
            if kept is None:
                await session.quit()


class Watchers:
    """One IMAP session for each receiving mailbox, logged on before the clock runs."""

    def __init__(self, system: System, mailboxes: Sequence[User]) -> None:
        self._system = system
        self._mailboxes = mailboxes

    async def __aenter__(self) -> Watchers:
        self._sessions = [await imap.connect(self._system.imaps, user) for user in self._mailboxes]
        for session in self._sessions:
            await self._empty(session)
        return self

    async def _empty(self, session: imap.ImapSession) -> None:
        if await session.select():
            await session.command(r"STORE 1:* +FLAGS.SILENT (\Deleted)")
            await session.command("EXPUNGE")
        await session.command("CLOSE")

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions:
            await session.logout()

    async def wait_until_visible(self, each: Sequence[int]) -> None:
        """Until every mailbox has so many messages. Asks for one at a time: many that ask all the while would
        take the processor from those who deliver."""
        for session, wanted in zip(self._sessions, each, strict=True):
            count = await session.select()
            while count < wanted:
                await asyncio.sleep(POLL_SECONDS)
                count = await session.noop()


PEAK_MEMORY = Metric("memory", "peak memory, MiB", less=True)


def costs(usage: Usage, count: int) -> Measures:
    """Of a message: the daemons' CPU time, and what the generator takes of the same processors."""
    return {
        "cpu": usage.cpu_seconds / count * 1000,
        "generator": usage.generator_seconds / count * 1000,
        "memory": usage.peak_bytes / 2**20,
    }


async def until_visible(system: System, load: Load) -> Measures:
    """Everything is sent, and waited for."""
    mailboxes = receivers(system, max(MAILBOXES, load.recipients))
    if len(mailboxes) < load.recipients:
        raise ValueError(f"{load.recipients} recipients a message need twice as many mailboxes")
    addresses = [user.address for user in mailboxes]

    def recipients(number: int) -> list[str]:
        start = number * load.recipients
        return [addresses[(start + place) % len(addresses)] for place in range(load.recipients)]

    each = [0] * len(addresses)
    for number in range(load.count):
        for place in range(load.recipients):
            each[(number * load.recipients + place) % len(addresses)] += 1
    async with (
        Watchers(system, mailboxes) as watchers,
        Flood(system, load, recipients) as flood,
        Usage(system.roots()) as usage,
    ):
        began = time.perf_counter()
        await flood.send()
        accepted = time.perf_counter() - began
        await watchers.wait_until_visible(each)
        seconds = time.perf_counter() - began
    return {
        "rate": load.count / seconds,
        "accepted": load.count / accepted,
        **costs(usage, load.count),
    }


def others(domain: str) -> Callable[[int], list[str]]:
    """A recipient of a domain that is relayed for each message."""
    return lambda number: [f"someone{number % 50}@{domain}"]


async def relayed(run: Run, system: System, load: Load) -> Measures:
    """Everything is sent, and waited for at the sink."""
    sink = run.hops.sink
    sink.reset()
    async with Flood(system, load, others(RELAY_DOMAIN)) as flood, Usage(system.roots()) as usage:
        began = time.perf_counter()
        await flood.send()
        await sink.wait_for(load.count)
        seconds = time.perf_counter() - began
    return {
        "rate": load.count / seconds,
        **costs(usage, load.count),
    }


async def run_in(run: Run, system: System) -> None:
    """Mail that is not measured: over its first thousands a new system becomes slower, and stays so."""
    await until_visible(system, run.scaled(RUN_IN))


def _metrics(
    goal: float | None = None,
    beyond: float | None = None,
    cpu_goal: float | None = None,
    cpu_beyond: float | None = None,
) -> tuple[Metric, ...]:
    return (
        Metric("rate", "messages a second", goal=goal, beyond=beyond),
        Metric("cpu", "CPU ms a message", less=True, goal=cpu_goal, beyond=cpu_beyond),
        PEAK_MEMORY,
        Metric("generator", "the generator's own CPU ms a message", less=True),
    )


def _case(name: str, title: str, load: Load, metrics: tuple[Metric, ...], *, two_sites: bool = False) -> Case:
    async def measure(run: Run, system: System) -> Measures:
        return await until_visible(system, run.scaled(load))

    return Case(name, title, metrics, measure, two_sites=two_sites, run_in=True)


def _relay_case(name: str, title: str, load: Load, metrics: tuple[Metric, ...]) -> Case:
    async def measure(run: Run, system: System) -> Measures:
        return await relayed(run, system, run.scaled(load))

    return Case(name, title, metrics, measure, run_in=True)


_KIB = 1024
CASES: tuple[Case, ...] = (
    _case(
        "submission",
        "Submission (TLS, AUTH, 20 kept connections, 10 KiB) to visible",
        Load(2000),
        _metrics(3, 5, 0.35, 0.2),
    ),
    _case("submission-1", "The same, 1 session", Load(300, sessions=1), _metrics()),
    _case("submission-100", "The same, 100 sessions", Load(2000, sessions=100), _metrics()),
    _case(
        "one-connection",
        "Submission, one connection a message, 10 KiB",
        Load(800, kept=False),
        _metrics(2, 3, 1 / 2, 1 / 3),
    ),
    _case("plain-1k", "Plain into the hub, 1 KiB", Load(2000, _KIB, door="smtp"), _metrics(3, 5)),
    _case("plain-10k", "Plain into the hub, 10 KiB", Load(2000, door="smtp"), _metrics(3, 5)),
    _case("recipients-20", "Submission, 20 recipients a message", Load(300, recipients=20), _metrics(6, 10)),
    _case("recipients-50", "Submission, 50 recipients a message", Load(150, recipients=50), _metrics(6, 10)),
    _case("large", "Submission, 1 MiB", Load(100, 1024 * _KIB), _metrics(1, 2)),
    _case("two-sites", "Submission over two sites (two hubs)", Load(1500), _metrics(2.5, 4), two_sites=True),
    _relay_case("relay", "Hub relay alone: SMTP in, SMTP out", Load(2000, door="smtp"), _metrics(2, 3)),
    _case("lmtp", "LMTP delivery alone", Load(2000, door="lmtp"), _metrics()),
)
