from typing import Any, cast

import pytest

from clientaccess.submission.policy import check_header, check_recipient, check_sender, current_credentials
from foundation.database.spool import Spool
from foundation.interfaces.directory import Credentials, Directory
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError
from tests.unit.clientaccess.submission.conftest import ALICE, BOB, KEYS, FakeDirectory

USER = Credentials(user=ALICE, password_hash="", addresses=KEYS)


def directory(**settings: Any) -> Directory:
    fake = FakeDirectory()
    vars(fake).update(settings)
    return cast(Directory, fake)


@pytest.mark.parametrize(
    "address",
    [
        "alice@home.example",
        "ALICE@HOME.example",
        "sales@home.example",
        "alice+list@home.example",
        '"alice"@home.example',
        "",
    ],
)
def test_own_addresses(address: str) -> None:
    check_sender(Sender(address=address), USER)


@pytest.mark.parametrize(
    "address",
    ["bob@home.example", "alice@other.example", "+alice@home.example", "al+ice@home.example"],
)
def test_other_addresses(address: str) -> None:
    with pytest.raises(MailError) as caught:
        check_sender(Sender(address=address), USER)
    assert (caught.value.code, caught.value.status) == (550, "5.7.1")


@pytest.mark.parametrize(
    ("address", "becomes"),
    [
        ("bob@home.example", "bob@home.example"),
        ("Bob@Home.example", "Bob@Home.example"),
        ("postmaster", "postmaster@home.example"),
        ("Postmaster@home.example", "Postmaster@home.example"),
        ("anybody@relay.example", "anybody@relay.example"),
        ("anybody@elsewhere.example", "anybody@elsewhere.example"),
    ],
)
async def test_recipients(address: str, becomes: str) -> None:
    recipient = Recipient(address=address, notify="NEVER")
    found = await check_recipient(recipient, directory(), "home.example")
    assert found == Recipient(address=becomes, notify="NEVER")


async def test_unknown_recipients_of_own_domains() -> None:
    with pytest.raises(MailError) as caught:
        await check_recipient(Recipient(address="nobody@home.example"), directory(), "home.example")
    assert (caught.value.code, caught.value.status) == (550, "5.1.1")


async def test_an_unreachable_directory_never_says_unknown() -> None:
    with pytest.raises(MailError) as caught:
        await check_recipient(Recipient(address="nobody@home.example"), directory(away=True), "home.example")
    assert (caught.value.code, caught.value.status) == (451, "4.3.0")


async def test_credentials_are_those_of_now() -> None:
    with pytest.raises(MailError) as caught:
        await current_credentials(None, directory())
    assert (caught.value.code, caught.value.status) == (530, "5.7.0")
    newer = Credentials(user=ALICE, password_hash="", addresses=("new@home.example",))
    assert await current_credentials(USER, directory(users={"alice@home.example": newer})) is newer
    somebody_else = Credentials(user=BOB, password_hash="", addresses=KEYS)
    for users in ({}, {"alice@home.example": somebody_else}):
        with pytest.raises(MailError) as caught:
            await current_credentials(USER, directory(users=users))
        assert (caught.value.code, caught.value.status) == (530, "5.7.0")


def test_headers() -> None:
    header = b"Received: a\r\nReceived: b\r\nSubject: x\r\n\r\n"
    assert check_header(Spool.of(header + b"body"), header_bytes_max=100, hops_max=2) == header
    assert check_header(Spool.of(b"no header at all"), header_bytes_max=100, hops_max=2) == b""


@pytest.mark.parametrize(
    ("content", "code", "status"),
    [
        (b"Received: a\r\n" * 3 + b"\r\n", 554, "5.4.6"),
        (b"Subject: " + b"x" * 200 + b"\r\n\r\n", 552, "5.3.4"),
        (b"Subject: " + b"x" * 200, 552, "5.3.4"),
    ],
)
def test_refused_headers(content: bytes, code: int, status: str) -> None:
    with pytest.raises(MailError) as caught:
        check_header(Spool.of(content), header_bytes_max=100, hops_max=2)
    assert (caught.value.code, caught.value.status) == (code, status)
