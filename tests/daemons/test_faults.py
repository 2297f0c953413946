"""Servers that die, stop and come back while mail is on its way: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import contextlib
import email
import imaplib
import smtplib
from collections.abc import AsyncIterator, Sequence
from email.message import EmailMessage

import pytest
import pytest_asyncio

from tests.harness.mail import Box, Sent, User
from tests.harness.organisation import Organisation
from tests.harness.patience import patient, until
from tests.harness.topologies import ready_topology

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organisation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Organisation]:
    """Next hops that failed are probed at once again: the tests need not wait for the usual steps."""
    data = tmp_path_factory.mktemp("faults") / "data"
    async with Organisation(ready_topology("two-sites", data)) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def everything_runs(organisation: Organisation) -> AsyncIterator[None]:
    """Each test leaves all servers running, and their queues empty."""
    yield
    for name in organisation.names:
        await organisation.start(name)
    await organisation.wait_until_idle(60)


@pytest.fixture
def alice(organisation: Organisation) -> User:
    return organisation.user("alice@example.test")


@pytest.fixture
def bob(organisation: Organisation) -> User:
    return organisation.user("bob@example.test")


@pytest.fixture
def carol(organisation: Organisation) -> User:
    return organisation.user("carol@example.test")


async def test_a_hub_that_is_killed_gets_its_mail_when_it_is_back(
    organisation: Organisation, alice: User, bob: User
) -> None:
    await organisation.kill("hub-b")
    sent = [await alice.send(bob, subject=f"While away {number}") for number in range(5)]
    await organisation.wait_for_event(sent[-1].message_id, "hub-a", "DEFER", "TRANSFER")
    waiting = await organisation.wait_until_queued("hub-a", [each.message_id for each in sent])
    assert {entry.next_hop for entry in waiting} == {"hub-b"}
    await organisation.start("hub-b")
    for each in sent:
        await bob.wait_for(each, seconds=45)
    await exactly_once(organisation, bob, sent)


async def test_a_store_that_stops_gets_its_mail_when_it_is_back(
    organisation: Organisation, alice: User, bob: User
) -> None:
    await organisation.stop("store-b")
    sent = [await alice.send(bob, subject=f"Closed {number}") for number in range(5)]
    await organisation.wait_for_event(sent[0].message_id, "hub-b", "DEFER")
    await organisation.start("store-b")
    for each in sent:
        await bob.wait_for(each, seconds=45)
    await exactly_once(organisation, bob, sent)


async def test_a_store_that_is_away_is_451_for_its_users(organisation: Organisation, alice: User) -> None:
    await organisation.stop("store-a")
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        await alice.send("bob@example.test")
    assert (refused.value.smtp_code, refused.value.smtp_error[:5]) == (451, b"4.3.2")


@pytest.mark.parametrize("victim", ["hub-a", "hub-b", "store-a", "store-b", "access"])
async def test_a_server_killed_in_mid_flow_loses_and_doubles_nothing(
    organisation: Organisation, alice: User, bob: User, carol: User, victim: str
) -> None:
    """What got a 250 arrives once; what got none arrives once at most."""
    accepted: list[Sent] = []
    half_way = asyncio.Event()

    async def submit() -> None:
        for number in range(20):
            with contextlib.suppress(smtplib.SMTPException, OSError):
                accepted.append(await alice.send(bob, carol, subject=f"{victim} {number}"))
            if number == 6:
                half_way.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(submit())
        await half_way.wait()
        await organisation.kill(victim)
        await organisation.start(victim)
    assert len(accepted) >= 7
    for user in (bob, carol):
        for each in accepted:
            await user.wait_for(each, seconds=60)
    await exactly_once(organisation, bob, accepted)
    await exactly_once(organisation, carol, accepted)
    for user in (bob, carol):
        ids = await message_ids(user)
        assert len(ids) == len(set(ids)), "a message came twice"


async def test_a_server_that_hangs_holds_up_only_what_is_for_it(
    organisation: Organisation, alice: User, bob: User, carol: User
) -> None:
    organisation.suspend("hub-b")
    for_bob = [await alice.send(bob) for _ in range(3)]
    for_carol = await alice.send(carol)
    await carol.wait_for(for_carol)
    assert await bob.count(for_bob[0]) == 0
    organisation.resume("hub-b")
    await exactly_once(organisation, bob, for_bob)


async def test_what_no_hub_has_can_be_withdrawn(organisation: Organisation, alice: User, bob: User) -> None:
    await organisation.stop("hub-a")
    sent = await alice.send(bob)
    assert await alice.count(sent, "Outbox") == 1

    def delete(box: Box) -> str:
        _, numbers = box.connection.search(None, "HEADER", "Message-ID", f'"<{sent.message_id}>"')
        box.connection.store(numbers[0].decode(), "+FLAGS", r"(\Deleted)")
        return box.connection.expunge()[0]

    async def withdrawn() -> bool:
        with contextlib.suppress(imaplib.IMAP4.error):
            await alice.look("Outbox", delete)
        return await alice.count(sent, "Outbox") == 0

    await until(withdrawn, "the Outbox entry is gone")
    await organisation.start("hub-a")
    await organisation.wait_until_idle(60)
    assert await bob.count(sent) == 0
    assert await alice.count(sent, "Sent") == 1
    assert "WITHDRAW" in [event.event for event in await organisation.events(sent.message_id)]


async def test_the_outbox_takes_nothing_from_clients(organisation: Organisation, alice: User) -> None:
    def append() -> tuple[str, bytes]:
        with alice.imap() as connection:
            status, answer = connection.append("Outbox", "", "", b"Subject: no\r\n\r\nno\r\n")
            return status, answer[0]

    status, answer = await asyncio.to_thread(append)
    assert status == "NO"
    assert b"[CANNOT]" in answer


async def test_a_sent_copy_of_the_client_replaces_the_servers(
    organisation: Organisation, alice: User, bob: User
) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = alice.address, bob.address, "Two copies"
    message["Message-ID"] = "<own.sent.copy@test.example>"
    message.set_content("Hello\n")
    sent = await alice.send(bob, message=message)
    assert await alice.count(sent, "Sent") == 1

    def append() -> str:
        with alice.imap() as connection:
            return connection.append("Sent", r"(\Seen)", "", message.as_bytes())[0]

    assert await asyncio.to_thread(append) == "OK"
    copies = await alice.look("Sent", lambda box: box.find(sent.message_id))
    assert len(copies) == 1
    assert not copies[0].startswith(b"Received:")
    await bob.wait_for(sent)


async def test_a_recipient_who_is_gone_meanwhile_comes_back_as_a_report(
    organisation: Organisation, alice: User
) -> None:
    organisation.add_user("gone@example.test", store="store-b")
    await organisation.kill("hub-b")

    async def accepted() -> Sent | None:
        sent = await alice.send("gone@example.test", alice)
        return None if sent.refused else sent

    sent = await until(accepted, "the new user is known")
    await organisation.wait_for_event(sent.message_id, "hub-a", "TRANSFER")
    organisation.directory.remove_user("gone@example.test")
    await organisation.start("hub-b")
    reports = await alice.wait_until(
        "INBOX", lambda box: box.with_header("Content-Type", "multipart/report"), 45
    )
    report = email.message_from_bytes(reports[-1])
    assert report.get_content_type() == "multipart/report"
    assert report["Return-Path"] == "<>"
    kinds = [part.get_content_type() for part in report.get_payload()]
    assert kinds[:2] == ["text/plain", "message/delivery-status"]
    status = report.get_payload()[1].as_string()
    assert "gone@example.test" in status
    assert "Action: failed" in status
    assert "Status: 5." in status


async def exactly_once(organisation: Organisation, user: User, sent: Sequence[Sent]) -> None:
    await organisation.wait_until_idle(patient(60))
    counts = await user.look("INBOX", lambda box: [len(box.find(each.message_id)) for each in sent])
    assert counts == [1] * len(sent), user


async def message_ids(user: User) -> list[str]:
    return [str(email.message_from_bytes(message)["Message-ID"]) for message in await user.messages()]
