"""Mail between two sites, through five processes, with real SMTP and IMAP."""

from __future__ import annotations

import asyncio
import base64
import email
import imaplib
import smtplib
import ssl
import time
from functools import partial

import pytest

from tests.harness.mail import Box, User, compose, on_the_wire
from tests.harness.organisation import Organisation
from tests.harness.patience import patient
from waypost.trace import every_visit

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest.fixture
def alice(organisation: Organisation) -> User:
    return organisation.user("alice@example.test")


@pytest.fixture
def bob(organisation: Organisation) -> User:
    return organisation.user("bob@example.test")


@pytest.fixture
def carol(organisation: Organisation) -> User:
    return organisation.user("carol@example.test")


@pytest.fixture
def dave(organisation: Organisation) -> User:
    return organisation.user("dave@example.test")


async def test_from_site_a_to_site_b_as_it_was_sent(
    organisation: Organisation, alice: User, bob: User
) -> None:
    message = compose(alice.address, bob.address, subject="Über die Brücke", body="Line\n.dot\n\nEnd\n")
    sent = await alice.send(bob, message=message)
    arrived = await bob.wait_for(sent)
    header, _, body = arrived.partition(b"\r\n\r\n")
    assert arrived.endswith(on_the_wire(message))
    assert header.startswith(b"Return-Path: <alice@example.test>")
    # Client Access, hub-a, hub-b, store-b or fewer: each that prepends says how it got it (RFC 3848).
    assert header.count(b"\r\nReceived: ") >= 3
    assert b"with ESMTPSA" in header
    assert b".dot" in body


async def test_outbox_is_left_and_sent_is_kept(organisation: Organisation, alice: User, bob: User) -> None:
    message = compose(alice.address, bob.address)
    message["Bcc"] = "carol@example.test"
    sent = await alice.send(bob, "carol@example.test", message=message)
    arrived = await bob.wait_for(sent)
    await organisation.wait_until_idle()
    assert b"Bcc:" not in arrived
    copies = await alice.look("Sent", lambda box: box.find(sent.message_id))
    assert len(copies) == 1
    assert b"Bcc: carol@example.test" in copies[0]
    assert await alice.count(sent, "Outbox") == 0


async def test_missing_date_and_message_id_are_added(
    organisation: Organisation, alice: User, bob: User
) -> None:
    content = b"From: alice@example.test\r\nTo: bob@example.test\r\nSubject: Bare one\r\n\r\nHi\r\n"

    def submit() -> None:
        with alice.smtp() as connection:
            connection.sendmail(alice.address, [bob.address], content)

    await asyncio.to_thread(submit)
    (arrived,) = await bob.wait_until("INBOX", lambda box: box.with_header("Subject", "Bare one"))
    parsed = email.message_from_bytes(arrived)
    assert parsed["Date"]
    assert parsed["Message-ID"]


async def test_both_sites_and_a_group_within_a_group_get_one_copy_each(
    organisation: Organisation, alice: User, bob: User, carol: User, dave: User
) -> None:
    organisation.directory.add_group("inner@example.test", members=["bob@example.test", "dave@example.test"])
    organisation.directory.add_group(
        "team@example.test", members=["inner@example.test", "carol@example.test", "bob@example.test"]
    )
    sent = await alice.send(bob, carol, "team@example.test")
    for user in (bob, carol, dave):
        await user.wait_for(sent)
    await organisation.wait_until_idle()
    for user in (bob, carol, dave):
        assert await user.count(sent) == 1, user
    events = [event.event for event in await organisation.events(sent.message_id)]
    assert "EXPAND" in events
    assert "DUPLICATEDELIVER" in events
    assert events.count("DELIVER") >= 2


async def test_two_aliases_of_one_user_bring_one_copy(
    organisation: Organisation, alice: User, bob: User
) -> None:
    organisation.directory.add_alias("info@example.test", "bob@example.test")
    organisation.directory.add_alias("Support@example.test", "bob@example.test")
    sent = await alice.send("info@example.test", "support@EXAMPLE.test")
    await bob.wait_for(sent)
    await organisation.wait_until_idle()
    assert await bob.count(sent) == 1
    events = await organisation.events(sent.message_id)
    assert {event.event for event in events} >= {"RESOLVE", "DUPLICATEDELIVER"}


