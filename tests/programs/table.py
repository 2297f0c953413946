"""docs/programs.md: runs every test of a mail program, and writes down what passed and with which version.

python -m tests.programs.table [--into docs/programs.md]
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.programs.programs import FOLDER, version_of

HEAD = """# Mail programs that were tried

Real programs, unchanged, against the two-site topology as processes, with certificates of the private CA
verified. Every row was tried by tests that passed in the run which wrote it (`tests/programs/`; again with
`make docs/programs.md`).

| program | version | what was done |
|---|---|---|
"""


class Watcher:
    """A pytest plugin: what each program was seen to do."""

    def __init__(self) -> None:
        self.done: dict[str, list[str]] = {}
        self.not_tried: dict[str, str] = {}
        self._about: dict[str, tuple[str, str]] = {}

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        self._about.update(about(items))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid not in self._about:
            return
        program, deed = self._about[report.nodeid]
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.not_tried[program] = reason.removeprefix("Skipped: ")
        elif report.when == "call" and report.passed and deed not in self.done.setdefault(program, []):
            self.done[program].append(deed)


def about(items: Iterable[pytest.Item]) -> dict[str, tuple[str, str]]:
    """Test to the program it is about, and what the program does in it."""
    found = {}
    for item in items:
        marker = item.get_closest_marker("program")
        if marker is not None:
            deed = " ".join((item.obj.__doc__ or "").split())
            found[item.nodeid] = (str(marker.args[0]), deed)
    return found


def table(done: Mapping[str, Sequence[str]], versions: Mapping[str, str]) -> str:
    rows = (
        f"| {name} | {versions[name]} | {'; '.join(done[name])} |\n"
        for name in sorted(done, key=str.casefold)
    )
    return HEAD + "".join(rows) + f"\nRun on {_system()}.\n"


def _system() -> str:
    release = platform.freedesktop_os_release()
    return f"{release['PRETTY_NAME']}, Python {platform.python_version()}, Node.js {version_of('node')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help="write the table there; else it is printed")
    into = parser.parse_args().into
    watcher = Watcher()
    code = pytest.main([str(FOLDER), "-m", "program", "-q", "--no-header"], plugins=[watcher])
    for name, reason in watcher.not_tried.items():
        print(f"{name} was not tried: {reason}", file=sys.stderr)
    if code or watcher.not_tried:
        print("The table is not written: every program has to pass.", file=sys.stderr)
        return int(code) or 1
    text = table(watcher.done, {name: version_of(name) for name in watcher.done})
    if into is None:
        print(text, end="")
    else:
        into.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
