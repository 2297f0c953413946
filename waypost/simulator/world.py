"""The world that the daemons of a simulation are built with: a virtual clock for each machine, ids and jitter
from the seed, files in a folder of the run, a name service that can fail and lie, and an executor that runs
inline and takes simulated time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from foundation.interfaces.world import MailExchanger, NameNotFound, NameServiceUnavailable, World
from foundation.tls import Identity, certificate_name
from waypost.simulator.databases import commits_of
from waypost.simulator.disk import SimulatedDisk
from waypost.simulator.loop import SimulatedLoop
from waypost.simulator.machine import Machine, Process

T = TypeVar("T")

BEGIN_MS = 1_750_000_000_000
"""Wall clock at the beginning of every run."""
DISK_BYTES = 20 * 1024**3
MEMORY_BYTES = 4 * 1024**3
COMMIT_SECONDS = (0.0005, 0.006)
HASH_SECONDS = 0.04
QUESTION_SECONDS = (0.001, 0.05)
QUESTION_TIMEOUT_SECONDS = 15.0
READS_AT_ONCE_SHARE = 0.8
"""Of reads, how many find nobody before them."""


class SimulatedClock:
    def __init__(self, loop: SimulatedLoop, machine: Machine) -> None:
        self._loop = loop
        self._machine = machine

    def now_ms(self) -> int:
        return BEGIN_MS + round(self._loop.time() * 1000) + self._machine.clock_ahead_ms

    def monotonic(self) -> float:
        return self._loop.time()


class SimulatedEntropy:
    """UUIDv7 of the machine's clock, all else from the seed."""

    def __init__(self, random: Random, clock: SimulatedClock) -> None:
        self._random = random
        self._clock = clock
        self._last = 0

    def identifier(self) -> str:
        value = self._clock.now_ms() << 74 | self._random.getrandbits(73)
        if value <= self._last:
            value = self._last + 1 + self._random.getrandbits(32)
        self._last = value
        high, low = value >> 62, value & (1 << 62) - 1
        stamp, random = high >> 12, high & 0xFFF
        return str(UUID(int=stamp << 80 | 0x7 << 76 | random << 64 | 0b10 << 62 | low))

    def token(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._random.random()


class SimulatedResources:
    """What the machine has of disk and memory is set from outside."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def disk(self, folder: Path) -> tuple[int, int]:
        return DISK_BYTES, DISK_BYTES - round(DISK_BYTES * self._machine.disk_used_percent / 100)

    def memory(self) -> tuple[int, int]:
        return round(MEMORY_BYTES * self._machine.memory_used_percent / 100), MEMORY_BYTES


@dataclass
class NameService:
    """The names outside the organisation, for all machines."""

    loop: SimulatedLoop
    random: Random
    exchangers: dict[str, tuple[MailExchanger, ...]] = field(default_factory=dict)
    hosts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fault: str = ""
    """`away`: no answers; `denies`: the names do not exist; `lies`: addresses where nobody is."""
    misled: Callable[[str, str], None] = lambda kind, name: None

    async def mail_exchangers(self, domain: str) -> tuple[MailExchanger, ...]:
        await self._asked(domain)
        found = self.exchangers.get(domain.rstrip(".").lower())
        if found is None:
            if domain.rstrip(".").lower() in self.hosts:
                return ()
            raise NameNotFound(f"{domain} does not exist")
        return found

    async def addresses(self, host: str) -> tuple[str, ...]:
        await self._asked(host)
        if self.fault == "lies":
            self.misled("lies", host)
            return ("203.0.113.66",)
        found = self.hosts.get(host.rstrip(".").lower())
        if found is None:
            raise NameNotFound(f"{host} has no address")
        return found

    async def _asked(self, name: str) -> None:
        if self.fault == "away":
            self.misled("away", name)
            await asyncio.sleep(QUESTION_TIMEOUT_SECONDS)
            raise NameServiceUnavailable(f"no answer from the name service about {name}")
        await asyncio.sleep(self.random.uniform(*QUESTION_SECONDS))
        if self.fault == "denies":
            self.misled("denies", name)
            raise NameNotFound(f"{name} does not exist")


class SimulatedExecutor:
    """With one thread, one piece of work after the other; a cancelled caller cancels no work."""

    def __init__(
        self, name: str, threads: int, machine: Machine, random: Random, directory_seconds: float
    ) -> None:
        self._directory_seconds = directory_seconds
        self._kind = name.rpartition("-")[2]
        self._turn = asyncio.Lock() if threads == 1 else None
        self._machine = machine
        self._random = random
        self._closed = False

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        if self._closed:
            raise RuntimeError("the executor is closed")
        before, after = self._seconds()
        if not before + after and (self._turn is None or not self._turn.locked()):
            self._pending(False)
            return function(*arguments)
        work = asyncio.get_running_loop().create_task(self._work(before, after, function, *arguments))
        return await asyncio.shield(work)

    def close(self) -> None:
        self._closed = True

    async def _work(self, before: float, after: float, function: Callable[..., T], *arguments: object) -> T:
        if self._turn is not None:
            async with self._turn:
                return await self._timed(before, after, function, *arguments)
        return await self._timed(before, after, function, *arguments)

    async def _timed(self, before: float, after: float, function: Callable[..., T], *arguments: object) -> T:
        """A crash before the middle finds nothing done, after it all: the function is one step. A power cut
        after it may find a part of what it wrote on the disk."""
        await asyncio.sleep(before)
        process = self._machine.process if self._kind == "writer" else None
        commits = commits_of(process) if process is not None else b""
        value = function(*arguments)
        # The first to open a database finds what its log has: no commit of its own.
        if process is not None and commits and commits_of(process) != commits:
            self._pending(True)
            self._tell_of_commit()
        await asyncio.sleep(after)
        self._pending(False)
        return value

    def _pending(self, pending: bool) -> None:
        """What is read from a database, or answered, is on its disk."""
        process = self._machine.process
        if process is not None and self._kind in ("writer", "readers"):
            process.commit_pending = pending

    def _tell_of_commit(self) -> None:
        waiting = self._machine.next_commit
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _seconds(self) -> tuple[float, float]:
        random = self._random
        if self._kind == "writer":
            whole = random.uniform(*COMMIT_SECONDS)
            if self._machine.slow_seconds:
                whole += random.random() * self._machine.slow_seconds
            share = random.random()
            return whole * share, whole * (1 - share)
        if self._kind == "passwords":
            return HASH_SECONDS, 0.0
        if self._kind == "directory":
            return random.random() * self._directory_seconds, 0.0
        if random.random() < READS_AT_ONCE_SHARE:
            return 0.0, 0.0
        return random.random() * 0.002, random.random() * 0.002


class SimulatedContext(ssl.SSLContext):
    """Stands for a TLS context of a server; no TLS is spoken, its name is what the other end sees."""

    certificate_name = ""


def context_of(name: str) -> SimulatedContext:
    context = SimulatedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.certificate_name = name
    return context


class SimulatedIdentity(Identity):
    """Certificates of one server that need no files."""

    def __init__(self, name: str) -> None:
        super().__init__(Path(), name)
        self._inside = context_of(name)
        self._outside = context_of("")

    def public_server(self) -> ssl.SSLContext:
        return self._outside

    def internal_server(self) -> ssl.SSLContext:
        return self._inside

    def internal_client(self) -> ssl.SSLContext:
        return self._inside

    def peer_name(self, connection: Any) -> str:
        return certificate_name(connection.get_extra_info("peercert")) if connection is not None else ""

    def reload(self) -> None:
        """There are no files that could have changed."""


def world_of(
    loop: SimulatedLoop, process: Process, names: NameService, seed: str, directory_seconds: float
) -> World:
    """For one life of a server: a restart draws other ids."""
    machine = process.machine
    clock = SimulatedClock(loop, machine)
    random = Random(f"{seed} {machine.name} {process.number}")
    work = Random(f"{seed} {machine.name} {process.number} work")
    resources = SimulatedResources(machine)
    return World(
        clock=clock,
        entropy=SimulatedEntropy(random, clock),
        disk=SimulatedDisk(process, resources),
        resolver=names,
        executor=lambda name, threads: SimulatedExecutor(name, threads, machine, work, directory_seconds),
        resources=resources,
    )
