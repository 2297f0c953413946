"""What `waypost explain` says beforehand is what tracking shows afterwards, hop for hop."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from config.model import Limits, SendConnector, Topology
from foundation.interfaces.explanation import Question
from foundation.interfaces.tracking import TrackingEvent
from foundation.mail.envelope import Recipient, Sender
from tests.harness.commands import waypost
from tests.harness.mail import Sent, User, compose
from tests.harness.organisation import Organisation
from tests.harness.sink import SinkServer
from tests.harness.topologies import ready_topology, with_settings_of
from waypost.cli.stations import Stations
from waypost.explain import Way, every_hop, follow
from waypost.trace import Trace, every_visit

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

SMALL = 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organisation(
    tmp_path_factory: pytest.TempPathFactory, sink: SinkServer
) -> AsyncIterator[Organisation]:
    """Two sites; mail goes out from site B, whose hub takes only small messages."""
    connector = SendConnector(name="out", smart_hosts=(sink.endpoint,), source_hubs=("hub-b",))
    data = tmp_path_factory.mktemp("explain") / "data"
    topology = ready_topology("two-sites", data, send_connectors=(connector,))
    topology = with_settings_of(topology, "hub-b", limits=Limits(message_size_bytes=SMALL))
    async with Organisation(topology) as running:
        running.directory.add_alias("robert@example.test", "bob@example.test")
        running.directory.add_group("inner@example.test", members=["bob@example.test", "dave@example.test"])
        running.directory.add_group("team@example.test", members=["inner@example.test", "carol@example.test"])
        yield running


@pytest.fixture
def alice(organisation: Organisation) -> User:
    return organisation.user("alice@example.test")


async def explained(topology: Topology, sender: str, *to: str, size_bytes: int = 1000, at: str = "") -> Way:
    question = Question(
        door="submission",
        sender=Sender(address=sender, size_bytes=size_bytes),
        recipients=tuple(Recipient(address=address) for address in to),
        size_bytes=size_bytes,
    )
    async with Stations(topology) as stations:
        first, entering = await stations.entrance(question, at)
        return await follow(first, entering, stations.ask)


Shown = tuple[str, tuple[str, ...], str, str, str]


def shown(event: TrackingEvent, *, mailbox: bool) -> Shown:
    if mailbox:
        return event.event, event.recipients, event.mailbox_id, "", event.reply
    return event.event, event.recipients, event.related, event.next_hop, event.reason


def foretold(way: Way) -> list[tuple[str, list[Shown]]]:
    """Each server after Client Access, with what its tracking will show of the decisions there."""
    return [
        (hop.server, [shown(event, mailbox=hop.question.door == "lmtp") for event in told.events])
        for hop in every_hop(way)
        if hop.question.door != "submission" and ((told := hop.answer.explanation).onward or told.events)
    ]


def tracked(trace: Trace) -> list[tuple[str, list[Shown]]]:
    (message,) = trace.messages
    return [
        (
            visit.server,
            [
                shown(event, mailbox=event.event == "DELIVER")
                for event in visit.events
                if event.source in ("ROUTING", "AGENT") or event.event == "DELIVER"
            ],
        )
        for visit in every_visit(message)
    ]


WAYS = {
    "local": (["carol@example.test"], "AGENTINFO", ["store-a", "hub-a", "store-a"]),
    "cross-site": (["bob@example.test"], "TRANSFER", ["store-a", "hub-a", "hub-b", "store-b"]),
    "alias": (["Robert@example.test"], "RESOLVE", ["store-a", "hub-a", "hub-b", "store-b"]),
    "group": (["team@example.test"], "EXPAND", ["store-a", "hub-a", "store-a", "hub-b", "store-b"]),
    "sub-address": (["bob+news@example.test"], "RESOLVE", ["store-a", "hub-a", "hub-b", "store-b"]),
    "outside": (["eve@example.com"], "TRANSFER", ["store-a", "hub-a", "hub-b"]),
    "merged": (
        ["robert@example.test", "bob@example.test", "team@example.test", "eve@example.com"],
        "DUPLICATEDELIVER",
        ["store-a", "hub-a", "hub-b", "store-b", "store-a"],
    ),
}


@pytest.mark.parametrize("to, event, servers", WAYS.values(), ids=WAYS)
async def test_the_way_is_the_one_that_was_foretold(
    organisation: Organisation, alice: User, to: list[str], event: str, servers: list[str]
) -> None:
    way = await explained(organisation.topology, alice.address, *to)
    assert way.arrives
    assert all(hop.answer.explanation.live for hop in every_hop(way))
    sent = await alice.send(*to)
    assert not sent.refused
    await arrived(organisation, way, sent)
    expected = foretold(way)
    assert tracked(await organisation.trace(sent.message_id)) == expected
    assert [server for server, _ in expected] == servers
    assert event in [name for server, events in expected for name, *_ in events if server == "hub-a"]


async def arrived(organisation: Organisation, way: Way, sent: Sent) -> None:
    """Everybody of whom it is foretold has one copy, and the queues are empty."""
    await organisation.wait_until_idle()
    for fate in way.fates:
        if fate.outcome == "delivered":
            user = organisation.user(fate.address.replace("+news", "").lower())
            await user.wait_for(sent)
            assert await user.count(sent) == 1


async def test_mail_from_outside_goes_as_foretold(organisation: Organisation) -> None:
    message = compose("eve@example.com", "robert@example.test")
    way = await explained(organisation.topology, "eve@example.com", "robert@example.test")
    await asyncio.to_thread(
        organisation.send_from_outside, "hub-a", "eve@example.com", ["robert@example.test"], message
    )
    sent = Sent(str(message["Message-ID"]).strip("<>"), {})
    await arrived(organisation, way, sent)
    assert tracked(await organisation.trace(sent.message_id)) == foretold(way)
    assert [server for server, _ in foretold(way)] == ["hub-a", "hub-b", "store-b"]


async def test_an_unknown_recipient_is_refused_in_the_words_foretold(
    organisation: Organisation, alice: User
) -> None:
    to = ["nobody@example.test", "bob@example.test"]
    way = await explained(organisation.topology, alice.address, *to)
    assert not way.arrives
    sent = await alice.send(*to)
    code, text = sent.refused["nobody@example.test"]
    assert way.fates[0].outcome == "refused"
    assert way.fates[0].reply == f"{code} {text.decode()}"
    await arrived(organisation, way, sent)
    assert tracked(await organisation.trace(sent.message_id)) == foretold(way)


@pytest.mark.parametrize("recipient", ["nobody@example.test", "someone@example.org"])
async def test_a_stranger_is_refused_in_the_words_foretold(
    organisation: Organisation, recipient: str
) -> None:
    way = await explained(organisation.topology, "eve@example.com", recipient, at="hub-b")
    message = compose("eve@example.com", recipient)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        await asyncio.to_thread(
            organisation.send_from_outside, "hub-b", "eve@example.com", [recipient], message
        )
    code, text = refused.value.recipients[recipient]
    assert [fate.reply for fate in way.fates] == [f"{code} {text.decode()}"]
    assert way.first.server == "hub-b"


async def test_what_is_too_large_at_the_door_is_refused_in_the_words_foretold(
    organisation: Organisation, alice: User
) -> None:
    size_bytes = 1 << 30
    way = await explained(organisation.topology, alice.address, "bob@example.test", size_bytes=size_bytes)

    def announce() -> str:
        with alice.smtp() as connection:
            code, text = connection.mail(alice.address, [f"SIZE={size_bytes}"])
            return f"{code} {text.decode()}"

    assert [fate.reply for fate in way.fates] == [await asyncio.to_thread(announce)]
    assert not way.arrives


async def test_what_is_too_large_on_the_way_comes_back_as_foretold(
    organisation: Organisation, alice: User
) -> None:
    message = compose(alice.address, "bob@example.test", body="Much.\n" * (SMALL // 3))
    size_bytes = len(message.as_bytes())
    to = ["bob@example.test", "carol@example.test"]
    way = await explained(organisation.topology, alice.address, *to, size_bytes=size_bytes)
    assert [(fate.given, fate.outcome, fate.server) for fate in way.fates] == [
        ("bob@example.test", "failed", "hub-b"),
        ("carol@example.test", "delivered", "store-a"),
    ]
    sent = await alice.send(*to, message=message)
    failure = await organisation.wait_for_event(sent.message_id, "hub-a", "FAIL")
    assert failure.reply[:9] == way.fates[0].reply[:9] == "552 5.3.4"
    await alice.wait_until("INBOX", lambda box: box.with_header("Content-Type", "multipart/report"))
    await organisation.wait_until_idle()
    trace = await organisation.trace(sent.message_id)
    assert tracked(trace) == foretold(way)


async def test_a_hub_that_is_away_is_computed_and_the_wait_is_told(
    organisation: Organisation, alice: User
) -> None:
    before = await explained(organisation.topology, alice.address, "bob@example.test")
    await organisation.kill("hub-b")
    sent = await alice.send("bob@example.test")
    await organisation.wait_for_event(sent.message_id, "hub-a", "DEFER")
    while_away = await explained(organisation.topology, alice.address, "bob@example.test")
    result = await waypost(
        organisation.config, "explain", "--from", alice.address, "--to", "bob@example.test"
    )
    await organisation.start("hub-b")
    await organisation.user("bob@example.test").wait_for(sent, seconds=45)
    live = {hop.server: hop.answer.explanation.live for hop in every_hop(while_away)}
    assert live == {"access": True, "store-a": True, "hub-a": True, "hub-b": False, "store-b": True}
    assert while_away.fates[0].waits == ("hub-b",)
    assert foretold(while_away) == foretold(before)
    assert result.code == 0
    assert "hub-b  hub, site B  computed, not asked: " in result.out
    assert "it would wait:" in result.out
    assert "but hub-b can't be reached now" in result.out


async def test_the_command_says_it_for_people_and_for_programs(
    organisation: Organisation, alice: User, tmp_path: Path
) -> None:
    letter = tmp_path / "letter.eml"
    letter.write_bytes(compose(alice.address, "team@example.test").as_bytes())
    arguments = ("--from", alice.address, "--to", "team@example.test", str(letter))
    printed = await waypost(organisation.config, "explain", *arguments)
    assert (printed.code, printed.errors) == (0, "")
    for part in (
        "expand: the group team@example.test has 2 members",
        "expand: the group inner@example.test has 2 members",
        "→ hub-b for bob@example.test, dave@example.test",
        "team@example.test as dave@example.test arrives on store-b",
    ):
        assert part in printed.out
    printed = await waypost(organisation.config, "explain", *arguments, "--json")
    document = printed.document
    assert (printed.code, document["arrives"], document["live"]) == (0, True, True)
    assert document["size_bytes"] == len(letter.read_bytes().replace(b"\n", b"\r\n"))
    outcomes = {fate["address"]: fate["outcome"] for fate in document["recipients"]}
    assert outcomes["team@example.test"] == "expanded"
    assert outcomes["dave@example.test"] == "delivered"
    way = document["hops"][0]
    servers = []
    while way is not None:
        servers.append(way["server"])
        way = way["next"][-1]["hop"] if way["next"] else None
    assert servers == ["access", "store-a", "hub-a", "hub-b", "store-b"]


async def test_the_exit_code_is_1_when_it_would_not_arrive(organisation: Organisation, alice: User) -> None:
    unknown = await waypost(
        organisation.config, "explain", "--from", alice.address, "--to", "nobody@example.test"
    )
    assert unknown.code == 1
    assert "nobody@example.test refused by access: 550 5.1.1" in unknown.out
    wrong = await waypost(organisation.config, "explain", "--from", "alice", "--to", "bob@example.test")
    assert (wrong.code, wrong.out) == (2, "")
    assert "no mail address" in wrong.errors


async def test_nothing_is_sent(organisation: Organisation, alice: User) -> None:
    before = len(await organisation.user("carol@example.test").messages())
    await explained(organisation.topology, alice.address, "carol@example.test")
    assert not await organisation.queued()
    assert len(await organisation.user("carol@example.test").messages()) == before
