"""Mutual TLS: who calls is known by the certificate, and nobody without one is heard."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from foundation.certificates import issue_certificate, make_authority
from foundation.interfaces.mailbox_store import MailboxStore
from foundation.mail.errors import MailError
from foundation.rpc.client import RpcClient, TcpTarget
from foundation.rpc.errors import ConnectionLost
from foundation.rpc.server import RpcServer
from foundation.tls import Identity
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from tests.unit.foundation.rpc.rig import FOLDER, SmallStore


def identity(folder: Path, name: str) -> Identity:
    now_ms = SystemClock().now_ms()
    make_authority(folder, "Test", now_ms=now_ms, disk=SystemDisk())
    issue_certificate(folder, name, now_ms=now_ms, disk=SystemDisk())
    return Identity(folder, name)


@pytest.fixture
async def target(tmp_path: Path, small_store: SmallStore) -> AsyncIterator[TcpTarget]:
    """A server that lets `access` read folders and content, and how `access` reaches it."""
    store, access = identity(tmp_path, "store-a"), identity(tmp_path, "access")

    def authorise(peer: str, service: str, method: str) -> bool:
        return peer == "access" and method in ("folders", "content")

    server = RpcServer(
        {MailboxStore: small_store},
        authorise=authorise,
        trace_id=lambda: "trace-1",
        peer_name=store.peer_name,
    )
    port = await server.serve_tls("127.0.0.1", 0, store.internal_server())
    yield TcpTarget("127.0.0.1", port, access.internal_client(), server="store-a", peer_name=access.peer_name)
    await server.stop()


async def test_a_peer_is_known_by_its_certificate(target: TcpTarget, tmp_path: Path) -> None:
    client = RpcClient(target)
    assert await client.interface(MailboxStore).folders("m") == (FOLDER,)
    with pytest.raises(MailError, match="access may not call"):
        await client.interface(MailboxStore).folder("m", "INBOX")
    await client.close()
    other = RpcClient(replace(target, context=identity(tmp_path, "hub-a").internal_client()))
    with pytest.raises(MailError, match="hub-a may not call"):
        await other.interface(MailboxStore).folders("m")
    await other.close()


async def test_a_large_download_beside_calls(target: TcpTarget) -> None:
    client = RpcClient(target)
    store = client.interface(MailboxStore)
    got = 0
    async for piece in store.content("m", "f", 1, 0, 10 << 20):
        got += len(piece)
        assert await store.folders("m") == (FOLDER,)
    assert got == 10 << 20
    await client.close()


async def test_a_server_with_another_name_is_left(target: TcpTarget) -> None:
    client = RpcClient(replace(target, server="store-b"))
    with pytest.raises(ConnectionLost, match="is store-a, not store-b") as caught:
        await client.interface(MailboxStore).folders("m")
    assert not caught.value.sent
    await client.close()


async def test_nobody_without_a_certificate_is_heard(target: TcpTarget, tmp_path: Path) -> None:
    stranger = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    stranger.check_hostname = False
    client = RpcClient(replace(target, context=stranger, server=""))
    with pytest.raises(ConnectionLost):
        await client.interface(MailboxStore).folders("m")
    await client.close()


async def test_a_certificate_of_another_authority_is_refused(target: TcpTarget, tmp_path: Path) -> None:
    foreign = identity(tmp_path / "foreign", "access")
    client = RpcClient(replace(target, context=foreign.internal_client()))
    with pytest.raises(ConnectionLost):
        await client.interface(MailboxStore).folders("m")
    await client.close()


async def test_plain_text_to_a_tls_listener(target: TcpTarget) -> None:
    client = RpcClient(replace(target, context=None, server=""))
    with pytest.raises(ConnectionLost):
        await client.interface(MailboxStore).folders("m")
    await client.close()
