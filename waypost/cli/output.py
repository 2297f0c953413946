"""What every command prints and how it ends: stdout for the result, stderr for the rest, one document for
`--json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

NOT_SO = 1
USAGE = 2
NOT_FOUND = 3
PARTIAL = 4


class CommandFailed(Exception):
    """A command that can't do what was asked: a machine word, one sentence, where, and what to do about
    it."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        place: str = "",
        mend: str = "",
        exit_code: int = USAGE,
        further: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """`further`: more of the same kind, each with message, place and mend."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.place = place
        self.mend = mend
        self.exit_code = exit_code
        self.further = tuple(further)


def print_failure(failure: CommandFailed, as_json: bool) -> None:
    first = {"message": failure.message, "place": failure.place, "mend": failure.mend}
    if as_json:
        error: dict[str, Any] = {"code": failure.code, **first}
        if failure.further:
            error["further"] = list(failure.further)
        print(json.dumps({"version": 1, "error": error}, ensure_ascii=False), file=sys.stderr)
        return
    for each in (first, *failure.further):
        place = f"{each['place']}: " if each["place"] else ""
        print(f"waypost: {place}{each['message']}", file=sys.stderr)
        if each["mend"]:
            print(f"  {each['mend']}", file=sys.stderr)


def print_json(document: Mapping[str, Any]) -> None:
    print(json.dumps({"version": 1, **document}, ensure_ascii=False, indent=2))


LONGEST_LINE = 100_000
"""Columns in a pipe, whatever COLUMNS says: nothing is cut or wrapped there."""


def console(*, stderr: bool = False) -> Console:
    """Colours on a terminal alone (NO_COLOR obeyed); in a pipe lines are as long as they are."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else LONGEST_LINE
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def is_terminal() -> bool:
    return sys.stdout.isatty()


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table in colour on a terminal; in a pipe columns parted by tabs, without headings' decoration."""
    if not is_terminal():
        for row in (headings, *rows):
            print("\t".join(row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Shows what is going on, on stderr and only on a terminal; gone when it is done."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    with console(stderr=True).status("starting") as status:
        yield lambda step: status.update(step)


def rfc3339(at_ms: int) -> str:
    """UTC milliseconds as RFC 3339; empty for 0, which stands for never."""
    if not at_ms:
        return ""
    at = datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(milliseconds=at_ms % 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(milliseconds: int) -> str:
    """For people: `12 ms`, `3.4 s`, `5 min 20 s`, `3 h 5 min`, `2 d 4 h`."""
    if abs(milliseconds) < 1000:
        return f"{milliseconds} ms"
    if abs(milliseconds) < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(milliseconds // 1000, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def size(size_bytes: int) -> str:
    """For people: bytes, KiB, MiB."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    if size_bytes < 1024 * 1024:
        return f"{size_bytes / 1024:.1f} KiB"
    return f"{size_bytes / 1024 / 1024:.1f} MiB"
