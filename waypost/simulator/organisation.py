"""The simulated organisation: two sites with two hubs at one of them, the daemons' own code on machines that
crash and start again, and a directory that people change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from random import Random

from config.model import Endpoint, SendConnector, Topology
from config.reader import read_topology
from foundation.directory.changes import DirectoryChanges
from waypost.servers import Server, servers_of, with_endpoints
from waypost.service import Daemon, make_daemon
from waypost.simulator.databases import leave_databases
from waypost.simulator.disk import leave_files
from waypost.simulator.journal import Journal
from waypost.simulator.ledger import Ledger
from waypost.simulator.loop import SimulatedLoop
from waypost.simulator.machine import Machine, Process, start_process
from waypost.simulator.network import Network
from waypost.simulator.world import NameService, SimulatedIdentity, world_of

PASSWORD = "correct horse battery"
RESTART_SECONDS = 1.0
STOP_SECONDS = 60.0
START_SECONDS_MAX = 600.0
GROUP = "everybody"
PASSWORD_HASH = "$argon2id$v=19$m=8,t=1,p=1$c2ltdWxhdGVkIHBlb3BsZQ$rrG+w3FHjhDRQpWuOI1lRQ"
"""Of PASSWORD, at a cost that simulations can pay."""


def simulated_topology(data: Path) -> Topology:
    """`two-sites.toml` with one more hub at site B, each server on a machine of its own."""
    with resources.as_file(resources.files("config").joinpath("two-sites.toml")) as file:
        topology = read_topology(file, {})
    second = topology.hubs[1].model_copy(update={"name": "hub-c"})
    topology = topology.model_copy(
        update={
            "data": data,
            "hubs": (*topology.hubs, second),
            "send_connectors": (SendConnector(name="internet"),),
            "demo_users": (),
        }
    )
    endpoints = {
        (server.name, name): Endpoint(host=address_of(number), port=endpoint.port)
        for number, server in enumerate(servers_of(topology), 1)
        for name, endpoint in server.endpoints().items()
    }
    return with_endpoints(topology, endpoints)


def address_of(number: int) -> str:
    return f"10.0.0.{number}"


class NotStarted(Exception):
    """A server came to no start in the time for it."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"{server} does not start: {reason}")
        self.server = server
        self.reason = reason
        """Of its last try."""


@dataclass(frozen=True)
class Former:
    """A mailbox that a user left behind."""

    address: str
    store: str
    mailbox_id: str


@dataclass
class People:
    """Who is in the directory, by the simulator's own books."""

    stores: dict[str, str] = field(default_factory=dict)
    """Address to the store of the mailbox."""
    mailboxes: dict[str, str] = field(default_factory=dict)
    """Address to mailbox id."""
    former: list[Former] = field(default_factory=list)
    """Mailboxes that are disconnected because their users have another one."""
    removed: dict[str, float] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    members: dict[str, list[tuple[str, float, float]]] = field(default_factory=dict)
    """Group to (member, from when, until when)."""

    def users(self) -> list[str]:
        return [address for address in self.stores if address not in self.removed]

    def every_mailbox(self) -> list[str]:
        """Ids of all that ever were."""
        return [*self.mailboxes.values(), *(each.mailbox_id for each in self.former)]


