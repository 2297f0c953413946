"""Verbs, their order and their limits (RFC 5321)."""

import asyncio
import smtplib
import subprocess
from shutil import which

import pytest

from foundation.mail.errors import MailError
from foundation.smtp.reply import Reply
from tests.unit.foundation.smtp.conftest import Certificates, Connect, Mailroom, Serve

KEYWORDS = "PIPELINING|SIZE 37748736|8BITMIME|SMTPUTF8|ENHANCEDSTATUSCODES|DSN|CHUNKING"


def ehlo(*more: str) -> str:
    lines = ["mx.waypost.example", *KEYWORDS.split("|"), *more]
    return "|".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"])


async def test_a_message(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve())
    assert await talk.say("EHLO client.example") == ehlo()
    assert await talk.say("MAIL FROM:<a@client.example> SIZE=20 RET=HDRS ENVID=e1") == "250 2.1.0 Sender ok"
    assert await talk.say("RCPT TO:<bob@waypost.example> NOTIFY=SUCCESS") == "250 2.1.5 Recipient ok"
    assert (await talk.say("DATA")).startswith("354 ")
    assert await talk.say("Subject: x\r\n\r\n..hi\r\n.") == "250 2.6.0 Queued"
    assert await talk.say("QUIT") == "221 2.0.0 mx.waypost.example closing"
    assert await talk.ended()
    (received,) = room.received
    assert received.content == b"Subject: x\r\n\r\n.hi\r\n"
    assert received.command.sender.ret == "HDRS"
    assert received.recipients[0].notify == "SUCCESS"
    assert (received.facts.helo, received.facts.extended, received.facts.tls) == (
        "client.example",
        True,
        False,
    )
    await room.closed.wait()
    assert room.events[-2:] == ["reset", "closed"]


async def test_greeting(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(), greeting=False)
    assert await talk.reply() == "220 mx.waypost.example ESMTP Waypost"


async def test_helo_knows_no_extensions(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve())
    assert await talk.say("HELO client.example") == "250 mx.waypost.example"
    assert await talk.say("MAIL FROM:<a@b.example> SIZE=1") == "555 5.5.4 Parameter SIZE is not supported"
    assert (await talk.say("MAIL FROM:<a@b.example>")).startswith("250 ")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["MAIL FROM:<a@b.example>"], "503 5.5.1"),
        (["RCPT TO:<a@b.example>"], "503 5.5.1"),
        (["DATA"], "503 5.5.1"),
        (["EHLO x", "RCPT TO:<a@b.example>"], "503 5.5.1"),
        (["EHLO x", "DATA"], "503 5.5.1"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "DATA"], "503 5.5.1"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "MAIL FROM:<a@b.example>"], "503 5.5.1"),
        (["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b.example>", "DATA now"], "501 5.5.4"),
        (["EHLO x", "MAIL FROM:<>", "RSET", "RCPT TO:<a@b.example>"], "503 5.5.1"),
        (["EHLO x", "MAIL FROM:<>", "EHLO x", "RCPT TO:<a@b.example>"], "503 5.5.1"),
        (["EHLO x", "MAIL FROM:<>", "EHLO x", "MAIL FROM:<>"], "250 2.1.0"),
        (["EHLO"], "501 5.5.4"),
        (["EHLO a b"], "501 5.5.4"),
        (["EHLO exämple"], "501 5.5.4"),
        (["HELO"], "501 5.5.4"),
        (["LHLO x"], "500 5.5.1"),
        (["RSET"], "250 2.0.0"),
        (["RSET x"], "501 5.5.4"),
        (["NOOP"], "250 2.0.0"),
        (["NOOP anything"], "250 2.0.0"),
        (["VRFY postmaster"], "252 2.5.2"),
        (["VRFY"], "501 5.5.4"),
        (["EXPN all"], "502 5.5.1"),
        (["HELP"], "214 2.0.0"),
        (["QUIT now"], "501 5.5.4"),
        (["FROB x"], "500 5.5.1"),
        ([""], "500 5.5.2"),
        (["NOOP \0"], "501 5.5.2"),
        (["STARTTLS"], "502 5.5.1"),
        (["EHLO x", "AUTH PLAIN"], "502 5.5.1"),
        (["EHLO x", "MAIL FROM:<a@b.example> SIZE=99999999999"], "552 5.3.4"),
        (["EHLO x", "MAIL FROM:<a@b.example> XWAYPOST-ID=1"], "555 5.5.4"),
        (["EHLO x", "MAIL FROM:<a@b.example> AUTH=<>"], "555 5.5.4"),
        (["EHLO x", "MAIL FROM:<a@b.example> REQUIRETLS"], "555 5.5.4"),
    ],
)
async def test_order_and_syntax(serve: Serve, connect: Connect, lines: list[str], expected: str) -> None:
    talk = await connect(await serve())
    for line in lines[:-1]:
        assert (await talk.say(line))[0] == "2"
    assert (await talk.say(lines[-1])).startswith(expected)
    assert (await talk.say("NOOP")).startswith("250 ")


