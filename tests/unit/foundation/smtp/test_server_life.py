"""Connections that come, wait, vanish and are closed; stopping."""

import asyncio
from unittest.mock import Mock

import pytest

from foundation.smtp.channel import Channel
from foundation.smtp.reply import Reply
from foundation.smtp.server import SmtpServer
from tests.unit.foundation.smtp.conftest import WAIT_SECONDS, Certificates, Connect, Mailroom, Serve


def server_of(serve: Serve) -> SmtpServer:
    server: SmtpServer = serve.server  # type: ignore[attr-defined]
    return server


async def test_a_client_that_vanishes_does_not_cancel(serve: Serve, connect: Connect, room: Mailroom) -> None:
    room.gate = asyncio.Event()
    talk = await connect(await serve())
    await talk.begin()
    await talk.say("DATA")
    talk.send(b"x\r\n.\r\n")
    await asyncio.wait_for(room.entered.wait(), WAIT_SECONDS)
    talk.writer.transport.abort()
    await talk.close()
    room.gate.set()
    await asyncio.wait_for(room.closed.wait(), WAIT_SECONDS)
    assert len(room.received) == 1
    assert server_of(serve).connections == 0


async def test_a_client_that_vanishes_in_the_content_leaves_nothing(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    talk = await connect(await serve())
    await talk.begin()
    await talk.say("DATA")
    talk.send(b"x\r\n")
    await talk.writer.drain()
    talk.writer.transport.abort()
    await asyncio.wait_for(room.closed.wait(), WAIT_SECONDS)
    assert not room.received


async def test_idle_is_told_and_closed(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(idle_seconds=0.05))
    assert (await talk.reply()).startswith("421 4.4.2 ")
    assert await talk.ended()


async def test_a_line_that_never_ends_is_idle(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(idle_seconds=0.1))

    async def drip() -> None:
        while True:
            talk.send(b"x")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    assert (await talk.reply()).startswith("421 4.4.2 ")
    dripping.cancel()


async def test_content_that_flows_is_not_idle(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve(idle_seconds=0.15))
    await talk.begin()
    await talk.say("DATA")
    for _ in range(8):
        talk.send(b"x\r\n")
        await asyncio.sleep(0.05)
    assert (await talk.say(".")).startswith("250 ")
    assert len(room.received) == 1


async def test_content_has_a_time_of_its_own(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(idle_seconds=5, content_seconds=0.05))
    await talk.begin()
    await talk.say("DATA")
    assert (await talk.reply()).startswith("421 4.4.2 ")


async def test_the_servers_own_time_is_not_idle(serve: Serve, connect: Connect, room: Mailroom) -> None:
    room.gate = asyncio.Event()
    talk = await connect(await serve(idle_seconds=0.05))
    await talk.begin()
    await talk.say("DATA")
    talk.send(b"x\r\n.\r\n")
    asyncio.get_running_loop().call_later(0.2, room.gate.set)
    assert (await talk.reply()).startswith("250 ")


async def test_a_client_that_does_not_read_is_cut_off(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve(idle_seconds=0.2))
    talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
    talk.send(b"NOOP\r\n" * 2_000_000)
    await asyncio.wait_for(room.closed.wait(), 30)
    assert server_of(serve).connections == 0


async def test_sending_on_does_not_make_up_for_not_reading() -> None:
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    channel = Channel(transport, asyncio.get_running_loop(), idle_seconds=0.1)
    channel.say(Reply.of(250, "2.0.0", "OK"))
    channel.pause_writing()
    flushing = asyncio.create_task(channel.flush())
    async with asyncio.timeout(5):
        while not channel.gone:
            channel.feed(b"NOOP\r\n")
            await asyncio.sleep(0.02)
    await flushing
    transport.abort.assert_called_once()
    channel.lost()


async def test_connections_are_bounded(serve: Serve, connect: Connect) -> None:
    port = await serve(connections=2)
    first, _ = await connect(port), await connect(port)
    third = await connect(port, greeting=False)
    assert (await third.reply()).startswith("421 4.3.2 ")
    assert await third.ended()
    await first.say("QUIT")
    assert await first.ended()
    assert (await (await connect(port)).say("NOOP")).startswith("250 ")


async def test_connections_of_one_source_are_bounded(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = await serve(connections_per_source=1)
    await connect(port)
    await connect(port)
    monkeypatch.setattr("foundation.smtp.server._is_loopback", lambda address: False)
    third = await connect(port, greeting=False)
    assert (await third.reply()).startswith("421 4.7.0 ")


async def test_stopping_says_good_bye_to_the_idle(serve: Serve, connect: Connect, room: Mailroom) -> None:
    port = await serve()
    talk = await connect(port)
    await talk.begin()
    await server_of(serve).stop(5)
    assert (await talk.reply()).startswith("421 4.3.2 ")
    assert await talk.ended()
    with pytest.raises(OSError):
        await connect(port)


async def test_stopping_finishes_what_is_being_committed(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    room.gate = asyncio.Event()
    talk = await connect(await serve())
    await talk.begin()
    await talk.say("DATA")
    talk.send(b"x\r\n.\r\nMAIL FROM:<a@b.example>\r\n")
    await asyncio.wait_for(room.entered.wait(), WAIT_SECONDS)
    stopping = asyncio.create_task(server_of(serve).stop(5))
    await asyncio.sleep(0)
    room.gate.set()
    assert (await talk.reply()).startswith("250 2.6.0 ")
    assert (await talk.reply()).startswith("421 4.3.2 ")
    await stopping
    assert len(room.received) == 1


async def test_stopping_cuts_off_after_the_grace(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve())
    await talk.begin()
    await talk.say("DATA")
    await server_of(serve).stop(0.05)
    assert await talk.ended()
    assert server_of(serve).connections == 0


async def test_a_session_that_can_not_be_made_ends_the_connection(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    port = await serve()

    def broken(peer: object) -> None:
        raise ValueError("no")

    server_of(serve).factory = broken  # type: ignore[assignment]
    talk = await connect(port, greeting=False)
    assert await talk.ended()
    assert server_of(serve).connections == 0


async def test_tls_connections_are_told_and_closed(
    serve: Serve, connect: Connect, room: Mailroom, certificates: Certificates
) -> None:
    talk = await connect(
        await serve(implicit_tls=certificates.server, idle_seconds=0.05), certificates.client
    )
    assert (await talk.reply()).startswith("421 4.4.2 ")
    assert await talk.ended()
