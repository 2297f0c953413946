"""One what-if: the user's organisation under load while something fails, in virtual time.

Promises: the same configuration, options and seed give the same report, in any process; nothing outside the
run's own folder is written.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from config.model import Topology
from foundation.directory.changes import DirectoryChanges
from foundation.interfaces.world import MailExchanger
from waypost.simulator.databases import simulated_databases
from waypost.simulator.journal import Journal
from waypost.simulator.ledger import Ledger
from waypost.simulator.loop import PROCESS, SimulatedLoop
from waypost.simulator.machine import Machine, Process, start_process
from waypost.simulator.network import Network
from waypost.simulator.organisation import PASSWORD, PASSWORD_HASH, NotStarted, Organisation
from waypost.simulator.run import FORESEEN, SHARED_MEMORY, silence
from waypost.simulator.whatif.books import Books
from waypost.simulator.whatif.failing import Failing
from waypost.simulator.whatif.load import Mix, drafts
from waypost.simulator.whatif.options import Failure
from waypost.simulator.whatif.outcomes import Outcomes, outcomes
from waypost.simulator.whatif.outside import Sink
from waypost.simulator.whatif.people import Correspondent, Door
from waypost.simulator.whatif.queues import Sample, sample
from waypost.simulator.whatif.surroundings import (
    Doors,
    Impossible,
    Names,
    Outside,
    authoritative_domain,
    doors,
    harmless,
    outside_of,
    stranger_address,
    user_address,
)
from waypost.simulator.whatif.weather import PlannedWeather
from waypost.simulator.world import NameService, context_of, world_of

STRANGERS = 10
SETTLE_SECONDS = 10.0
"""After the last message, so that what is merely on its way does not count as waiting."""
SAMPLES_MAX = 240
SAMPLE_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
STEP_SECONDS = 0.25
"""After so much virtual time it is shown how far it is, and asked whether to go on."""
COLLECT_STEPS, COLLECT_ALL_STEPS = 4, 400
"""How often what was made lately is collected, and how often everything."""
MEMORY_MESSAGES_BYTES = 64 * 1024
"""What a message takes in all databases, at most, on average of the mix."""
OUTSIDE_MACHINE = "outside"


@dataclass(frozen=True)
class Asked:
    """A what-if."""

    topology: Topology
    rate: float
    """Messages a second."""
    until_seconds: float
    failures: tuple[Failure, ...] = ()
    seed: int = 1
    users: int = 0
    """0: fifty for each store."""
    size_bytes: int = 0
    """Of each message; 0: the mix."""

    @property
    def users_made(self) -> int:
        return self.users or 50 * len(self.topology.stores)


@dataclass(frozen=True)
class Step:
    """How far a run is."""

    seconds: float
    written: int
    waiting: int
    """Messages in all queues, when that was last looked at."""


@dataclass(frozen=True)
class Happened:
    """All that a report is made of. Times are seconds since the load began."""

    seconds: float
    """Shorter than asked for when interrupted, with what came after the load."""
    interrupted: bool
    books: Books
    outcomes: Outcomes
    samples: tuple[Sample, ...]
    began_at: float
    """Of the simulation's own time."""
    errors: tuple[str, ...]
    """What nobody foresaw."""


GoOn = Callable[[Step], bool]


def what_if(asked: Asked, go_on: GoOn = lambda step: True) -> Happened:
    """Blocking. `go_on` is called all the time; False ends the run where it is. Raises Impossible."""
    collecting = gc.isenabled()
    gc.disable()  # the run collects by itself, at moments that the seed decides
    gc.freeze()  # what is there already need not be looked at again
    try:
        return _what_if(asked, go_on)
    finally:
        gc.unfreeze()
        with silence():
            while gc.collect():  # what ends in the first round lets go of more
                pass
        if collecting:
            gc.enable()


def _what_if(asked: Asked, go_on: GoOn) -> Happened:
    doors_in, domain = doors(asked.topology), authoritative_domain(asked.topology)
    with tempfile.TemporaryDirectory(prefix="waypost-", dir=_folder(asked)) as folder:
        loop = SimulatedLoop(callbacks_max=float("inf"))
        run = _Run(asked, doors_in, domain, loop, Path(folder), go_on)
        with run.errors_kept(), simulated_databases(run.journal):
            try:
                return loop.run_until_complete(run.main())
            finally:
                with silence():
                    loop.finish()


