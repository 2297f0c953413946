"""Content on the server: limits, smuggling, chunks, LMTP."""

import smtplib
from asyncio import to_thread

import pytest

from foundation.mail.errors import MailError
from foundation.smtp.reply import Reply
from tests.unit.foundation.smtp.conftest import Connect, Mailroom, Received, Serve
from tests.unit.foundation.smtp.test_content import SMUGGLES

EVIL = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob@waypost.example>\r\nDATA\r\nowned\r\n.\r\n"


@pytest.mark.parametrize("smuggle", SMUGGLES)
async def test_smuggling_is_never_a_second_message(
    serve: Serve, connect: Connect, room: Mailroom, smuggle: bytes
) -> None:
    for policy in ("refuse", "normalise"):
        room.received.clear()
        talk = await connect(await serve(bare_newlines=policy))
        await talk.begin()
        await talk.say("DATA")
        talk.send(b"Subject: x\r\n\r\nfirst" + smuggle + EVIL)
        reply = await talk.reply()
        assert (await talk.say("NOOP")).startswith("250 2.0.0 Ok")
        bare = smuggle.replace(b"\r\n", b"")
        if policy == "refuse" and (b"\r" in bare or b"\n" in bare):
            assert reply.startswith("550 5.6.11 ")
            assert not room.received
        else:
            assert reply.startswith("250 ")
            (received,) = room.received
            assert b"MAIL FROM:<evil" in received.content
            assert received.command.sender.address == "sender@client.example"
            assert received.content.count(b"\n") == received.content.count(b"\r\n")


async def test_too_large_is_told_after_the_content(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve(message_size_bytes=1000))
    await talk.begin()
    await talk.say("DATA")
    assert (await talk.say("x" * 99 + "\r\n" + ("y" * 98 + "\r\n") * 9 + ".")).startswith("552 5.3.4 ")
    await talk.begin()
    await talk.say("DATA")
    assert (await talk.say(("x" * 98 + "\r\n") * 10 + ".")).startswith("250 ")
    assert len(room.received[0].content) == 1000


async def test_much_too_large_is_cut_off(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve(message_size_bytes=1000))
    await talk.begin()
    await talk.say("DATA")
    for _ in range(40):
        talk.send((b"x" * 1022 + b"\r\n") * 64)
    assert (await talk.reply()).startswith("552 5.3.4 ")
    assert await talk.ended()
    assert not room.received


async def test_long_lines(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve(line_bytes=5000))
    await talk.begin()
    await talk.say("DATA")
    assert (await talk.say("x" * 4990 + "\r\n.")).startswith("250 ")
    await talk.begin()
    await talk.say("DATA")
    assert (await talk.say("x" * 5010 + "\r\n.")).startswith("554 5.6.0 ")


