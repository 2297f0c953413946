"""Contexts by role, over real connections on loopback."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from foundation.certificates import issue_certificate, make_authority
from foundation.tls import CertificateError, Identity
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk

DISK = SystemDisk()
NOW = SystemClock().now_ms()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    make_authority(folder, "Example", now_ms=NOW, disk=DISK)
    for name in ("hub-a", "store-a"):
        issue_certificate(folder, name, now_ms=NOW, disk=DISK)
    return folder


async def talk(
    server: Identity,
    server_context: ssl.SSLContext,
    client: Identity,
    client_context: ssl.SSLContext,
) -> tuple[str, str]:
    """Whom the server and the client believe to talk to."""
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(server.peer_name(writer.transport))
        writer.write(b"x")
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
    try:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context)
        try:
            if await reader.read(1) != b"x":
                raise ConnectionResetError("closed by the server")
            assert client.peer_name(writer.get_extra_info("ssl_object")) == client.peer_name(writer.transport)
            return await seen, client.peer_name(writer.transport)
        finally:
            writer.close()
    finally:
        listener.close()


async def test_servers_know_each_other(folder: Path) -> None:
    hub, store = Identity(folder, "hub-a"), Identity(folder, "store-a")
    assert await talk(store, store.internal_server(), hub, hub.internal_client()) == ("hub-a", "store-a")


async def test_stranger_without_certificate_is_refused(folder: Path) -> None:
    store = Identity(folder, "store-a")
    stranger = ssl.create_default_context(cafile=folder / "ca.pem")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await talk(store, store.internal_server(), store, stranger)


async def test_server_of_another_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_authority(other, "Other", now_ms=NOW, disk=DISK)
    issue_certificate(other, "hub-a", now_ms=NOW, disk=DISK)
    store, intruder = Identity(folder, "store-a"), Identity(other, "hub-a")
    with pytest.raises(ssl.SSLCertVerificationError):
        await talk(store, store.internal_server(), intruder, intruder.internal_client())
    with pytest.raises(ssl.SSLCertVerificationError):
        await talk(intruder, intruder.internal_server(), store, store.internal_client())


async def test_public_listener_takes_any_client(folder: Path) -> None:
    hub = Identity(folder, "hub-a")
    context = hub.public_server()
    assert context is not None
    stranger = ssl.create_default_context(cafile=folder / "ca.pem")
    assert await talk(hub, context, hub, stranger) == ("", "hub-a")


async def test_reload_takes_a_renewed_certificate(folder: Path) -> None:
    hub, store = Identity(folder, "hub-a"), Identity(folder, "store-a")
    server, client = store.internal_server(), hub.internal_client()
    before = (folder / "store-a.pem").read_text()
    issue_certificate(folder, "store-a", now_ms=NOW, disk=DISK)
    store.reload()
    hub.reload()
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
    port = listener.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
    seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    writer.close()
    listener.close()
    assert seen == [ssl.PEM_cert_to_DER_cert((folder / "store-a.pem").read_text())]
    assert seen != [ssl.PEM_cert_to_DER_cert(before)]


def test_no_certificate_yet(tmp_path: Path) -> None:
    identity = Identity(tmp_path, "hub-a")
    assert identity.public_server() is None
    with pytest.raises(CertificateError, match=r"ca\.pem.*waypost init"):
        identity.internal_server()


def test_certificate_without_its_key(folder: Path) -> None:
    (folder / "hub-a.key").unlink()
    with pytest.raises(CertificateError, match=r"hub-a\.key"):
        Identity(folder, "hub-a").internal_client()


def test_public_certificate_by_setting(folder: Path, tmp_path: Path) -> None:
    make_authority(tmp_path / "public", "Public", now_ms=NOW, disk=DISK)
    issue_certificate(tmp_path / "public", "mail.example.test", now_ms=NOW, disk=DISK)
    pair = [str(tmp_path / "public" / f"mail.example.test.{end}") for end in ("pem", "key")]
    identity = Identity(folder, "hub-a", certificate_file=pair[0], key_file=pair[1])
    assert identity.public_server() is not None
    with pytest.raises(CertificateError, match="can't be used"):
        Identity(
            folder, "hub-a", certificate_file=pair[0], key_file=str(folder / "hub-a.key")
        ).public_server()


def test_old_protocol_versions_are_off(folder: Path) -> None:
    identity = Identity(folder, "hub-a")
    for context in (identity.public_server(), identity.internal_server(), identity.internal_client()):
        assert context is not None
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_no_peer() -> None:
    assert Identity(Path(), "hub-a").peer_name(None) == ""