class Organisation:
    def __init__(
        self,
        topology: Topology,
        loop: SimulatedLoop,
        network: Network,
        names: NameService,
        journal: Journal,
        ledger: Ledger,
        seed: int,
        directory_seconds: float,
    ) -> None:
        self.topology = topology
        self.people = People()
        self.machines: dict[str, Machine] = {}
        self.servers: dict[str, Server] = {}
        self.daemons: dict[str, Daemon] = {}
        self._loop = loop
        self._network = network
        self._names = names
        self._journal = journal
        self._ledger = ledger
        self._seed = f"{seed}"
        self._disks = Random(f"{seed} disks")
        self._directory_seconds = directory_seconds
        self._ready: dict[str, asyncio.Event] = {}
        self._not_started: dict[str, str] = {}
        """Why the last try failed, of servers that could not start."""
        self._down: dict[str, None] = {}
        """Servers that were ended from outside: they don't start again by themselves."""
        for server in servers_of(topology):
            self.servers[server.name] = server
            self.machines[server.name] = network.add(Machine(server.name, server.settings.rpc.host))
            self._ready[server.name] = asyncio.Event()
        self.topology.data.mkdir(parents=True, exist_ok=True)
        office = Process(Machine("office", "10.0.0.250"), 1)
        world = world_of(loop, office, names, self._seed, 0.0)
        self._directory = DirectoryChanges(topology.directory_database, world.clock, world.entropy)

    # --- directory

    def found(self, users: int, crowd: int) -> None:
        """Makes the directory: users in turn on the stores, groups, aliases."""
        domain = self.topology.default_domain
        directory = self._directory
        domains = [(each.domain, each.kind) for each in self.topology.domains]
        directory.create_organisation(self.topology.organisation, domain, domains)
        for number in range(users):
            self.add_user(f"user{number}@{domain}")
        for number in range(crowd):
            self.add_user(f"crowd{number}@{domain}")
        inner = [f"user{number}@{domain}" for number in range(2, 5)]
        self._group(f"inner@{domain}", inner)
        outer = [f"user{number}@{domain}" for number in range(3)]
        self._group(f"{GROUP}@{domain}", outer, f"inner@{domain}")
        self.add_alias(f"chief@{domain}", f"user1@{domain}")

    def add_user(self, address: str) -> None:
        stores = {store.name: store.database for store in self.topology.stores}
        store = list(stores)[len(self.people.stores) % len(stores)]
        record = self._directory.add_user(address, PASSWORD_HASH, store=store, stores=stores)
        self.people.stores[address] = store
        self.people.mailboxes[address] = record.mailbox_id

    def remove_user(self, address: str) -> None:
        self._directory.remove_user(address)
        self.people.removed[address] = self._loop.time()
        for group in self.people.members:
            self._left(group, address)

    def move_user(self, address: str) -> str:
        """To the next store, whose name is returned."""
        people, stores = self.people, {store.name: store.database for store in self.topology.stores}
        names = list(stores)
        before = Former(address, people.stores[address], people.mailboxes[address])
        store = names[(names.index(before.store) + 1) % len(names)]
        record = self._directory.rehome_user(address, store, stores)
        people.stores[address], people.mailboxes[address] = store, record.mailbox_id
        people.former = [each for each in people.former if each.mailbox_id != record.mailbox_id]
        people.former.append(before)
        return store

    def add_alias(self, alias: str, address: str) -> None:
        self._directory.add_alias(alias, address)
        self.people.aliases[alias] = address

    def join(self, group: str, address: str) -> None:
        self._directory.add_members(group, [address])
        self.people.members[group].append((address, self._loop.time(), float("inf")))

    def leave(self, group: str, address: str) -> None:
        self._directory.remove_members(group, [address])
        self._left(group, address)

    def _group(self, address: str, members: list[str], *groups: str) -> None:
        self._directory.add_group(address, members=[*members, *groups])
        self.people.members[address] = [(member, -1.0, float("inf")) for member in (*members, *groups)]

    def _left(self, group: str, address: str) -> None:
        now = self._loop.time()
        self.people.members[group] = [
            (member, since, min(until, now) if member == address else until)
            for member, since, until in self.people.members[group]
        ]

    # --- servers

    async def start_all(self) -> None:
        for name in self.servers:
            self.start(name)
        for name in self.servers:
            await self.ready(name)

    def start(self, name: str) -> None:
        """Returns at once; a start that fails is tried again."""
        self._down.pop(name, None)
        self._start(name)

    def _start(self, name: str) -> None:
        machine = self.machines[name]
        if machine.process is not None:
            return
        process = start_process(machine)
        self._journal.note(name, f"start {process.number}")
        self._loop.create_task(self._live(process), context=process.context)

    async def ready(self, name: str) -> None:
        """Raises NotStarted."""
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                await self._ready[name].wait()
        except TimeoutError:
            reason = self._not_started.get(name, f"it comes to no end in {START_SECONDS_MAX:g} s")
            raise NotStarted(name, reason) from None

    def crash(self, name: str, *, power: bool = False, deliver: bool = True) -> None:
        """The process is gone at this moment, with `power` the machine too, until it is started."""
        self._down[name] = None
        self._end(name, power=power, deliver=deliver)

    def _end(self, name: str, *, power: bool = False, deliver: bool = True) -> None:
        machine, process = self.machines[name], self.machines[name].process
        if process is None:
            machine.powered = machine.powered and not power
            return
        self._ledger.upsets.append((self._loop.time(), name))
        process.alive = False
        machine.powered = not power
        machine.process = None
        self._ready[name].clear()
        self._loop.keep(asyncio.all_tasks(self._loop), self.daemons.pop(name, None), list(process.endings))
        self._network.forsake(process, deliver)
        leave_databases(process, self._disks if power else None, self._journal)
        leave_files(process, self._disks if power else None, self._journal)

    async def stop(self, name: str) -> None:
        """As SIGTERM does, and then the end of the process, until it is started."""
        self._down[name] = None
        await self._stop(name)

    async def _stop(self, name: str) -> None:
        process, daemon = self.machines[name].process, self.daemons.get(name)
        if process is None or daemon is None:  # not ready yet: nothing is to be finished
            self._end(name)
            return
        stopping = self._loop.create_task(daemon.stop(), context=process.context)
        done, _ = await asyncio.wait([stopping], timeout=STOP_SECONDS)
        if not process.alive:
            return
        if not done:
            self._ledger.violations.append(f"{name} does not stop within {STOP_SECONDS:g} s")
        elif stopping.exception() is not None:
            self._ledger.violations.append(f"{name} does not stop in order: {stopping.exception()!r}")
        self._end(name)

    def _restart_later(self, name: str, seconds: float = RESTART_SECONDS) -> None:
        self._loop.call_later(seconds, self._restart, name, context=self._network.context)

    def _restart(self, name: str) -> None:
        if name not in self._down:
            self._start(name)

    async def _live(self, process: Process) -> None:
        """Runs as the process: a daemon from its start to its failure."""
        name = process.name
        world = world_of(self._loop, process, self._names, self._seed, self._directory_seconds)
        try:
            daemon = make_daemon(self.topology, self.servers[name], SimulatedIdentity(name), world)
            await daemon.start()
        except (Exception, asyncio.CancelledError) as error:  # cancelled: the disk failed under a commit
            kind = type(error).__name__
            self._not_started[name] = _reason(error)
            self._journal.note(name, f"can't start: {kind}")
        else:
            self._not_started.pop(name, None)
            self.daemons[name] = daemon
            self._ready[name].set()
            self._journal.note(name, "ready")
            await daemon.failed.wait()
            self._journal.note(name, "has failed and ends")
            await self._stop(name)
        self._loop.call_soon(self._ended, process, context=self._network.context)

    def _ended(self, process: Process) -> None:
        if process.alive:
            self._end(process.name)
        self._restart_later(process.name)


def _reason(error: BaseException) -> str:
    """For people: what Python itself raises may say nothing without its kind."""
    kind = type(error)
    if not str(error):
        return kind.__name__
    return f"{kind.__name__}: {error}" if kind.__module__ == "builtins" else str(error)
