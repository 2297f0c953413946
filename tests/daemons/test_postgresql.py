"""The whole way with directory, queues and mailboxes on PostgreSQL. Runs where WAYPOST_TEST_POSTGRESQL_URL
names a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.harness.mail import Box, compose
from tests.harness.organisation import Organisation
from tests.harness.postgresql import VARIABLE, new_databases, server_url
from tests.harness.topologies import ready_topology

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.postgresql,
    pytest.mark.skipif(not server_url(), reason=f"{VARIABLE} names no server"),
]


@pytest.fixture(scope="module")
def databases() -> Iterator[list[str]]:
    with new_databases(5) as urls:
        yield urls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organisation(
    tmp_path_factory: pytest.TempPathFactory, databases: list[str]
) -> AsyncIterator[Organisation]:
    directory, *others = databases
    topology = ready_topology("two-sites", tmp_path_factory.mktemp("postgresql") / "data")
    urls = iter(others)
    lists = {
        kind: tuple(
            server.model_copy(update={"database_url": next(urls)}) for server in getattr(topology, kind)
        )
        for kind in ("hubs", "stores")
    }
    topology = topology.model_copy(update={"directory_url": directory, **lists})
    async with Organisation(topology) as running:
        yield running
    assert not [*topology.data.rglob("*.db"), *topology.data.rglob("*.sqlite")]


async def test_across_sites_and_to_a_group(organisation: Organisation) -> None:
    alice, bob, carol = organisation.users("alice@example.test", "bob@example.test", "carol@example.test")
    await bob.wait_for(await alice.send(bob))
    organisation.directory.add_group("all@example.test", members=[bob.address, carol.address])
    message = compose(alice.address, "all@example.test", bob.address, subject="To all")
    sent = await alice.send("all@example.test", bob, message=message)
    await bob.wait_for(sent)
    await carol.wait_for(sent)
    await organisation.wait_until_idle()
    events = [event.event for event in await organisation.events(sent.message_id)]
    assert events.count("DELIVER") == 2
    assert "DUPLICATEDELIVER" in events


async def test_what_waits_survives_killed_servers(organisation: Organisation) -> None:
    alice, bob = organisation.users("alice@example.test", "bob@example.test")
    await organisation.kill("store-b")
    sent = await alice.send(bob)
    await organisation.wait_until_queued("hub-b", [sent.message_id])
    await organisation.kill("hub-b")
    await organisation.start("hub-b")
    assert sent.message_id in {entry.message_id for _, entry in await organisation.queued("hub-b")}
    await organisation.start("store-b")
    await bob.wait_for(sent)
    await organisation.wait_until_idle()


async def test_an_unknown_recipient_and_a_new_one(organisation: Organisation) -> None:
    alice = organisation.user("alice@example.test")
    sent = await alice.send("nobody@example.test", alice)
    code, reply = sent.refused["nobody@example.test"]
    assert (code, reply.split()[0]) == (550, b"5.1.1")
    assert sent.message_id.encode() in await alice.wait_for(sent)
    erin = organisation.add_user("erin@example.test", store="store-b")
    sent = await alice.send(erin)
    assert not sent.refused
    assert sent.message_id.encode() in await erin.wait_for(sent)


async def test_lists_and_searches(organisation: Organisation) -> None:
    """There is no text index: a search in text reads the messages."""
    alice, bob = organisation.users("alice@example.test", "bob@example.test")
    sent = await alice.send(bob, message=compose(alice.address, bob.address, subject="Trees", body="Oaks\n"))
    await bob.wait_for(sent)

    def look(box: Box) -> list[bytes]:
        searched = [
            box.connection.search(None, key)[1][0] for key in ("SUBJECT tree", "TEXT aks", "TO nobody")
        ]
        items = "(INTERNALDATE EMAILID BODY.PEEK[HEADER.FIELDS (Subject)])"
        _, shown = box.connection.fetch("*", items)
        return [*searched, shown[0][1]]

    subject, text, recipient, shown = await bob.look("INBOX", look)
    assert subject.split() == text.split()[-1:] != [] and recipient == b""
    assert shown == b"Subject: Trees\r\n\r\n"
