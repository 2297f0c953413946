"""Python's libraries that send: smtplib and aiosmtplib."""

from __future__ import annotations

import asyncio
import smtplib
import ssl

import aiosmtplib
import pytest

from tests.harness.organisation import Organisation
from tests.harness.patience import patient, until
from tests.programs.conftest import Pair, Place
from tests.programs.letters import arrived, content_of, letter, whole

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
        assert await arrived(reader, subject) == whole(subject)


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

    def read() -> list[bytes]:
        with jürgen.imap() as connection:
            connection.enable("UTF8=ACCEPT")
            connection.select()
            return [part[1] for part in connection.fetch("1:*", "(BODY[])")[1] if isinstance(part, tuple)]

    [raw] = await until(lambda: asyncio.to_thread(read), "the letter arrives")
    assert content_of(raw) == whole(SUBJECT)
    assert "To: jürgen.smtplib@example.test\r\n".encode() in raw


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
    for number in range(10):
        assert await arrived(reader, f"aiosmtplib {number}") == whole(f"aiosmtplib {number}")
