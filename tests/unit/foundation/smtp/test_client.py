"""The client against the project's server: every way the content can go, TLS, LMTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.smtp.client import ConnectionFailed, SmtpConnection, Timeouts
from foundation.smtp.command import CONTENT_IS_HELD
from foundation.smtp.reply import Reply
from foundation.smtp.sending import CHUNK_BYTES
from tests.unit.foundation.smtp.conftest import Certificates, Connect, Mailroom, Received, Serve

BOB = Recipient(address="bob@waypost.example")
TRANSFER = Transfer(network_message_id="n1", transfer_key="k1")


def content_of(*pieces: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def content() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return content


async def opened(port: int, without: tuple[str, ...] = (), **options: object) -> SmtpConnection:
    connection = await SmtpConnection.open("127.0.0.1", port, hostname="client.example", **options)  # type: ignore[arg-type]
    for keyword in without:
        del connection.features[keyword]
    return connection


WAYS = [
    pytest.param((), id="pipelined chunks"),
    pytest.param(("CHUNKING",), id="pipelined data"),
    pytest.param(("PIPELINING",), id="chunks step by step"),
    pytest.param(("PIPELINING", "CHUNKING"), id="data step by step"),
]


@pytest.mark.parametrize("without", WAYS)
@pytest.mark.parametrize("private", [True, False])
async def test_messages(serve: Serve, room: Mailroom, without: tuple[str, ...], private: bool) -> None:
    connection = await opened(await serve(private=private), without)
    for number in range(3):
        body = b"Subject: %d\r\n\r\n.dot\r\n..\r\n" % number
        sender = Sender(address="a@b.example", ret="HDRS", envid="e", body="8BITMIME")
        recipients = (BOB, Recipient(address="carol@waypost.example", notify="NEVER"))
        result = await connection.send(
            sender, TRANSFER, recipients, content_of(body[:9], body[9:]), len(body)
        )
        assert result.sender is not None and result.sender.positive
        assert [reply.code for reply in result.recipients] == [250, 250]
        assert result.final == (Reply.of(250, "2.6.0", "Queued"),)
        received = room.received[-1]
        assert received.content == body
        assert received.command.sender == Sender(
            address="a@b.example", ret="HDRS", envid="e", body="8BITMIME", size_bytes=len(body)
        )
        assert received.command.transfer == (TRANSFER if private else None)
        assert tuple(received.recipients) == recipients
    assert connection.messages_sent == 3 and connection.usable
    await connection.quit()
    assert not connection.usable


@pytest.mark.parametrize("without", WAYS)
@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3_000_000])
async def test_content_of_every_size(
    serve: Serve, room: Mailroom, without: tuple[str, ...], size: int
) -> None:
    connection = await opened(await serve(), without)
    body = (b".x" * 498 + b"\r\n") * (size // 998 + 1)
    body = (body[: max(size - 2, 0)] + b"\r\n") if size > 1 else b""
    result = await connection.send(
        Sender(address=""), None, (BOB,), content_of(body[: size // 3], body[size // 3 :]), len(body)
    )
    assert result.final[0].positive, result
    assert room.received[0].content == body
    await connection.quit()


@pytest.mark.parametrize("without", WAYS)
@pytest.mark.parametrize("private", [True, False])
async def test_each_refusal_finds_its_recipient(
    serve: Serve, room: Mailroom, without: tuple[str, ...], private: bool
) -> None:
    room.refuse["no@waypost.example"] = MailError(550, "5.1.1", "No such user")
    room.refuse["later@waypost.example"] = MailError(451, "4.3.0", "Later")
    connection = await opened(await serve(private=private), without)
    recipients = [Recipient(address=f"{name}@waypost.example") for name in ("no", "bob", "later", "carol")]
    result = await connection.send(Sender(address=""), TRANSFER, recipients, content_of(b"x\r\n"), 3)
    assert [reply.code for reply in result.recipients] == [550, 250, 451, 250]
    assert [reply.code for reply in result.final] == [250]
    assert [each.address[:3] for each in room.received[0].recipients] == ["bob", "car"]
    await connection.quit()


@pytest.mark.parametrize("without", WAYS)
@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
async def test_after_a_refused_envelope_the_next_message_goes(
    serve: Serve, room: Mailroom, without: tuple[str, ...], private: bool, protocol: str
) -> None:
    connection = await opened(await serve(private=private, protocol=protocol), without, protocol=protocol)
    room.refuse["bob@waypost.example"] = MailError(550, "5.1.1", "No such user")
    result = await connection.send(Sender(address=""), TRANSFER, (BOB, BOB), content_of(b"x\r\n"), 3)
    assert [reply.code for reply in result.recipients] == [550, 550] and result.final == ()
    del room.refuse["bob@waypost.example"]
    room.refuse["MAIL"] = MailError(451, "4.3.1", "Full")
    result = await connection.send(Sender(address=""), TRANSFER, (BOB,), content_of(b"x\r\n"), 3)
    assert result.sender == Reply.of(451, "4.3.1", "Full")
    assert result.recipients == () and result.final == ()
    del room.refuse["MAIL"]
    room.refuse["DATA"] = MailError(554, "5.4.6", "Loop")
    result = await connection.send(Sender(address=""), TRANSFER, (BOB, BOB), content_of(b"x\r\n"), 3)
    assert [reply.code for reply in result.final] == [554] * (2 if protocol == "lmtp" else 1)
    del room.refuse["DATA"]
    result = await connection.send(Sender(address=""), TRANSFER, (BOB,), content_of(b"x\r\n"), 3)
    assert result.final[0].positive
    assert [received.content for received in room.received] == [b"x\r\n"]
    assert connection.usable
    await connection.quit()


def by_recipient(received: Received) -> tuple[Reply, ...]:
    return tuple(
        Reply.of(452, "4.2.2", "Full") if "full" in each.address else Reply.of(250, "2.1.5", each.address)
        for each in received.recipients
    )


@pytest.mark.parametrize("without", WAYS)
@pytest.mark.parametrize("private", [True, False])
async def test_lmtp(serve: Serve, room: Mailroom, without: tuple[str, ...], private: bool) -> None:
    room.answer = by_recipient
    room.refuse["no@waypost.example"] = MailError(550, "5.1.1", "No such user")
    connection = await opened(await serve(private=private, protocol="lmtp"), without, protocol="lmtp")
    recipients = [Recipient(address=f"{name}@waypost.example") for name in ("a", "no", "full", "b")]
    for _ in range(2):
        result = await connection.send(Sender(address=""), TRANSFER, recipients, content_of(b"x\r\n"), 3)
        assert [reply.code for reply in result.recipients] == [250, 550, 250, 250]
        assert [str(reply) for reply in result.final] == [
            "250 2.1.5 a@waypost.example",
            "452 4.2.2 Full",
            "250 2.1.5 b@waypost.example",
        ]
    await connection.quit()


@pytest.mark.parametrize("without", WAYS)
async def test_content_that_is_too_large(serve: Serve, room: Mailroom, without: tuple[str, ...]) -> None:
    connection = await opened(await serve(message_size_bytes=600_000), (*without, "SIZE"))
    body = (b"x" * 998 + b"\r\n") * 700
    pieces = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    result = await connection.send(Sender(address=""), None, (BOB,), content_of(*pieces), len(body))
    assert [reply.code for reply in result.final] == [552]
    if connection.usable:
        result = await connection.send(Sender(address=""), None, (BOB,), content_of(b"x\r\n"), 3)
        assert result.final[0].positive
    await connection.quit()


async def test_size_is_refused_before_the_content(serve: Serve, room: Mailroom) -> None:
    connection = await opened(await serve(message_size_bytes=1000))
    result = await connection.send(Sender(address=""), None, (BOB,), content_of(b"x"), 2000)
    assert result.sender is not None and result.sender.status == "5.3.4"
    await connection.quit()


async def test_content_that_breaks_drops_the_connection(serve: Serve, room: Mailroom) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"x\r\n" * 100_000
        raise MailError(451, "4.3.0", "Database away")

    connection = await opened(await serve())
    with pytest.raises(MailError):
        await connection.send(Sender(address=""), None, (BOB,), content, 300_000)
    assert not connection.usable
    await asyncio.wait_for(room.closed.wait(), 10)
    assert not room.received


async def test_a_cancelled_send_drops_the_connection(serve: Serve, room: Mailroom) -> None:
    room.gate = asyncio.Event()
    connection = await opened(await serve())
    sending = asyncio.create_task(connection.send(Sender(address=""), None, (BOB,), content_of(b"x\r\n"), 3))
    await asyncio.wait_for(room.entered.wait(), 10)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert not connection.usable
    room.gate.set()


async def test_an_envelope_that_can_not_be_said(serve: Serve, room: Mailroom) -> None:
    connection = await opened(await serve(), ("SMTPUTF8",))
    with pytest.raises(MailError) as caught:
        await connection.send(
            Sender(address="josé@b.example", smtputf8=True), None, (BOB,), content_of(b"x\r\n"), 3
        )
    assert caught.value.status == "5.6.7"
    result = await connection.send(Sender(address="a@b.example"), None, (BOB,), content_of(b"x\r\n"), 3)
    assert result.final[0].positive
    await connection.quit()


async def test_implicit_tls_with_certificates(
    serve: Serve, room: Mailroom, certificates: Certificates
) -> None:
    port = await serve(implicit_tls=certificates.mutual_server, private=True)
    connection = await opened(port, implicit_tls=certificates.mutual_client)
    assert connection.peer.certificate_name == "server-a"
    assert connection.peer.tls and connection.peer.address == "127.0.0.1"
    big = (b"x" * 998 + b"\r\n") * 2000
    for body in (b"small\r\n", big):
        result = await connection.send(Sender(address=""), TRANSFER, (BOB,), content_of(body), len(body))
        assert result.final[0].positive
        assert room.received[-1].content == body
    await connection.quit()


@pytest.mark.parametrize("without", [(), ("PIPELINING",)])
@pytest.mark.parametrize("prefix", [b"", b"Received: x\r\n"])
async def test_held_content_is_not_sent(
    serve: Serve, room: Mailroom, without: tuple[str, ...], prefix: bytes
) -> None:
    connection = await opened(await serve(private=True), without)
    body = b"Subject: x\r\n\r\n" + b"y" * 100_000 + b"\r\n"
    stream = content_of(prefix[:4], prefix[4:] + body[:50], body[50:])
    made: list[AsyncIterator[bytes]] = []

    def content() -> AsyncIterator[bytes]:
        made.append(stream())
        return made[-1]

    asking = msgspec.structs.replace(TRANSFER, prefix_bytes=len(prefix), may_be_held=True)
    room.refuse["MAIL"] = CONTENT_IS_HELD
    for transfer, sent in ((asking, prefix), (TRANSFER, prefix + body)):
        result = await connection.send(Sender(address=""), transfer, (BOB,), content, 200_000)
        assert [piece async for piece in made[-1]] == [], "content that is not wanted is closed"
        assert result.final[0].positive
        assert room.received[-1].content == sent
    del room.refuse["MAIL"]
    result = await connection.send(Sender(address=""), asking, (BOB,), content, 200_000)
    assert result.final[0].positive
    assert room.received[-1].content == prefix + body, "the server does not say that it holds it"
    await connection.quit()


async def test_lmtp_over_tls(serve: Serve, room: Mailroom, certificates: Certificates) -> None:
    port = await serve(implicit_tls=certificates.mutual_server, private=True, protocol="lmtp")
    connection = await opened(port, implicit_tls=certificates.mutual_client, protocol="lmtp")
    result = await connection.send(Sender(address=""), TRANSFER, (BOB, BOB), content_of(b"x\r\n"), 3)
    assert len(result.final) == 2
    await connection.quit()


async def test_starttls_and_auth(serve: Serve, room: Mailroom, certificates: Certificates) -> None:
    port = await serve(starttls=certificates.server, authentication=True)
    connection = await SmtpConnection.open(
        "localhost",
        port,
        hostname="client.example",
        starttls=certificates.client,
        require_tls=True,
        authentication=("alice", "secret"),
    )
    assert connection.peer.tls and "STARTTLS" not in connection.features
    assert connection.features["AUTH"] == "PLAIN LOGIN"
    result = await connection.send(Sender(address=""), None, (BOB,), content_of(b"x\r\n"), 3)
    assert result.final[0].positive
    assert room.received[0].facts.authenticated
    await connection.quit()


async def test_a_refused_logon(serve: Serve, room: Mailroom, certificates: Certificates) -> None:
    port = await serve(implicit_tls=certificates.server, authentication=True, logon_failures=10)
    with pytest.raises(ConnectionFailed) as caught:
        await SmtpConnection.open(
            "localhost",
            port,
            hostname="client.example",
            implicit_tls=certificates.client,
            authentication=("alice", "wrong"),
        )
    assert caught.value.phase == "authentication"
    assert caught.value.reply is not None and caught.value.reply.status == "5.7.8"


async def test_tls_that_is_required_and_not_offered(
    serve: Serve, room: Mailroom, certificates: Certificates
) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        await opened(await serve(), starttls=certificates.client, require_tls=True)
    assert caught.value.phase == "tls"
    connection = await opened(await serve(), starttls=certificates.client)
    assert not connection.peer.tls
    await connection.quit()


async def test_a_certificate_that_is_not_trusted(
    serve: Serve, room: Mailroom, certificates: Certificates
) -> None:
    port = await serve(starttls=certificates.server)
    with pytest.raises(ConnectionFailed) as caught:
        await opened(port, starttls=ssl.create_default_context())
    assert caught.value.phase == "tls"


async def test_nobody_listens(serve: Serve) -> None:
    port = await serve()
    await serve.server.stop(0)  # type: ignore[attr-defined]
    with pytest.raises(ConnectionFailed) as caught:
        await opened(port)
    assert caught.value.phase == "connect" and caught.value.reply is None
    assert not caught.value.permanent


async def test_a_greeting_that_refuses(serve: Serve, connect: Connect) -> None:
    port = await serve(connections=0)
    with pytest.raises(ConnectionFailed) as caught:
        await opened(port)
    assert caught.value.phase == "greeting"
    assert caught.value.reply is not None and caught.value.reply.code == 421


async def test_noop_and_a_server_that_goes(serve: Serve) -> None:
    connection = await opened(await serve())
    await connection.noop()
    assert connection.usable
    await serve.server.stop(0)  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    await connection.quit()
    assert not connection.usable


def test_timeouts_are_those_of_the_standard() -> None:
    timeouts = Timeouts()
    assert (timeouts.greeting, timeouts.mail, timeouts.recipient) == (300, 300, 300)
    assert (timeouts.data, timeouts.block, timeouts.final) == (120, 180, 600)
