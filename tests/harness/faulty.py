"""An organisation whose servers reach each other by fault proxies, with clocks and disks that a test breaks.

Every server has a configuration file of its own: its own listeners are where they are, those of all others
are proxies. Certificates name servers, not ports, so they fit.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from config.model import Endpoint, Topology
from config.writer import write_topology
from tests.harness.organisation import Organisation
from tests.harness.ports import free_port
from tests.harness.proxy import FaultProxy
from waypost.processes import ServerProcess
from waypost.servers import Server, servers_of, with_endpoints

INSIDE = ("smtp_internal", "lmtp", "rpc")
"""Listeners by which servers reach each other."""
DISK_BYTES = 256 * 1024 * 1024
FILLING = "filling"


class SteppedProcess(ServerProcess):
    """Runs with the clock of tests.harness.stepped."""

    def _command(self, ready_fd: int) -> list[str]:
        command = super()._command(ready_fd)
        return [*command[:2], "tests.harness.stepped", *command[3:]]


class FaultyOrganisation(Organisation):
    """Use like Organisation; always processes."""

    def __init__(self, topology: Topology, small_disks: tuple[str, ...] = ()) -> None:
        """`small_disks`: servers whose data folder is a small file system of its own, where that can be
        made."""
        super().__init__(topology)
        self.proxies: dict[tuple[str, str], FaultProxy] = {}
        """By server and listener."""
        self.small_disks = small_disks if can_mount() else ()
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
            self._mount(self.topology.server_folder(name))
        configs = {server.name: self._own_file(server) for server in servers_of(self.topology)}
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

    def fill_disk(self, server: str) -> None:
        """Until nothing fits on a small disk any more."""
        with open(self.topology.server_folder(server) / FILLING, "ab", buffering=0) as stream:
            for size in (1024 * 1024, 4096, 512):
                try:
                    while stream.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def empty_disk(self, server: str) -> None:
        (self.topology.server_folder(server) / FILLING).unlink(missing_ok=True)

    def append_to_wal(self, server: str, chance: random.Random) -> int:
        """Garbage after the last frame of a server that does not run; returns how many files got some."""
        files = sorted(self.topology.server_folder(server).glob("*.db-wal"))
        for file in files:
            with open(file, "ab") as stream:
                stream.write(chance.randbytes(chance.randint(1, 9000)))
        return len(files)

    def resume_all(self) -> None:
        for name in self.names:
            self._process_servers().signal(name, signal.SIGCONT)

    # --- parts ---

    def _own_file(self, own: Server) -> Path:
        elsewhere: dict[tuple[str, str], Endpoint] = {
            (name, listener): proxy.endpoint
            for (name, listener), proxy in self.proxies.items()
            if name != own.name
        }
        file = self.topology.data / f"{own.name}.toml"
        file.write_text(write_topology(with_endpoints(self.topology, elsewhere)))
        return file

    def _environment(self, name: str) -> dict[str, str]:
        clock = str(self._clocks / name)
        return {**os.environ, "PYTHONUNBUFFERED": "1", "WAYPOST_TEST_CLOCK_FILE": clock}

    def _mount(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(folder)], check=True
        )
        undo: Callable[..., Any] = subprocess.run
        self._stack.callback(undo, ["umount", "--lazy", str(folder)], check=False)

    async def _clean(self) -> None:
        await self._stack.aclose()


def can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and _mounts()


def _mounts() -> bool:
    """Root of a container may be forbidden to."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
