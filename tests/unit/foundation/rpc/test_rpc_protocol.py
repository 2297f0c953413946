"""The connection below the calls, spoken by hand: hello, versions, garbage, deadlines, silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from foundation.interfaces.mailbox_store import MailboxStore
from foundation.rpc.client import RpcClient, TcpTarget
from foundation.rpc.errors import ConnectionLost
from foundation.rpc.frames import (
    Call,
    Cancel,
    Credit,
    End,
    Failure,
    Frame,
    FrameReader,
    Hello,
    Item,
    Ping,
    Pong,
    Reply,
    encode,
    value,
)
from foundation.rpc.services import RpcLimits
from foundation.rpc.streams import WINDOW_BYTES
from tests.unit.foundation.rpc.rig import Rig, SmallStore, until

HELLO = Hello(1, 1, WINDOW_BYTES, 0)


class Peer:
    """Speaks frames over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._read: list[Frame] = []

    async def next(self) -> Frame | None:
        """None at the end of the connection."""
        async with asyncio.timeout(20):
            while not self._read:
                try:
                    data = await self._reader.read(65536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._read.extend(self._frames.feed(data))
        return self._read.pop(0)

    def send(self, *frames: Frame) -> None:
        self.send_bytes(b"".join(encode(frame) for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def peer(rig: Rig) -> AsyncIterator[Peer]:
    """A client of the rig's server."""
    made = Peer(*await asyncio.open_connection("127.0.0.1", rig.port))
    yield made
    made.close()


async def greet(peer: Peer) -> None:
    assert isinstance(await peer.next(), Hello)
    peer.send(HELLO)


def call(number: int, method: str, *arguments: object, deadline_ms: int = 0) -> Call:
    return Call(number, "MailboxStore", method, value(arguments), deadline_ms)


async def test_a_call_by_hand(peer: Peer) -> None:
    await greet(peer)
    peer.send(call(7, "search", "m", "f", ("all",)), Ping())
    answers = {type(frame): frame for frame in (await peer.next(), await peer.next())}
    assert isinstance(answers[Pong], Pong)
    reply = answers.get(Reply) or answers[Failure]
    assert reply.call == 7  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "garbage",
    [
        b"EHLO client.example\r\n",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        bytes(encode(End(1))),
        bytes(encode(HELLO)) * 2,
        bytes(encode(HELLO)) + bytes(encode(Reply(1, value(None)))),
        bytes(encode(Hello(9, 8, WINDOW_BYTES, 0))),
    ],
)
async def test_what_is_not_understood_ends_this_connection_only(rig: Rig, peer: Peer, garbage: bytes) -> None:
    peer.send_bytes(garbage)
    while await peer.next() is not None:
        pass
    assert len(await rig.client().interface(MailboxStore).folders("m")) == 1


async def test_a_number_in_use_ends_the_connection(peer: Peer, small_store: SmallStore) -> None:
    await greet(peer)
    twice = call(1, "set_subscribed", "m", "INBOX", True)
    peer.send(twice, twice)
    assert await peer.next() is None
    small_store.go_on.set()


async def test_frames_of_calls_that_are_over_are_ignored(peer: Peer) -> None:
    await greet(peer)
    unknown = msgspec.msgpack.encode([99, "of a newer release"])
    peer.send(Cancel(5), Credit(5, 100), Item(5, value(b"x")), End(5))
    peer.send_bytes(len(unknown).to_bytes(4, "big") + unknown)
    peer.send(call(6, "folders", "m"))
    answer = await peer.next()
    assert isinstance(answer, Reply)
    assert answer.call == 6


async def test_the_server_keeps_a_deadline(peer: Peer, small_store: SmallStore) -> None:
    await greet(peer)
    peer.send(call(1, "set_subscribed", "m", "INBOX", True, deadline_ms=20))
    failure = await peer.next()
    assert isinstance(failure, Failure)
    assert (failure.code, failure.reason) == (451, "OUTCOMEUNKNOWN")
    small_store.go_on.set()
    await small_store.done.wait()
    peer.send(call(2, "folders", "m"))
    answer = await peer.next()
    assert isinstance(answer, Reply)
    assert answer.call == 2


async def test_the_deadline_of_an_upload_counts_from_its_end(peer: Peer, small_store: SmallStore) -> None:
    await greet(peer)
    peer.send(call(1, "append", "m", "slow", 0, (), 0, 0, deadline_ms=20), Item(1, value(b"abc")))
    peer.send(call(2, "set_subscribed", "m", "INBOX", True, deadline_ms=60))
    failure = await peer.next()
    assert isinstance(failure, Failure)
    assert failure.call == 2
    peer.send(End(1))
    failure = await peer.next()
    assert isinstance(failure, Failure)
    assert failure.call == 1
    small_store.go_on.set()
    await until(lambda: small_store.taken_bytes == 3)


async def test_a_download_past_its_deadline_is_closed(peer: Peer, small_store: SmallStore) -> None:
    await greet(peer)
    peer.send(call(1, "watch", "m", deadline_ms=20))
    assert isinstance(await peer.next(), Item)
    assert isinstance(await peer.next(), Failure)
    await small_store.closed.wait()


async def test_no_more_comes_than_the_window_and_one_item(peer: Peer, small_store: SmallStore) -> None:
    await greet(peer)
    peer.send(call(1, "content", "m", "f", 1, 0, 4 << 20), Ping())
    got = 0
    while not isinstance(frame := await peer.next(), Pong):
        assert isinstance(frame, Item)
        got += memoryview(frame.value).nbytes
    while got < WINDOW_BYTES:
        frame = await peer.next()
        assert isinstance(frame, Item)
        got += memoryview(frame.value).nbytes
    peer.send(Ping())
    assert isinstance(await peer.next(), Pong)
    assert small_store.given_bytes == 1 << 20
    peer.send(Credit(1, 4 << 20))
    while not isinstance(frame := await peer.next(), End):
        assert isinstance(frame, Item)
        got += len(msgspec.msgpack.decode(frame.value))
    assert small_store.given_bytes == 4 << 20


async def test_an_upload_without_credit_ends_the_connection(peer: Peer, small_store: SmallStore) -> None:
    await greet(peer)
    peer.send(call(1, "append", "m", "slow", 0, (), 0, 0))
    for _ in range(5):
        peer.send(Item(1, value(b"x" * (256 << 10))))
    while (frame := await peer.next()) is not None:
        assert isinstance(frame, Credit)
    small_store.go_on.set()


async def test_too_many_calls_and_streams_are_refused(small_store: SmallStore) -> None:
    rig = Rig({MailboxStore: small_store}, RpcLimits(calls=1, streams=2))
    await rig.start()
    peer = Peer(*await asyncio.open_connection("127.0.0.1", rig.port))
    await greet(peer)
    for number in range(4):
        peer.send(call(number, "watch", "m"))
    for number in range(10, 12):
        peer.send(call(number, "set_subscribed", "m", "INBOX", True))
    answers = [await peer.next() for _ in range(5)]
    failed = [frame.call for frame in answers if isinstance(frame, Failure)]
    watched = [frame.call for frame in answers if isinstance(frame, Item)]
    assert (sorted(failed), sorted(watched)) == ([2, 3, 11], [0, 1])
    peer.close()
    small_store.go_on.set()
    await rig.stop()


# --- the client, with a server by hand ---

Serve = Callable[[Peer], Awaitable[None]]


@pytest.fixture
async def serving() -> AsyncIterator[Callable[[Serve], Awaitable[RpcClient]]]:
    """Starts a server that does what a test says, and a client of it."""
    servers: list[asyncio.Server] = []
    clients: list[RpcClient] = []

    async def start(serve: Serve) -> RpcClient:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = Peer(reader, writer)
            try:
                await serve(peer)
            finally:
                peer.close()

        servers.append(await asyncio.start_server(connected, "127.0.0.1", 0))
        port = servers[0].sockets[0].getsockname()[1]
        clients.append(RpcClient(TcpTarget("127.0.0.1", port)))
        return clients[0]

    yield start
    for client in clients:
        await client.close()
    for server in servers:
        server.close()


Serving = Callable[[Serve], Awaitable[RpcClient]]


async def test_a_server_of_a_version_too_new_is_named(serving: Serving) -> None:
    async def serve(peer: Peer) -> None:
        peer.send(Hello(5, 4, WINDOW_BYTES, 256))
        await peer.next()
        assert await peer.next() is None

    client = await serving(serve)
    with pytest.raises(
        ConnectionLost, match="speaks RPC versions 4 to 5, this release 1 to 1: upgrade"
    ) as caught:
        await client.interface(MailboxStore).folders("m")
    assert not caught.value.sent


async def test_a_server_one_release_ahead_that_still_speaks_ours(serving: Serving) -> None:
    async def serve(peer: Peer) -> None:
        peer.send(Hello(2, 1, WINDOW_BYTES, 256, ("something-new",)))
        assert await peer.next() == HELLO
        asked = await peer.next()
        assert isinstance(asked, Call)
        peer.send(Reply(asked.call, value([{"of": "tomorrow", "folder_id": "f", "name": "n"} | NUMBERS])))
        await peer.next()

    client = await serving(serve)
    (folder,) = await client.interface(MailboxStore).folders("m")
    assert folder.name == "n"


NUMBERS = {"uid_validity": 1, "uid_next": 1, "highest_modseq": 1}


async def test_an_answer_that_is_not_understood_is_an_error_of_its_call(serving: Serving) -> None:
    async def serve(peer: Peer) -> None:
        peer.send(Hello(1, 1, WINDOW_BYTES, 256))
        await peer.next()
        while isinstance(asked := await peer.next(), Call):
            peer.send(Reply(asked.call, value("no folders")))

    client = await serving(serve)
    for _ in range(2):
        with pytest.raises(Exception, match="in a way unknown here") as caught:
            await client.interface(MailboxStore).folders("m")
        assert getattr(caught.value, "sent", None) is True


async def test_a_server_that_falls_silent_is_left(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foundation.rpc.connection.KEEP_ALIVE_SECONDS", 0.02)
    asked: list[Frame | None] = []

    async def serve(peer: Peer) -> None:
        peer.send(Hello(1, 1, WINDOW_BYTES, 256))
        while (frame := await peer.next()) is not None:
            asked.append(frame)

    client = await serving(serve)
    with pytest.raises(ConnectionLost) as caught:
        await client.interface(MailboxStore).folders("m")
    assert caught.value.sent
    assert any(isinstance(frame, Ping) for frame in asked)


async def test_a_server_that_never_says_hello(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foundation.rpc.client.CONNECT_SECONDS", 0.05)

    async def serve(peer: Peer) -> None:
        while await peer.next() is not None:
            pass

    client = await serving(serve)
    with pytest.raises(ConnectionLost, match="did not answer in") as caught:
        await client.interface(MailboxStore).folders("m")
    assert not caught.value.sent


async def test_idle_connections_stay(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foundation.rpc.connection.KEEP_ALIVE_SECONDS", 0.1)
    client = rig.client()
    connection = await client.connection()
    pongs = 0
    take = connection._take

    def count(frame: Frame) -> None:
        nonlocal pongs
        pongs += isinstance(frame, Pong)
        take(frame)

    monkeypatch.setattr(connection, "_take", count)
    await until(lambda: pongs >= 3)
    assert await client.connection() is connection
