"""Client Access as a whole: its listeners, its control interface, starts that fail."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from pathlib import Path
from typing import Any

import pytest

from clientaccess.daemon import ClientAccess
from config.model import AccessServer, Endpoint, Site, Topology
from foundation.certificates import issue_certificate, make_authority
from foundation.directory.changes import DirectoryChanges
from foundation.interfaces.control import Control
from foundation.interfaces.world import World
from foundation.rpc.client import RpcClient, TcpTarget, UnixTarget
from foundation.tls import CertificateError, Identity
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from foundation.world.dns import DnsResolver
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor

FREE = Endpoint(host="127.0.0.1", port=0)
WORLD = World(
    clock=SystemClock(),
    entropy=SystemEntropy(),
    disk=SystemDisk(),
    resolver=DnsResolver(),
    executor=ThreadExecutor,
)


def topology(data: Path, **given: Endpoint | bool | None) -> Topology:
    settings: dict[str, Any] = dict.fromkeys(("submission", "submissions", "imap", "imaps", "rpc"), FREE)
    return Topology(
        organisation="Example",
        data=data,
        default_domain="home.example",
        domains=(),
        sites=(Site(name="A"),),
        hubs=(),
        stores=(),
        access=(AccessServer(name="access", site="A", **(settings | given)),),
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    certificates = topology(tmp_path).certificates
    certificates.mkdir()
    now_ms, disk = WORLD.clock.now_ms(), SystemDisk()
    make_authority(certificates, "Example", now_ms=now_ms, disk=disk)
    for name in ("access", "hub-a"):
        issue_certificate(certificates, name, now_ms=now_ms, disk=disk)
    (tmp_path / "directory").mkdir()
    DirectoryChanges(topology(tmp_path).directory_database, WORLD.clock, WORLD.entropy).close()
    return tmp_path


def daemon_of(data: Path, **given: Endpoint | bool | None) -> ClientAccess:
    settings = topology(data, **given)
    return ClientAccess(settings, "access", WORLD, Identity(settings.certificates, "access"))


def talk(ports: dict[str, int], trust: ssl.SSLContext) -> list[str]:
    """Blocking: the EHLO of both submission listeners, before and after TLS."""
    found = []
    with smtplib.SMTP("localhost", ports["submission"], "laptop.example", timeout=10) as client:
        found.append(client.ehlo()[1].decode())
        client.starttls(context=trust)
        found.append(client.ehlo()[1].decode())
    with smtplib.SMTP_SSL("localhost", ports["submissions"], context=trust, timeout=10) as client:
        found.append(client.ehlo()[1].decode())
    return found


async def test_listeners_and_status(data: Path) -> None:
    daemon = daemon_of(data)
    assert daemon.status().state == "starting"
    await daemon.start()
    try:
        ports = {listener.protocol: listener.port for listener in daemon.listeners}
        assert list(ports) == ["submission", "submissions", "imap", "imaps", "rpc", "control"]
        trust = ssl.create_default_context(cafile=str(data / "certificates" / "ca.pem"))
        clear, upgraded, implicit = await asyncio.to_thread(talk, ports, trust)
        assert clear.startswith("access.home.example\n")
        assert "STARTTLS" in clear and "AUTH" not in clear
        for hello in (upgraded, implicit):
            assert "AUTH PLAIN LOGIN" in hello and "STARTTLS" not in hello and "XWAYPOST" not in hello
        reader, writer = await asyncio.open_connection("127.0.0.1", ports["imap"])
        assert (await reader.readline()).startswith(b"* OK")
        writer.close()
        status = daemon.status()
        assert (status.role, status.state, status.site, status.name) == ("access", "ready", "A", "access")
        assert {"submission_connections", "imap_connections", "rpc_connections"} <= set(status.details)
    finally:
        await daemon.stop()
    assert daemon.status().state == "draining"


async def test_control(data: Path) -> None:
    daemon = daemon_of(data)
    await daemon.start()
    rpc = next(listener for listener in daemon.listeners if listener.protocol == "rpc")
    peer = Identity(data / "certificates", "hub-a")
    targets = (
        UnixTarget(topology(data).control_socket("access")),
        TcpTarget("127.0.0.1", rpc.port, peer.internal_client(), server="access", peer_name=peer.peer_name),
    )
    try:
        for target in targets:
            client = RpcClient(target)
            control = client.interface(Control)
            assert (await control.status()).name == "access"
            assert (await control.reload()).applied == ("certificates",)
            assert await control.retry("", ()) == 0
            assert [batch async for batch in control.queue()] == []
            assert [batch async for batch in control.trace("x@y.example", ())] == []
            await client.close()
    finally:
        await daemon.stop()
    assert not topology(data).control_socket("access").exists()


async def test_only_what_is_configured_is_listened_on(data: Path) -> None:
    daemon = daemon_of(data, submission=None, imap=None, imaps=None)
    await daemon.start()
    assert [listener.protocol for listener in daemon.listeners] == ["submissions", "rpc", "control"]
    await daemon.stop()


@pytest.mark.parametrize(("allowed", "word"), [(False, b"LOGINDISABLED"), (True, b"AUTH=PLAIN")])
async def test_imap_takes_passwords_without_tls_only_where_a_setting_says_so(
    data: Path, allowed: bool, word: bytes
) -> None:
    daemon = daemon_of(data, imap_plain_logon=allowed)
    await daemon.start()
    try:
        port = next(listener.port for listener in daemon.listeners if listener.protocol == "imap")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert word in (await reader.readline()).split(b"]")[0].split()
        writer.close()
    finally:
        await daemon.stop()


async def test_a_start_without_certificate_fails_cleanly(data: Path) -> None:
    (data / "certificates" / "access.pem").unlink()
    daemon = daemon_of(data)
    with pytest.raises(CertificateError):
        await daemon.start()
    await daemon.stop()
    await daemon.stop()


async def test_a_start_on_a_busy_port_fails_cleanly(data: Path) -> None:
    first = daemon_of(data)
    await first.start()
    busy = next(listener.port for listener in first.listeners if listener.protocol == "imaps")
    second = daemon_of(data, imaps=Endpoint(host="127.0.0.1", port=busy))
    with pytest.raises(OSError):
        await second.start()
    await second.stop()
    await first.stop()


def test_a_name_that_is_not_in_the_topology(data: Path) -> None:
    settings = topology(data)
    with pytest.raises(KeyError):
        ClientAccess(settings, "other", WORLD, Identity(settings.certificates, "access"))
