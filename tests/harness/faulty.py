"""An organisation whose servers reach each other by fault proxies, with clocks and disks that a test breaks.

Every server has a configuration file of its own: its own listeners are where they are, those of all others
are proxies. Certificates name servers, not ports, so they fit.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from config.model import Endpoint, Topology
from config.writer import write_topology
from tests.harness.full_disk import BoundedDatabase, FullDisk, SmallFileSystem, can_mount
from tests.harness.organisation import Organisation
from tests.harness.ports import free_port
from tests.harness.proxy import FaultProxy
from tests.harness.topologies import with_settings_of
from tests.harness.wal import ends_of_commits, put_after_last_commit
from waypost.processes import ServerProcess
from waypost.servers import servers_of, with_endpoints

INSIDE = ("smtp_internal", "lmtp", "rpc")
"""Listeners by which servers reach each other."""


class SteppedProcess(ServerProcess):
    """Runs with the clock of tests.harness.stepped."""

    def _command(self, ready_fd: int) -> list[str]:
        command = super()._command(ready_fd)
        return [*command[:2], "tests.harness.stepped", *command[3:]]


class FaultyOrganisation(Organisation):
    """Use like Organisation; always processes."""

    def __init__(
        self,
        topology: Topology,
        small_disks: tuple[str, ...] = (),
        *,
        mount: bool | None = None,
        disk_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        """`small_disks`: hubs and stores whose disk can be filled: by a small file system of its own where
        that can be made and `mount` is not False, else by a bound for its database."""
        super().__init__(topology)
        self.proxies: dict[tuple[str, str], FaultProxy] = {}
        """By server and listener."""
        self.small_disks = small_disks
        self._mount = can_mount() if mount is None else mount
        self._disk_bytes = disk_bytes
        self._disks: dict[str, FullDisk] = {}
        self._stack = AsyncExitStack()
        self._clocks = topology.data / "clocks"

    async def __aenter__(self) -> FaultyOrganisation:
        self.topology.data.mkdir(parents=True, exist_ok=True)
        self._clocks.mkdir(exist_ok=True)
        for server in servers_of(self.topology):
            for listener, endpoint in server.endpoints().items():
                if listener in INSIDE:
                    proxy = FaultProxy(endpoint, free_port())
                    self.proxies[server.name, listener] = await self._stack.enter_async_context(proxy)
        for name in self.small_disks:
            self._disks[name] = self._disk(name)
        configs = {server.name: self._own_file(server.name, {}) for server in servers_of(self.topology)}
        self.servers._processes = {  # type: ignore[union-attr]
            server.name: SteppedProcess(
                server, configs[server.name], self.log.append, self._environment(server.name)
            )
            for server in servers_of(self.topology)
        }
        try:
            await super().__aenter__()
        except BaseException:
            await self._clean()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            await super().__aexit__(*error)
        finally:
            await self._clean()

    # --- faults ---

    def heal_network(self) -> None:
        for proxy in self.proxies.values():
            proxy.heal()

    def step_clock(self, server: str, milliseconds: int) -> None:
        """The server's wall clock is off by so much from now on."""
        (self._clocks / server).write_text(str(milliseconds))

    async def fill_disk(self, server: str) -> None:
        """Nothing new fits on a small disk any more."""
        await self._disks[server].fill()

    async def empty_disk(self, server: str) -> None:
        await self._disks[server].empty()

    def append_to_wal(self, server: str, chance: random.Random) -> int:
        """Garbage after the last committed frame of a server that does not run; returns how many files got
        some."""
        files = [
            each
            for each in sorted(self.topology.server_folder(server).glob("*.db-wal"))
            if ends_of_commits(each)
        ]
        for file in files:
            put_after_last_commit(file, chance.randbytes(chance.randint(1, 9000)))
        return len(files)

    def resume_all(self) -> None:
        for name in self.names:
            self._process_servers().signal(name, signal.SIGCONT)

    # --- parts ---

    def _disk(self, name: str) -> FullDisk:
        if self._mount:
            return SmallFileSystem(self.topology.server_folder(name), self._stack, self._disk_bytes)

        async def start_anew(settings: dict[str, Any]) -> None:
            await self.stop(name)
            self._own_file(name, settings)
            await self.start(name)

        return BoundedDatabase(start_anew)

    def _own_file(self, own: str, settings: dict[str, Any]) -> Path:
        """The configuration as this server has it, some of its own settings replaced."""
        elsewhere: dict[tuple[str, str], Endpoint] = {
            (name, listener): proxy.endpoint
            for (name, listener), proxy in self.proxies.items()
            if name != own
        }
        file = self.topology.data / f"{own}.toml"
        topology = with_settings_of(with_endpoints(self.topology, elsewhere), own, **settings)
        file.write_text(write_topology(topology))
        return file

    def _environment(self, name: str) -> dict[str, str]:
        clock = str(self._clocks / name)
        return {**os.environ, "PYTHONUNBUFFERED": "1", "WAYPOST_TEST_CLOCK_FILE": clock}

    async def _clean(self) -> None:
        await self._stack.aclose()