async def test_a_full_disk_is_temporary(
    serve: Serve, connect: Connect, room: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foundation.database.spool.Spool.write", full)
    talk = await connect(await serve())
    await talk.begin()
    await talk.say("DATA")
    assert (await talk.say("x\r\n.")).startswith("452 4.3.1 ")
    assert not room.received


async def test_chunks(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve())
    await talk.begin()
    talk.send(b"BDAT 6\r\n.\r\nab\rBDAT 6\r\n\ncd.\r\nBDAT 0 LAST\r\nNOOP\r\n")
    assert await talk.replies(4) == [
        "250 2.0.0 6 octets received",
        "250 2.0.0 6 octets received",
        "250 2.6.0 Queued",
        "250 2.0.0 Ok",
    ]
    assert room.received[0].content == b".\r\nab\r\ncd.\r\n"


@pytest.mark.parametrize("command", ["DATA", "RCPT TO:<a@b.example>", "MAIL FROM:<a@b.example>"])
async def test_nothing_goes_between_chunks(
    serve: Serve, connect: Connect, room: Mailroom, command: str
) -> None:
    talk = await connect(await serve())
    await talk.begin()
    await talk.say("BDAT 3\r\nx")
    assert (await talk.say(command)).startswith("503 5.5.1 ")
    assert (await talk.say("BDAT 3 LAST\r\ny")).startswith("250 ")
    assert room.received[0].content == b"x\r\ny\r\n"


async def test_reset_forgets_chunks(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve())
    await talk.begin()
    await talk.say("BDAT 3\r\nx")
    assert (await talk.say("RSET")).startswith("250 ")
    await talk.begin()
    assert (await talk.say("BDAT 3 LAST\r\ny")).startswith("250 ")
    assert room.received[0].content == b"y\r\n"


async def test_refused_chunks_are_read_over(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve(bare_newlines="refuse"))
    await talk.say("EHLO x")
    talk.send(b"MAIL FROM:<a@b.example>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert [reply[:9] for reply in await talk.replies(4)] == [
        "250 2.1.0",
        "503 5.5.1",
        "503 5.5.1",
        "250 2.0.0",
    ]
    await talk.say("RSET")
    await talk.begin()
    talk.send(b"BDAT 4\r\na\nb\nBDAT 2\r\n\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n")
    assert [reply[:10] for reply in await talk.replies(4)] == ["550 5.6.11"] * 3 + ["250 2.0.0 "]
    assert not room.received


async def test_too_large_chunks(serve: Serve, connect: Connect, room: Mailroom) -> None:
    port = await serve(message_size_bytes=1000)
    talk = await connect(port)
    await talk.begin()
    assert (await talk.say(b"BDAT 2000 LAST\r\n" + b"x" * 1998)).startswith("552 5.3.4 ")
    await talk.begin()
    assert (await talk.say("BDAT 999999999999 LAST")).startswith("552 5.3.4 ")
    assert await talk.ended()
    endless = await connect(port)
    await endless.begin()
    for _ in range(3):
        endless.send(b"BDAT 900000\r\n" + b"x" * 900000)
    assert "552" in (await endless.reply())
    assert not room.received


async def test_a_chunk_of_unknown_length_ends_the_talk(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve())
    await talk.begin()
    assert (await talk.say("BDAT many LAST")).startswith("501 5.5.4 ")
    assert await talk.ended()


# --- LMTP (RFC 2033)


def per_recipient(received: Received) -> tuple[Reply, ...]:
    return tuple(
        Reply.of(250, "2.1.5", each.address)
        if not each.address.startswith("full")
        else Reply.of(452, "4.2.2", "Full")
        for each in received.recipients
    )


async def test_lmtp(serve: Serve, connect: Connect, room: Mailroom) -> None:
    room.answer = per_recipient
    room.refuse["no@b.example"] = MailError(550, "5.1.1", "No such user")
    talk = await connect(await serve(protocol="lmtp"), greeting=False)
    assert await talk.reply() == "220 mx.waypost.example LMTP Waypost"
    assert (await talk.say("EHLO x")).startswith("500 5.5.1 ")
    assert (await talk.say("HELO x")).startswith("500 5.5.1 ")
    assert "250-PIPELINING" in await talk.say("LHLO x")
    talk.send(
        b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<no@b.example>\r\n"
        b"RCPT TO:<full@b.example>\r\nDATA\r\n"
    )
    assert [reply[:3] for reply in await talk.replies(5)] == ["250", "250", "550", "250", "354"]
    talk.send(b"x\r\n.\r\nNOOP\r\n")
    assert await talk.replies(3) == ["250 2.1.5 a@b.example", "452 4.2.2 Full", "250 2.0.0 Ok"]
    talk.send(
        b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<full@b.example>\r\nBDAT 2 LAST\r\nx\nNOOP\r\n"
    )
    replies = await talk.replies(6)
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "550", "550", "250"]
    assert room.received[0].facts.lmtp


async def test_lmtp_without_recipients_takes_no_content(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(protocol="lmtp"))
    await talk.say("LHLO x")
    await talk.say("MAIL FROM:<>")
    assert (await talk.say("DATA")).startswith("503 5.5.1 ")
    assert (await talk.say("BDAT 2 LAST\r\n")).startswith("503 5.5.1 ")


async def test_an_error_of_the_whole_message_is_told_for_each(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    room.refuse["DATA"] = MailError(451, "4.3.2", "Store away")
    talk = await connect(await serve(protocol="lmtp"))
    talk.send(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
    await talk.replies(5)
    talk.send(b"x\r\n.\r\n")
    assert await talk.replies(2) == ["451 4.3.2 Store away"] * 2
    room.refuse.clear()
    room.answer = lambda _: (Reply.of(250, "2.0.0", "one too few"),)
    talk.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
    await talk.replies(4)
    talk.send(b"x\r\n.\r\n")
    assert [reply[:9] for reply in await talk.replies(2)] == ["451 4.3.0"] * 2


async def test_stdlib_lmtp(serve: Serve, room: Mailroom) -> None:
    port = await serve(protocol="lmtp")

    def send() -> None:
        with smtplib.LMTP("127.0.0.1", port, local_hostname="client.example") as client:
            client.sendmail("", ["a@b.example"], b"x\r\n")

    await to_thread(send)
    assert room.received[0].content == b"x\r\n"
