"""From a mail program to the store's commit."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from foundation.interfaces.mailbox_store import Refusal
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import Unavailable
from foundation.rpc.errors import ConnectionLost, DeadlineExceeded
from foundation.smtp.client import ConnectionFailed, SendResult, SmtpConnection
from tests.unit.clientaccess.submission.conftest import Office

FROM = Sender(address="alice@home.example")
TO_BOB = Recipient(address="bob@home.example")
MESSAGE = b"Subject: hi\r\nBcc: carol@elsewhere.example\r\n\r\nhello\r\n"


def content_of(body: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def content() -> AsyncIterator[bytes]:
        yield body

    return content


async def send(
    connection: SmtpConnection, body: bytes = MESSAGE, sender: Sender = FROM, *recipients: Recipient
) -> SendResult:
    return await connection.send(sender, None, recipients or (TO_BOB,), content_of(body), len(body))


async def test_a_submission(office: Office) -> None:
    connection = await office.log_on()
    sender = Sender(address="Alice+x@home.example", ret="HDRS", envid="e1", body="8BITMIME")
    result = await send(connection, MESSAGE, sender, Recipient(address="bob@home.example", notify="SUCCESS"))
    ((submission, body),) = office.store.submitted
    assert str(result.final[0]) == f"250 2.6.0 <{submission.network_message_id}> Queued"
    assert (submission.mailbox_id, submission.user_id) == ("m-alice", "u-alice")
    assert submission.key and submission.key != submission.network_message_id
    assert submission.sender.address == "Alice+x@home.example"
    assert (submission.sender.ret, submission.sender.envid, submission.sender.body) == (
        "HDRS",
        "e1",
        "8BITMIME",
    )
    assert submission.recipients == (Recipient(address="bob@home.example", notify="SUCCESS"),)
    assert submission.client == "access 127.0.0.1 ESMTPSA"
    assert submission.received_at_ms > 0
    assert office.authentication.peers == ["127.0.0.1"]
    received = submission.received.replace(b"\r\n\t", b" ")
    assert received.startswith(
        b"Received: from laptop.example ([127.0.0.1]) by access.home.example with ESMTPSA"
    )
    assert submission.network_message_id.encode() in received and b"for <bob@home.example>" in received
    assert body.endswith(MESSAGE) and b"Bcc: carol" in body
    added = body[: -len(MESSAGE)]
    assert (
        added.startswith(b"Date: ")
        and b"\r\nMessage-ID: <" in added
        and added.endswith(b"@home.example>\r\n")
    )
    await connection.quit()


async def test_what_is_complete_is_not_changed(office: Office) -> None:
    connection = await office.log_on()
    body = (
        b"Date: Tue, 24 Nov 2026 20:00:00 +0000\r\nMessage-ID: <x@y.example>\r\n\r\nhello\r\n"
        + b"y\r\n" * 500_000
    )
    result = await send(connection, body)
    assert result.final[0].positive
    assert office.store.submitted[0][1] == body
    await connection.quit()


async def test_many_recipients_are_not_told_to_each_other(office: Office) -> None:
    connection = await office.log_on()
    await send(connection, MESSAGE, FROM, TO_BOB, Recipient(address="x@elsewhere.example"))
    submission, _ = office.store.submitted[0]
    assert b"for <" not in submission.received
    assert len(submission.recipients) == 2
    await connection.quit()


async def test_bare_newlines_become_line_ends(office: Office) -> None:
    connection = await office.log_on()
    await send(connection, b"Date: x\nMessage-ID: <a@b.example>\n\nhello\n.\nyou\n")
    assert (
        office.store.submitted[0][1] == b"Date: x\r\nMessage-ID: <a@b.example>\r\n\r\nhello\r\n.\r\nyou\r\n"
    )
    await connection.quit()


async def test_smtputf8_shows_in_the_trace(office: Office) -> None:
    connection = await office.log_on()
    sender = Sender(address="alice@home.example", smtputf8=True)
    await send(connection, MESSAGE, sender, Recipient(address="josé@elsewhere.example"))
    submission, _ = office.store.submitted[0]
    assert b"with UTF8SMTPSA" in submission.received and submission.sender.smtputf8
    await connection.quit()


async def test_nobody_sends_without_logging_on(office: Office) -> None:
    connection = await office.log_on(authenticated=False)
    result = await send(connection)
    assert result.sender is not None and (result.sender.code, result.sender.status) == (530, "5.7.0")
    await connection.quit()


async def test_a_wrong_password(office: Office) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        await SmtpConnection.open(
            "localhost",
            office.port,
            hostname="laptop.example",
            starttls=office.trust,
            authentication=("alice@home.example", "wrong"),
        )
    assert caught.value.phase == "authentication"


async def test_a_sender_that_is_not_the_users(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "waypost.clientaccess")
    connection = await office.log_on()
    result = await send(connection, MESSAGE, Sender(address="bob@home.example"))
    assert result.sender is not None and (result.sender.code, result.sender.status) == (550, "5.7.1")
    (record,) = [record for record in caplog.records if record.message == "submission refused"]
    assert record.user == "Alice@home.example"  # type: ignore[attr-defined]
    await connection.quit()


async def test_a_read_receipt_has_the_null_sender(office: Office) -> None:
    connection = await office.log_on()
    assert (await send(connection, MESSAGE, Sender(address=""))).final[0].positive
    submission, _ = office.store.submitted[0]
    assert submission.sender.address == "" and submission.user_id
    await connection.quit()


async def test_a_user_removed_meanwhile(office: Office) -> None:
    connection = await office.log_on()
    assert (await send(connection)).final[0].positive
    office.directory.users.clear()
    result = await send(connection)
    assert result.sender is not None and result.sender.code == 530
    await connection.quit()


async def test_an_unknown_recipient_does_not_hinder_the_others(office: Office) -> None:
    connection = await office.log_on()
    result = await send(connection, MESSAGE, FROM, Recipient(address="nobody@home.example"), TO_BOB)
    assert [reply.code for reply in result.recipients] == [550, 250]
    assert result.final[0].positive
    assert office.store.submitted[0][0].recipients == (TO_BOB,)
    await connection.quit()


async def test_one_message_after_another(office: Office) -> None:
    connection = await office.log_on()
    for _ in range(3):
        assert (await send(connection)).final[0].positive
    first, second, third = (submission for submission, _ in office.store.submitted)
    assert len({first.key, second.key, third.key}) == 3
    assert first.recipients == third.recipients
    await connection.quit()


async def test_refused_content(office: Office) -> None:
    connection = await office.log_on()
    hops = await send(connection, b"Received: x\r\n" * 4 + b"\r\nhello\r\n")
    assert hops.final[0].status == "5.4.6"
    for header in (b"X: " + b"y" * 21_000 + b"\r\n", b"Subject: x\r\n" * 3000):
        large = await send(connection, header + b"\r\nhello\r\n")
        assert (large.final[0].code, large.final[0].status) == (552, "5.3.4")
    assert not office.store.submitted
    await connection.quit()


async def test_a_header_cut_in_a_field_name_is_not_taken_for_the_body(office: Office) -> None:
    connection = await office.log_on()
    line = b"Subject: " + b"x" * 80 + b"\r\n"
    for shift in range(0, 90, 7):
        header = b"A: " + b"y" * shift + b"\r\n" + line * 300
        result = await send(connection, header + b"\r\nhello\r\n")
        assert result.final[0].status == "5.3.4"
    await connection.quit()


async def test_the_stores_refusal_is_the_answer(office: Office) -> None:
    office.store.failures = [Refusal("OVERQUOTA", "The mailbox is full", 552, "5.2.2")]
    connection = await office.log_on()
    result = await send(connection)
    assert str(result.final[0]) == "552 5.2.2 The mailbox is full"
    await connection.quit()


async def test_a_mailbox_that_has_moved_is_no_refusal_for_good(office: Office) -> None:
    """The store may know of it sooner; what the directory says then is asked at the next MAIL."""
    office.store.failures = [Refusal("NONEXISTENT", "There is no such mailbox", 550, "5.1.1")]
    connection = await office.log_on()
    result = await send(connection)
    assert str(result.final[0]) == "451 4.3.2 Your mailbox was moved or removed, log on again"
    result = await send(connection)
    assert result.final[0].positive
    await connection.quit()


async def test_a_store_that_is_away(office: Office) -> None:
    office.store.failures = [ConnectionLost("127.0.0.1:7 can't be reached", sent=False)]
    connection = await office.log_on()
    result = await send(connection)
    assert (result.final[0].code, result.final[0].status) == (451, "4.3.2")
    assert "127.0.0.1" not in str(result.final[0])
    assert len(office.store.submitted) == 1
    office.store.failures = [Unavailable("The store is stopping")]
    assert (await send(connection)).final[0].status == "4.3.2"
    assert len(office.store.submitted) == 2
    await connection.quit()


async def test_an_unknown_outcome_is_repeated_under_the_same_key(office: Office) -> None:
    office.store.failures = [
        ConnectionLost("lost", sent=True),
        ConnectionLost("can't be reached", sent=False),
    ]
    connection = await office.log_on()
    result = await send(connection)
    assert result.final[0].positive
    assert len(office.store.submitted) == 3
    assert len({(submission.key, body) for submission, body in office.store.submitted}) == 1
    await connection.quit()


async def test_an_unknown_outcome_is_not_repeated_for_ever(office: Office) -> None:
    office.store.failures = [ConnectionLost("lost", sent=True)] * 1000
    connection = await office.log_on()
    result = await send(connection)
    assert (result.final[0].code, result.final[0].status) == (451, "4.3.2")
    assert 2 < len(office.store.submitted) < 1000
    await connection.quit()


async def test_a_store_that_falls_silent_holds_nobody_up(office: Office) -> None:
    office.store.silent = True
    office.store.failures = [DeadlineExceeded("no answer", sent=True)]
    connection = await office.log_on()
    async with asyncio.timeout(5):
        result = await send(connection)
    assert (result.final[0].code, result.final[0].status) == (451, "4.3.2")
    assert len(office.store.submitted) == 2
    await connection.quit()


async def test_a_directory_that_is_away(office: Office) -> None:
    connection = await office.log_on()
    office.directory.away = True
    result = await send(connection)
    assert result.sender is not None and (result.sender.code, result.sender.status) == (451, "4.3.0")
    await connection.quit()
