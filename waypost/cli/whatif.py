"""`waypost simulate --load …`: the user's own organisation under load while something fails."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waypost.cli.options import load_topology, wanted_config
from waypost.cli.output import (
    NOT_SO,
    CommandFailed,
    duration,
    is_terminal,
    print_json,
    print_table,
    progress,
)

if TYPE_CHECKING:
    from waypost.simulator.whatif.options import Failure
    from waypost.simulator.whatif.report import Peak, Report
    from waypost.simulator.whatif.run import Asked, Step

LOAD, UNTIL = "10/s", "10m"
"""Of a what-if that says neither."""
INTERRUPTED = 130
MESSAGES_MAX = 2_000_000
UNTIL_SECONDS_MAX = 30 * 86400.0
ROWS_MAX = 16
"""Of the table of queue depth over time."""
COLUMNS_MAX = 8
SPARKLINE_COLUMNS = 20
SHOW_SECONDS = 0.2

_PANEL = "What if: your own organisation under load"
_FAIL = (
    "This fails. May be repeated. `hub-b@60s-300s`: the server is gone, as without power (a site's name: all "
    "its servers). `hub-b:stop@60s-300s`: stopped in order. `hub-b:full@60s-300s`: its disk is full. "
    "`hub-a~hub-b@60s-300s`: packets between the two are lost (servers, sites, or `internet` for all that is "
    "outside). Without an end, `hub-b@10m`, for good."
)
_CONFIG = "This organisation; else WAYPOST_CONFIG, else ./data/waypost.toml."
_LOAD = f"So many messages, like 20/s, 300/min, 5000/h; else {LOAD}."
_UNTIL = f"So long in virtual time, like 30m, 24h; else {UNTIL}."
_USERS = "So many people; else 50 a store."
_SIZE = "Every message is of this size, like 10KiB; else a mix."
_PLOT = "Queue depth over time into this SVG file."
WhatIfConfigOption = Annotated[Path | None, typer.Option("--config", help=_CONFIG, rich_help_panel=_PANEL)]
LoadOption = Annotated[str, typer.Option("--load", help=_LOAD, rich_help_panel=_PANEL)]
UntilOption = Annotated[str, typer.Option("--until", help=_UNTIL, rich_help_panel=_PANEL)]
FailOption = Annotated[list[str] | None, typer.Option("--fail", help=_FAIL, rich_help_panel=_PANEL)]
UsersOption = Annotated[
    int | None, typer.Option("--users", min=2, max=5000, help=_USERS, rich_help_panel=_PANEL)
]
SizeOption = Annotated[str, typer.Option("--size", help=_SIZE, rich_help_panel=_PANEL)]
PlotOption = Annotated[Path | None, typer.Option("--plot", help=_PLOT, rich_help_panel=_PANEL)]


def what_if(
    config: Path | None,
    *,
    load: str,
    until: str,
    fail: Sequence[str],
    seed: int,
    users: int,
    size: str,
    plot: Path | None,
    as_json: bool,
) -> int:
    from waypost.simulator.whatif.report import document, report_of
    from waypost.simulator.whatif.run import what_if as run
    from waypost.simulator.whatif.surroundings import Impossible

    file = wanted_config(config)
    asked = _asked(config, load, until, fail, seed, users, size)
    if plot is not None:
        _check_plot(plot)
    begun = time.monotonic()
    try:
        with _interrupts() as stopped, progress() as show:
            happened = run(asked, Progress(asked, show, stopped))
    except Impossible as error:
        raise CommandFailed(
            "configuration", error.problem, place=f"{file}: {error.place}", mend=error.mend
        ) from error
    report = report_of(asked, happened)
    if plot is not None:
        _write_plot(plot, report, _title(asked, file.name))
    if as_json:
        print_json(document(report))
    else:
        print_report(report, _title(asked, str(file)))
    took = duration(round((time.monotonic() - begun) * 1000))
    print(f"{duration(round(happened.seconds * 1000))} simulated in {took}", file=sys.stderr)
    if happened.interrupted:
        return INTERRUPTED
    return 0 if report.good else NOT_SO


def _asked(
    config: Path | None, load: str, until: str, fail: Sequence[str], seed: int, users: int, size: str
) -> Asked:
    from waypost.simulator.whatif.options import parse_failures, parse_rate, parse_seconds
    from waypost.simulator.whatif.run import Asked

    rate = _option("--load", lambda: parse_rate(load))
    seconds = _option("--until", lambda: parse_seconds(until))
    if not 1 <= seconds <= UNTIL_SECONDS_MAX:
        raise CommandFailed("usage", f"{until!r} is no length of a run", place="--until", mend="1s to 30d")
    if rate * seconds > MESSAGES_MAX:
        raise CommandFailed(
            "usage",
            f"{load} for {until} are {rate * seconds:,.0f} messages, more than {MESSAGES_MAX:,}",
            place="--load",
            mend="take less load or a shorter run",
        )
    topology = load_topology(config)
    failures = _option("--fail", lambda: parse_failures(fail, topology, seconds))
    return Asked(topology, rate, seconds, failures, seed, users, _size(size))


def _option(name: str, parse: Callable[[], Any]) -> Any:
    from waypost.simulator.whatif.options import BadOption

    try:
        return parse()
    except BadOption as error:
        raise CommandFailed("usage", error.problem, place=name, mend=error.mend) from error


def _size(text: str) -> int:
    from waypost.cli.units import parse_size

    return parse_size(text) if text else 0


def _check_plot(file: Path) -> None:
    """Before minutes are spent on what can't be written."""
    if file.suffix != ".svg":
        mend = f"take a name like {file.with_suffix('.svg')}"
        raise CommandFailed("usage", f"{file} is to be an SVG drawing", place="--plot", mend=mend)
    if not file.parent.is_dir():
        mend = "make it, or name another file"
        raise CommandFailed("usage", f"there is no folder {file.parent}", place="--plot", mend=mend)
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise CommandFailed("usage", f"{file} can't be written", place="--plot", mend="name another file")


