"""The benchmark's generator: replies are counted, the tagged line is found wherever reads cut."""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from email.policy import default

import pytest

from benchmarks.load import smtp
from benchmarks.load.imap import Failed, ImapSession
from benchmarks.load.letters import letter
from benchmarks.load.sink import Sink
from benchmarks.systems.system import Door, free_ports


class Written:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


async def test_the_sink_takes_what_the_client_sends() -> None:
    sink = Sink()
    (port,) = free_ports(1)
    await sink.start(port)
    session = await smtp.connect(Door(port))
    for number in range(3):
        content = letter(number, 4096, sender="a@load.example", recipient="b@load.example")
        await session.send(smtp.envelope("a@load.example", ["b@load.example"]), 1, content)
    await sink.wait_for(3)
    await session.quit()
    await sink.stop()
    assert sink.count == 3


@pytest.mark.parametrize("size", [1, 3, 7, 5000])
async def test_an_answer_ends_with_its_tag_wherever_reads_cut(size: int) -> None:
    session = ImapSession()
    session.connection_made(Written())  # type: ignore[arg-type]
    asking = asyncio.create_task(session.command("FETCH 1 BODY[]"))
    await asyncio.sleep(0)
    answer = b"* 1 FETCH (BODY[] {14}\r\nx9q OK no\r\nx\r\n)\r\nx1q OK done\r\n"
    for start in range(0, len(answer), size):
        session.data_received(answer[start : start + size])
    assert await asking == answer


async def test_a_refusal_is_raised() -> None:
    session = ImapSession()
    session.connection_made(Written())  # type: ignore[arg-type]
    asking = asyncio.create_task(session.command("NOOP"))
    await asyncio.sleep(0)
    session.data_received(b"x1q BAD what\r\n")
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
