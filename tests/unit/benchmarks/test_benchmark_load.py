"""The benchmark's generator: replies are counted, the tagged line is found wherever reads cut."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from email import message_from_bytes
from email.policy import default
from typing import cast

import pytest

from benchmarks.cases import queueing
from benchmarks.load import smtp
from benchmarks.load.imap import Failed, ImapSession
from benchmarks.load.letters import letter
from benchmarks.load.sink import Silent, Sink
from benchmarks.systems.system import Door, System, free_ports
from tests.harness.patience import patient

SILENT_SECONDS = 0.05


class Written:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


async def test_the_sink_takes_what_the_client_sends() -> None:
    (port,) = free_ports(1)
    sink = Sink(port)
    await sink.start()
    session = await smtp.connect(Door(port))
    for number in range(3):
        content = letter(number, 4096, sender="a@load.example", recipient="b@load.example")
        await session.send(smtp.envelope("a@load.example", ["b@load.example"]), 1, content)
    await sink.wait_for(3)
    await session.quit()
    await sink.stop()
    assert sink.count == 3


async def test_a_sink_that_stops_ends_its_connections_and_refuses_others() -> None:
    (port,) = free_ports(1)
    sink = Sink(port)
    await sink.start()
    session = await smtp.connect(Door(port))
    await sink.stop()
    with pytest.raises(OSError, match=r"closed by the server|reset"):
        await session.ask(b"", 1, b"250")
    with pytest.raises(ConnectionRefusedError):
        await smtp.connect(Door(port))


async def test_a_silent_hop_takes_connections_until_it_stops() -> None:
    (port,) = free_ports(1)
    silent = Silent(port)
    await silent.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), SILENT_SECONDS)
    await silent.stop()
    with suppress(ConnectionResetError):
        assert await reader.read(1) == b""
    writer.close()


class Waits:
    """A system whose queue is tried again when it is asked."""

    def __init__(self, answers: list[int], sink: Sink) -> None:
        self.answers, self.sink = answers, sink

    async def try_now(self) -> None:
        for _ in range(self.answers.pop(0)):
            self.sink.took()


class Fails:
    """A system that does not start."""

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self.smtp = Door(port)

    async def stop(self) -> None:
        """It does not run."""

    async def start(self) -> None:
        raise RuntimeError("no such program")


async def test_a_start_that_fails_is_told_at_once() -> None:
    async with asyncio.timeout(patient(10)):
        with pytest.raises(ExceptionGroup) as failed:
            await queueing._restart(cast(System, Fails()))
    assert [str(each) for each in failed.value.exceptions] == ["no such program"]


async def test_a_drain_asks_again_where_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queueing, "STALLED_SECONDS", 0)
    sink = Sink(0)
    system = Waits([3, 0, 2], sink)
    await queueing.drain(cast(System, system), (sink, 5))
    assert (sink.count, system.answers) == (5, [])


def receive(session: ImapSession, data: bytes) -> None:
    session.get_buffer(-1)[: len(data)] = data
    session.buffer_updated(len(data))


@pytest.mark.parametrize("size", [1, 3, 7, 5000])
@pytest.mark.parametrize("method", ["ask", "command"])
async def test_an_answer_ends_with_its_tag_wherever_reads_cut(size: int, method: str) -> None:
    session = ImapSession()
    session.connection_made(Written())  # type: ignore[arg-type]
    asking = asyncio.create_task(getattr(session, method)("FETCH 1 BODY[]"))
    await asyncio.sleep(0)
    answer = b"* 1 FETCH (BODY[] {14}\r\nx9q OK no\r\nx\r\n)\r\nx1q OK done\r\n"
    for start in range(0, len(answer), size):
        assert not asking.done()
        receive(session, answer[start : start + size])
    assert await asking == (answer if method == "ask" else None)


async def test_a_refusal_is_raised() -> None:
    session = ImapSession()
    session.connection_made(Written())  # type: ignore[arg-type]
    asking = asyncio.create_task(session.command("NOOP"))
    await asyncio.sleep(0)
    receive(session, b"x1q BAD what\r\n")
    with pytest.raises(Failed, match="BAD what"):
        await asking


@pytest.mark.parametrize("size", [1024, 10 * 1024, 1024 * 1024])
def test_a_letter_is_well_formed_and_of_about_the_size(size: int) -> None:
    content = letter(7, size, sender="a@load.example", recipient="b@load.example")
    assert content.endswith(b"\r\n.\r\n")
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert size * 0.8 < len(content) < size * 1.2
    message = message_from_bytes(content[:-3], policy=default)
    assert message["From"] == "Load Generator <a@load.example>"
    assert not message.defects
    assert message.is_multipart() == (size > 4096)
