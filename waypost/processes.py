"""A server as a child process: started, waited for until it says ready, its log lines read, stopped or
killed.

Used by the supervisor and by the test harness. A child is in a session of its own, so that Ctrl-C on the
terminal reaches the supervisor alone, and is killed by the kernel when its parent ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from foundation.interfaces.control import ServerStatus
from waypost.logs import parse_line
from waypost.servers import Server

LOG_LINE_BYTES = 256 * 1024


class StartFailed(Exception):
    """The process ended, or said nothing in time, before it was ready."""


class ServerProcess:
    def __init__(
        self,
        server: Server,
        config: Path,
        on_log: Callable[[dict[str, Any]], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.server = server
        self.status: ServerStatus | None = None
        self._config = config
        self._on_log = on_log
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._exited: asyncio.Task[int] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._exited is not None and not self._exited.done()

    async def start(self, timeout_seconds: float) -> ServerStatus:
        """Starts the process and waits until the server listens. Raises StartFailed; the process is ended
        then."""
        self.status = None
        read_end, write_end = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(write_end),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(write_end,),
                start_new_session=True,
                limit=LOG_LINE_BYTES,
                env=self._environment,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        assert self._process.stderr is not None
        self._reading = asyncio.create_task(self._read_logs(self._process.stderr))
        self._exited = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(timeout_seconds):
                line = await _read_line(read_end)
            if not line:
                raise StartFailed(
                    f"{self.server.name} ended before it was ready (exit code {await self.wait()})"
                )
            self.status = msgspec.json.decode(line, type=ServerStatus)
            return self.status
        except TimeoutError as error:
            raise StartFailed(f"{self.server.name} was not ready within {timeout_seconds:g} s") from error
        finally:
            if self.status is None:
                await self.kill()

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    async def wait(self) -> int:
        """The exit code, once the process has ended and its last line was read."""
        assert self._exited is not None and self._reading is not None
        code = await asyncio.shield(self._exited)
        await asyncio.shield(self._reading)
        return code

    async def stop(self, timeout_seconds: float) -> bool:
        """SIGTERM, then SIGKILL after the time-out. True when it stopped by itself."""
        if not self.running:
            return True
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.wait(), timeout_seconds)
        except TimeoutError:
            await self.kill()
            return False
        return True

    async def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        if self._exited is not None:
            self.signal(signal.SIGKILL)
            await self.wait()

    def _command(self, ready_fd: int) -> list[str]:
        server = self.server
        place = ("--config", str(self._config), "--ready-fd", str(ready_fd), "--supervisor", str(os.getpid()))
        return [sys.executable, "-m", "waypost", "run", server.role, "--name", server.name, *place]

    async def _read_logs(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the limit: what is buffered was dropped
                line = b"a log line over the limit was dropped\n"
            if not line:
                return
            self._on_log(parse_line(self.server.name, line))


async def _read_line(descriptor: int) -> bytes:
    """One line of a pipe, which is closed then; empty when its writer is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", 0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        return await reader.readline()
    finally:
        transport.close()
