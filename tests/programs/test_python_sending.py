"""Python's libraries that send: smtplib and aiosmtplib."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
import ssl

import aiosmtplib
import pytest

from tests.harness.organisation import Organisation
from tests.harness.patience import patient, until
from tests.programs.conftest import Pair, Place
from tests.programs.letters import content_of, letter, whole

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

SUBJECT = "Über die Brücke"


@pytest.fixture
def trust(place: Place) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(place.ca_file))


@pytest.mark.program("smtplib")
async def test_smtplib_by_starttls_and_by_tls(place: Place, pair: Pair, trust: ssl.SSLContext) -> None:
    """sends 8-bit text and an attachment, by STARTTLS and by TLS from the first byte"""
    sender, reader = pair.sender, pair.reader

    def send() -> None:
        with smtplib.SMTP(place.submission.host, place.submission.port, timeout=patient(30)) as connection:
            connection.starttls(context=trust)
            connection.login(sender.address, sender.password)
            assert connection.has_extn("8bitmime")
            message = letter(sender.address, reader.address, subject=SUBJECT)
            assert connection.send_message(message) == {}
        endpoint = place.submissions
        with smtplib.SMTP_SSL(endpoint.host, endpoint.port, context=trust) as connection:
            connection.login(sender.address, sender.password)
            message = letter(sender.address, reader.address, subject="by TLS")
            assert connection.send_message(message, mail_options=["BODY=8BITMIME"]) == {}

    await asyncio.to_thread(send)
    for subject in (SUBJECT, "by TLS"):
        arrived = await reader.wait_until(
            "INBOX",
            lambda box, subject=subject: [
                found for each in box.all() if (found := content_of(each)).subject == subject
            ],
        )
        assert arrived == [whole(subject)]


@pytest.mark.program("smtplib")
async def test_smtplib_to_an_address_beyond_ascii(
    place: Place, pair: Pair, trust: ssl.SSLContext, organisation: Organisation
) -> None:
    """sends to and from addresses beyond ASCII with SMTPUTF8"""
    jürgen = organisation.add_user("jürgen.smtplib@example.test", store="store-b")

    def send() -> None:
        with smtplib.SMTP(place.submission.host, place.submission.port, timeout=patient(30)) as connection:
            connection.starttls(context=trust)
            connection.login(pair.sender.address, pair.sender.password)
            message = letter(pair.sender.address, jürgen.address, subject=SUBJECT, utf8=True)
            assert connection.send_message(message) == {}

    await asyncio.to_thread(send)

    def look() -> list[bytes]:
        """As imaplib has to, for a login name beyond ASCII."""
        with imaplib.IMAP4_SSL(place.imaps.host, place.imaps.port, ssl_context=trust) as connection:
            response = f"\0{jürgen.address}\0{jürgen.password}".encode()
            connection.authenticate("PLAIN", lambda _: response)
            connection.enable("UTF8=ACCEPT")
            connection.select()
            return [part[1] for part in connection.fetch("1:*", "(BODY[])")[1] if isinstance(part, tuple)]

    [arrived] = await until(lambda: asyncio.to_thread(look), "the letter arrives")
    assert content_of(arrived) == whole(SUBJECT)
    assert "To: jürgen.smtplib@example.test\r\n".encode() in arrived


@pytest.mark.program("smtplib")
async def test_smtplib_refuses_a_certificate_that_nobody_vouches_for(place: Place) -> None:
    """refuses the servers' certificates when the private CA is unknown to it"""

    def send() -> None:
        with smtplib.SMTP(place.submission.host, place.submission.port, timeout=patient(30)) as connection:
            connection.starttls(context=ssl.create_default_context())

    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(send)


@pytest.mark.program("aiosmtplib")
async def test_aiosmtplib_by_starttls_and_by_tls(place: Place, pair: Pair, trust: ssl.SSLContext) -> None:
    """sends 8-bit text and an attachment, by STARTTLS and by TLS from the first byte; ten at once"""
    sender, reader = pair.sender, pair.reader

    async def send(number: int) -> None:
        implicit = number % 2 == 0
        endpoint = place.submissions if implicit else place.submission
        refused, _ = await aiosmtplib.send(
            letter(sender.address, reader.address, subject=f"aiosmtplib {number}"),
            hostname=endpoint.host,
            port=endpoint.port,
            use_tls=implicit,
            start_tls=not implicit,
            tls_context=trust,
            username=sender.address,
            password=sender.password,
            timeout=patient(30),
        )
        assert refused == {}

    await asyncio.gather(*(send(number) for number in range(10)))
    arrived = await reader.wait_until("INBOX", lambda box: found if len(found := box.all()) == 10 else [])
    found = {(content := content_of(each)).subject: content for each in arrived}
    assert found == {subject: whole(subject) for subject in (f"aiosmtplib {n}" for n in range(10))}
