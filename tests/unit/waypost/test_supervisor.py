from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from config.reader import read_topology
from foundation.interfaces.control import ServerStatus
from waypost import supervisor
from waypost.servers import Server
from waypost.supervisor import BackOff, Supervisor

CONFIG = Path(__file__).parents[3] / "config" / "single.toml"


def test_restarts_back_off_and_begin_anew_after_a_minute_up() -> None:
    back_off = BackOff()
    assert [back_off.delay_seconds(0.1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert back_off.delay_seconds(61) == 1
    assert back_off.delay_seconds(5) == 2


class CrashingProcess:
    """A process that ends as soon as it is ready; every second start fails, as with a full process table."""

    starts: dict[str, int] = {}
    often = asyncio.Event()

    def __init__(self, server: Server, *unused: Any) -> None:
        self.server = server
        self.running = False

    async def start(self, timeout_seconds: float) -> ServerStatus:
        count = self.starts[self.server.name] = self.starts.get(self.server.name, 0) + 1
        if count % 2 == 0:
            raise OSError("no process to be had")
        if min(self.starts.values()) >= 6:
            self.often.set()
        self.running = True
        return ServerStatus(name=self.server.name, role=self.server.role, site="A", pid=count, state="ready")

    async def wait(self) -> int:
        self.running = False
        return -9

    async def stop(self, timeout_seconds: float) -> bool:
        return True


async def test_a_server_is_started_again_and_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "ServerProcess", CrashingProcess)
    monkeypatch.setattr(supervisor, "RESTART_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(CrashingProcess, "starts", {})
    monkeypatch.setattr(CrashingProcess, "often", asyncio.Event())
    caplog.set_level(logging.INFO, "waypost.supervisor")
    running = Supervisor(read_topology(CONFIG, {}), CONFIG, on_log=lambda record: None, renew=lambda: ())
    await running.start()
    await asyncio.wait_for(CrashingProcess.often.wait(), 10)
    await running.stop()
    sentences = caplog.text
    for sentence in ("hub ended: killed by SIGKILL", "hub could not be started", "hub is ready again"):
        assert sentence in sentences