def _folder(asked: Asked) -> str | None:
    """Shared memory if all of it fits well, else where temporary files are."""
    wanted = asked.rate * asked.until_seconds * max(MEMORY_MESSAGES_BYTES, 4 * asked.size_bytes)
    if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2 * wanted:
        return str(SHARED_MEMORY)
    return None


def sample_seconds(until_seconds: float) -> float:
    return next((each for each in SAMPLE_SECONDS if until_seconds <= each * SAMPLES_MAX), SAMPLE_SECONDS[-1])


class _Unwritten(Journal):
    """Nobody reads the story of a what-if."""

    detailed = False

    def note(self, machine: str, text: str) -> None:
        """What happened is in the databases."""


class _Run:
    def __init__(
        self, asked: Asked, doors_in: Doors, domain: str, loop: SimulatedLoop, folder: Path, go_on: GoOn
    ) -> None:
        self._asked = asked
        self._doors = doors_in
        self._domain = domain
        self._loop = loop
        self._go_on = go_on
        self._topology = harmless(asked.topology, folder / "data")
        self.journal = _Unwritten(loop.time)
        sites = {server.name: server.site for server in self._topology.servers}
        self._weather = PlannedWeather(sites, Random(f"{asked.seed} weather"))
        self._network = Network(loop, Random(f"{asked.seed} network"), self.journal, self._weather)
        self._names = NameService(loop, Random(f"{asked.seed} names"))
        self._organisation = Organisation(
            self._topology, loop, self._network, self._names, self.journal, Ledger(), asked.seed, 0.0
        )
        self._books = Books()
        self._sink = Sink(loop)
        self._outside = outside_of(self._topology)
        self._outside_machines: list[str] = []
        self._mailboxes: dict[str, str] = {}
        self._stores: dict[str, str] = {}
        self._samples: list[Sample] = []
        self._errors: dict[str, None] = {}
        self._began = 0.0
        loop.on_error = self._unhandled

    async def main(self) -> Happened:
        self._found()
        await self._open_outside()
        await self._start_servers()
        users, strangers = self._users(), self._strangers()
        mix = Mix(
            tuple(self._stores), self._domain, len(strangers), self._outside.domains, self._asked.size_bytes
        )
        self._began = self._loop.time()
        failing = Failing(self._organisation, self._weather, self._outside_machines)
        working = [self._loop.create_task(failing.happen(failure)) for failure in self._asked.failures]
        working.append(self._loop.create_task(self._write(users, strangers, mix)))
        working.append(self._loop.create_task(self._sample()))
        interrupted = not await self._pass(self._asked.until_seconds + SETTLE_SECONDS)
        for task in working:
            if not task.cancel() and (error := task.exception()) is not None:
                self._error(f"the simulation's own work ended early: {error!r}")
        now = self._loop.time()
        if not self._samples or self._samples[-1].at < now - self._began:
            self._samples.append(sample(self._topology, now - self._began))
        names = Names(self._topology, self._outside)
        found = outcomes(self._topology, self._books, self._sink.taken, self._mailboxes, names, now)
        return Happened(
            seconds=now - self._began,
            interrupted=interrupted,
            books=self._books,
            outcomes=found,
            samples=tuple(self._samples),
            began_at=self._began,
            errors=tuple(self._errors),
        )

    async def _pass(self, seconds: float) -> bool:
        """Lets time pass. False: nobody wants to see the rest."""
        steps = 0
        while (passed := self._loop.time() - self._began) < seconds:
            waiting = sum(depth.total for depth in self._samples[-1].depths.values()) if self._samples else 0
            if not self._go_on(Step(passed, self._books.written, waiting)):
                return False
            steps += 1
            if steps % COLLECT_STEPS == 0:
                gc.collect(2 if steps % COLLECT_ALL_STEPS == 0 else 0)
            await asyncio.sleep(min(STEP_SECONDS, seconds - passed))
        return True

    async def _start_servers(self) -> None:
        """Raises Impossible."""
        try:
            await self._organisation.start_all()
        except NotStarted as error:
            reason = error.reason.replace(f"{self._topology.data}/", "")  # nobody has a file of that name
            raise Impossible(
                f"servers.{error.server}",
                f"{error.server} does not start in the simulation: {reason}",
                "mend what is named; if nothing is wrong with it, it is an error of the simulation",
            ) from error

    # --- who and what is there

    def _found(self) -> None:
        """Makes the directory: users in turn on the stores."""
        topology = self._topology
        office = Process(Machine("office", "office"), 1)
        world = world_of(self._loop, office, self._names, f"{self._asked.seed} office", 0.0)
        directory = DirectoryChanges(topology.directory_database, world.clock, world.entropy)
        domains = [(each.domain, each.kind) for each in topology.domains]
        directory.create_organisation(topology.organisation, topology.default_domain, domains)
        stores = {store.name: store.database for store in topology.stores}
        for number in range(self._asked.users_made):
            store, address = list(stores)[number % len(stores)], f"user{number + 1}@{self._domain}"
            record = directory.add_user(address, PASSWORD_HASH, store=store, stores=stores)
            self._mailboxes[record.mailbox_id] = address
            self._stores[address] = store
        directory.close()

    async def _open_outside(self) -> None:
        outside: Outside = self._outside
        for name, address in outside.names.items():
            self._names.hosts[name] = (address,)
        for domain, host in outside.exchangers.items():
            self._names.exchangers[domain] = (MailExchanger(10, host),)
        for number, (address, ports) in enumerate(outside.hosts.items(), 1):
            process = self._outside_machine(f"{OUTSIDE_MACHINE} {number}", address)
            for port in ports:
                listening = self._sink.listen(address, port)
                await self._loop.create_task(listening, context=process.context)

    def _outside_machine(self, name: str, address: str) -> Process:
        self._outside_machines.append(name)
        return start_process(self._network.add(Machine(name, address)))

    def _users(self) -> list[Correspondent]:
        """Each goes to Client Access of the site of the mailbox, if there is one."""
        sites = {store.name: store.site for store in self._topology.stores}
        access = {each.name: each for each in self._topology.access}
        entries = [access[each.name] for each in self._doors.submission]
        tls = context_of("")
        users = []
        for number, (address, store) in enumerate(self._stores.items()):
            turned = [entries[(number + turn) % len(entries)] for turn in range(len(entries))]
            turned.sort(key=lambda each: each.site != sites[store])
            where = [
                Door(each.submissions.host, each.submissions.port) for each in turned if each.submissions
            ]
            process = start_process(self._network.add(Machine(address, user_address(number))))
            users.append(self._correspondent(process, address, where, tls, (address, PASSWORD)))
        return users

    def _strangers(self) -> list[Correspondent]:
        taking = [hub.name for hub in self._doors.smtp]
        hubs = [hub.smtp for hub in self._topology.hubs if hub.smtp and hub.name in taking]
        strangers = []
        for number in range(STRANGERS if hubs else 0):
            turned = [hubs[(number + turn) % len(hubs)] for turn in range(len(hubs))]
            where = [Door(hub.host, hub.port) for hub in turned]
            address = f"sender{number + 1}@elsewhere.example"
            process = self._outside_machine(address, stranger_address(number))
            strangers.append(self._correspondent(process, address, where, None, None))
        return strangers

    def _correspondent(
        self, process: Process, address: str, where: Sequence[Door], tls: Any, logon: tuple[str, str] | None
    ) -> Correspondent:
        random = Random(f"{self._asked.seed} {address}")
        found = Correspondent(self._loop, process, self._books, random, address, where, tls, logon)
        found.start()
        return found

    # --- what happens

    async def _write(self, users: list[Correspondent], strangers: list[Correspondent], mix: Mix) -> None:
        for draft in drafts(self._asked.seed, self._asked.rate, self._asked.until_seconds, mix):
            await asyncio.sleep(self._began + draft.at - self._loop.time())
            sender = users[draft.sender] if draft.sender >= 0 else strangers[-1 - draft.sender]
            sender.write(draft)

    async def _sample(self) -> None:
        pause = sample_seconds(self._asked.until_seconds)
        for number in range(SAMPLES_MAX + 1):
            await asyncio.sleep(self._began + number * pause - self._loop.time())
            self._samples.append(sample(self._topology, float(number * pause)))

    # --- what nobody foresaw

    def _unhandled(self, facts: dict[str, Any]) -> None:
        self._error(f"{facts.get('message')} {facts.get('exception')!r}")

    def _error(self, text: str) -> None:
        process = PROCESS.get()
        self._errors[f"{process.name if process else 'simulator'}: {text}"] = None

    @contextmanager
    def errors_kept(self) -> Iterator[None]:
        """Errors that daemons log and that were not thought of are a part of the report."""
        logger, handler = logging.getLogger("waypost"), _Errors(self._error)
        propagate, level = logger.propagate, logger.level
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagate
            logger.setLevel(level)


class _Errors(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, FORESEEN):
            self._tell(f"{record.getMessage()} ({error!r})")
