"""Two ways to run the servers of a topology for a test: in this event loop, or as processes like `waypost
up` does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from config.model import Topology
from tests.harness.patience import patient
from waypost.processes import ServerProcess
from waypost.servers import STOP_ORDER, servers_of
from waypost.service import Daemon, identity_of, make_daemon
from waypost.world import real_world

START_SECONDS = 20


class Servers(Protocol):
    async def start(self, *names: str) -> None: ...

    async def stop(self, *names: str) -> None:
        """In order: what was accepted is safe."""
        ...

    async def kill(self, *names: str) -> None:
        """At once, without a word."""
        ...


class InlineServers:
    """All daemons as objects in the test's own event loop: starts in a fraction of a second, debugs well."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._daemons: dict[str, Daemon] = {}

    async def start(self, *names: str) -> None:
        for server in servers_of(self._topology):
            if server.name in names and server.name not in self._daemons:
                daemon = make_daemon(
                    self._topology, server, identity_of(self._topology, server), real_world()
                )
                self._daemons[server.name] = daemon
                await daemon.start()

    async def stop(self, *names: str) -> None:
        for role in STOP_ORDER:
            for server in servers_of(self._topology):
                if server.role == role and server.name in names and server.name in self._daemons:
                    await self._daemons.pop(server.name).stop()

    async def kill(self, *names: str) -> None:
        raise AssertionError("servers in the test's own process can't be killed: run them as processes")


class ProcessServers:
    """Each daemon as a process of its own, from the topology file."""

    def __init__(self, topology: Topology, config: Path, on_log: Callable[[dict[str, Any]], None]) -> None:
        # What a server says is shown when its test fails, so it says everything.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._processes = {
            server.name: ServerProcess(server, config, on_log, environment) for server in servers_of(topology)
        }

    async def start(self, *names: str) -> None:
        starting = (self._processes[name] for name in names if not self._processes[name].running)
        await asyncio.gather(*(process.start(patient(START_SECONDS)) for process in starting))

    async def stop(self, *names: str) -> None:
        for role in STOP_ORDER:
            chosen = [self._processes[name] for name in names if self._processes[name].server.role == role]
            stopped = await asyncio.gather(*(process.stop(patient(START_SECONDS)) for process in chosen))
            assert all(stopped), f"one of {names} did not stop in order"

    async def kill(self, *names: str) -> None:
        await asyncio.gather(*(self._processes[name].kill() for name in names))

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].signal(number)
