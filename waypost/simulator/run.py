"""One run: from a seed to a verdict.

People write and read while faults come and go; then faults end, everything must drain, and a last round of
messages must go through and be told of in IDLE. Only then is checked.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from foundation.interfaces.world import MailExchanger
from foundation.mail.errors import MailError
from waypost.explain import Way
from waypost.simulator.checker import Checker
from waypost.simulator.databases import simulated_databases
from waypost.simulator.faults import Plan, SeededWeather, plan_of
from waypost.simulator.foretelling import differences, foretell
from waypost.simulator.journal import Entry, Journal
from waypost.simulator.ledger import Attempt, Ledger
from waypost.simulator.loop import PROCESS, SimulatedLoop
from waypost.simulator.machine import Machine, start_process
from waypost.simulator.network import Network
from waypost.simulator.organisation import PASSWORD, Organisation, simulated_topology
from waypost.simulator.outside import NOBODY, OutsideHost
from waypost.simulator.people import Draft, Reader, Server, Writer
from waypost.simulator.pressure import pressure_findings
from waypost.simulator.trouble import Trouble
from waypost.simulator.truth import Truth, read_events, read_former, read_mailboxes, read_queues
from waypost.simulator.ways import broken_ways
from waypost.simulator.world import NameService, context_of

USERS = 8
OUTSIDE = "outside.example"
STRANGER = f"stranger@{OUTSIDE}"
DRAIN_SECONDS_MAX = 2 * 3600.0
"""Longer than a clock is set back, than any interval between tries outside."""
LOOK_SECONDS, LOOK_SECONDS_MAX = 5.0, 60.0
SETTLE_SECONDS = 120.0
RECONNECT_SECONDS = 40.0
TOLD_SECONDS = 30.0
SHARED_MEMORY = Path("/dev/shm")
FORESEEN = (MailError, OSError, SQLAlchemyError)
"""What a daemon may log with its place in the code; anything else was not thought of."""


@dataclass(frozen=True)
class Verdict:
    seed: int
    findings: tuple[str, ...]
    digest: str
    virtual_seconds: float
    attempts: Counter[str]
    delivered: int
    faults: Counter[str]
    possible_doubles: int
    callbacks: int
    entries: tuple[Entry, ...] = field(repr=False, default=())
    events: tuple[Any, ...] = field(repr=False, default=())

    @property
    def good(self) -> bool:
        return not self.findings

    def without_journal(self) -> Verdict:
        return replace(self, entries=(), events=())


def simulate(seed: int, show: Callable[[Entry], None] | None = None, plan: Plan | None = None) -> Verdict:
    """Blocking. The same seed gives the same verdict and digest, in any process."""
    collecting = gc.isenabled()
    gc.disable()  # it would end what a crashed process left at a moment that no seed decides
    try:
        return _simulate(seed, show, plan)
    finally:
        with silence():
            while gc.collect():  # what ends in the first round lets go of more
                pass
        if collecting:
            gc.enable()


def _simulate(seed: int, show: Callable[[Entry], None] | None, plan: Plan | None) -> Verdict:
    shared = str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="waypost-", dir=shared) as folder:
        loop = SimulatedLoop()
        run = Run(seed, loop, Path(folder), show, plan)
        with run.journal_of_logs(), simulated_databases(run.journal):
            try:
                return loop.run_until_complete(run.main())
            except Exception as error:  # nobody foresaw it: a finding, to be told with its story
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(place.filename).name}:{place.lineno}"
                return run.stuck(f"the run came to no end: {error!r} at {where}")
            finally:
                with silence():
                    loop.finish()


@contextmanager
def silence() -> Iterator[None]:
    """Tasks that will never run again are collected: what they say of that is of no interest."""
    disabled, hook = logging.root.manager.disable, sys.unraisablehook
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        logging.disable(disabled)
        sys.unraisablehook = hook


class Run:
    def __init__(
        self,
        seed: int,
        loop: SimulatedLoop,
        folder: Path,
        show: Callable[[Entry], None] | None,
        plan: Plan | None,
    ) -> None:
        self.loop = loop
        self.folder = folder
        self.journal = Journal(loop.time, show)
        self.ledger = Ledger()
        self._random = Random(f"{seed} people")
        topology = simulated_topology(folder / "data")
        servers = self._servers = tuple(server.name for server in topology.servers)
        self.domain = topology.default_domain
        self.users = [f"user{number}@{self.domain}" for number in range(USERS)]
        self.plan = plan or plan_of(seed, servers, (*self.users, "outside"))
        self.weather = SeededWeather(self.plan)
        self.network = Network(loop, Random(f"{seed} network"), self.journal, self.weather)
        self.names = NameService(loop, Random(f"{seed} names"))
        self.organisation = Organisation(
            topology,
            loop,
            self.network,
            self.names,
            self.journal,
            self.ledger,
            seed,
            self.plan.directory_seconds,
        )
        self.readers: list[Reader] = []
        self._office = Machine("operator", "10.0.0.252")
        self._foretold: list[tuple[Attempt, Way]] = []
        """In calm weather: what was explained before it was sent."""
        loop.on_error = self._unhandled

    async def main(self) -> Verdict:
        self.organisation.found(USERS, self.plan.crowd)
        outside = await self._outside()
        await self.organisation.start_all()
        self._read()
        trouble = Trouble(
            self.plan, self.organisation, self.weather, self.names, outside, self.journal, self.ledger
        )
        writing = [self._start(draft) for draft in self._drafts()]
        await asyncio.gather(trouble.run(), *writing)
        self.weather.clear = True
        self.network.calm()
        trouble.end()
        for name in self.organisation.servers:
            self.organisation.start(name)
            await self.organisation.ready(name)
        await self._drain()
        if not read_queues(self.organisation.topology):
            await self._last_round()
        return await self._verdict()

    # --- the world around

    async def _outside(self) -> OutsideHost:
        address = "192.0.2.25"
        self.names.exchangers[OUTSIDE] = (MailExchanger(10, f"mx.{OUTSIDE}"),)
        self.names.hosts[f"mx.{OUTSIDE}"] = (address,)
        host = OutsideHost(
            self.loop, "outside", self.ledger, Random(f"{self.plan.seed} outside"), self.journal
        )
        await self._as(Machine("outside", address), host.listen(address))
        return host

    def _read(self) -> None:
        imaps = self.organisation.topology.access[0].imaps
        assert imaps is not None
        for number, user in enumerate(self.users):
            machine = self.network.add(Machine(user, f"10.1.0.{number + 1}"))
            start_process(machine)
            random = Random(f"{self.plan.seed} reads {user}")
            server = Server(imaps.host, imaps.port, context_of(""))
            share = 0.2 if number % 3 == 0 else 0.0
            reader = Reader(self.loop, self.journal, self.ledger, random, user, PASSWORD, server, share)
            self.readers.append(reader)
            self._as(machine, reader.run())
        start_process(self.network.add(Machine(STRANGER, "198.51.100.7")))
        for user in self.organisation.people.stores:
            if user not in self.users:
                start_process(self.network.add(Machine(user, f"10.2.0.{len(self.network.machines)}")))

    def _as(self, machine: Machine, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs as a process of that machine."""
        if machine.process is None:
            start_process(self.network.add(machine))
        assert machine.process is not None
        context = machine.process.context.copy()
        return self.loop.create_task(work, context=context)

    def _machine(self, name: str) -> Machine:
        return next(machine for machine in self.network.machines.values() if machine.name == name)

    # --- what people do

    def _drafts(self) -> list[Draft]:
        random, plan = self._random, self.plan
        drafts = []
        for _ in range(plan.messages):
            sender = random.choice(self.users) if random.random() < 0.8 else STRANGER
            recipients = self._recipients(random, sender == STRANGER)
            hidden = recipients[-1:] if len(recipients) > 1 and random.random() < 0.2 else ()
            size = random.choice((0, 500, 3000, 3000, 60_000, 400_000))
            drafts.append(Draft(random.uniform(0.5, plan.seconds), sender, recipients, size, hidden=hidden))
        if plan.crowd:
            everybody = tuple(a for a in self.organisation.people.stores if a.startswith("crowd"))
            drafts.append(Draft(random.uniform(0.5, plan.seconds), self.users[0], everybody, 2000))
        return drafts

    def _recipients(self, random: Random, from_outside: bool) -> tuple[str, ...]:
        choices = [
            *self.users,
            *self.users,
            *(f"{name}@{self.domain}" for name in ("everybody", "inner", "chief", "missing")),
            *(() if from_outside else (f"friend@{OUTSIDE}", f"other@{OUTSIDE}", f"{NOBODY}{OUTSIDE}")),
        ]
        count = random.choice((1, 1, 1, 2, 3, 6))
        return tuple(dict.fromkeys(random.choice(choices) for _ in range(count)))

    def _start(self, draft: Draft) -> asyncio.Task[Any]:
        writer = Writer(
            self.loop,
            self.journal,
            self.ledger,
            Random(f"{self.plan.seed} writes {draft.at} {draft.sender} {draft.probe}"),
            self.plan.client_nonsense_share,
        )
        return self._as(self._machine(draft.sender), self._write(writer, draft))

    async def _write(self, writer: Writer, draft: Draft) -> Attempt:
        await asyncio.sleep(max(draft.at - self.loop.time(), 0))
        topology = self.organisation.topology
        if draft.sender == STRANGER:
            hubs = [hub.smtp for hub in topology.hubs if hub.smtp is not None]

            def some_hub() -> Server:
                hub = self._random.choice(hubs)
                return Server(hub.host, hub.port)

            return await writer.send(draft.sender, draft, some_hub, None)
        submissions = topology.access[0].submissions
        assert submissions is not None
        server = Server(submissions.host, submissions.port, context_of(""))
        way = None
        if self.plan.calm:
            way = await self._as(self._office, foretell(self.organisation, draft, draft.body_bytes))
        attempt = await writer.send(draft.sender, draft, lambda: server, (draft.sender, PASSWORD))
        if way is not None and attempt.answer == "accepted":
            self._foretold.append((attempt, way))
        return attempt

    # --- the end

    async def _drain(self) -> None:
        until, pause = self.loop.time() + DRAIN_SECONDS_MAX, LOOK_SECONDS
        while read_queues(self.organisation.topology) and self.loop.time() < until:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LOOK_SECONDS_MAX)
        await asyncio.sleep(LOOK_SECONDS)
        self.journal.note("-", "drained")

    async def _last_round(self) -> None:
        """Each user gets a message that must be told of in IDLE."""
        await asyncio.sleep(SETTLE_SECONDS)
        for reader in self.readers:
            reader.removes = False
            reader.reconnect()
        await asyncio.sleep(RECONNECT_SECONDS)
        alive = [user for user in self.users if user not in self.organisation.people.removed]
        now = self.loop.time()
        drafts = [
            Draft(now + index, user, (alive[(index + 1) % len(alive)],), 500, probe=True)
            for index, user in enumerate(alive)
        ]
        await asyncio.gather(*(self._start(draft) for draft in drafts))
        await self._drain()
        await asyncio.sleep(TOLD_SECONDS)

    async def _verdict(self) -> Verdict:
        people = self.organisation.people
        truth = Truth(queued=read_queues(self.organisation.topology))
        reading = read_mailboxes(self.organisation, people.users())
        truth.mailboxes = await self._as(Machine("checker", "10.0.0.251"), reading)
        truth.former = read_former(self.organisation.topology, people)
        truth.events = read_events(self.organisation.topology)
        checker = Checker(self.ledger, truth, people, self.readers, self.domain)
        findings = checker.findings()
        for attempt, way in self._foretold:
            findings += differences(attempt, way, truth.events, self._servers)
        stores = [store.name for store in self.organisation.topology.stores]
        findings += pressure_findings(self.ledger, truth.events, stores)
        findings += broken_ways(truth.events, self.ledger, people, self._servers, calm=self.plan.calm)
        return self._sum_up(findings, truth, checker.possible_doubles)

    def stuck(self, why: str) -> Verdict:
        """The verdict on a run that could not be brought to its end."""
        return self._sum_up([why, *self.ledger.violations], Truth(), 0)

    def _sum_up(self, findings: list[str], truth: Truth, possible_doubles: int) -> Verdict:
        for finding in findings:
            self.journal.note("-", f"FINDING {finding}")
        return Verdict(
            seed=self.plan.seed,
            findings=tuple(findings),
            digest=self.journal.digest(),
            virtual_seconds=self.loop.time(),
            attempts=Counter(attempt.answer for attempt in self.ledger.attempts.values()),
            delivered=sum(event.event == "DELIVER" for event in truth.events),
            faults=self.journal.faults,
            possible_doubles=possible_doubles,
            callbacks=self.loop.callbacks,
            entries=tuple(self.journal.entries),
            events=tuple(truth.events),
        )

    # --- what goes wrong unseen

    def _unhandled(self, facts: dict[str, Any]) -> None:
        error = facts.get("exception")
        process = PROCESS.get()
        where = process.name if process else "-"
        self.ledger.violations.append(f"{where}: {facts.get('message')} {error!r}")

    @contextmanager
    def journal_of_logs(self) -> Iterator[None]:
        """What the daemons log is a part of the story."""
        handler = _JournalHandler(self)
        logger = logging.getLogger("waypost")
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class _JournalHandler(logging.Handler):
    def __init__(self, run: Run) -> None:
        super().__init__(logging.WARNING)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        process = PROCESS.get()
        text = record.getMessage().replace(str(self._run.folder), "")
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, FORESEEN):
            self._run.ledger.violations.append(f"{process.name if process else '-'}: {text} ({error!r})")
        self._run.journal.note(
            process.name if process else "-", f"log: {text}{f' ({error!r})' if error else ''}"
        )
