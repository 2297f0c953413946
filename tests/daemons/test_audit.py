"""`waypost audit` on real servers: mail of every kind adds up; rows that are taken away or doubled behind the
servers' back are named, each."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import smtplib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from config.model import SendConnector
from tests.harness.commands import waypost
from tests.harness.mail import Box, Sent, User, compose
from tests.harness.organisation import Organisation
from tests.harness.patience import until
from tests.harness.sink import SinkServer
from tests.harness.topologies import ready_topology
from waypost.audit import Audited
from waypost.cli.audit import examine
from waypost.cli.control import Servers as Controls
from waypost.servers import servers_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

COUNTED = ("accepted", "expanded", "delivered", "relayed", "bounced", "discarded", "merged", "pending")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organisation(
    tmp_path_factory: pytest.TempPathFactory, sink: SinkServer
) -> AsyncIterator[Organisation]:
    sink.replies["nobody@elsewhere.example"] = "550 5.1.1 No such user"
    data = tmp_path_factory.mktemp("audit") / "data"
    connector = SendConnector(name="out", smart_hosts=(sink.endpoint,), source_hubs=("hub-b",))
    async with Organisation(ready_topology("two-sites", data, send_connectors=(connector,))) as running:
        running.directory.add_alias("robert@example.test", "bob@example.test")
        running.directory.add_contact("guest@example.test", "guest@elsewhere.example")
        running.directory.add_group("inner@example.test", members=["dave@example.test", "bob@example.test"])
        running.directory.add_group(
            "outer@example.test", members=["inner@example.test", "carol@example.test", "guest@example.test"]
        )
        running.directory.add_members("inner@example.test", ["outer@example.test"])
        yield running


@pytest.fixture
def alice(organisation: Organisation) -> User:
    return organisation.user("alice@example.test")


@pytest.fixture
def bob(organisation: Organisation) -> User:
    return organisation.user("bob@example.test")


async def audited(organisation: Organisation, since_seconds: float = 3600) -> Audited:
    since_ms = time.time_ns() // 1_000_000 - round(since_seconds * 1000)
    known = servers_of(organisation.topology)
    found, away = await examine(Controls(organisation.topology), known, since_ms)
    assert not away
    return found


def balance(found: Audited) -> tuple[int, int]:
    counts = found.counts
    ends = (counts.delivered, counts.relayed, counts.bounced, counts.discarded, counts.merged, counts.pending)
    return counts.accepted + counts.expanded, sum(ends)


async def test_mail_of_every_kind_adds_up(organisation: Organisation, alice: User, bob: User) -> None:
    async def known() -> bool:
        sent = await alice.send("outer@example.test", "robert@example.test", "bob@example.test")
        return not sent.refused

    await until(known, "groups and alias are known")
    # refused at RCPT: never accepted
    sent = await alice.send("unknown@example.test", bob)
    assert list(sent.refused) == ["unknown@example.test"]
    # to the outside, one of them refused there
    outside = await alice.send("friend@elsewhere.example", "nobody@elsewhere.example")
    await alice.wait_until("INBOX", lambda box: box.with_header("Content-Type", "multipart/report"), 30)
    # nobody wants to be told
    await alice.send("nobody@elsewhere.example", rcpt_options=("NOTIFY=NEVER",))
    # from outside: a member of a group and the group, and refused at the end of the data
    message = compose("stranger@elsewhere.example", "inner@example.test")
    await asyncio.to_thread(
        organisation.send_from_outside,
        "hub-a",
        "stranger@elsewhere.example",
        ["inner@example.test", "dave@example.test"],
        message,
    )
    loop = b"Received: by x; Mon, 5 Jan 2026 10:00:00 +0000\r\n" * 40 + b"Subject: round\r\n\r\nx\r\n"
    with pytest.raises(smtplib.SMTPDataError):
        await asyncio.to_thread(
            organisation.send_from_outside, "hub-a", "s@elsewhere.example", ["bob@example.test"], loop
        )
    # a user's own doing
    first, second = [await alice.send(bob, subject=f"Moved {number}") for number in range(2)]
    for each in (first, second):
        await bob.wait_for(each)
    await bob.look("INBOX", lambda box: _move_and_expunge(box, first, second))
    await organisation.wait_until_idle(60)

    found = await audited(organisation)
    assert found.findings == ()
    assert (found.counts.unexplained, found.counts.doubled) == (0, 0)
    assert balance(found)[0] == balance(found)[1]
    counts = found.counts
    assert counts.bounced == 1
    assert counts.discarded == 1
    assert counts.pending == 0
    assert counts.relayed >= 3  # the friend, the guest of the first message, the guest from outside
    assert counts.merged == 3  # bob by two groups' way and two names, dave by a group and by name
    assert counts.expanded == 6
    assert outside.message_id


async def test_what_waits_and_what_was_withdrawn_adds_up(
    organisation: Organisation, alice: User, bob: User
) -> None:
    await organisation.stop("hub-b")
    waiting = await alice.send(bob)
    await organisation.wait_until_queued("hub-a", [waiting.message_id])
    found = await audited(organisation_without(organisation, "hub-b"), 3600)
    assert found.counts.pending >= 1
    await organisation.stop("hub-a")
    withdrawn = await alice.send(bob, subject="Withdrawn")

    def delete(box: Box) -> None:
        _, numbers = box.connection.search(None, "HEADER", "Message-ID", f'"<{withdrawn.message_id}>"')
        box.connection.store(numbers[0].decode(), "+FLAGS", r"(\Deleted)")
        box.connection.expunge()

    async def gone() -> bool:
        with contextlib.suppress(imaplib.IMAP4.error):
            await alice.look("Outbox", delete)
        return await alice.count(withdrawn, "Outbox") == 0

    await until(gone, "the Outbox entry is gone")
    await organisation.start("hub-a")
    await organisation.start("hub-b")
    await bob.wait_for(waiting, seconds=45)
    await organisation.wait_until_idle(60)
    found = await audited(organisation)
    assert found.findings == ()
    assert balance(found)[0] == balance(found)[1]
    assert found.counts.discarded >= 1


async def test_the_command_says_it_and_names_who_is_away(organisation: Organisation) -> None:
    said = await waypost(organisation.config, "audit", "--since", "1h", "--json")
    assert said.code == 0, said.errors
    document = said.document
    assert document["unexplained"] == document["doubled"] == 0
    assert document["accepted"] + document["expanded"] == sum(document[name] for name in COUNTED[2:])
    plain = await waypost(organisation.config, "audit")
    assert plain.code == 0
    assert "unexplained 0, doubled 0" in plain.out
    await organisation.stop("store-b")
    partial = await waypost(organisation.config, "audit", "--json")
    await organisation.start("store-b")
    assert partial.code == 4
    assert [gap["server"] for gap in partial.document["gaps"]] == ["store-b"]


STORE, HUB = "default.db", "queue.db"

TAMPERINGS = {
    "a message taken from the mailbox": ("store-b", STORE, "delete", "messages", "store-b", "unexplained"),
    "a message doubled in the mailbox": ("store-b", STORE, "double", "messages", "store-b", "doubled"),
    "its content taken": ("store-b", STORE, "delete", "contents", "store-b", "unexplained"),
    "DELIVER taken": ("store-b", STORE, "delete", "DELIVER", "store-b", "unexplained"),
    "DELIVER doubled": ("store-b", STORE, "double", "DELIVER", "store-b", "doubled"),
    "RECEIVE of the submission taken": ("store-a", STORE, "delete", "RECEIVE", "store-a", "unexplained"),
    "SUBMIT taken": ("store-a", STORE, "delete", "SUBMIT", "store-a", "unexplained"),
    "RECEIVE on a hub taken": ("hub-b", HUB, "delete", "RECEIVE", "hub-b", "unexplained"),
    "TRANSFER on a hub taken": ("hub-a", HUB, "delete", "TRANSFER", "hub-a", "unexplained"),
    "SEND on a hub taken": ("hub-a", HUB, "delete", "SEND", "hub-a", "unexplained"),
    "SEND on a hub doubled": ("hub-b", HUB, "double", "SEND", "hub-b", "doubled"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_rows_changed_behind_its_back_are_named(
    organisation: Organisation, alice: User, bob: User, name: str
) -> None:
    server, file, how, where, named, kind = TAMPERINGS[name]
    sent = await alice.send(bob, subject=name)
    await bob.wait_for(sent)
    await organisation.wait_until_idle()
    before = await audited(organisation)
    assert before.findings == ()
    with tampered(organisation.topology.data / server / file, how, where, sent):
        found = await audited(organisation)
        said = await waypost(organisation.config, "audit", "--json") if how == "double" else None
    findings = [finding for finding in found.findings if finding.message_id == sent.message_id]
    assert [(finding.kind, finding.server) for finding in findings] == [(kind, named)], found.findings
    assert "bob@example.test" in findings[0].recipient or "content" in where
    assert len(found.findings) == 1
    total = found.counts.doubled + found.counts.unexplained
    assert total == 1
    if said is not None:
        assert said.code == 1
        assert said.document["items"][0]["message_id"] == sent.message_id
        assert said.document["items"][0]["trace"]
    after = await audited(organisation)
    assert after.findings == ()


@pytest.mark.parametrize("how", ["delete", "double"])
async def test_recipients_changed_in_a_queue_are_named(
    organisation: Organisation, alice: User, bob: User, how: str
) -> None:
    await organisation.stop("store-b")
    sent = await alice.send(bob, subject=how)
    await organisation.wait_until_queued("hub-b", [sent.message_id])
    with tampered(organisation.topology.data / "hub-b" / HUB, how, "recipients", sent):
        found = await audited(organisation_without(organisation, "store-b"))
    await organisation.start("store-b")
    await bob.wait_for(sent, seconds=45)
    await organisation.wait_until_idle(60)
    findings = [finding for finding in found.findings if finding.message_id == sent.message_id]
    kind = "unexplained" if how == "delete" else "doubled"
    assert [(each.kind, each.server, each.recipient) for each in findings] == [
        (kind, "hub-b", "bob@example.test")
    ]
    assert (await audited(organisation)).findings == ()


async def test_mail_under_way_is_not_accused(organisation: Organisation, alice: User, bob: User) -> None:
    done = asyncio.Event()

    async def flow() -> None:
        while not done.is_set():
            await alice.send("outer@example.test", bob, "friend@elsewhere.example")

    async with asyncio.TaskGroup() as group:
        flowing = [group.create_task(flow()) for _ in range(3)]
        for _ in range(4):
            found = await audited(organisation)
            assert found.findings == ()
        done.set()
    assert all(task.done() for task in flowing)
    await organisation.wait_until_idle(60)
    found = await audited(organisation)
    assert found.findings == ()
    assert balance(found)[0] == balance(found)[1]


def organisation_without(organisation: Organisation, server: str) -> Organisation:
    """The same for an audit that does not ask a server that was stopped on purpose."""
    topology = organisation.topology
    kept = {
        "hubs": tuple(hub for hub in topology.hubs if hub.name != server),
        "stores": tuple(store for store in topology.stores if store.name != server),
    }
    without = object.__new__(Organisation)
    without.topology = topology.model_copy(update=kept)
    return without


def _move_and_expunge(box: Box, moved: Sent, expunged: Sent) -> None:
    connection = box.connection
    connection.create("Kept")

    def number(sent: Sent) -> str:
        _, numbers = connection.search(None, "HEADER", "Message-ID", f'"<{sent.message_id}>"')
        return str(numbers[0].decode())

    connection.copy(number(moved), "Kept")
    connection._simple_command("MOVE", number(moved), "Kept")
    connection.store(number(expunged), "+FLAGS", r"(\Deleted)")
    connection.expunge()


@contextlib.contextmanager
def tampered(file: Path, how: str, where: str, sent: Sent) -> Iterator[None]:
    """Takes away or doubles the row of a message in a database that is in use, and mends it afterwards."""
    connection = sqlite3.connect(file, timeout=10, isolation_level=None)
    connection.execute("PRAGMA foreign_keys=OFF")
    table, condition, key = _rows(where)
    condition = condition.replace("?", "'" + sent.message_id + "'")
    connection.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {table} WHERE {condition}")
    (count,) = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert count == 1, f"{count} rows of {where}"
    try:
        if how == "delete":
            connection.execute(f"DELETE FROM {table} WHERE {condition}")
        else:
            connection.execute(f"UPDATE kept SET {key} = {key} + 1000000")
            connection.execute(f"INSERT INTO {table} SELECT * FROM kept")
        yield
    finally:
        if how == "delete":
            connection.execute(f"INSERT INTO {table} SELECT * FROM kept")
        else:
            connection.execute(f"DELETE FROM {table} WHERE {condition} AND {key} > 999999")
        connection.close()


def _rows(where: str) -> tuple[str, str, str]:
    """Table, condition with the Message-ID as `?`, and the number that tells rows apart."""
    email = "SELECT email FROM emails WHERE message_id = ?"
    if where == "messages":
        return "messages", f"email IN ({email})", "uid"
    if where == "contents":
        return "contents", "id IN (SELECT content FROM emails WHERE message_id = ?)", "id"
    if where == "recipients":
        return "recipients", "message IN (SELECT id FROM messages WHERE message_id = ?)", "position"
    return "tracking_events", f"event = '{where}' AND message_id = ?", "sequence"
