"""The client against servers that break, lie, or fall silent: what it knows afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.client import ConnectionBroken, ConnectionFailed, SendResult, SmtpConnection, Timeouts

BOB = Recipient(address="bob@waypost.example")
TRANSFER = Transfer(network_message_id="n1", transfer_key="k1")
QUICK = Timeouts(
    connect=1, greeting=0.1, hello=0.1, mail=0.1, recipient=0.1, data=0.1, block=0.1, final=0.1, quit=0.1
)
PLAIN = b"250 mx\r\n"
PIPELINED = b"250-mx\r\n250 PIPELINING\r\n"
CHUNKED = b"250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
PRIVATE = b"250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 XWAYPOST 1\r\n"
HANG = b"<hang>"
CLOSE = b"<close>"

Script = list[tuple[bytes, bytes]]
Scripted = Callable[[Script], Awaitable[int]]


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    """A server that waits for a text and says the next, again and again; heard text is kept in `heard`."""
    servers = []
    tasks: list[asyncio.Task[None]] = []

    async def start(script: Script) -> int:
        heard = bytearray()
        start.heard = heard  # type: ignore[attr-defined]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.current_task())  # type: ignore[arg-type]
            position = 0
            try:
                for expected, answer in script:
                    while (found := heard.find(expected, position)) < 0:
                        data = await reader.read(65536)
                        if not data:
                            return
                        heard.extend(data)
                    position = found + len(expected)
                    if answer == CLOSE:
                        return
                    if answer == HANG:
                        await asyncio.Event().wait()
                    writer.write(answer)
                while data := await reader.read(65536):
                    heard.extend(data)
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def content_of(*pieces: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def content() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return content


async def opened(port: int) -> SmtpConnection:
    return await SmtpConnection.open("127.0.0.1", port, hostname="client.example", timeouts=QUICK)


async def send(port: int, *pieces: bytes, recipients: int = 1) -> SendResult:
    connection = await opened(port)
    try:
        pieces = pieces or (b"hello\r\n",)
        return await connection.send(
            Sender(address=""), TRANSFER, (BOB,) * recipients, content_of(*pieces), sum(map(len, pieces))
        )
    finally:
        await connection.quit()


def script(features: bytes, *steps: tuple[bytes, bytes]) -> Script:
    return [(b"", b"220 mx\r\n"), (b"EHLO client.example\r\n", features), *steps]


OK = b"250 2.0.0 ok\r\n"


@pytest.mark.parametrize(
    "steps",
    [
        script(PLAIN, (b"MAIL", CLOSE)),
        script(PLAIN, (b"MAIL", HANG)),
        script(PLAIN, (b"MAIL", b"nonsense\r\n")),
        script(PLAIN, (b"MAIL", b"354 go\r\n")),
        script(PLAIN, (b"MAIL", b"250-a\r\n550 b\r\n")),
        script(PLAIN, (b"MAIL", b"421 4.3.2 closing\r\n")),
        script(PLAIN, (b"MAIL", OK), (b"RCPT", CLOSE)),
        script(PLAIN, (b"MAIL", OK), (b"RCPT", OK), (b"DATA", CLOSE)),
        script(PLAIN, (b"MAIL", OK), (b"RCPT", OK), (b"DATA", HANG)),
        script(PLAIN, (b"MAIL", OK), (b"RCPT", OK), (b"DATA", OK)),
        script(PIPELINED, (b"DATA", OK), (b"", CLOSE)),
        script(PIPELINED, (b"DATA", OK + b"421 bye\r\n")),
        script(CHUNKED, (b"RCPT", OK + b"421 bye\r\n")),
        script(CHUNKED, (b"RCPT", CLOSE)),
        script(PRIVATE, (b"BDAT", b"421 4.3.2 bye\r\n")),
        script(PRIVATE, (b"BDAT", OK + b"421 4.3.2 bye\r\n")),
        script(PRIVATE, (b"BDAT", b"550 5.7.1 no\r\n"), (b"", CLOSE)),
    ],
)
async def test_certainly_not_accepted(scripted: Scripted, steps: Script) -> None:
    with pytest.raises(ConnectionBroken) as caught:
        await send(await scripted(steps))
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("last", [CLOSE, HANG, b"nonsense\r\n", b"250-half\r\n", b"354 go\r\n", b"2" * 9000])
@pytest.mark.parametrize(
    "steps",
    [
        script(PLAIN, (b"MAIL", OK), (b"RCPT", OK), (b"DATA", b"354 go\r\n"), (b"\r\n.\r\n", b"?")),
        script(PIPELINED, (b"DATA", OK + OK + b"354 go\r\n"), (b"\r\n.\r\n", b"?")),
        script(CHUNKED, (b"RCPT", OK + OK), (b"hello\r\n", b"?")),
        script(PRIVATE, (b"hello\r\n", OK + OK), (b"", b"?")),
    ],
)
async def test_perhaps_accepted(scripted: Scripted, steps: Script, last: bytes) -> None:
    """RFC 1047."""
    with pytest.raises(ConnectionBroken) as caught:
        await send(await scripted([*steps[:-1], (steps[-1][0], last)]))
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    "answer", [b"250 2.6.0 yes\r\n", b"451 4.3.0 no\r\n", b"554 5.0.0 no\r\n", b"421 4.3.2 no\r\n"]
)
@pytest.mark.parametrize(
    "steps",
    [
        script(PIPELINED, (b"DATA", OK + OK + b"354 go\r\n"), (b"\r\n.\r\n", b"?")),
        script(CHUNKED, (b"RCPT", OK + OK), (b"hello\r\n", b"?")),
        script(PRIVATE, (b"hello\r\n", OK + OK), (b"", b"?")),
    ],
)
async def test_a_final_reply_settles_it(scripted: Scripted, steps: Script, answer: bytes) -> None:
    result = await send(await scripted([*steps[:-1], (steps[-1][0], answer)]))
    assert result.final[0].code == int(answer[:3])


async def test_broken_in_the_middle_of_content_is_certain(scripted: Scripted) -> None:
    reached = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield b"x" * 600_000
        await reached.wait()
        yield b"\r\n"

    for features, steps in (
        (PIPELINED, [(b"DATA", OK + OK + b"354 go\r\n"), (b"xxx", CLOSE)]),
        (CHUNKED, [(b"RCPT", OK + OK), (b"xxx", CLOSE)]),
    ):
        reached.clear()
        connection = await opened(await scripted(script(features, *steps)))
        asyncio.get_running_loop().call_later(0.1, reached.set)
        with pytest.raises(ConnectionBroken) as caught:
            await connection.send(Sender(address=""), None, (BOB,), content, 600_002)
        assert not caught.value.outcome_unknown


async def test_data_after_everybody_was_refused_is_a_lone_dot(scripted: Scripted) -> None:
    port = await scripted(
        script(
            PIPELINED,
            (b"DATA\r\n", OK + b"550 5.1.1 no\r\n354 go\r\n"),
            (b".\r\n", b"554 5.5.1 no valid recipients\r\n"),
            (b"QUIT", b"221 bye\r\n"),
        )
    )
    result = await send(port)
    assert result.final == () and result.recipients[0].code == 550
    assert b"hello" not in scripted.heard  # type: ignore[attr-defined]


async def test_data_refused_after_recipients_were_accepted(scripted: Scripted) -> None:
    port = await scripted(script(PIPELINED, (b"DATA\r\n", OK + OK + b"451 4.3.0 not now\r\n"), (b"RSET", OK)))
    result = await send(port)
    assert result.final[0].code == 451
    assert b"hello" not in scripted.heard  # type: ignore[attr-defined]


async def test_a_refusal_amid_the_content_stops_it(scripted: Scripted) -> None:
    pieces = (b"x" * 300_000,) * 20
    port = await scripted(script(CHUNKED, (b"RCPT", OK + OK), (b"BDAT", b"552 5.3.4 too much\r\n")))
    result = await send(port, *pieces)
    assert result.final[0].code == 552
    assert b"LAST" not in scripted.heard  # type: ignore[attr-defined]


async def test_a_refusal_amid_data_closes_the_content(scripted: Scripted) -> None:
    port = await scripted(
        script(PIPELINED, (b"DATA", OK + OK + b"354 go\r\n"), (b"xxx", b"552 5.3.4 too much\r\n"))
    )
    stream = content_of(*(b"x" * 1_000_000,) * 50)()
    connection = await SmtpConnection.open("127.0.0.1", port, hostname="client.example")
    result = await connection.send(Sender(address=""), None, (BOB,), lambda: stream, 50_000_000)
    assert result.final[0].code == 552
    assert [piece async for piece in stream] == []


async def test_a_server_that_accepts_no_more_data(scripted: Scripted) -> None:
    port = await scripted(script(PIPELINED, (b"DATA", OK + OK + b"354 go\r\n"), (b"xxx", HANG)))
    with pytest.raises(ConnectionBroken) as caught:
        await send(port, *(b"x" * 1_000_000,) * 20)
    assert not caught.value.outcome_unknown


async def test_a_message_has_a_time_of_its_own(scripted: Scripted) -> None:
    port = await scripted(script(PLAIN, (b"MAIL", HANG)))
    timeouts = Timeouts(mail=5, message=0.05)
    connection = await SmtpConnection.open("127.0.0.1", port, hostname="client.example", timeouts=timeouts)
    with pytest.raises(ConnectionBroken) as caught:
        await connection.send(Sender(address=""), None, (BOB,), content_of(b"x"), 1)
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("unasked", [b"421 4.4.2 idle\r\n", b"250 ok\r\n", b"25"])
async def test_what_is_said_unasked_ends_the_use(scripted: Scripted, unasked: bytes) -> None:
    port = await scripted(script(PLAIN, (b"NOOP\r\n", OK + unasked)))
    connection = await opened(port)
    with contextlib.suppress(ConnectionBroken):
        await connection.noop()
    assert not connection.usable
    with pytest.raises(ConnectionBroken) as caught:
        await connection.send(Sender(address=""), None, (BOB,), content_of(b"x"), 1)
    assert not caught.value.outcome_unknown
    await connection.quit()


@pytest.mark.parametrize(
    ("steps", "phase"),
    [
        ([(b"", b"554 5.3.2 no service\r\n")], "greeting"),
        ([(b"", HANG)], "connect"),
        ([(b"", CLOSE)], "connect"),
        ([(b"", b"hello\r\n")], "greeting"),
        (script(b"421 4.3.2 busy\r\n"), "hello"),
        (script(HANG), "hello"),
        (script(CLOSE), "hello"),
        (script(b"502 no\r\n", (b"HELO", b"550 no\r\n")), "hello"),
    ],
)
async def test_no_session(scripted: Scripted, steps: Script, phase: str) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        await opened(await scripted(steps))
    assert caught.value.phase == phase


async def test_helo_where_ehlo_is_unknown(scripted: Scripted) -> None:
    connection = await opened(await scripted(script(b"502 5.5.1 unknown\r\n", (b"HELO client.example", OK))))
    assert connection.features == {} and connection.usable
    await connection.quit()


async def test_a_server_without_extensions_gets_none(scripted: Scripted) -> None:
    port = await scripted(
        script(
            PLAIN,
            (b"MAIL FROM:<a@b.example>\r\n", OK),
            (b"RCPT TO:<bob@waypost.example>\r\n", OK),
            (b"DATA\r\n", b"354 go\r\n"),
            (b"\xc3\xa9\r\n.\r\n", OK),
        )
    )
    connection = await opened(port)
    sender = Sender(address="a@b.example", body="8BITMIME", ret="FULL", envid="x")
    result = await connection.send(sender, TRANSFER, (BOB,), content_of("é\r\n".encode()), 4)
    assert result.final[0].positive
    await connection.quit()
