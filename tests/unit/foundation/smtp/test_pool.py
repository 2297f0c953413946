import asyncio
from collections.abc import AsyncIterator

import pytest

from foundation.mail.envelope import Recipient, Sender
from foundation.smtp.client import SmtpConnection
from foundation.smtp.pool import ConnectionPool
from tests.unit.foundation.smtp.conftest import Mailroom, Serve


class Door:
    def __init__(self, port: int) -> None:
        self.port = port
        self.opened = 0

    async def __call__(self) -> SmtpConnection:
        self.opened += 1
        return await SmtpConnection.open("127.0.0.1", self.port, hostname="client.example")


async def send(connection: SmtpConnection) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"x\r\n"

    result = await connection.send(
        Sender(address=""), None, (Recipient(address="bob@waypost.example"),), content, 3
    )
    assert result.final[0].positive


async def test_a_kept_connection_is_used_again(serve: Serve, room: Mailroom) -> None:
    pool, door = ConnectionPool(), Door(await serve())
    first = await pool.take("hub-b", door)
    await send(first)
    pool.give_back("hub-b", first)
    assert pool.kept == 1
    assert await pool.take("hub-b", door) is first
    other = await pool.take("hub-b", door)
    assert other is not first and door.opened == 2
    assert await pool.take("hub-c", door) not in (first, other)
    pool.give_back("hub-b", first)
    await pool.close()
    assert pool.kept == 0 and not first.usable
    pool.give_back("hub-b", other)
    await pool.close()
    assert not other.usable


async def test_a_connection_is_used_up(serve: Serve, room: Mailroom) -> None:
    pool, door = ConnectionPool(messages_max=2), Door(await serve())
    for _ in range(4):
        connection = await pool.take("mx", door)
        await send(connection)
        pool.give_back("mx", connection)
    assert door.opened == 2 and pool.kept == 0
    await pool.close()


async def test_what_the_server_closed_is_not_used(
    serve: Serve, room: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, door = ConnectionPool(), Door(await serve(idle_seconds=0.05))
    connection = await pool.take("mx", door)
    pool.give_back("mx", connection)
    lost = asyncio.Event()
    monkeypatch.setattr(connection._queue, "connection_lost", lambda error: lost.set())
    await asyncio.wait_for(lost.wait(), 10)
    again = await pool.take("mx", door)
    assert again is not connection and door.opened == 2
    pool.give_back("mx", again)
    await pool.close()


async def test_idle_ones_are_closed(serve: Serve, room: Mailroom) -> None:
    pool, door = ConnectionPool(idle_seconds=0.05), Door(await serve())
    pool.give_back("mx", await pool.take("mx", door))
    await asyncio.wait_for(room.closed.wait(), 10)
    assert pool.kept == 0
    await pool.close()


async def test_no_more_are_kept_than_allowed(serve: Serve, room: Mailroom) -> None:
    pool, door = ConnectionPool(kept_per_hop=1), Door(await serve())
    one, two = await pool.take("mx", door), await pool.take("mx", door)
    pool.give_back("mx", one)
    pool.give_back("mx", two)
    assert pool.kept == 1
    pool.drop("mx")
    assert pool.kept == 0 and not one.usable
    await pool.close()
