"""What happened in a run, in order, one line an event; its digest tells whether two runs were the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    at: float
    machine: str
    text: str

    def __str__(self) -> str:
        return f"{self.at:12.6f} {self.machine:10} {self.text}"


class Journal:
    detailed = True
    """Whether every piece of bytes on a connection is told."""

    def __init__(self, time: Callable[[], float], show: Callable[[Entry], None] | None = None) -> None:
        self._time = time
        self._show = show
        self._digest = hashlib.sha256()
        self.entries: list[Entry] = []
        self.faults: Counter[str] = Counter()
        """How often each kind really happened."""

    def note(self, machine: str, text: str) -> None:
        entry = Entry(self._time(), machine, text)
        self.entries.append(entry)
        self._digest.update(f"{entry}\n".encode())
        if self._show is not None:
            self._show(entry)

    def fault(self, kind: str, machine: str, text: str) -> None:
        self.faults[kind] += 1
        self.note(machine, f"FAULT {kind}: {text}")

    def digest(self) -> str:
        return self._digest.hexdigest()
