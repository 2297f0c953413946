"""A server that starts before `waypost init` has made its certificate, or runs when it is renewed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from config.model import Topology
from foundation.tls import CertificateError, Identity
from tests.harness.patience import patient
from tests.harness.topologies import ready_topology
from waypost.bootstrap import prepare_certificates
from waypost.certificates import follow_certificates, wait_for_certificate
from waypost.world import real_world


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    return ready_topology("two-sites", tmp_path / "data")


async def test_it_waits_and_says_for_what(topology: Topology, caplog: pytest.LogCaptureFixture) -> None:
    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    told, handler = asyncio.Event(), Told()
    logging.getLogger("waypost.service").addHandler(handler)
    identity = Identity(topology.certificates, "hub-a")
    waiting = asyncio.create_task(wait_for_certificate(identity, asyncio.Event()))
    await asyncio.wait_for(told.wait(), patient(5))
    logging.getLogger("waypost.service").removeHandler(handler)
    assert not waiting.done()
    assert "waypost init" in caplog.text
    assert str(topology.certificates) in caplog.text
    prepare_certificates(topology, real_world())
    assert await asyncio.wait_for(waiting, patient(5))
    assert len(caplog.records) == 1


async def test_it_gives_up_with_file_and_mend(topology: Topology) -> None:
    identity = Identity(topology.certificates, "hub-a")
    with pytest.raises(CertificateError, match=r"ca\.pem.*waypost init"):
        await wait_for_certificate(identity, asyncio.Event(), 0)


async def test_a_server_that_waits_can_be_stopped(topology: Topology) -> None:
    stopping = asyncio.Event()
    identity = Identity(topology.certificates, "hub-a")
    waiting = asyncio.create_task(wait_for_certificate(identity, stopping))
    stopping.set()
    assert not await asyncio.wait_for(waiting, patient(5))


async def test_a_certificate_that_was_replaced_is_told_once(tmp_path: Path) -> None:
    disk, file, public = real_world().disk, tmp_path / "hub-a.pem", tmp_path / "public.pem"
    disk.write(file, b"first")
    told: asyncio.Queue[None] = asyncio.Queue()
    following = asyncio.create_task(follow_certificates([file, public], lambda: told.put_nowait(None), 0.01))
    await asyncio.sleep(0)  # it has looked once
    for replaced in (file, public):
        disk.write(replaced, b"second")
        await asyncio.wait_for(told.get(), patient(5))
    following.cancel()
    assert told.empty()
