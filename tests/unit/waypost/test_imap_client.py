"""The small IMAP client against a scripted server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from foundation.certificates import issue_certificate, make_authority
from foundation.tls import Identity, pinning_client
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from waypost import imap
from waypost.imap import ImapClient, ImapFailed

Script = list[tuple[str, str]]
"""What the client must say next (without its tag; empty: only listen), and the answer with %t for the tag."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    now_ms, disk = SystemClock().now_ms(), SystemDisk()
    make_authority(folder, "Example", now_ms=now_ms, disk=disk)
    for name in ("access", "other"):
        issue_certificate(folder, name, now_ms=now_ms, disk=disk)
    return folder


@asynccontextmanager
async def connected(
    certificates: Path, script: Script, *, pin: str = "access"
) -> AsyncIterator[tuple[ImapClient, list[str]]]:
    unexpected: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        tag = ""
        for expected, answer in script:
            line = (await reader.readline()).decode().rstrip("\r\n")
            said = line
            if line != "DONE":
                tag, _, said = line.partition(" ")
            if said != expected:
                unexpected.append(said)
            writer.write(answer.replace("%t", tag).replace("\n", "\r\n").encode())
        await reader.read()
        writer.close()

    context = Identity(certificates, "access").public_server()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trust = pinning_client((certificates / f"{pin}.pem").read_text())
    try:
        client = await ImapClient.open("127.0.0.1", port, trust, implicit=True)
        yield client, unexpected
        client.abort()
    finally:
        server.close()
    assert unexpected == []


async def test_a_message_is_found_and_removed(certificates: Path) -> None:
    script = [
        ("AUTHENTICATE PLAIN AGJvYgBzZWNyZXQ=", "%t OK\n"),
        ('SELECT "INBOX"', "* 3 EXISTS\n* OK [UIDNEXT 9] next\n%t OK [READ-WRITE] done\n"),
        ('UID SEARCH HEADER Message-ID "a\\"b@example.org"', "* 4 EXISTS\n* SEARCH 7 8\n%t OK\n"),
        ("UID STORE 7,8 +FLAGS.SILENT (\\Deleted)", "%t OK\n"),
        ("UID EXPUNGE 7,8", "* 4 EXPUNGE\n* 3 EXPUNGE\n%t OK\n"),
        ("LOGOUT", "* BYE\n%t OK\n"),
    ]
    async with connected(certificates, script) as (client, _):
        await client.log_on("bob", "secret")
        await client.select("INBOX")
        found = await client.find('a"b@example.org')
        assert found == (7, 8)
        await client.remove(found)
        await client.close()


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ('* LIST (\\HasNoChildren \\Sent) "/" Sent\n', "Sent"),
        ('* LIST (\\Drafts) "/" Drafts\n* LIST (\\sent) "/" "Sent \\"Items\\""\n', 'Sent "Items"'),
        ('* LIST (\\Sent) "/" {9}\nGesendet!\n', "Gesendet!"),
        ('* LIST (\\Drafts) "/" Drafts\n', ""),
    ],
)
async def test_folders_by_their_use(certificates: Path, listed: str, name: str) -> None:
    async with connected(certificates, [('LIST (SPECIAL-USE) "" "*"', f"{listed}%t OK\n")]) as (client, _):
        assert await client.special_folder("\\Sent") == name


async def test_idle_ends_at_a_change_at_the_time_or_at_what_was_told_before(certificates: Path) -> None:
    script = [
        ("IDLE", "+ idling\n* 1 EXISTS\n"),
        ("DONE", "%t OK\n"),
        ("IDLE", "+ idling\n"),
        ("DONE", "%t OK\n"),
        ("IDLE", "* 2 EXISTS\n+ idling\n"),
        ("DONE", "%t OK\n"),
        ("IDLE", "%t BAD no\n"),
    ]
    async with connected(certificates, script) as (client, _):
        await client.idle(60)
        await client.idle(0.01)
        await client.idle(60)
        with pytest.raises(ImapFailed, match="BAD no"):
            await client.idle(60)


async def test_refusals_and_losses_are_told(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [
        ("AUTHENTICATE PLAIN AGJvYgB4", "%t NO [AUTHENTICATIONFAILED] wrong\n"),
        ('SELECT "X"', ""),
    ]
    async with connected(certificates, script) as (client, _):
        with pytest.raises(ImapFailed, match=r"the logon: NO \[AUTHENTICATIONFAILED\] wrong"):
            await client.log_on("bob", "x")
        monkeypatch.setattr(imap, "ANSWER_SECONDS", 0.01)
        with pytest.raises(ImapFailed, match="no answer"):
            await client.select("X")


async def test_the_server_with_the_pinned_certificate_alone_is_talked_to(certificates: Path) -> None:
    with pytest.raises(ImapFailed, match="certificate verify failed"):
        async with connected(certificates, [], pin="other"):
            pass


async def test_a_chain_behind_the_pinned_certificate_is_not_trusted(certificates: Path) -> None:
    """Who has the CA's certificate in its file does not trust everybody whom the CA knows."""
    chain = (certificates / "other.pem").read_text() + (certificates / "ca.pem").read_text()
    pinned = pinning_client(chain)
    assert len(pinned.get_ca_certs()) <= 1
    context = Identity(certificates, "access").public_server()
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection("127.0.0.1", port, ssl=pinned)
    server.close()


async def test_starttls_comes_before_the_logon(certificates: Path) -> None:
    context = Identity(certificates, "access").public_server()
    assert context is not None
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        said.append(await reader.readline())
        writer.write(b"p1 OK begin\r\n")
        await writer.start_tls(context)
        said.append(await reader.readline())
        writer.write(b"p2 OK\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    trust = pinning_client((certificates / "access.pem").read_text())
    client = await ImapClient.open("127.0.0.1", port, trust, implicit=False)
    await client.log_on("bob", "x")
    client.abort()
    server.close()
    assert said == [b"p1 STARTTLS\r\n", b"p2 AUTHENTICATE PLAIN AGJvYgB4\r\n"]


async def test_nobody_there(certificates: Path) -> None:
    trust = pinning_client((certificates / "access.pem").read_text())
    with pytest.raises(ImapFailed, match="can't be reached"):
        await ImapClient.open("127.0.0.1", 1, trust, implicit=True)
