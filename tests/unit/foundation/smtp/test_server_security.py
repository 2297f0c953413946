"""STARTTLS (RFC 3207), AUTH (RFC 4954), client certificates."""

import asyncio
import base64
import contextlib
import ssl

import pytest

from foundation.mail.errors import MailError
from tests.unit.foundation.smtp.conftest import Certificates, Connect, Mailroom, Serve, Talk


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


PLAIN = b64("\0alice\0secret")


async def secure(serve: Serve, connect: Connect, certificates: Certificates, **options: object) -> Talk:
    port = await serve(implicit_tls=certificates.server, authentication=True, **options)
    talk = await connect(port, certificates.client)
    assert "AUTH PLAIN LOGIN" in await talk.say("EHLO x")
    return talk


async def test_starttls(serve: Serve, connect: Connect, room: Mailroom, certificates: Certificates) -> None:
    talk = await connect(await serve(starttls=certificates.server, authentication=True))
    clear = await talk.say("EHLO x")
    assert "STARTTLS" in clear and "AUTH" not in clear
    assert (await talk.say("STARTTLS now")).startswith("501 ")
    assert await talk.say("STARTTLS") == "220 2.0.0 Ready to start TLS"
    await talk.start_tls(certificates.client)
    assert (await talk.say("MAIL FROM:<a@b.example>")).startswith("503 5.5.1 EHLO")
    encrypted = await talk.say("EHLO x")
    assert "STARTTLS" not in encrypted and "AUTH PLAIN LOGIN" in encrypted
    assert (await talk.say("STARTTLS")).startswith("503 ")
    await talk.begin()
    await talk.say("DATA")
    await talk.say("x\r\n.")
    assert room.received[0].facts.tls


async def test_starttls_is_not_for_open_transactions(
    serve: Serve, connect: Connect, certificates: Certificates
) -> None:
    talk = await connect(await serve(starttls=certificates.server))
    assert (await talk.say("STARTTLS")).startswith("503 ")
    await talk.begin()
    assert (await talk.say("STARTTLS")).startswith("503 ")


