"""A machine of the simulation and the process on it, which can be killed at any moment.

What a kill leaves: files, and in them what was committed. Memory is gone, running code never comes to its
next line, sockets are reset by the machine; when the machine itself lost power, they just fall silent, and of
a commit that was not yet answered there may be a part on the disk.
"""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waypost.simulator.loop import PROCESS


@dataclass(eq=False)
class Machine:
    name: str
    address: str
    powered: bool = True
    clock_ahead_ms: int = 0
    """Against true time; jumps."""
    process: Process | None = None
    starts: int = 0
    commit_fault: str = ""
    """What the next commits meet: `full`, `io`, `io-kept` (the error comes though it was written)."""
    slow_seconds: float = 0.0
    """Each commit takes up to this much longer."""
    unsynced: dict[Path, None] = field(default_factory=dict)
    """Files that a power cut may take."""
    disk_used_percent: float = 40.0
    memory_used_percent: float = 20.0
    next_commit: asyncio.Future[None] | None = None
    """Done when a commit has happened that is not answered yet."""


@dataclass(eq=False)
class Process:
    """One life of a server."""

    machine: Machine
    number: int
    alive: bool = True
    endings: dict[Any, None] = field(default_factory=dict)
    """Its ends of connections (waypost/simulator/connections.py)."""
    database_connections: dict[Any, Path] = field(default_factory=dict)
    """Every one that it opened, and the file."""
    open_files: dict[Any, None] = field(default_factory=dict)
    """Content that it is writing (waypost/simulator/disk.py)."""
    commit_pending: bool = False
    """The last commit of its database was not answered yet, and nothing was read since."""
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    @property
    def name(self) -> str:
        return self.machine.name


def start_process(machine: Machine) -> Process:
    machine.starts += 1
    machine.powered = True
    process = Process(machine, machine.starts)
    process.context.run(PROCESS.set, process)
    machine.process = process
    return process