async def test_an_unknown_user_is_refused_and_the_others_get_it(
    organisation: Organisation, alice: User, bob: User
) -> None:
    sent = await alice.send("nobody@example.test", bob)
    code, reply = sent.refused["nobody@example.test"]
    assert (code, reply[:5]) == (550, b"5.1.1")
    await bob.wait_for(sent)


async def test_a_change_of_the_directory_is_in_force_within_a_second(
    organisation: Organisation, alice: User
) -> None:
    loop = asyncio.get_running_loop()
    erin = organisation.add_user("erin@example.test", store="store-b")
    began = loop.time()
    while (await alice.send("erin@example.test", "alice@example.test")).refused:
        assert loop.time() - began < patient(1)
    await erin.wait_until("INBOX", lambda box: box.all())
    organisation.directory.remove_user("erin@example.test")
    began = loop.time()
    while not (await alice.send("erin@example.test", "alice@example.test")).refused:
        assert loop.time() - began < patient(1)
    with pytest.raises(imaplib.IMAP4.error):
        await erin.messages()


async def test_someone_elses_address_is_no_sender(organisation: Organisation, alice: User, bob: User) -> None:
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        await alice.send(bob, sender="carol@example.test")
    assert (refused.value.smtp_code, refused.value.smtp_error[:5]) == (550, b"5.7.1")


async def test_a_wrong_password_is_refused_and_slowed_down(organisation: Organisation, dave: User) -> None:
    wrong = base64.b64encode(b"\0dave@example.test\0wrong").decode()

    def log_on() -> list[tuple[int, bytes, float]]:
        answers = []
        with dave.smtp(authenticated=False) as connection:
            for _ in range(2):
                began = time.monotonic()
                code, reply = connection.docmd("AUTH", f"PLAIN {wrong}")
                answers.append((code, reply[:5], time.monotonic() - began))
        return answers

    first, second = await asyncio.to_thread(log_on)
    assert first[:2] == second[:2] == (535, b"5.7.8")
    assert 0.2 < first[2] < second[2]


async def test_no_authentication_before_tls(organisation: Organisation, alice: User) -> None:
    endpoint = organisation.endpoint("access", "submission")

    def talk() -> tuple[bool, int]:
        with smtplib.SMTP(endpoint.host, endpoint.port, timeout=patient(10)) as connection:
            connection.ehlo()
            offered = connection.has_extn("auth")
            code, _ = connection.docmd("AUTH", "PLAIN AGFsaWNlAHg=")
            return offered, code

    offered, code = await asyncio.to_thread(talk)
    assert not offered
    assert code in (530, 538)


async def test_submission_needs_authentication(organisation: Organisation, alice: User) -> None:
    def talk() -> int:
        with alice.smtp(authenticated=False) as connection:
            return connection.mail(alice.address)[0]

    assert await asyncio.to_thread(talk) == 530


async def test_a_message_over_the_limit_is_refused(organisation: Organisation, alice: User) -> None:
    def announce() -> tuple[int, bytes]:
        with alice.smtp() as connection:
            return connection.mail(alice.address, [f"SIZE={1 << 30}"])

    code, reply = await asyncio.to_thread(announce)
    assert (code, reply[:5]) == (552, b"5.3.4")


async def test_mail_from_outside_reaches_local_users_alone(organisation: Organisation, bob: User) -> None:
    message = compose("stranger@example.net", bob.address, subject="From outside")
    sent_id = str(message["Message-ID"]).strip("<>")
    refused = await asyncio.to_thread(
        organisation.send_from_outside,
        "hub-a",
        "stranger@example.net",
        [bob.address, "someone@example.com", "nobody@example.test"],
        message,
    )
    assert {address: (code, text[:5]) for address, (code, text) in refused.items()} == {
        "someone@example.com": (550, b"5.7.1"),
        "nobody@example.test": (550, b"5.1.1"),
    }
    (arrived,) = await bob.wait_until("INBOX", lambda box: box.find(sent_id))
    assert arrived.startswith(b"Return-Path: <stranger@example.net>")


