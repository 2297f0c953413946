"""What aiosmtpd and aiosmtplib would do by themselves, and the server and client here must not do."""

import asyncio
import gc
import socket
import struct
import threading
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from foundation.database.spool import Spool
from foundation.mail.envelope import Recipient, Sender
from foundation.smtp.client import ConnectionBroken, ConnectionFailed, SmtpConnection, Timeouts
from foundation.smtp.reply import Reply
from foundation.smtp.server import ServerOptions, SmtpServer
from tests.unit.foundation.smtp.conftest import (
    WAIT_SECONDS,
    Certificates,
    Clerk,
    Connect,
    Ids,
    Mailroom,
    Serve,
    Talk,
)

MEBIBYTE = 1024 * 1024
BOB = Recipient(address="bob@waypost.example")


async def hello() -> AsyncIterator[bytes]:
    yield b"hello\r\n"


async def test_no_thread_no_connection_to_itself_and_no_look_at_host_names(
    serve: Serve, room: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> str:
        raise AssertionError("a blocking look at the host's name")

    for name in ("getfqdn", "gethostname", "gethostbyname", "gethostbyaddr", "getaddrinfo"):
        monkeypatch.setattr(socket, name, forbidden)
    threads = threading.active_count()
    port = await serve()
    assert not room.peers
    connection = await SmtpConnection.open("127.0.0.1", port, hostname="client.example")
    result = await connection.send(Sender(address=""), None, (BOB,), hello, 7)
    await connection.quit()
    assert result.final[0].positive
    assert len(room.peers) == 1
    assert threading.active_count() == threads


class Weigher(Clerk):
    """Looks at the size alone."""

    async def message(self, content: Spool) -> Reply:
        return Reply.of(250, "2.6.0", f"{content.size_bytes} octets")


async def test_large_content_takes_little_memory_and_holds_up_nobody(
    room: Mailroom, connect: Connect
) -> None:
    server = SmtpServer(ServerOptions(hostname="mx.waypost.example"), lambda peer: Weigher(room, peer), Ids())
    port = await server.start("127.0.0.1", 0)
    sending, other = await connect(port), await connect(port)
    await sending.begin()
    await sending.say("DATA")
    piece = (b"x" * 998 + b"\r\n") * 500
    tracemalloc.start()
    try:
        for _ in range(60):
            sending.send(piece)
            await sending.writer.drain()
            assert await other.say("NOOP") == "250 2.0.0 Ok"
        assert await sending.say(".") == f"250 2.6.0 {60 * len(piece)} octets"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await sending.close()
        await other.close()
        await server.stop(0)
    assert peak < 6 * MEBIBYTE < 60 * len(piece) / 4


async def test_a_session_ends_at_its_age_though_it_is_busy(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(session_seconds=0.1))
    reply = "250 "
    async with asyncio.timeout(WAIT_SECONDS):
        while reply.startswith("250 "):
            reply = await talk.say("NOOP")
    assert reply.startswith("421 4.4.2 ")
    assert await talk.ended()


async def test_servers_of_the_organisation_keep_their_connections(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(session_seconds=0, private=True))
    assert (await talk.say("NOOP")).startswith("250 ")


def reset(talk: Talk) -> None:
    """Ends the connection by RST."""
    raw = talk.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.writer.transport.abort()


@pytest.mark.parametrize(
    "said", [b"", b"EH", b"EHLO a\r\n", b"EHLO a\r\nSTARTTLS\r\n", b"EHLO a\r\nSTARTTLS\r\n\x16\x03\x01\x00"]
)
async def test_resets_around_starttls_end_only_that_client(
    serve: Serve, connect: Connect, room: Mailroom, certificates: Certificates, said: bytes
) -> None:
    port = await serve(starttls=certificates.server)
    for _ in range(5):
        talk = await connect(port)
        talk.send(said)
        await talk.writer.drain()
        reset(talk)
    other = await connect(port)
    await other.begin()
    await other.say("DATA")
    assert (await other.say("hello\r\n.")).startswith("250 ")
    assert len(room.received) == 1


async def scripted(script: dict[bytes, bytes]) -> tuple[asyncio.Server, int]:
    """Answers lines by their first word; silence to the others. The greeting is the answer to nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(script[b""])
        while line := await reader.readline():
            writer.write(script.get(line.split()[0], b""))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, int(server.sockets[0].getsockname()[1])


async def test_quit_is_not_waited_for_long() -> None:
    server, port = await scripted({b"": b"220 mx\r\n", b"EHLO": b"250 mx\r\n"})
    timeouts = Timeouts(quit=0.05)
    connection = await SmtpConnection.open("127.0.0.1", port, hostname="client.example", timeouts=timeouts)
    async with asyncio.timeout(WAIT_SECONDS):
        await connection.quit()
    assert not connection.usable
    server.close()


async def test_a_failure_leaves_no_lock_and_no_forgotten_exception() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    timeouts = Timeouts(connect=1, greeting=0.1, hello=0.1, mail=0.1, quit=0.1)
    good = {b"": b"220 mx\r\n", b"EHLO": b"250 mx\r\n"}
    for script in ({b"": b"554 no\r\n"}, {b"": b""}, {b"": b"220 mx\r\n"}, good | {b"EHLO": b"421 no\r\n"}):
        server, port = await scripted(script)
        async with asyncio.timeout(WAIT_SECONDS):
            for _ in range(2):
                with pytest.raises(ConnectionFailed):
                    await SmtpConnection.open("127.0.0.1", port, hostname="client.example", timeouts=timeouts)
        server.close()
    server, port = await scripted(good)
    connection = await SmtpConnection.open("127.0.0.1", port, hostname="client.example", timeouts=timeouts)
    with pytest.raises(ConnectionBroken):
        await connection.send(Sender(address=""), None, (BOB,), hello, 7)
    with pytest.raises(ConnectionBroken):  # the answer that was missed is not taken for the next one
        await connection.send(Sender(address=""), None, (BOB,), hello, 7)
    server.close()
    del connection
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints
