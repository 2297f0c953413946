"""What a hub takes from outside and from Waypost servers, and what it answers."""

from __future__ import annotations

import asyncio
import dataclasses
import smtplib
import ssl
from pathlib import Path

import msgspec
import pytest

from config.model import Limits
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.client import SmtpConnection
from foundation.world.disk import SystemDisk
from tests.unit.hubtransport.lab import CONTENT, Lab, transmit


async def test_outside_takes_local_recipients_without_authentication_and_refuses_the_others(lab: Lab) -> None:
    await lab.start("hub-a")
    connection = await lab.connect_outside()
    assert "STARTTLS" in connection.features
    assert "AUTH" not in connection.features
    assert "XWAYPOST" not in connection.features
    result = await transmit(
        connection,
        "friend@example.org",
        ["friend@example.net", "nobody@example.test", "carol@example.test", "CAROL+x@Example.Test"],
        CONTENT,
    )
    assert [(reply.code, reply.status) for reply in result.recipients] == [
        (550, "5.7.1"),
        (550, "5.1.1"),
        (250, "2.1.5"),
        (250, "2.1.5"),
    ]
    assert (result.final[0].code, result.final[0].status) == (250, "2.6.0")
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.content.startswith(b"Received: from client.example.net ([127.0.0.1])\r\n")
    assert b"for <" not in delivered.content


@pytest.mark.parametrize("address", ["postmaster", "Postmaster@example.test"])
async def test_postmaster_is_always_taken(lab: Lab, address: str) -> None:
    await lab.start("hub-a")
    endpoint = lab.settings("hub-a").smtp
    assert endpoint is not None

    def send() -> None:
        with smtplib.SMTP(endpoint.host, endpoint.port) as client:
            client.ehlo("client.example.net")
            client.docmd("MAIL", "FROM:<friend@example.org>")
            assert client.docmd("RCPT", f"TO:<{address}>")[0] == 250
            assert client.data(CONTENT)[0] == 250

    await asyncio.to_thread(send)
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.recipients[0].recipient_id == lab.directory.user("alice@example.test").recipient_id


async def test_private_fields_and_identifiers_of_strangers_are_not_believed(lab: Lab) -> None:
    await lab.start("hub-a")
    private = b"X-Waypost-Assessed: yes\r\n  folded\r\nX-WAYPOST-Other: 1\r\n"
    await transmit(
        await lab.connect_outside(), "friend@example.org", ["carol@example.test"], private + CONTENT
    )
    (delivered,) = await lab.stores["store-a"].wait()
    assert b"waypost-" not in delivered.content.lower()
    assert delivered.content.endswith(CONTENT)
    connection = await lab.connect_outside()
    endpoint = lab.settings("hub-a").smtp
    assert endpoint is not None

    def try_private() -> int:
        with smtplib.SMTP(endpoint.host, endpoint.port) as client:
            client.ehlo()
            return client.docmd("MAIL", "FROM:<friend@example.org> XWAYPOST-ID=abc")[0]

    assert await asyncio.to_thread(try_private) == 555
    await connection.quit()


async def test_starttls_shows_in_received(lab: Lab) -> None:
    await lab.start("hub-a")
    endpoint = lab.settings("hub-a").smtp
    assert endpoint is not None
    context = ssl.create_default_context(cafile=str(lab.topology.certificates / "ca.pem"))
    context.check_hostname = False
    connection = await SmtpConnection.open(
        endpoint.host, endpoint.port, hostname="client.example.net", starttls=context, require_tls=True
    )
    await transmit(connection, "friend@example.org", ["carol@example.test"], CONTENT)
    await connection.quit()
    (delivered,) = await lab.stores["store-a"].wait()
    assert b" with ESMTPS id " in delivered.content


async def test_too_many_hops_are_a_loop(tmp_path: Path) -> None:
    async with Lab(tmp_path, limits=Limits(hops=3)) as lab:
        await lab.start("hub-a")
        received = b"Received: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        connection = await lab.connect_outside()
        result = await transmit(
            connection, "friend@example.org", ["carol@example.test"], received * 4 + CONTENT
        )
        assert (result.final[0].code, result.final[0].status) == (554, "5.4.6")
        result = await transmit(
            connection, "friend@example.org", ["carol@example.test"], received * 3 + CONTENT
        )
        assert result.final[0].code == 250
        refused = await lab.until_event("FAIL")
        assert "5.4.6" in refused.reply


async def test_size_and_header_limits(tmp_path: Path) -> None:
    limits = Limits(message_size_bytes=20_000, header_size_bytes=2_000)
    async with Lab(tmp_path, limits=limits) as lab:
        await lab.start("hub-a")
        for content in (CONTENT + b"x" * 70 * 400, b"X: " + b"y" * 2_000 + b"\r\n" + CONTENT):
            connection = await lab.connect_outside()
            result = await transmit(connection, "friend@example.org", ["carol@example.test"], content)
            reply = result.final[0] if result.final else result.sender
            assert reply is not None
            assert (reply.code, reply.status) == (552, "5.3.4")
        assert not await lab.queued()


async def test_a_header_cut_at_its_limit_is_not_taken_for_the_body(tmp_path: Path) -> None:
    """Whatever byte of a field the limit falls on: no private field of a stranger comes through."""
    private = b"X-Waypost-Assessed: yes\r\n"
    async with Lab(tmp_path, limits=Limits(message_size_bytes=20_000, header_size_bytes=2_000)) as lab:
        await lab.start("hub-a")
        connection = await lab.connect_outside()
        for shift in range(len(private)):
            content = b"A: " + b"y" * shift + b"\r\n" + private * 100 + CONTENT
            result = await transmit(connection, "friend@example.org", ["carol@example.test"], content)
            assert (result.final[0].code, result.final[0].status) == (552, "5.3.4")
        assert not await lab.queued()


async def test_a_full_disk_refuses_for_now(lab: Lab) -> None:
    class Full(SystemDisk):
        def free_bytes(self, folder: Path) -> int:
            return 1000

    lab.world = dataclasses.replace(lab.world, disk=Full())
    await lab.start("hub-a")
    result = await transmit(
        await lab.connect_outside(), "friend@example.org", ["carol@example.test"], CONTENT
    )
    assert result.sender is not None
    assert (result.sender.code, result.sender.status) == (452, "4.3.1")


async def test_internationalised_mail_keeps_its_form(lab: Lab) -> None:
    await lab.start("hub-a")
    content = (
        "From: <jörg@example.org>\r\nSubject: Grüße\r\nMessage-ID: <m1@example.test>\r\n\r\nHi\r\n".encode()
    )
    sender = Sender(address="jörg@example.org", smtputf8=True, body="8BITMIME")
    await transmit(await lab.connect_outside(), sender, [Recipient(address="carol@example.test")], content)
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.sender.smtputf8
    assert delivered.content.endswith(content)
    assert b" with UTF8SMTP id " in delivered.content


async def test_identifiers_of_a_peer_are_carried_on(lab: Lab) -> None:
    await lab.start("hub-a")
    transfer = Transfer(
        network_message_id="n-1",
        transfer_key="k-1",
        assessed="hub-x/7",
        prefix_bytes=5,
        content_sha256="a" * 64,
    )
    await lab.send("carol@example.test", transfer=transfer)
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.transfer is not None
    prefix = len(delivered.content) - len(CONTENT)
    assert delivered.transfer.transfer_key != "k-1"
    assert msgspec.structs.replace(delivered.transfer, transfer_key="k-1") == msgspec.structs.replace(
        transfer, prefix_bytes=prefix + 5, first_attempt=True
    )