async def test_commands_injected_before_tls_are_never_executed(
    serve: Serve, connect: Connect, room: Mailroom, certificates: Certificates
) -> None:
    """CVE-2011-0411, CVE-2021-38371."""
    talk = await connect(await serve(starttls=certificates.server))
    await talk.say("EHLO x")
    talk.send(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.org>\r\n")
    assert (await talk.reply()).startswith("220 ")
    await talk.start_tls(certificates.client)
    assert (await talk.say("RCPT TO:<bob@waypost.example>")).startswith("503 ")
    assert (await talk.say("NOOP")).startswith("250 2.0.0 ")
    assert not any("evil" in event for event in room.events)


async def test_a_failed_handshake_ends_only_that_client(
    serve: Serve, connect: Connect, certificates: Certificates
) -> None:
    port = await serve(starttls=certificates.server)
    broken, other = await connect(port), await connect(port)
    await broken.say("EHLO x")
    await broken.say("STARTTLS")
    broken.send(b"this is no TLS\r\n" * 10)
    with contextlib.suppress(ConnectionError):
        await broken.reader.read()
    assert (await other.say("NOOP")).startswith("250 ")


async def test_a_silent_handshake_is_ended(
    serve: Serve, connect: Connect, room: Mailroom, certificates: Certificates
) -> None:
    talk = await connect(await serve(starttls=certificates.server, handshake_seconds=0.05))
    await talk.say("EHLO x")
    await talk.say("STARTTLS")
    assert await talk.ended()
    await asyncio.wait_for(room.closed.wait(), 10)


async def test_the_clients_certificate_names_it(
    serve: Serve, connect: Connect, room: Mailroom, certificates: Certificates
) -> None:
    port = await serve(implicit_tls=certificates.mutual_server, private=True, listener="smtp-internal")
    await connect(port, certificates.mutual_client)
    (peer,) = room.peers
    assert (peer.certificate_name, peer.tls, peer.listener) == ("client-b", True, "smtp-internal")
    assert peer.address == "127.0.0.1" and peer.port > 0
    stranger = await connect(port, certificates.client, greeting=False)
    with contextlib.suppress(ssl.SSLError):
        assert await stranger.ended()
    assert len(room.peers) == 1


async def test_auth_needs_tls(serve: Serve, connect: Connect, certificates: Certificates) -> None:
    talk = await connect(await serve(starttls=certificates.server, authentication=True))
    await talk.say("EHLO x")
    assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("538 5.7.11 ")


@pytest.mark.parametrize(
    "lines",
    [
        [f"AUTH PLAIN {PLAIN}"],
        [f"auth plain {PLAIN}"],
        ["AUTH PLAIN", PLAIN],
        ["AUTH LOGIN", b64("alice"), b64("secret")],
        [f"AUTH LOGIN {b64('alice')}", b64("secret")],
    ],
)
async def test_auth(
    serve: Serve, connect: Connect, room: Mailroom, certificates: Certificates, lines: list[str]
) -> None:
    talk = await secure(serve, connect, certificates)
    for line in lines[:-1]:
        assert (await talk.say(line)).startswith("334 ")
    assert await talk.say(lines[-1]) == "235 2.7.0 Authentication succeeded"
    assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("503 ")
    assert (await talk.say("MAIL FROM:<a@b.example> AUTH=c@d.example")).startswith("250 ")
    await talk.say("RCPT TO:<e@f.example>")
    await talk.say("DATA")
    await talk.say("x\r\n.")
    assert room.received[0].facts.authenticated
    assert room.received[0].command.auth == "c@d.example"


async def test_auth_login_challenges(serve: Serve, connect: Connect, certificates: Certificates) -> None:
    talk = await secure(serve, connect, certificates)
    assert await talk.say("AUTH LOGIN") == f"334 {b64('Username:')}"
    assert await talk.say(b64("alice")) == f"334 {b64('Password:')}"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["AUTH"], "501 5.5.4"),
        (["AUTH PLAIN a b"], "501 5.5.4"),
        (["AUTH CRAM-MD5"], "504 5.5.4"),
        (["AUTH PLAIN", "*"], "501 5.7.0"),
        (["AUTH LOGIN", "*"], "501 5.7.0"),
        (["AUTH LOGIN", b64("alice"), "*"], "501 5.7.0"),
        (["AUTH PLAIN !!!"], "501 5.5.2"),
        (["AUTH PLAIN", "not base64"], "501 5.5.2"),
        (["AUTH PLAIN ="], "501 5.5.2"),
        (["AUTH PLAIN", "x" * 20000], "500 5.5.6"),
        ([f"AUTH PLAIN {b64('nonsense')}"], "501 5.5.2"),
        ([f"AUTH PLAIN {b64(chr(0) + 'alice' + chr(0) + 'wrong')}"], "535 5.7.8"),
    ],
)
async def test_auth_that_fails(
    serve: Serve, connect: Connect, certificates: Certificates, lines: list[str], expected: str
) -> None:
    talk = await secure(serve, connect, certificates)
    for line in lines[:-1]:
        assert (await talk.say(line)).startswith("334 ")
    assert (await talk.say(lines[-1])).startswith(expected)
    assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("235 ")


async def test_auth_is_not_for_open_transactions(
    serve: Serve, connect: Connect, certificates: Certificates
) -> None:
    talk = await secure(serve, connect, certificates)
    await talk.begin()
    assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("503 ")


async def test_too_many_failed_logons_close(
    serve: Serve, connect: Connect, certificates: Certificates
) -> None:
    talk = await secure(serve, connect, certificates, logon_failures=2)
    wrong = f"AUTH PLAIN {b64(chr(0) + 'alice' + chr(0) + 'wrong')}"
    for _ in range(2):
        assert await talk.say(wrong) == "535 5.7.8 Wrong login or password"
    assert (await talk.say(wrong)).startswith("421 4.7.0 ")
    assert await talk.ended()


async def test_a_check_that_is_not_possible_is_no_failed_logon(
    serve: Serve, connect: Connect, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: object, login: str, password: str) -> None:
        raise MailError(454, "4.7.0", "Directory away")

    monkeypatch.setattr("tests.unit.foundation.smtp.conftest.Clerk.authenticate", away)
    talk = await secure(serve, connect, certificates, logon_failures=1)
    assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("454 4.7.0 ")
    assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("454 4.7.0 ")