async def test_null_sender_is_empty_and_postmaster_alone_is_accepted(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    talk = await connect(await serve())
    await talk.say("EHLO x")
    await talk.say("MAIL FROM:<>")
    assert (await talk.say("RCPT TO:<Postmaster>")).startswith("250 ")
    await talk.say("DATA")
    await talk.say("x\r\n.")
    assert room.received[0].command.sender.address == ""
    assert room.received[0].recipients[0].address == "postmaster"


async def test_pipelined_commands_are_answered_in_order(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    room.refuse["no@waypost.example"] = MailError(550, "5.1.1", "No such user")
    talk = await connect(await serve())
    talk.send(
        b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<no@waypost.example>\r\n"
        b"RCPT TO:<bob@waypost.example>\r\nDATA\r\n"
    )
    replies = await talk.replies(5)
    assert [reply[:3] for reply in replies] == ["250", "250", "550", "250", "354"]
    talk.send(b"hello\r\n.\r\nMAIL FROM:<c@d.example>\r\nRSET\r\nQUIT\r\n")
    assert [reply[:3] for reply in await talk.replies(4)] == ["250", "250", "250", "221"]
    assert [each.address for each in room.received[0].recipients] == ["bob@waypost.example"]


async def test_what_is_pipelined_behind_a_refusal_is_no_fault(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    room.refuse["MAIL"] = MailError(550, "5.7.1", "Not you")
    talk = await connect(await serve(protocol_errors=2))
    await talk.say("EHLO x")
    talk.send(b"MAIL FROM:<a@b.example>\r\n" + b"RCPT TO:<c@d.example>\r\n" * 5 + b"DATA\r\nNOOP\r\n")
    assert [reply[:3] for reply in await talk.replies(8)] == ["550"] + ["503"] * 6 + ["250"]


async def test_a_client_that_half_closes_is_answered(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve())
    talk.send(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nhi\r\n.\r\n")
    talk.writer.write_eof()
    replies = await talk.replies(5)
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "354", "250"]
    assert await talk.ended()
    assert len(room.received) == 1


async def test_whoever_is_refused_at_the_greeting_can_not_go_on(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    talk = await connect(await serve())
    await talk.say("EHLO client.example")
    room.refuse["EHLO"] = MailError(550, "5.7.1", "Not you")
    assert await talk.say("EHLO client.example") == "550 5.7.1 Not you"
    assert (await talk.say("MAIL FROM:<>")).startswith("503 5.5.1 EHLO")
    del room.refuse["EHLO"]
    assert await talk.say("EHLO client.example") == ehlo()


async def test_many_recipients_are_bounded(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve(recipients=2))
    await talk.begin("a@b.example", "c@d.example")
    assert await talk.say("RCPT TO:<e@f.example>") == "452 4.5.3 Too many recipients"
    await talk.say("DATA")
    assert (await talk.say("x\r\n.")).startswith("250 ")
    assert len(room.received[0].recipients) == 2


async def test_too_many_errors_close(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(protocol_errors=3))
    assert (await talk.say("FROB")).startswith("500 ")
    assert (await talk.say("MAIL FROM:<a@b.example>")).startswith("503 ")
    assert await talk.say("FROB") == "421 4.7.0 Too many errors, closing"
    assert await talk.ended()


async def test_a_message_forgives_errors(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(protocol_errors=2))
    await talk.say("FROB")
    await talk.begin()
    await talk.say("DATA")
    await talk.say("x\r\n.")
    assert (await talk.say("FROB")).startswith("500 ")


async def test_line_limits(serve: Serve, connect: Connect) -> None:
    talk = await connect(await serve(protocol_errors=100))
    assert (await talk.say("NOOP " + "x" * 505)).startswith("250 ")
    assert await talk.say("NOOP " + "x" * 506) == "500 5.5.2 The line is too long"
    assert await talk.say("x" * 1_000_000) == "500 5.5.2 The line is too long"
    await talk.say("EHLO x")
    long_sender = f"MAIL FROM:<{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 58}.example> ENVID={'e' * 100} SIZE=10"
    assert (await talk.say(long_sender + " BODY=8BITMIME RET=FULL")).startswith("250 ")
    assert (await talk.say("RCPT TO:<a@b.example> ORCPT=rfc822;" + "x" * 450)).startswith("250 ")
    assert (
        await talk.say("RCPT TO:<a@b.example> ORCPT=rfc822;" + "x" * 1100) == "500 5.5.2 The line is too long"
    )


async def test_line_limits_do_not_grow_with_greetings(serve: Serve, connect: Connect) -> None:
    port = await serve(protocol_errors=1000)
    first, second = await connect(port), await connect(port)
    for _ in range(200):
        assert (await first.say("EHLO x")).startswith("250")
    await second.say("EHLO x")
    assert (await second.say("MAIL FROM:<a@b.example> ENVID=" + "x" * 1300)).startswith("500 5.5.2")
    assert (await first.say("MAIL FROM:<a@b.example> ENVID=" + "x" * 1300)).startswith("500 5.5.2")


async def test_bare_lf_in_commands(serve: Serve, connect: Connect) -> None:
    strict = await connect(await serve())
    strict.send(b"NOOP\n")
    assert (await strict.reply()).startswith("500 5.5.2 ")
    lenient = await connect(await serve(bare_newlines="normalise"))
    lenient.send(b"NOOP\n")
    assert (await lenient.reply()).startswith("250 ")


async def test_case_of_verbs_and_parameters_and_values(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    talk = await connect(await serve())
    await talk.say("ehlo x")
    await talk.say("mail from:<MixedCase@B.example> envid=MixedCase")
    assert (await talk.say("rcpt to:<Bob@waypost.example> orcpt=rfc822;Bob@X.example")).startswith("250")
    await talk.say("data")
    await talk.say("x\r\n.")
    (received,) = room.received
    assert received.command.sender.envid == "MixedCase"
    assert received.command.sender.address == "MixedCase@B.example"
    assert received.recipients[0].orcpt == "rfc822;Bob@X.example"


async def test_the_handlers_refusals_become_replies(serve: Serve, connect: Connect, room: Mailroom) -> None:
    room.refuse["no@waypost.example"] = MailError(550, "5.1.1", "No such user")
    room.refuse["odd@waypost.example"] = Reply.of(251, "2.1.5", "User not local")
    talk = await connect(await serve())
    await talk.begin()
    assert await talk.say("RCPT TO:<odd@waypost.example>") == "251 2.1.5 User not local"
    assert await talk.say("RCPT TO:<no@waypost.example>") == "550 5.1.1 No such user"
    room.refuse["DATA"] = MailError(554, "5.4.6", "Loop")
    await talk.say("DATA")
    assert await talk.say("x\r\n.") == "554 5.4.6 Loop"
    assert (await talk.say("RCPT TO:<a@b.example>")).startswith("503 ")


@pytest.mark.parametrize("where", ["MAIL", "bob@waypost.example", "DATA"])
async def test_an_unexpected_error_is_temporary_and_leaks_nothing(
    serve: Serve, connect: Connect, room: Mailroom, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    room.refuse[where] = ValueError("database password is x")
    talk = await connect(await serve())
    await talk.say("EHLO x")
    talk.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<bob@waypost.example>\r\nDATA\r\n")
    replies = await talk.replies(3)
    if replies[-1].startswith("354"):
        replies.append(await talk.say("x\r\n."))
    (unexpected,) = [reply for reply in replies if reply.startswith("451")]
    assert unexpected == "451 4.3.0 A server error, try again later (trace id-1)"
    (record,) = [record for record in caplog.records if record.name == "waypost.smtp"]
    assert record.trace_id == "id-1"  # type: ignore[attr-defined]
    assert (await talk.say("NOOP")).startswith("250 ")


async def test_smtputf8(serve: Serve, connect: Connect, room: Mailroom) -> None:
    talk = await connect(await serve())
    await talk.say("EHLO x")
    assert (await talk.say("MAIL FROM:<josé@b.example>")).startswith("553 5.6.7 ")
    assert (await talk.say("MAIL FROM:<josé@b.example> SMTPUTF8 BODY=8BITMIME")).startswith("250 ")
    assert (await talk.say("RCPT TO:<bøb@waypost.example>")).startswith("250 ")
    await talk.say("DATA")
    assert (await talk.say("Subject: é\r\n.")).startswith("250 ")
    assert room.received[0].facts.utf8
    await talk.say("MAIL FROM:<a@b.example>")
    assert (await talk.say("RCPT TO:<bøb@waypost.example>")).startswith("553 5.6.7 ")


async def test_private_parameters_on_a_private_listener(
    serve: Serve, connect: Connect, room: Mailroom
) -> None:
    talk = await connect(await serve(private=True))
    assert await talk.say("EHLO hub-a") == ehlo("XWAYPOST 1")
    await talk.say("MAIL FROM:<> XWAYPOST-ID=n1 XWAYPOST-KEY=k1 XWAYPOST-LATER=x")
    await talk.say("RCPT TO:<bob@waypost.example> XWAYPOST-RID=r1")
    await talk.say("BDAT 5 LAST\r\na\rb\nc")
    (received,) = room.received
    assert received.command.transfer is not None and received.command.transfer.transfer_key == "k1"
    assert received.recipients[0].recipient_id == "r1"
    assert received.content == b"a\rb\nc"


async def test_stdlib_clients(serve: Serve, room: Mailroom, certificates: Certificates) -> None:
    port = await serve(starttls=certificates.server, authentication=True)

    def send() -> None:
        with smtplib.SMTP("localhost", port, local_hostname="client.example", timeout=10) as client:
            client.starttls(context=certificates.client)
            client.login("alice", "secret")
            client.sendmail(
                "a@b.example",
                ["c@d.example", "e@f.example"],
                b"Subject: x\r\n\r\n.dot\r\n",
                mail_options=["BODY=8BITMIME", "RET=FULL"],
                rcpt_options=["NOTIFY=FAILURE"],
            )

    await asyncio.to_thread(send)
    (received,) = room.received
    assert received.content == b"Subject: x\r\n\r\n.dot\r\n"
    assert len(received.recipients) == 2
    assert received.facts.tls and received.facts.authenticated


@pytest.mark.skipif(which("swaks") is None, reason="swaks is not installed")
async def test_swaks(serve: Serve, room: Mailroom, certificates: Certificates) -> None:
    port = await serve(starttls=certificates.server, authentication=True)
    command = ["swaks", "--server", f"127.0.0.1:{port}", "--tls", "--auth", "LOGIN", "--auth-user", "alice"]
    command += [
        "--auth-password",
        "secret",
        "--from",
        "a@b.example",
        "--to",
        "c@d.example,e@f.example",
        "--pipeline",
    ]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout.decode()
    (received,) = room.received
    assert len(received.recipients) == 2 and b"This is a test mailing" in received.content
