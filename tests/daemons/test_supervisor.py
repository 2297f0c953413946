"""The supervisor with real servers: start, renewal of certificates, reload, restart, stop in order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import waypost.supervisor
from config.writer import write_topology
from tests.harness.patience import until
from tests.harness.topologies import ready_topology
from waypost.bootstrap import prepare
from waypost.processes import StartFailed
from waypost.servers import resolved_file
from waypost.supervisor import Supervisor
from waypost.world import real_world

pytestmark = pytest.mark.slow


class Supervised:
    def __init__(self, data: Path) -> None:
        self.topology = ready_topology("single", data)
        self.log: list[dict[str, Any]] = []
        self.due: list[str] = []
        prepare(self.topology, real_world())
        file = resolved_file(self.topology)
        file.write_text(write_topology(self.topology))
        self.supervisor = Supervisor(self.topology, file, on_log=self.log.append, renew=self.renew)

    def renew(self) -> tuple[str, ...]:
        renewed, self.due = tuple(self.due), []
        return renewed

    async def wait_for(self, message: str, *servers: str) -> None:
        async def look() -> bool:
            said = {entry["server"] for entry in self.log if entry["message"] == message}
            return said >= set(servers)

        await until(look, f"{message!r} from {servers}", 20)


@pytest_asyncio.fixture
async def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervised]:
    monkeypatch.setattr(waypost.supervisor, "RENEWAL_CHECK_SECONDS", 0.05)
    found = Supervised(tmp_path / "data")
    yield found
    await found.supervisor.stop()


async def test_from_start_to_stop(supervised: Supervised) -> None:
    statuses = await supervised.supervisor.start()
    assert {(name, status.state) for name, status in statuses.items()} == {
        ("hub", "ready"),
        ("store", "ready"),
        ("access", "ready"),
    }
    supervised.due = ["store"]
    await supervised.wait_for("reloaded", "store")
    assert not any(entry["message"] == "reloaded" and entry["server"] == "hub" for entry in supervised.log)
    supervised.supervisor.reload()
    await supervised.wait_for("reloaded", "hub", "store", "access")
    supervised.log.clear()
    os.kill(statuses["hub"].pid, signal.SIGKILL)
    await supervised.wait_for("ready", "hub")
    await supervised.supervisor.stop()
    stopped = [entry["server"] for entry in supervised.log if entry["message"] == "stopped"]
    assert stopped == ["access", "store", "hub"]


async def test_a_server_that_can_not_start_ends_the_others(supervised: Supervised) -> None:
    endpoint = supervised.topology.stores[0].lmtp
    server = await asyncio.start_server(lambda reader, writer: writer.close(), endpoint.host, endpoint.port)
    async with server:
        with pytest.raises(StartFailed, match="store ended before it was ready"):
            await supervised.supervisor.start()
    assert any(
        entry["server"] == "store" and "address already in use" in entry["message"]
        for entry in supervised.log
    )
    assert not any(process.running for process in supervised.supervisor._processes.values())
