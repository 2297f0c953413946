"""Makes the faults of a plan happen, and ends them."""

from __future__ import annotations

import asyncio
from random import Random

from config.model import Pressure
from foundation.directory.records import DirectoryError
from waypost.simulator.faults import Fault, Plan, SeededWeather
from waypost.simulator.journal import Journal
from waypost.simulator.ledger import Ledger, Shortage
from waypost.simulator.machine import Machine
from waypost.simulator.organisation import GROUP, Organisation
from waypost.simulator.outside import OutsideHost
from waypost.simulator.world import NameService

COMMIT_SECONDS_MAX = 120.0
DISK_HIGH_PERCENT = Pressure().database_disk_percent[1]
MEMORY_HIGH_PERCENT = Pressure().process_memory_percent[1]


def enough(machine: Machine) -> None:
    """Of all resources."""
    machine.disk_used_percent, machine.memory_used_percent = (
        Machine.disk_used_percent,
        Machine.memory_used_percent,
    )


class Trouble:
    def __init__(
        self,
        plan: Plan,
        organisation: Organisation,
        weather: SeededWeather,
        names: NameService,
        outside: OutsideHost,
        journal: Journal,
        ledger: Ledger,
    ) -> None:
        self._plan = plan
        self._organisation = organisation
        self._weather = weather
        self._names = names
        self._outside = outside
        self._journal = journal
        self._ledger = ledger
        self._random = Random(f"{plan.seed} trouble")

    async def run(self) -> None:
        """Returns when the last fault has ended."""
        await asyncio.gather(*(self._one(fault) for fault in self._plan.faults))

    def end(self) -> None:
        """Whatever overlapped: nothing is wrong any more."""
        self._names.fault = self._outside.fault = ""
        for machine in self._organisation.machines.values():
            machine.commit_fault, machine.slow_seconds = "", 0.0
            enough(machine)

    async def _one(self, fault: Fault) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(fault.at - loop.time(), 0))
        self._journal.fault(fault.kind, fault.target, str(fault))
        machine = self._organisation.machines.get(fault.target)
        if fault.kind in ("kill", "power", "power in a commit"):
            if fault.kind == "power in a commit" and machine is not None:
                await self._next_commit(machine)
            self._organisation.crash(
                fault.target, power=fault.kind != "kill", deliver=self._random.random() < 0.5
            )
            await asyncio.sleep(fault.seconds)
            self._organisation.start(fault.target)
        elif fault.kind == "stop":
            await self._organisation.stop(fault.target)
            self._organisation.start(fault.target)
        elif fault.kind == "partition":
            other, _, ways = fault.detail.partition(" ")
            self._weather.part(fault.target, other, ways == "both ways")
            await asyncio.sleep(fault.seconds)
            self._weather.join(fault.target, other, ways == "both ways")
        elif fault.kind == "directory":
            self._change_directory(fault.detail)
        elif fault.kind == "move":
            self._move(int(fault.detail))
        elif fault.kind in ("disk short", "memory short") and machine is not None:
            await self._run_short(fault, machine)
        elif fault.kind == "clock" and machine is not None:
            machine.clock_ahead_ms += int(fault.detail)
        elif fault.kind == "slow" and machine is not None:
            machine.slow_seconds = float(fault.detail)
            await asyncio.sleep(fault.seconds)
            machine.slow_seconds = 0.0
        elif fault.kind == "names":
            self._names.fault = fault.detail
            await asyncio.sleep(fault.seconds)
            self._names.fault = ""
        elif fault.kind == "outside":
            self._outside.fault = fault.detail
            await asyncio.sleep(fault.seconds)
            self._outside.fault = ""
        elif machine is not None:
            await self._fail_commits(fault)

    async def _next_commit(self, machine: Machine) -> None:
        """Returns within the next commit: it has happened and is not answered, or nothing came for long."""
        waiting = machine.next_commit = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(COMMIT_SECONDS_MAX):
                await waiting
        except TimeoutError:
            self._journal.note(machine.name, "no commit came to cut")

    async def _run_short(self, fault: Fault, machine: Machine) -> None:
        """A resource runs short, and is there again."""
        loop, percent = asyncio.get_running_loop(), float(fault.detail)
        if fault.kind == "disk short":
            machine.disk_used_percent, high = percent, percent > DISK_HIGH_PERCENT
        else:
            machine.memory_used_percent, high = percent, percent > MEMORY_HIGH_PERCENT
        since = loop.time()
        await asyncio.sleep(fault.seconds)
        enough(machine)
        self._ledger.shortages.append(Shortage(fault.target, high, since, loop.time()))

    async def _fail_commits(self, fault: Fault) -> None:
        machine, loop = self._organisation.machines[fault.target], asyncio.get_running_loop()
        machine.commit_fault = fault.kind
        await asyncio.sleep(fault.seconds)
        machine.commit_fault = ""
        self._ledger.upsets.append((loop.time(), fault.target))

    def _move(self, number: int) -> None:
        """One of the users who read gets another mailbox, on another store."""
        organisation = self._organisation
        users = [address for address in organisation.people.users() if address.startswith("user")]
        address = users[number % len(users)]
        store = organisation.move_user(address)
        self._journal.note("directory", f"{address} moves to {store}")

    def _change_directory(self, what: str) -> None:
        organisation, random = self._organisation, self._random
        people, domain = organisation.people, organisation.topology.default_domain
        users = [address for address in people.users() if address.startswith("user")]
        number = len(people.stores)
        try:
            if what == "add":
                organisation.add_user(f"late{number}@{domain}")
            elif what == "remove" and len(users) > 5:
                organisation.remove_user(users[-1])
            elif what == "join":
                organisation.join(f"{GROUP}@{domain}", users[-1])
            elif what == "leave":
                organisation.leave(f"{GROUP}@{domain}", random.choice(users[:3]))
            elif what == "alias":
                organisation.add_alias(f"alias{number}@{domain}", random.choice(users))
        except DirectoryError as error:
            self._journal.note("directory", f"not done: {error}")
