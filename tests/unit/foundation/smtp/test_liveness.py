"""Whether the other side's machine is gone, as the kernel tells it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from foundation.mail.envelope import Sender
from foundation.smtp import liveness
from foundation.smtp.client import ConnectionBroken, SmtpConnection
from foundation.smtp.liveness import GONE_SECONDS, LOOK_SECONDS, TCP_INFO, UNANSWERED_MIN, Liveness
from tests.unit.foundation.smtp.conftest import Serve
from tests.unit.foundation.smtp.test_client import BOB, TRANSFER, content_of

TCP_OPTIONS = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
GONE_MS = round(GONE_SECONDS * 1000)


class Socket:
    """Tells what it is told to."""

    def __init__(self, retransmissions: int = 0, probes: int = 0, acknowledged_ms: int = 0) -> None:
        self.told = TCP_INFO.pack(retransmissions, probes, acknowledged_ms)
        self.options: dict[int, int] = {}

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options[option] = value

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        if not self.told:
            raise OSError(9, "Bad file descriptor")
        return self.told


class Timers:
    def __init__(self) -> None:
        self.pending: list[Callable[[], None]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        assert seconds == LOOK_SECONDS
        self.pending.append(callback)


def watch(of: Socket | None) -> tuple[Timers, list[str]]:
    timers, gone = Timers(), list[str]()
    transport = asyncio.BaseTransport({"socket": of})
    Liveness(transport, timers, gone.append).start()  # type: ignore[arg-type]
    return timers, gone


@pytest.mark.parametrize(
    ("retransmissions", "probes", "acknowledged_ms", "is_gone"),
    [
        (0, 0, 3_600_000, False),  # nothing was asked
        (UNANSWERED_MIN, 0, GONE_MS, True),
        (UNANSWERED_MIN, 0, GONE_MS - 1, False),
        (UNANSWERED_MIN - 1, 0, GONE_MS, False),
        (0, UNANSWERED_MIN, GONE_MS, True),
        (0, 1, 120_000, False),  # a closed window, asked a moment ago
    ],
)
def test_gone_is_who_was_asked_again_and_again_and_acknowledged_nothing(
    retransmissions: int, probes: int, acknowledged_ms: int, is_gone: bool
) -> None:
    timers, gone = watch(Socket(retransmissions, probes, acknowledged_ms))
    timers.pending.pop()()
    assert bool(gone) is is_gone
    assert bool(timers.pending) is not is_gone


def test_without_a_socket_or_after_its_end_nothing_is_looked_after() -> None:
    assert watch(None)[0].pending == []
    closed = Socket()
    timers, gone = watch(closed)
    closed.told = b""
    timers.pending.pop()()
    assert (timers.pending, gone) == ([], [])


async def options_of(connection: SmtpConnection) -> dict[str, int]:
    transport = connection._queue._transport
    assert transport is not None
    own = transport.get_extra_info("socket")
    found = {name: own.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in TCP_OPTIONS}
    return found | {"SO_KEEPALIVE": own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)}


async def test_a_watched_connection_asks_for_keep_alive_and_another_does_not(serve: Serve) -> None:
    port = await serve()
    for watched in (True, False):
        connection = await SmtpConnection.open("127.0.0.1", port, hostname="a.example", watched=watched)
        found = await options_of(connection)
        assert found["SO_KEEPALIVE"] == watched
        if watched:
            idle, interval, probes = (found[name] for name in TCP_OPTIONS)
            assert idle + interval * probes == GONE_SECONDS
        assert (connection._queue._liveness is not None) is watched
        await connection.quit()


async def test_the_kernel_tells_of_a_machine_that_lives(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little it takes to be given up: it answers everything."""
    looks = asyncio.Semaphore(0)
    look = Liveness._look

    def counted(self: Liveness) -> None:
        look(self)
        looks.release()

    monkeypatch.setattr(liveness, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(liveness, "GONE_SECONDS", 0.0)
    monkeypatch.setattr(liveness, "UNANSWERED_MIN", 1)
    monkeypatch.setattr(Liveness, "_look", counted)
    port = await serve(private=True)
    connection = await SmtpConnection.open("127.0.0.1", port, hostname="a.example", watched=True)
    await connection.noop()
    for _ in range(20):
        await looks.acquire()
    assert connection.usable
    await connection.quit()


async def test_who_is_gone_ends_the_transfer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Socket(UNANSWERED_MIN, 0, GONE_MS)
    monkeypatch.setattr(liveness, "LOOK_SECONDS", 0.001)
    start = Liveness.start

    def of_a_dead_machine(self: Liveness) -> None:
        self._socket = gone
        start(self)

    monkeypatch.setattr(Liveness, "start", of_a_dead_machine)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 silent\r\n")
        await reader.readline()
        writer.write(b"250-silent\r\n250 PIPELINING\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = await SmtpConnection.open("127.0.0.1", port, hostname="a.example", watched=True)
    with pytest.raises(ConnectionBroken, match="Nothing heard from the server's machine for 25 s") as broken:
        await connection.send(Sender(address=""), TRANSFER, [BOB], content_of(b"x"), 1)
    assert not broken.value.outcome_unknown
    assert not connection.usable
    server.close()
