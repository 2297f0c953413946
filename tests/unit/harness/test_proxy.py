"""The fault proxy does what a soak relies on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from config.model import Endpoint
from tests.harness.ports import free_port
from tests.harness.proxy import FaultProxy


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """Before a server that answers with what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with FaultProxy(Endpoint(host="127.0.0.1", port=port), free_port()) as running:
        yield running
    server.close()


async def opened(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(proxy.endpoint.host, proxy.endpoint.port)


async def test_bytes_go_through_both_ways_and_so_does_the_end(proxy: FaultProxy) -> None:
    reader, writer = await opened(proxy)
    writer.write(b"hello")
    writer.write_eof()
    assert await reader.read() == b"hello"
    writer.close()


@pytest.mark.parametrize("direction", ["to server", "to client"])
async def test_a_connection_is_cut_after_so_many_bytes(proxy: FaultProxy, direction: str) -> None:
    proxy.cut(3, direction)  # type: ignore[arg-type]
    reader, writer = await opened(proxy)
    writer.write(b"hello")
    got = b""
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        while True:
            got += await reader.readexactly(1)
    assert got in (b"", b"hel")  # a reset may overtake what was sent before it
    assert proxy.cut_count == 1
    writer.close()


async def test_what_is_swallowed_comes_when_it_is_healed(proxy: FaultProxy) -> None:
    reader, writer = await opened(proxy)
    proxy.swallow()
    writer.write(b"hello")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.readexactly(5)
    proxy.heal()
    assert await reader.readexactly(5) == b"hello"
    writer.close()


async def test_delay(proxy: FaultProxy) -> None:
    proxy.delay_seconds = 0.03
    reader, writer = await opened(proxy)
    began = asyncio.get_running_loop().time()
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    assert asyncio.get_running_loop().time() - began >= 0.055
    writer.close()


async def test_a_server_that_is_away_is_a_broken_connection(proxy: FaultProxy) -> None:
    nowhere = FaultProxy(Endpoint(host="127.0.0.1", port=free_port()), free_port())
    async with nowhere:
        reader, writer = await opened(nowhere)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
