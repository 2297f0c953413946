"""`waypost up`: every server of a topology as a process of its own, restarted when it crashes, stopped in
order.

What runs after `Supervisor.start` is the topology; what ends it is `stop`. Certificates are renewed
meanwhile, and the servers told.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from config.environment import without_settings
from config.model import Topology
from foundation.interfaces.control import ServerStatus
from waypost.processes import ServerProcess, StartFailed
from waypost.servers import STOP_ORDER, servers_of

log = logging.getLogger("waypost.supervisor")

READY_SECONDS = 30
STOP_SECONDS = 15
RESTART_FIRST_SECONDS = 1.0
RESTART_LONGEST_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""Up for so long, and the next restart is again a first one."""
RENEWAL_CHECK_SECONDS = 6 * 3600.0


class BackOff:
    """How long to wait before a restart: 1 s doubling to 30 s, from the start again after a minute up."""

    def __init__(self) -> None:
        self._next = RESTART_FIRST_SECONDS

    def delay_seconds(self, up_seconds: float) -> float:
        if up_seconds >= STEADY_SECONDS:
            self._next = RESTART_FIRST_SECONDS
        delay = self._next
        self._next = min(delay * 2, RESTART_LONGEST_SECONDS)
        return delay


class Supervisor:
    def __init__(
        self,
        topology: Topology,
        config: Path,
        *,
        on_log: Callable[[dict[str, Any]], None],
        renew: Callable[[], tuple[str, ...]],
        without: Collection[str] = (),
    ) -> None:
        """`config`: the file the servers read. `renew`: issues certificates that are due, returns whose.
        `without`: servers that somebody else starts.
        """
        self._topology = topology
        self._renew = renew
        # The file has what variables said, and the ports that were really taken: it alone counts.
        environment = without_settings(os.environ)
        self._processes = {
            server.name: ServerProcess(server, config, on_log, environment)
            for server in servers_of(topology)
            if server.name not in without
        }
        self._keeping: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def start(self) -> dict[str, ServerStatus]:
        """Starts all servers at once; returns when all are ready, with their status. Raises StartFailed."""
        processes = list(self._processes.values())
        starts = [asyncio.create_task(process.start(READY_SECONDS)) for process in processes]
        try:
            statuses = await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self._stop_processes()
            raise
        self._keeping = [asyncio.create_task(self._keep(process)) for process in processes]
        self._keeping.append(asyncio.create_task(self._renew_certificates()))
        return {process.server.name: status for process, status in zip(processes, statuses, strict=True)}

    def reload(self) -> None:
        """Has every server read its settings and certificates again."""
        for process in self._processes.values():
            process.signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Stops Client Access, then stores, then hubs; each kind has a bounded time, then it is killed."""
        self._stopping.set()
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await self._stop_processes()

    async def _stop_processes(self) -> None:
        for role in STOP_ORDER:
            await asyncio.gather(*(self._stop(p) for p in self._processes.values() if p.server.role == role))

    async def _stop(self, process: ServerProcess) -> None:
        if not await process.stop(STOP_SECONDS):
            log.warning(
                "did not stop in %d s and was killed", STOP_SECONDS, extra={"of": process.server.name}
            )

    async def _keep(self, process: ServerProcess) -> None:
        loop = asyncio.get_running_loop()
        back_off = BackOff()
        started_at = loop.time()
        while not self._stopping.is_set():
            if process.running:
                code = await process.wait()
                log.warning("%s ended: %s", process.server.name, _ending(code))
            delay = back_off.delay_seconds(loop.time() - started_at)
            log.warning("%s is started again in %g s", process.server.name, delay)
            await asyncio.sleep(delay)
            started_at = loop.time()
            try:
                status = await process.start(READY_SECONDS)
            except StartFailed as error:
                log.error("%s", error)
            except Exception:  # no process or file to be had: tried again all the same
                log.exception("%s could not be started", process.server.name)
            else:
                log.info("%s is ready again", status.name, extra={"pid": status.pid})

    async def _renew_certificates(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_CHECK_SECONDS)
            try:
                renewed = self._renew()
            except Exception:
                log.exception("certificates could not be renewed; next try in 6 hours")
                continue
            for name in renewed:
                log.info("certificate of %s renewed", name)
                if name in self._processes:
                    self._processes[name].signal(signal.SIGHUP)


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