def _write_plot(file: Path, report: Report, title: str) -> None:
    from waypost.simulator.whatif.plot import plot

    try:
        file.write_text(plot(report, title), "utf-8")
    except OSError as error:
        problem = f"{file} can't be written: {error.strerror}"
        raise CommandFailed("usage", problem, place="--plot", mend="name another file") from error


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; pressed again it ends the command as usual."""
    pressed: list[int] = []

    def press(number: int, frame: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)
        print("\nInterrupted: the report so far", file=sys.stderr)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """Shows how far it is; False when it is to end."""

    def __init__(self, asked: Asked, show: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        self._asked = asked
        self._show = show
        self._stopped = stopped
        self._begun = self._shown_at = 0.0

    def __call__(self, step: Step) -> bool:
        now = time.monotonic()
        self._begun = self._begun or now
        if now - self._shown_at >= SHOW_SECONDS:
            self._shown_at, until = now, self._asked.until_seconds
            left = (now - self._begun) / max(step.seconds, 0.001) * (until - step.seconds)
            self._show(
                f"{duration(round(step.seconds) * 1000)} of {duration(round(until * 1000))} "
                f"simulated, {step.written:,} messages, {step.waiting:,} wait in queues; "
                f"about {duration(max(round(left), 0) * 1000)} left"
            )
        return not self._stopped()


def _title(asked: Asked, file: str) -> str:
    load = f"{asked.rate:g}/s" if asked.rate >= 1 else f"{asked.rate * 3600:g}/h"
    return f"{file}: {load} for {duration(round(asked.until_seconds * 1000))}, seed {asked.seed}"


# --- the report for people


def print_report(report: Report, title: str) -> None:
    from waypost.simulator.whatif.report import most_frequent

    print(title)
    for failure in report.asked.failures:
        print(f"  {_told(failure)}")
    if report.happened.interrupted:
        print(f"  interrupted after {duration(round(report.happened.seconds * 1000))}")
    _section("Mail", ("what", "how much"), _mail(report))
    _section("Queues", _QUEUE_HEADINGS[: None if is_terminal() else -1], _queues(report))
    _section("Messages that waited, the most until each time", *_over_time(report))
    found, books = report.happened.outcomes, report.happened.books
    bounces = [(str(n), *where) for where, n in most_frequent(found.bounces)]
    _section("Bounced", ("recipients", "by", "for", "reason"), bounces)
    _section(
        "Refused for good",
        ("recipients", "reply"),
        [(str(n), why) for why, n in most_frequent(books.refused)],
    )
    put_off = [(str(n), why) for why, n in most_frequent(books.put_off)]
    _section("Put off, and tried again by those who sent", ("tries", "answer"), put_off)
    waiting = [(str(n), *where) for where, n in most_frequent(found.waiting_at)]
    _section("Still waiting", ("recipients", "at", "for", "last reply"), waiting)
    _section("Wrong", ("what",), [(each,) for each in (*found.wrong, *report.happened.errors)])
    print(_verdict(report))


def _told(failure: Failure) -> str:
    from waypost.simulator.whatif.plot import clock

    until = f"to {clock(failure.end_seconds)}" if failure.end_seconds != float("inf") else "for good"
    when = f"from {clock(failure.begin_seconds)} {until}"
    servers = ", ".join(failure.targets)
    if failure.kind == "apart":
        return f"{servers} and {', '.join(failure.others)} can't reach each other {when}"
    what = {
        "power": "gone, as without power",
        "stop": "stopped in order",
        "full": "without space on the disk",
    }
    return f"{servers}: {what[failure.kind]} {when}"


def _section(heading: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        print(f"\n{heading}")
        print_table(headings, rows)


def _mail(report: Report) -> list[tuple[str, str]]:
    from waypost.simulator.whatif.outcomes import LATE_SECONDS
    from waypost.simulator.whatif.report import share

    books, found = report.happened.books, report.happened.outcomes
    rows = [
        ("messages written", f"{books.written:,}"),
        ("messages accepted", f"{len(books.accepted):,}"),
        ("messages still with their senders", f"{books.holding:,}"),
        ("longest until accepted", _seconds(books.longest_holding_seconds)),
        ("recipients accepted", f"{found.accepted:,}"),
        ("delivered to mailboxes", f"{found.delivered:,}"),
        ("relayed outside", f"{found.relayed:,}"),
        ("bounced", f"{found.bounced:,}"),
        ("waiting at the end", f"{found.waiting:,}"),
        ("lost", f"{found.lost:,}"),
        ("doubled", f"{found.doubled:,}"),
        (f"delayed more than {LATE_SECONDS:g} s", f"{found.late:,}"),
        ("wait: half within", _seconds(share(found.waits, 0.5))),
        ("wait: 95 % within", _seconds(share(found.waits, 0.95))),
        ("wait: 99 % within", _seconds(share(found.waits, 0.99))),
    ]
    began = report.happened.began_at
    for name, slowest in (("longest wait", found.longest), ("longest, still waiting", found.waiting_longest)):
        if slowest is not None:
            from waypost.simulator.whatif.plot import clock

            where = f", {slowest.next_hop}" if slowest.next_hop else ""
            at = clock(round(slowest.sent_at - began, 1))
            rows.append((name, f"{_seconds(slowest.seconds)} ({slowest.recipient}, sent at {at}{where})"))
    return rows


def _seconds(seconds: float) -> str:
    return duration(round(seconds * 1000))


_QUEUE_HEADINGS = ("server", "queue", "most", "when", "mostly for", "emptied", "at the end", "over time")


def _queues(report: Report) -> list[tuple[str, ...]]:
    return [_queue_row(report, peak) for peak in report.peaks]


def _queue_row(report: Report, peak: Peak) -> tuple[str, ...]:
    from waypost.simulator.whatif.plot import clock, sparkline

    emptied = "" if not peak.most else "not yet" if peak.emptied_at is None else clock(peak.emptied_at)
    row = (
        peak.server,
        "hub" if peak.role == "hub" else "Outbox",
        f"{peak.most:,}",
        clock(peak.at) if peak.most else "",
        peak.next_hop,
        emptied,
        f"{peak.at_the_end:,}",
    )
    if not is_terminal():
        return row
    depths = [sample.depths[peak.server].total for sample in report.happened.samples]
    return (*row, sparkline(depths, SPARKLINE_COLUMNS))


def _over_time(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Those with the longest queues: in each stretch of time the most that waited."""
    from waypost.simulator.whatif.plot import clock

    longest = sorted(report.peaks, key=lambda peak: -peak.most)[:COLUMNS_MAX]
    shown = [peak.server for peak in report.peaks if peak in longest]
    samples = report.happened.samples
    every = max(-(-len(samples) // ROWS_MAX), 1)
    rows = []
    for begin in range(0, len(samples), every):
        stretch = samples[begin : begin + every]
        most = (max(sample.depths[name].total for sample in stretch) for name in shown)
        rows.append((clock(round(stretch[-1].at, 1)), *(f"{depth:,}" for depth in most)))
    return ("until", *shown), rows


def _verdict(report: Report) -> str:
    found = report.happened.outcomes
    sums = (
        f"{found.accepted:,} accepted = {found.delivered:,} delivered + {found.relayed:,} relayed "
        f"+ {found.bounced:,} bounced + {found.waiting:,} waiting"
    )
    if found.lost:
        sums += f" + {found.lost:,} LOST"
    if found.lost or found.doubled:
        return f"\nNot in order: {sums}; {found.doubled:,} doubled."
    if report.happened.errors:
        return f"\nNothing is lost or doubled ({sums}), but servers met errors that nobody foresaw."
    return f"\nNothing is lost or doubled: {sums}."
