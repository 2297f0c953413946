"""Makes the faults of a plan happen, and ends them."""

from __future__ import annotations

import asyncio
from random import Random

from foundation.directory.records import DirectoryError
from waypost.simulator.faults import Fault, Plan, SeededWeather
from waypost.simulator.journal import Journal
from waypost.simulator.ledger import Ledger
from waypost.simulator.organisation import GROUP, Organisation
from waypost.simulator.outside import OutsideHost
from waypost.simulator.world import NameService


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

    async def _one(self, fault: Fault) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(fault.at - loop.time(), 0))
        self._journal.fault(fault.kind, fault.target, str(fault))
        machine = self._organisation.machines.get(fault.target)
        if fault.kind in ("kill", "power"):
            self._organisation.crash(
                fault.target, power=fault.kind == "power", deliver=self._random.random() < 0.5
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

    async def _fail_commits(self, fault: Fault) -> None:
        machine, loop = self._organisation.machines[fault.target], asyncio.get_running_loop()
        machine.commit_fault = fault.kind
        await asyncio.sleep(fault.seconds)
        machine.commit_fault = ""
        self._ledger.upsets.append((loop.time(), fault.target))

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
