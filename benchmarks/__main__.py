"""`make bench`: Waypost and Postfix + Dovecot in turns under one load, compared."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks.cases.all import CASES
from benchmarks.cases.case import Case, Run
from benchmarks.load.sink import NextHops, Sink
from benchmarks.plot import plot
from benchmarks.results import Result, as_json, markdown, shown
from benchmarks.systems.debian import PostfixDovecot
from benchmarks.systems.system import (
    REFUSING_DOMAIN,
    RELAY_DOMAIN,
    SILENT_DOMAIN,
    System,
    free_ports,
)
from benchmarks.systems.waypost import Waypost

NEEDED = {"dovecot": "dovecot-imapd dovecot-lmtpd", "postfix": "postfix"}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        epilog="cases:\n" + "\n".join(f"  {case.name:18}{case.title}" for case in CASES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="those below; none: all")
    parser.add_argument("--rounds", type=int, default=3, help="of each system, in turns (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the load's size, for short runs")
    parser.add_argument("--mailboxes", type=int, default=200, help="in each system (default 200)")
    parser.add_argument("--into", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    parser.add_argument("--only", choices=("waypost", "debian"), help="one system alone, for profiles")
    parser.add_argument("--keep", action="store_true", help="keep the systems' folder")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if options.only != "waypost":
        missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
        if missing:
            parser.error(f"missing: sudo apt-get install -y --no-install-recommends {' '.join(missing)}")
        if os.getuid() != 0:
            parser.error("Postfix starts only as root")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    chosen = [CASES[name] for name in options.cases] or list(CASES.values())
    return uvloop.run(bench(chosen, options))


async def bench(cases: Sequence[Case], options: argparse.Namespace) -> int:
    console = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="waypost-bench-"))
    folder.chmod(0o755)  # noqa: ASYNC240
    results: list[Result] = []
    facts = machine()
    try:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            steps = sum(1 + _rounds(case, options) * len(_systems_of(case, options)) for case in cases)
            task = progress.add_task("starting", total=steps)
            for two_sites in (False, True):
                part = [case for case in cases if case.two_sites is two_sites]
                if part:
                    versions = await _run(
                        part, folder / str(two_sites), two_sites, options, results, progress, task
                    )
                    facts |= {"versions": versions}
    finally:
        if options.keep:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    results.sort(key=lambda result: list(CASES).index(result.case.name))
    names = (Waypost.name, PostfixDovecot.name)
    table = markdown(results, names)
    options.into.mkdir(parents=True, exist_ok=True)
    stem = cases[0].name if len(cases) == 1 else "table"
    (options.into / f"{stem}.md").write_text(table)
    (options.into / f"{stem}.json").write_text(as_json(results, names, facts))
    (options.into / f"{stem}.svg").write_text(plot(results, names))
    if sys.stdout.isatty():
        Console().print(Markdown(table))
    else:
        print(table)
    console.print(f"{options.into}/{stem}.md, .json and .svg are written.")
    return 0


async def _run(
    cases: Sequence[Case],
    folder: Path,
    two_sites: bool,
    options: argparse.Namespace,
    results: list[Result],
    progress: Progress,
    task: Any,
) -> list[str]:
    ports = free_ports(3)
    hops = NextHops(*(Sink(port) for port in ports))
    relayed = dict(zip((RELAY_DOMAIN, REFUSING_DOMAIN, SILENT_DOMAIN), ports, strict=True))
    made: list[System] = []
    if options.only != "debian":
        made.append(Waypost(folder / "waypost", options.mailboxes, relayed, two_sites=two_sites))
    if options.only != "waypost":
        made.append(PostfixDovecot(folder / "debian", options.mailboxes, relayed, two_sites=two_sites))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(hops.stop)
        await hops.start()
        for system in made:
            progress.update(task, description=f"setting up {system.name}")
            stack.push_async_callback(system.stop)
            await system.start()
        for case in cases:
            result, run = Result(case), Run(hops, options.scale)
            results.append(result)
            systems = [system for system in made if system.name in _systems_of(case, options)]
            try:
                await _rounds_of(case, run, systems, result, _rounds(case, options), progress, task)
            finally:
                for larger in run.larger.values():
                    await larger.stop()
        return [system.version for system in made]


async def _rounds_of(
    case: Case,
    run: Run,
    systems: Sequence[System],
    result: Result,
    rounds: int,
    progress: Progress,
    task: Any,
) -> None:
    """Each system in turns."""
    for system in systems:
        if case.prepare is not None:
            progress.update(task, description=f"{case.name}: preparing {system.name}")
            await case.prepare(run, system)
    progress.advance(task)
    for _ in range(rounds):
        for system in systems:
            progress.update(task, description=f"{case.name}: {system.name}")
            measures = await case.measure(run, system)
            result.rounds[int(system.name != Waypost.name)].append(measures)
            figures = ", ".join(f"{key} {shown(value)}" for key, value in measures.items())
            progress.console.print(f"{case.name:16} {system.name:18} {figures}", highlight=False)
            progress.advance(task)


def _rounds(case: Case, options: argparse.Namespace) -> int:
    return int(min(options.rounds, case.rounds_most or options.rounds))


def _systems_of(case: Case, options: argparse.Namespace) -> list[str]:
    """Names of the systems that a case measures."""
    names = [Waypost.name] if case.alone else [Waypost.name, PostfixDovecot.name]
    if options.only is not None:
        only = Waypost.name if options.only == "waypost" else PostfixDovecot.name
        names = [name for name in names if name == only]
    return names


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return {
        "machine": {
            "processor": model,
            "cores": os.cpu_count(),
            "system": system,
            "kernel": platform.release(),
        },
        "load_before": os.getloadavg()[0],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


if __name__ == "__main__":
    sys.exit(main())
