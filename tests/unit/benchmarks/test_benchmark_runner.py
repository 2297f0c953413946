"""How cases are run: in turns, as often as they may, and on when one fails."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import runner
from benchmarks.cases.case import Case, Measures, Metric, Run
from benchmarks.runner import Runner
from benchmarks.systems.system import System
from tests.harness.patience import patient

RATE = Metric("rate", "a second")


class Ours:
    name = "Waypost"
    version = "1"

    def __init__(
        self, folder: Path, mailboxes: int, relayed: Mapping[str, int], *, two_sites: bool = False
    ) -> None:
        self.running = False

    async def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False


class Theirs(Ours):
    name = "Theirs"


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, type[Ours]]:
    kinds = {"waypost": Ours, "debian": Theirs}
    monkeypatch.setattr(runner, "SYSTEMS", kinds)
    return kinds


async def run(cases: list[Case], folder: Path, only: str | None = None) -> Runner:
    found = Runner(cases, folder, only, 2, 3, 1.0, Console(file=io.StringIO()))
    await found.run()
    return found


@pytest.mark.usefixtures("running")
async def test_systems_take_turns_and_a_case_may_want_fewer_rounds(tmp_path: Path) -> None:
    order: list[str] = []

    async def measure(run: Run, system: System) -> Measures:
        order.append(system.name)
        return {"rate": len(order)}

    cases = [
        Case("both", "Both", (RATE,), measure),
        Case("alone", "Alone", (RATE,), measure, alone=True, rounds_most=1),
    ]
    found = await run(cases, tmp_path)
    assert order == ["Waypost", "Theirs"] * 3 + ["Waypost"]
    assert found.results[0].rounds == (
        [{"rate": 1}, {"rate": 3}, {"rate": 5}],
        [{"rate": 2}, {"rate": 4}, {"rate": 6}],
    )
    assert (await run(cases[:1], tmp_path, only="debian")).results[0].rounds[0] == []


@pytest.mark.usefixtures("running")
async def test_a_case_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    siblings: list[Ours] = []

    async def fails(run: Run, system: System) -> Measures:
        sibling = Ours(tmp_path, 1, {})
        await sibling.start()
        siblings.append(sibling)
        run.siblings.append(sibling)  # type: ignore[arg-type]
        await run.hops.sink.stop()
        raise RuntimeError("the mail did not come")

    async def looks(run: Run, system: System) -> Measures:
        await run.hops.sink.stop()
        await run.hops.sink.start()
        return {"rate": 1}

    found = await run([Case("bad", "Bad", (RATE,), fails), Case("good", "Good", (RATE,), looks)], tmp_path)
    assert [case.name for case in found.failed] == ["bad"]
    assert [sibling.running for sibling in siblings] == [False]
    assert len(found.results[1].rounds[0]) == 3


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("wanted", [True, False])
async def test_systems_carry_mail_before_the_first_case_that_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    order: list[str] = []
    failures = [RuntimeError("the mail did not come")] if wanted else []

    async def run_in(run: Run, system: System) -> None:
        if failures:
            raise failures.pop()
        order.append(f"{system.name} runs in")

    async def measure(run: Run, system: System) -> Measures:
        order.append(system.name)
        return {"rate": 1}

    monkeypatch.setattr(runner, "run_in", run_in)
    cases = [
        Case("before", "Before", (RATE,), measure, rounds_most=1),
        Case("fails", "Fails", (RATE,), measure, rounds_most=1, run_in=wanted),
        Case("wants", "Wants", (RATE,), measure, rounds_most=1, run_in=wanted),
        Case("later", "Later", (RATE,), measure, rounds_most=1, run_in=wanted),
    ]
    found = await run(cases, tmp_path)
    both = ["Waypost", "Theirs"]
    assert [case.name for case in found.failed] == (["fails"] if wanted else [])
    assert order == both + (["Waypost runs in", "Theirs runs in"] if wanted else both) + both * 2


@pytest.mark.usefixtures("running")
async def test_a_preparation_without_an_end_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MEASURE_SECONDS_MAX", 0)

    async def waits(run: Run, system: System) -> Measures:
        await asyncio.Event().wait()
        return {}

    async def measures(run: Run, system: System) -> Measures:
        return {"rate": 1}

    async with asyncio.timeout(patient(10)):
        found = await run([Case("bad", "Bad", (RATE,), measures, prepare=waits)], tmp_path)
    assert [case.name for case in found.failed] == ["bad"]
