"""`waypost simulate`: the daemons' own code under faults from a seed, and whether every promise held; or the
user's own configuration under load (waypost/cli/whatif.py)."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waypost.cli.options import JsonOption
from waypost.cli.output import NOT_SO, CommandFailed, duration, print_json, print_table, progress
from waypost.cli.whatif import (
    LOAD,
    UNTIL,
    FailOption,
    LoadOption,
    PlotOption,
    SizeOption,
    UntilOption,
    UsersOption,
    WhatIfConfigOption,
    what_if,
)

if TYPE_CHECKING:
    from waypost.simulator.run import Verdict

application = typer.Typer(add_completion=False, rich_markup_mode="markdown")

STORIES_MAX = 3
SEEDS_A_POOL = 100
"""Processes are renewed after so many, whatever they have kept."""


@application.command(
    epilog="Examples:\n\n- `waypost simulate --seeds 100`\n- `waypost simulate --seed 42 --trace`\n"
    "- `waypost simulate --config my.toml --load 20/s --fail hub-b@60s-300s --until 30m --plot my.svg`",
    no_args_is_help=True,
)
def simulate(
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Run this one.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Run so many.")] = None,
    first: Annotated[int, typer.Option("--first", min=0, help="The first seed of --seeds.")] = 0,
    trace: Annotated[bool, typer.Option("--trace", help="With --seed: print all that happens.")] = False,
    config: WhatIfConfigOption = None,
    load: LoadOption = "",
    until: UntilOption = "",
    fail: FailOption = None,
    users: UsersOption = None,
    size: SizeOption = "",
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run a whole organisation on a simulated network with faults, and check that no message is lost or
    doubled.

    Everything follows from the seed: a run that failed is told again by --seed. Exit code 1: a promise was
    broken.

    **What if:** with --config, --load, --until or --fail it is your own organisation under load while
    something fails, on a copy in memory: nothing of yours is touched. Ctrl-C gives the report so far.
    """
    if config or load or until or fail or plot or users or size:
        if seeds is not None or trace:
            option = "--trace" if trace else "--seeds"
            raise CommandFailed("usage", "is not for a what-if", place=option, mend="waypost simulate --help")
        return what_if(
            config,
            load=load or LOAD,
            until=until or UNTIL,
            fail=fail or (),
            seed=1 if seed is None else seed,
            users=users or 0,
            size=size,
            plot=plot,
            as_json=as_json,
        )
    return _run(seed, seeds, first, trace, as_json)


def _run(seed: int | None, seeds: int | None, first: int, trace: bool, as_json: bool) -> int:
    """One seed or many, and whether all promises held."""
    if (seed is None) == (seeds is None):
        raise CommandFailed("usage", "give either --seed N or --seeds N", mend="waypost simulate --help")
    if trace and (seed is None or as_json):
        raise CommandFailed("usage", "--trace prints the run of one --seed, and not as JSON")
    begun = time.monotonic()
    chosen = range(first, first + (seeds or 0))
    verdicts = [_one(seed, trace)] if seed is not None else list(_many(chosen))
    took = time.monotonic() - begun
    if as_json:
        print_json({**_totals(verdicts, took), "items": [_document(verdict) for verdict in verdicts]})
    else:
        _print(verdicts, took)
    return 0 if all(verdict.good for verdict in verdicts) else NOT_SO


def _one(seed: int, trace: bool) -> Verdict:
    from waypost.simulator.run import simulate as run

    return run(seed, show=print if trace else None)


def _many(seeds: range) -> Iterator[Verdict]:
    """In their order; seeds are run by as many processes as there are processors."""
    from waypost.simulator.run import simulate as run

    failed = done = 0
    with progress() as step:
        for start in range(0, len(seeds), SEEDS_A_POOL):
            with ProcessPoolExecutor(os.cpu_count()) as pool:
                for verdict in pool.map(run, seeds[start : start + SEEDS_A_POOL]):
                    failed, done = failed + (not verdict.good), done + 1
                    step(f"seed {verdict.seed}: {done} of {len(seeds)} done, {failed} failed")
                    yield verdict.without_journal() if verdict.good else verdict


def _totals(verdicts: list[Verdict], took: float) -> dict[str, Any]:
    faults: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    for verdict in verdicts:
        faults += verdict.faults
        attempts += verdict.attempts
    delivered = sum(verdict.delivered for verdict in verdicts)
    return {
        "seeds": len(verdicts),
        "failed": [verdict.seed for verdict in verdicts if not verdict.good],
        "virtual_seconds": round(sum(verdict.virtual_seconds for verdict in verdicts), 3),
        "took_seconds": round(took, 3),
        "attempts": dict(sorted(attempts.items())),
        "delivered": delivered,
        "possible_doubles_outside": sum(verdict.possible_doubles for verdict in verdicts),
        "faults": dict(sorted(faults.items())),
    }


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        "seed": verdict.seed,
        "good": verdict.good,
        "digest": verdict.digest,
        "virtual_seconds": round(verdict.virtual_seconds, 3),
        "attempts": dict(sorted(verdict.attempts.items())),
        "delivered": verdict.delivered,
        "findings": list(verdict.findings),
    }


def _print(verdicts: list[Verdict], took: float) -> None:
    from waypost.simulator.story import story

    for verdict in verdicts:
        if verdict.good:
            continue
        print(f"seed {verdict.seed} failed; the same again: waypost simulate --seed {verdict.seed} --trace")
        for finding in verdict.findings[:STORIES_MAX]:
            print(f"  {finding}")
            for line in story(verdict, finding):
                print(f"    {line}")
        if len(verdict.findings) > STORIES_MAX:
            print(f"  and {len(verdict.findings) - STORIES_MAX} more")
    totals = _totals(verdicts, took)
    rows = [
        ("seeds", str(totals["seeds"])),
        ("failed", ", ".join(map(str, totals["failed"])) or "none"),
        ("virtual time", duration(round(totals["virtual_seconds"] * 1000))),
        ("took", duration(round(took * 1000))),
        *((f"submissions {answer}", str(count)) for answer, count in totals["attempts"].items()),
        ("deliveries", str(totals["delivered"])),
        ("deliveries a second", f"{totals['delivered'] / took:.0f}"),
        ("possible doubles outside", str(totals["possible_doubles_outside"])),
        *((f"fault: {kind}", str(count)) for kind, count in totals["faults"].items()),
    ]
    print_table(("what", "how much"), rows)
    if len(verdicts) == 1:
        print(f"digest {verdicts[0].digest}")
