"""Peers that behave badly: clients that stall in the middle of a talk, and hosts that answer nothing or
garbage."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from config.model import Endpoint
from tests.harness.patience import patient

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def stalled(
    endpoint: Endpoint, *said: bytes, trust: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """A client that says this, waits for an answer to all but the last, and then says nothing any more.

    An empty word waits for the server's greeting.
    """
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection(
            endpoint.host, endpoint.port, ssl=trust, server_hostname=endpoint.host if trust else None
        ),
        patient(30),
    )
    try:
        for number, words in enumerate(said):
            writer.write(words)
            await writer.drain()
            if number < len(said) - 1:
                assert await asyncio.wait_for(reader.read(65536), patient(30)), f"closed after {words!r}"
        yield
    finally:
        writer.transport.abort()


async def crowd(
    stack: AsyncExitStack, count: int, endpoint: Endpoint, *said: bytes, trust: ssl.SSLContext | None = None
) -> None:
    """So many of them at once, until the stack is closed."""
    for _ in range(count):
        await stack.enter_async_context(stalled(endpoint, *said, trust=trust))


@asynccontextmanager
async def hostile_host(serve: Serve, port: int = 0) -> AsyncIterator[Endpoint]:
    """Does so to everybody who connects."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- what they do ---


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        continue


async def says_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(range(256)) * 40 + b"\r\n")
    await writer.drain()
    while await reader.read(65536):
        writer.write(b"\xff\x00 garbage\r\n" * 10)
        await writer.drain()


async def never_ends_a_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"2" * 65536)
        await writer.drain()


async def never_ends_a_reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"220-there is more\r\n" * 1000)
        await writer.drain()


async def closes_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return None


async def falls_silent_after_mail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 silent.example\r\n")
    while line := await reader.readline():
        if line.upper().startswith(b"MAIL"):
            await says_nothing(reader, writer)
            return
        writer.write(b"250 silent.example\r\n")


async def answers_the_content_with_garbage(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(b"220 garbage.example\r\n")
    while line := await reader.readline():
        if line.upper().startswith(b"DATA"):
            writer.write(b"354 go on\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"\x00\xffwhatever\r\n")
        else:
            writer.write(b"250 ok\r\n")
