"""Thunderbird's set-up file: whoever enters what it says gets in and can send, verifying the certificate."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
import ssl
import sys
from xml.etree import ElementTree

import pytest

from tests.harness.mail import compose
from tests.harness.organisation import Organisation
from tests.programs.conftest import Pair, Place
from tests.programs.letters import arrived
from tests.programs.programs import run

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


async def test_every_way_of_the_set_up_file_works(
    organisation: Organisation, place: Place, pair: Pair
) -> None:
    command = (sys.executable, "-m", "waypost", "client", "autoconfig", "--config", organisation.config)
    provider = ElementTree.fromstring((await run(*command)).encode())[0]
    assert [each.text for each in provider.findall("domain")] == ["example.test"]
    trust = ssl.create_default_context(cafile=str(place.ca_file))
    for tag, use in (("incomingServer", read), ("outgoingServer", send)):
        servers = [{child.tag: child.text or "" for child in each} for each in provider.findall(tag)]
        assert [each["socketType"] for each in servers] == ["SSL", "STARTTLS"]
        for server in servers:
            assert server["username"] == "%EMAILADDRESS%"
            assert server["authentication"] == "password-cleartext"
            await asyncio.to_thread(use, server, pair, trust)
    for security in ("SSL", "STARTTLS"):
        await arrived(pair.reader, security)


def read(server: dict[str, str], pair: Pair, trust: ssl.SSLContext) -> None:
    host, port = server["hostname"], int(server["port"])
    if server["socketType"] == "SSL":
        connection: imaplib.IMAP4 = imaplib.IMAP4_SSL(host, port, ssl_context=trust)
    else:
        connection = imaplib.IMAP4(host, port)
        connection.starttls(trust)
    with connection:
        connection.login(pair.reader.address, pair.reader.password)
        assert connection.select()[0] == "OK"


def send(server: dict[str, str], pair: Pair, trust: ssl.SSLContext) -> None:
    host, port, security = server["hostname"], int(server["port"]), server["socketType"]
    connection = (
        smtplib.SMTP_SSL(host, port, context=trust) if security == "SSL" else smtplib.SMTP(host, port)
    )
    with connection:
        if security == "STARTTLS":
            connection.starttls(context=trust)
        connection.login(pair.sender.address, pair.sender.password)
        message = compose(pair.sender.address, pair.reader.address, subject=security)
        assert connection.send_message(message) == {}