async def test_postmaster_is_always_accepted(organisation: Organisation, alice: User) -> None:
    for address, subject in (("postmaster@example.test", "Named in full"), ("Postmaster", "Bare name")):
        message = compose("stranger@example.net", "postmaster@example.test", subject=subject)
        await asyncio.to_thread(
            organisation.send_from_outside, "hub-b", "stranger@example.net", [address], message
        )
        look = partial(Box.with_header, name="Subject", text=subject)
        assert len(await alice.wait_until("INBOX", look)) == 1


async def test_a_loop_ends(organisation: Organisation, bob: User) -> None:
    header = b"Received: from a by b; Tue, 24 Nov 2026 20:00:00 +0000\r\n" * 40
    content = header + b"From: stranger@example.net\r\nTo: bob@example.test\r\nSubject: Round\r\n\r\nHi\r\n"
    with pytest.raises(smtplib.SMTPDataError) as refused:
        await asyncio.to_thread(
            organisation.send_from_outside, "hub-a", "stranger@example.net", [bob.address], content
        )
    assert refused.value.smtp_code == 554
    assert refused.value.smtp_error[:5] == b"5.4.6"


async def test_private_parameters_are_not_for_strangers(organisation: Organisation) -> None:
    endpoint = organisation.endpoint("hub-a", "smtp")

    def talk() -> tuple[bool, tuple[int, bytes]]:
        with smtplib.SMTP(endpoint.host, endpoint.port, timeout=patient(10)) as connection:
            connection.ehlo()
            offered = connection.has_extn("xwaypost")
            return offered, connection.mail("stranger@example.net", ["XWAYPOST-KEY=stolen"])

    offered, (code, reply) = await asyncio.to_thread(talk)
    assert not offered
    assert (code, reply[:5]) == (555, b"5.5.4")


async def test_the_listener_between_servers_wants_a_certificate(organisation: Organisation) -> None:
    endpoint = organisation.endpoint("hub-a", "smtp-internal")

    def talk() -> None:
        context = ssl.create_default_context(cafile=str(organisation.ca_file))
        context.check_hostname = False
        with smtplib.SMTP_SSL(
            endpoint.host, endpoint.port, context=context, timeout=patient(10)
        ) as connection:
            connection.ehlo()

    with pytest.raises((ssl.SSLError, OSError, smtplib.SMTPServerDisconnected)):
        await asyncio.to_thread(talk)


async def test_the_way_is_shown_hop_by_hop(organisation: Organisation, alice: User, bob: User) -> None:
    sent = await alice.send(bob)
    await bob.wait_for(sent)
    await organisation.wait_until_idle()
    trace = await organisation.trace(sent.message_id)
    (message,) = trace.messages
    way = [visit.server for visit in every_visit(message) if visit.server != "access"]
    assert way == ["store-a", "hub-a", "hub-b", "store-b"]
    assert {visit.missing for visit in every_visit(message)} == {()}
    assert not any(visit.waiting for visit in every_visit(message))
    last = every_visit(message)[-1]
    assert "DELIVER" in [event.event for event in last.events]
    assert len({event.network_message_id for visit in every_visit(message) for event in visit.events}) == 1


async def test_every_server_is_ready_with_its_listeners(organisation: Organisation) -> None:
    statuses = await organisation.statuses()
    assert {status.state for status in statuses.values()} == {"ready"}
    assert set(statuses) == {"hub-a", "hub-b", "store-a", "store-b", "access"}
    protocols = {each.protocol for each in statuses["access"].listeners}
    assert protocols >= {"submission", "submissions", "imap", "imaps"}
    assert {each.protocol for each in statuses["hub-a"].listeners} >= {"smtp", "smtp-internal"}
    assert "lmtp" in {each.protocol for each in statuses["store-b"].listeners}
