"""The simulated loop and network alone: order, time, crashes, connections that break."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from random import Random
from typing import Any

import pytest

from foundation.smtp.liveness import GONE_SECONDS, LOOK_SECONDS, Liveness
from waypost.simulator.connections import Fate
from waypost.simulator.journal import Journal
from waypost.simulator.loop import SimulatedLoop, Standstill
from waypost.simulator.machine import Machine, Process, start_process
from waypost.simulator.network import Network


class Weather:
    def __init__(self, **fate: Any) -> None:
        self.made = Fate(0.01, 0.0, 0, **fate)
        self.lost: set[tuple[str, str]] = set()

    def fate(self, client: str, server: str) -> Fate:
        return self.made

    def blocked(self, source: str, target: str) -> bool:
        return (source, target) in self.lost


class Lab:
    def __init__(self, **fate: Any) -> None:
        self.loop = SimulatedLoop()
        self.weather = Weather(**fate)
        self.network = Network(self.loop, Random(1), Journal(self.loop.time), self.weather)
        self.server = start_process(self.network.add(Machine("server", "10.0.0.1")))
        self.client = start_process(self.network.add(Machine("client", "10.0.0.2")))
        self.got = b""

    def run(self, work: Any, process: Process) -> Any:
        task = self.loop.create_task(work, context=process.context.copy())
        return self.loop.run_until_complete(task)

    async def listen(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while piece := await reader.read(1000):
                self.got += piece
                writer.write(piece.upper())

        await asyncio.start_server(serve, "10.0.0.1", 25)

    async def talk(self) -> bytes:
        reader, writer = await asyncio.open_connection("10.0.0.1", 25)
        writer.write(b"hello, world")
        return await reader.readexactly(12)


def test_timers_of_one_instant_keep_their_order_and_time_is_free() -> None:
    loop = SimulatedLoop()
    order: list[int] = []
    for number in range(50):
        loop.call_at(86_400.0, order.append, number)
    loop.call_at(86_400.0, loop.stop)
    loop.run_forever()
    assert order == list(range(50))
    assert loop.time() == 86_400.0


def test_nothing_left_to_happen_is_an_error() -> None:
    loop = SimulatedLoop()
    with pytest.raises(Standstill):
        loop.run_until_complete(loop.create_future())
    loop.finish()


def test_bytes_arrive_after_the_latency() -> None:
    lab = Lab()
    lab.run(lab.listen(), lab.server)
    assert lab.run(lab.talk(), lab.client) == b"HELLO, WORLD"
    assert lab.loop.time() == pytest.approx(0.04)


@pytest.mark.parametrize("after", [0, 1, 5, 11])
def test_a_cut_comes_after_exactly_so_many_bytes(after: int) -> None:
    lab = Lab(cut_towards="server", cut_after_bytes=after)
    lab.run(lab.listen(), lab.server)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        lab.run(lab.talk(), lab.client)
    assert lab.got == b"hello, world"[:after]


def test_a_lost_answer_leaves_the_request_done() -> None:
    lab = Lab(cut_towards="client", cut_after_bytes=3)
    lab.run(lab.listen(), lab.server)
    with pytest.raises(ConnectionError):
        lab.run(lab.talk(), lab.client)
    assert lab.got == b"hello, world"


def test_a_partition_holds_bytes_back_until_it_heals() -> None:
    lab = Lab()
    lab.run(lab.listen(), lab.server)
    lab.loop.call_at(0.025, lab.weather.lost.add, ("client", "server"))
    lab.loop.call_at(0.015, lab.weather.lost.add, ("server", "client"))
    lab.loop.call_at(60.0, lab.weather.lost.clear)
    assert lab.run(lab.talk(), lab.client) == b"HELLO, WORLD"
    assert 60.0 < lab.loop.time() < 62.0


def test_who_is_not_there_refuses_and_who_is_off_is_silent() -> None:
    lab = Lab()
    with pytest.raises(ConnectionRefusedError):
        lab.run(lab.talk(), lab.client)
    lab.server.machine.powered = False
    with pytest.raises(TimeoutError):
        lab.run(lab.talk(), lab.client)
    assert lab.loop.time() > 100


def test_a_crashed_process_never_comes_to_its_next_line() -> None:
    lab = Lab()
    steps: list[str] = []

    async def work() -> None:
        try:
            steps.append("begun")
            await asyncio.sleep(1)
            steps.append("went on")
        finally:
            steps.append("cleaned up")

    async def crash() -> None:
        await asyncio.sleep(0.5)
        lab.server.alive = False
        lab.loop.keep(asyncio.all_tasks())
        await asyncio.sleep(5)

    task = lab.loop.create_task(work(), context=lab.server.context.copy())
    lab.run(crash(), lab.client)
    assert steps == ["begun"]
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_crash_resets_connections_and_a_power_cut_does_not() -> None:
    for power, ended in ((False, True), (True, False)):
        lab = Lab()
        lab.run(lab.listen(), lab.server)

        async def wait(lab: Lab = lab, power: bool = power) -> bool:
            reader, _ = await asyncio.open_connection("10.0.0.1", 25)
            lab.server.alive = False
            lab.server.machine.powered = not power
            lab.network.forsake(lab.server, deliver=False)
            try:
                async with asyncio.timeout(30):
                    await reader.read()
            except TimeoutError:
                return False
            except ConnectionError:
                pass
            return True

        assert lab.run(wait(), lab.client) is ended


@pytest.mark.parametrize("saying", [b"", b"hello"])
@pytest.mark.parametrize("blocked", ["power", "there", "back", "both"])
def test_a_watched_connection_ends_when_the_other_machine_is_silent(saying: bytes, blocked: str) -> None:
    """With bytes on the way, and with none."""
    lab = Lab()
    lab.run(lab.listen(), lab.server)
    ways = {"there": [("client", "server")], "back": [("server", "client")]}
    ways["both"] = ways["there"] + ways["back"]

    async def wait() -> float:
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("10.0.0.1", 25)
        liveness = Liveness(writer.transport, loop, lambda why: writer.transport.abort())
        liveness.start()
        await asyncio.sleep(100)  # all the time it is asked, and answers
        if blocked == "power":
            lab.server.alive = lab.server.machine.powered = False
            lab.network.forsake(lab.server, deliver=False)
        lab.weather.lost.update(ways.get(blocked, ()))
        writer.write(saying)
        began = loop.time()
        with contextlib.suppress(TimeoutError):
            await reader.read()
        liveness.stop()
        return loop.time() - began

    assert GONE_SECONDS - 10 <= lab.run(wait(), lab.client) <= GONE_SECONDS + LOOK_SECONDS


def test_a_watched_connection_outlives_a_short_silence_and_a_peer_that_reads_nothing() -> None:
    lab = Lab()

    async def listen() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(600)
            while piece := await reader.read(1000):
                lab.got += piece
            writer.close()

        await asyncio.start_server(serve, "10.0.0.1", 25)

    async def send() -> bytes:
        reader, writer = await asyncio.open_connection("10.0.0.1", 25)
        Liveness(writer.transport, asyncio.get_running_loop(), lambda why: writer.transport.abort()).start()
        writer.write(b"x" * 1_000_000)
        await asyncio.sleep(30)
        lab.weather.lost.add(("client", "server"))
        await asyncio.sleep(GONE_SECONDS - 10)
        lab.weather.lost.clear()
        await writer.drain()
        writer.write_eof()
        return await reader.read()

    lab.run(listen(), lab.server)
    assert lab.run(send(), lab.client) == b""
    assert len(lab.got) == 1_000_000
    assert lab.loop.time() > 600


def test_a_machine_that_is_back_knows_of_no_connection() -> None:
    lab = Lab()
    lab.run(lab.listen(), lab.server)

    async def wait() -> float:
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("10.0.0.1", 25)
        own: Any = writer.get_extra_info("socket")
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what else is set is of no consequence
        Liveness(writer.transport, loop, lambda why: writer.transport.abort()).start()
        lab.server.alive = lab.server.machine.powered = False
        lab.network.forsake(lab.server, deliver=False)
        await asyncio.sleep(12)
        lab.server.machine.powered = True
        with pytest.raises(ConnectionResetError):
            await reader.read()
        return loop.time()

    assert lab.run(wait(), lab.client) < 16
