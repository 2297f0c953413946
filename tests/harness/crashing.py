"""A SQLite database whose process dies at any point and is started again from what stands in its files.

Nothing is thrown into the code under test: at the chosen point its files are copied, as a kill leaves them.
What the doomed process does from then on is of no consequence: the next one opens the copy.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Engine, event

from tests.harness.wal import HEADER_BYTES, ends_of_commits, log_of

T = TypeVar("T")

IN_MEMORY = next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)
"""Where files cost no wait for a disk; a killed process, which this is about, leaves the same there."""


@dataclass(frozen=True)
class Crash:
    at: Literal["statement", "torn commit", "answer"]
    """Before a statement (COMMIT is one); within what the last commit writes; after the commit, before
    anybody learns of it."""
    number: int = 0
    """Which statement, from 0 on; how many octets of the commit came to the disk, modulo their number."""


class InlineExecutor:
    """Blocking work at once, so that the order of statements is always the same."""

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        return function(*arguments)

    def close(self) -> None:
        return None


class CrashingFiles:
    """Use: `listen` to the engine of each process, `arm`, do something, `crash`, open `file` anew."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._life = 0
        self._until: int | None = None
        self._commits = 0
        self.folder.mkdir()

    @property
    def folder(self) -> Path:
        return self._folder / f"life-{self._life}"

    @property
    def file(self) -> Path:
        return self.folder / self._name

    def listen(self, engine: Engine) -> None:
        """Counts the statements of all connections to come."""
        engine.dispose()

        def connected(driver: Any, record: object) -> None:
            driver.set_trace_callback(self._statement)

        event.listen(engine, "connect", connected)

    def arm(self, crash: Crash) -> None:
        self._commits = len(ends_of_commits(log_of(self.file)))
        self._until = crash.number if crash.at == "statement" else None

    def crash(self, crash: Crash) -> None:
        """From now on `file` is what was left; the caller gives up everything that it had open."""
        self._until = None
        if not self._next.exists():
            self._copy()
            if crash.at == "torn commit":
                self._tear(log_of(self._next / self._name), crash.number)
        gone, self._life = self.folder, self._life + 1
        shutil.rmtree(gone)

    @property
    def _next(self) -> Path:
        return self._folder / f"life-{self._life + 1}"

    def _statement(self, text: str) -> None:
        if self._until is None:
            return
        if self._until == 0:
            self._copy()
            self._until = None
        else:
            self._until -= 1

    def _copy(self) -> None:
        self._next.mkdir()
        for file in (self.file, log_of(self.file)):
            if file.exists():
                shutil.copy(file, self._next / file.name)

    def _tear(self, log: Path, octets: int) -> None:
        """The last commit is there in part, and what follows is garbage."""
        ends = ends_of_commits(log)
        if len(ends) <= self._commits:
            return
        start = ends[-2] if len(ends) > 1 else HEADER_BYTES
        os.truncate(log, start + octets % (ends[-1] - start))
        with open(log, "ab") as stream:
            stream.write(bytes(range(256)) * 20)
