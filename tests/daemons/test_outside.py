"""Mail to and from the world outside: a smart host takes foreign domains, and what it refuses comes back."""

from __future__ import annotations

import asyncio
import email
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from config.model import SendConnector
from tests.harness.mail import compose
from tests.harness.organisation import Organisation
from tests.harness.sink import SinkServer
from tests.harness.topologies import ready_topology

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organisation(
    tmp_path_factory: pytest.TempPathFactory, sink: SinkServer
) -> AsyncIterator[Organisation]:
    connector = SendConnector(name="out", smart_hosts=(sink.endpoint,), source_hubs=("hub-b",))
    topology = ready_topology(
        "two-sites", tmp_path_factory.mktemp("outside") / "data", send_connectors=(connector,)
    )
    async with Organisation(topology) as running:
        yield running


async def test_a_foreign_domain_goes_by_the_smart_host_of_another_site(
    organisation: Organisation, sink: SinkServer
) -> None:
    alice, bob = organisation.users("alice@example.test", "bob@example.test")
    message = compose(alice.address, "eve@example.com", bob.address, subject="Out and in")
    message["Bcc"] = "hidden@example.com"
    sent = await alice.send("eve@example.com", bob, "hidden@example.com", message=message)
    received = await sink.next()
    assert received.sender == alice.address
    assert set(received.recipients) == {"eve@example.com", "hidden@example.com"}
    header = received.content.partition(b"\r\n\r\n")[0]
    assert b"Bcc:" not in header
    assert b"Return-Path:" not in header
    assert b"XWAYPOST" not in header.upper()
    await bob.wait_for(sent)
    trace = await organisation.trace(sent.message_id)
    sends = [
        event
        for event in await organisation.events(sent.message_id)
        if event.event == "SEND" and event.server == "hub-b"
    ]
    assert any("eve@example.com" in event.recipients for event in sends)
    assert trace.messages


async def test_a_refusal_outside_comes_back_as_a_report(organisation: Organisation, sink: SinkServer) -> None:
    alice, bob = organisation.users("alice@example.test", "bob@example.test")
    sink.replies["gone@example.com"] = "550 5.1.1 No such person"
    sent = await bob.send("gone@example.com", alice)
    await alice.wait_for(sent)
    (report,) = await bob.wait_until("INBOX", lambda box: box.with_header("Content-Type", "multipart/report"))
    parsed = email.message_from_bytes(report)
    assert parsed["Auto-Submitted"] == "auto-replied"
    status = parsed.get_payload()[1].as_string()
    assert "gone@example.com" in status
    assert "Status: 5.1.1" in status
    assert "No such person" in status
    await organisation.wait_until_idle()
    trace = await organisation.trace(sent.message_id)
    reports = [report for message in trace.messages for visit in message.visits for report in walk(visit)]
    assert len(reports) == 1


async def test_the_null_sender_gets_no_report(organisation: Organisation, sink: SinkServer) -> None:
    message = compose("mailer@example.net", "bob@example.test", subject="A report from elsewhere")
    await asyncio.to_thread(organisation.send_from_outside, "hub-a", "", ["bob@example.test"], message)
    (arrived,) = await organisation.user("bob@example.test").wait_until(
        "INBOX", lambda box: box.with_header("Subject", "A report from elsewhere")
    )
    assert arrived.startswith(b"Return-Path: <>")


def walk(visit: object) -> list[object]:
    found = list(visit.reports)  # type: ignore[attr-defined]
    for following in visit.next:  # type: ignore[attr-defined]
        found += walk(following)
    return found
