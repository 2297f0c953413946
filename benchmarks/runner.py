"""Runs cases: sets the systems up, drives them in turns, keeps what was measured. Shows progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks.cases.case import Case, Run
from benchmarks.cases.sending import run_in
from benchmarks.load.sink import NextHops, Sink
from benchmarks.results import Result, shown
from benchmarks.systems.debian import PostfixDovecot
from benchmarks.systems.system import REFUSING_DOMAIN, RELAY_DOMAIN, SILENT_DOMAIN, System, free_ports
from benchmarks.systems.waypost import Waypost

MEASURE_SECONDS_MAX = 1800.0
"""A round, or what prepares it, that takes longer has failed: something did not arrive."""
SYSTEMS: dict[str, type[Waypost] | type[PostfixDovecot]] = {"waypost": Waypost, "debian": PostfixDovecot}


class Runner:
    def __init__(
        self,
        cases: Sequence[Case],
        folder: Path,
        only: str | None,
        mailboxes: int,
        rounds: int,
        scale: float,
        console: Console,
    ) -> None:
        self._cases = cases
        self._folder = folder
        self._kinds = {key: kind for key, kind in SYSTEMS.items() if only in (None, key)}
        self._mailboxes = mailboxes
        self._rounds = rounds
        self._scale = scale
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console)
        self.results: list[Result] = []
        self.failed: list[Case] = []
        self._run_in: list[System] = []
        self.versions: list[str] = []

    async def run(self) -> None:
        """All cases; one that fails is told, and the others go on."""
        steps = sum(1 + self._rounds_of(case) * len(self._names_of(case)) for case in self._cases)
        with self._progress:
            self._task = self._progress.add_task("starting", total=steps)
            for two_sites in (False, True):
                part = [case for case in self._cases if case.two_sites is two_sites]
                if part:
                    await self._run(part, two_sites)

    def _rounds_of(self, case: Case) -> int:
        return min(self._rounds, case.rounds_most or self._rounds)

    def _names_of(self, case: Case) -> list[str]:
        """Of the systems that it measures."""
        names = [kind.name for kind in self._kinds.values()]
        return [name for name in names if not case.alone or name == Waypost.name]

    async def _run(self, cases: Sequence[Case], two_sites: bool) -> None:
        ports = free_ports(3)
        hops = NextHops(*(Sink(port) for port in ports))
        relayed = dict(zip((RELAY_DOMAIN, REFUSING_DOMAIN, SILENT_DOMAIN), ports, strict=True))
        folder = self._folder / ("two-sites" if two_sites else "one-site")
        made: list[System] = [
            kind(folder / key, self._mailboxes, relayed, two_sites=two_sites)
            for key, kind in self._kinds.items()
        ]
        self.versions = [system.version for system in made]
        async with AsyncExitStack() as stack:
            stack.push_async_callback(hops.stop)
            for system in made:
                self._say(f"setting up {system.name}")
                stack.push_async_callback(system.stop)
                await system.start()
            for case in cases:
                systems = [system for system in made if system.name in self._names_of(case)]
                await hops.only_the_sink()
                run = Run(hops, self._scale)
                try:
                    await self._turns(case, run, systems)
                except Exception:
                    self.failed.append(case)
                    self._progress.console.print_exception()
                finally:
                    for sibling in run.siblings:
                        await sibling.stop()

    async def _turns(self, case: Case, run: Run, systems: Sequence[System]) -> None:
        result, began = Result(case), time.perf_counter()
        self.results.append(result)
        for system in systems:
            if case.run_in and system not in self._run_in:
                self._say(f"running {system.name} in")
                async with asyncio.timeout(MEASURE_SECONDS_MAX):
                    await run_in(run, system)
                self._run_in.append(system)
            if case.prepare is not None:
                self._say(f"{case.name}: preparing {system.name}")
                async with asyncio.timeout(MEASURE_SECONDS_MAX):
                    await case.prepare(run, system)
        self._progress.advance(self._task)
        for _ in range(self._rounds_of(case)):
            for system in systems:
                self._say(f"{case.name}: {system.name}")
                async with asyncio.timeout(MEASURE_SECONDS_MAX):
                    measures = await case.measure(run, system)
                result.rounds[int(system.name != Waypost.name)].append(measures)
                result.seconds = time.perf_counter() - began
                figures = ", ".join(f"{key} {shown(value)}" for key, value in measures.items())
                self._progress.console.print(f"{case.name:16} {system.name:18} {figures}", highlight=False)
                self._progress.advance(self._task)

    def _say(self, text: str) -> None:
        self._progress.update(self._task, description=text)
