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
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.cases.all import CASES
from benchmarks.cases.case import Case
from benchmarks.plot import plot
from benchmarks.results import Result, as_json, markdown
from benchmarks.runner import Runner
from benchmarks.systems.debian import PostfixDovecot
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
    facts = machine()
    runner = Runner(cases, folder, options.only, options.mailboxes, options.rounds, options.scale, console)
    try:
        await runner.run()
    finally:
        if options.keep:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        facts |= {"versions": runner.versions, "rounds": options.rounds, "scale": options.scale}
        _write(runner.results, facts, options.into, cases[0].name if len(cases) == 1 else "table", console)
    for case in runner.failed:
        console.print(f"failed: {case.name}", style="red")
    return 1 if runner.failed else 0


def _write(results: list[Result], facts: dict[str, Any], into: Path, stem: str, console: Console) -> None:
    results.sort(key=lambda result: list(CASES).index(result.case.name))
    names = (Waypost.name, PostfixDovecot.name)
    table = markdown(results, names)
    into.mkdir(parents=True, exist_ok=True)
    (into / f"{stem}.md").write_text(table)
    (into / f"{stem}.json").write_text(as_json(results, names, facts))
    (into / f"{stem}.svg").write_text(plot(results, names))
    if sys.stdout.isatty():
        Console().print(Markdown(table))
    else:
        print(table)
    console.print(f"{into}/{stem}.md, .json and .svg are written.")


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
