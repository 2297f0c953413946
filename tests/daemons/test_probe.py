"""`waypost probe`: real mail through the real ports, and the reason when it does not arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from config.model import Limits
from tests.harness.commands import waypost
from tests.harness.mail import Sent, User
from tests.harness.organisation import Organisation
from tests.harness.topologies import ready_topology

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


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


async def test_a_probe_goes_from_site_to_site_and_leaves_nothing(
    organisation: Organisation, alice: User, bob: User
) -> None:
    printed = await waypost(organisation.config, "probe", "--json")
    document = printed.document
    assert (printed.code, document["arrived"], document["reason"]) == (0, True, "")
    assert (document["sender"], document["recipient"]) == ("alice@example.test", "bob@example.test")
    assert [hop["server"] for hop in document["hops"]] == ["store-a", "hub-a", "hub-b", "store-b"]
    assert [hop["site"] for hop in document["hops"]] == ["A", "A", "B", "B"]
    assert not any(hop["waiting"] or hop["missing"] for hop in document["hops"])
    assert 0 < document["accepted_seconds"] < document["arrived_seconds"]
    assert (document["removed"], document["left_behind"]) == (["Inbox", "Sent"], [])
    sent = Sent(document["message_id"], {})
    assert await bob.count(sent) == 0
    assert await alice.count(sent, "Sent") == 0
    assert await alice.count(sent, "Outbox") == 0


async def test_every_event_of_a_probe_is_marked_and_of_other_mail_none(
    organisation: Organisation, alice: User, bob: User
) -> None:
    printed = await waypost(organisation.config, "probe", "--from", "bob@example.test", "--json")
    events = await organisation.events(printed.document["message_id"])
    assert {event.server for event in events} == {"store-b", "hub-b", "hub-a", "store-a"}
    assert all(event.probe for event in events)
    sent = await alice.send(bob)
    await bob.wait_for(sent)
    assert not any(event.probe for event in await organisation.events(sent.message_id))


async def test_what_is_printed_for_people(organisation: Organisation) -> None:
    organisation.directory.add_alias("robert@example.test", "bob@example.test")
    printed = await waypost(
        organisation.config, "probe", "--from", "dave@example.test", "--to", "robert@example.test"
    )
    lines = printed.out.splitlines()
    assert (printed.code, printed.errors) == (0, "")
    assert lines[0] == "dave@example.test → robert@example.test"
    assert lines[1].startswith("accepted after ")
    assert lines[2].startswith("arrived in the Inbox after ")
    assert [line.split("\t")[0] for line in lines if "\t" in line] == [
        "server",
        "store-b",
        "hub-b",
        "store-b",
    ]
    assert "removed from Inbox, Sent" in lines


async def test_what_is_held_up_on_the_way_names_the_hub_and_its_last_reply(
    organisation: Organisation, alice: User, bob: User
) -> None:
    await organisation.kill("hub-b")
    printed = await waypost(organisation.config, "probe", "--timeout", "3s", "--json")
    document = printed.document
    assert (printed.code, document["arrived"]) == (1, False)
    assert document["reason"].startswith("it waits on hub-a (delivery) for hub-b: ")
    assert "can't be reached" in document["reason"]
    assert document["removed"] == ["Sent"]
    assert document["hops"][1]["waiting"]
    await organisation.start("hub-b")
    await bob.wait_for(Sent(document["message_id"], {}), seconds=45)
    assert not await alice.look("INBOX", lambda box: box.with_header("Content-Type", "multipart/report"))


async def test_what_no_hub_has_is_withdrawn(organisation: Organisation, alice: User, bob: User) -> None:
    await organisation.stop("hub-a")
    printed = await waypost(organisation.config, "probe", "--timeout", "2s", "--json")
    document = printed.document
    assert printed.code == 1
    assert document["reason"].startswith("it waits on store-a (outbox) for hub-a: ")
    assert document["removed"] == ["Sent", "Outbox"]
    events = await organisation.events(document["message_id"])
    assert "WITHDRAW" in [event.event for event in events]


async def test_what_is_refused_at_submission_says_so(organisation: Organisation) -> None:
    await organisation.stop("store-a")
    printed = await waypost(organisation.config, "probe", "--from", "alice@example.test")
    assert printed.code == 1
    assert "did not arrive: refused at submission: 451 4.3.2" in printed.out


async def test_without_client_access_no_probe_is_sent(organisation: Organisation) -> None:
    await organisation.kill("access")
    printed = await waypost(organisation.config, "probe")
    assert printed.code == 1
    assert "did not arrive: access gives no logon for bob@example.test" in printed.out


async def test_what_is_given_up_is_known_at_once(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """The hub of site B takes nothing: that is seen in the tracking, long before the time-out."""
    topology = ready_topology("two-sites", tmp_path_factory.mktemp("refusing") / "data")
    nothing = Limits(message_size_bytes=100, header_size_bytes=100)
    hubs = tuple(
        hub.model_copy(update={"limits": nothing}) if hub.name == "hub-b" else hub for hub in topology.hubs
    )
    async with Organisation(topology.model_copy(update={"hubs": hubs})) as refusing:
        printed = await waypost(refusing.config, "probe", "--timeout", "50s", "--json", seconds=30)
        assert printed.code == 1
        assert printed.document["reason"].startswith("FAIL on hub-a: 552 5.3.4")
        assert await refusing.user("alice@example.test").messages() == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--from", "nobody@example.test"), 3, "nobody@example.test"),
        (("--to", "someone@example.net"), 3, "someone@example.net"),
        (("--timeout", "soon"), 2, "no duration"),
    ],
)
async def test_what_can_not_be_probed_is_said_in_a_sentence(
    organisation: Organisation, arguments: tuple[str, ...], code: int, said: str
) -> None:
    printed = await waypost(organisation.config, "probe", *arguments)
    assert (printed.code, printed.out) == (code, "")
    assert printed.errors.startswith("waypost: ")
    assert said in printed.errors
