"""The stages: resolve, expand, merge, comply, route, and the rounds between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from config.model import SendConnector
from foundation.interfaces.directory import AcceptedDomain, Credentials, DirectoryRecipient
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError, Unavailable
from hubtransport.categorizer.comply import Agent, AgentChain, Assessment
from hubtransport.categorizer.decision import Candidate, Context
from hubtransport.categorizer.enqueue import plan
from hubtransport.categorizer.pipeline import ROUNDS_MAX, Categorized, categorize
from hubtransport.categorizer.route import RECIPIENTS_MAX
from hubtransport.queues.records import QueuedMessage, QueuedRecipient
from hubtransport.routing.table import RoutingTable
from tests.unit.hubtransport.test_routing_table import organisation


class Book:
    """A directory from a few lines."""

    def __init__(self) -> None:
        self.entries: dict[str, DirectoryRecipient] = {}
        self.groups: dict[str, tuple[DirectoryRecipient | str, ...]] = {}
        self.kinds = {"example.com": AcceptedDomain(domain="example.com")}
        self.asked: list[str] = []
        self.away = False
        self.refreshed = 0
        self.newer: Callable[[], object] = lambda: None
        """What a refresh finds."""

    def user(self, address: str, store: str = "store-a", *aliases: str) -> DirectoryRecipient:
        entry = DirectoryRecipient(
            recipient_id=f"id-{address}", kind="user", address=address, store=store, mailbox_id="m"
        )
        for each in (address, *aliases):
            self.entries[each.lower()] = entry
        return entry

    def contact(self, address: str, target: str) -> None:
        self.entries[address] = DirectoryRecipient(
            recipient_id=f"id-{address}", kind="contact", address=address, target=target
        )

    def group(self, address: str, *members: str) -> DirectoryRecipient:
        entry = DirectoryRecipient(recipient_id=f"id-{address}", kind="group", address=address)
        self.entries[address] = entry
        self.groups[entry.recipient_id] = tuple(self.entries.get(member, member) for member in members)
        return entry

    async def accepted_domain(self, domain: str) -> AcceptedDomain | None:
        return self.kinds.get(domain.lower())

    async def accepted_domains(self) -> tuple[AcceptedDomain, ...]:
        return tuple(self.kinds.values())

    async def find(self, address: str) -> DirectoryRecipient | None:
        self.asked.append(address)
        if self.away:
            raise Unavailable("the directory is away", status="4.3.0")
        return self.entries.get(address.lower())

    async def find_id(self, recipient_id: str) -> DirectoryRecipient | None:
        return next((e for e in self.entries.values() if e.recipient_id == recipient_id), None)

    async def members(self, group_id: str) -> tuple[DirectoryRecipient | str, ...]:
        return self.groups[group_id]

    async def credentials(self, login: str) -> Credentials | None:
        return None

    async def mailbox(self, mailbox_id: str) -> DirectoryRecipient | None:
        return None

    async def mailboxes_of(self, store: str) -> tuple[str, ...]:
        return ()

    async def postmaster(self) -> DirectoryRecipient | None:
        return self.entries.get("alice@example.com")

    async def refresh(self) -> None:
        if self.away:
            raise Unavailable("the directory is away", status="4.3.0")
        self.refreshed += 1
        self.newer()

    def revision(self) -> int:
        return 1


@pytest.fixture
def book() -> Book:
    book = Book()
    book.user("alice@example.com", "store-a", "al@example.com")
    book.user("bob@example.com", "store-b")
    return book


def context(book: Book) -> Context:
    topology = organisation(send_connectors=(SendConnector(name="out"),))
    return Context(
        directory=book, table=RoutingTable(topology, "hub-a"), server="hub-a", default_domain="example.com"
    )


def message(*recipients: str | Recipient, assessed: str = "", sender: str = "s@example.com") -> QueuedMessage:
    given = [each if isinstance(each, Recipient) else Recipient(address=each) for each in recipients]
    return QueuedMessage(
        id=1,
        entry_id="e",
        network_message_id="n",
        sender=Sender(address=sender),
        content_bytes=1,
        content_sha256="",
        assessed=assessed,
        received_at_ms=0,
        expires_at_ms=9,
        delay_at_ms=5,
        next_position=len(given),
        recipients=tuple(
            QueuedRecipient(position=n, recipient=each, original=each.address) for n, each in enumerate(given)
        ),
    )


async def run(book: Book, *recipients: str | Recipient, agents: Sequence[Agent] = ()) -> Categorized:
    return await categorize(message(*recipients), context(book), AgentChain(agents=tuple(agents)))


@pytest.mark.parametrize(
    ("source", "address", "asked"),
    [
        ("hub-b", "bob@example.com", 1),
        ("hub-c", "bob@example.com", 0),
        ("hub-b", "alice@example.com", 0),
        ("hub-b", "team@example.com", 0),
        ("hub-b", "friend@elsewhere.example", 0),
    ],
)
async def test_who_would_go_back_to_the_hub_before_is_decided_by_the_newest_directory(
    book: Book, source: str, address: str, asked: int
) -> None:
    book.group("team@example.com", "bob@example.com")
    given = msgspec.structs.replace(message(address), source=source)
    before = await categorize(message(address), context(book), AgentChain())
    assert ways(await categorize(given, context(book), AgentChain())) == ways(before)
    assert book.refreshed == asked
    book.newer = lambda: book.user("bob@example.com", "store-a")
    after = await categorize(given, context(book), AgentChain())
    assert (list(ways(after)) != list(ways(before))) == bool(asked)
    book.away = True
    if asked:
        book.user("bob@example.com", "store-b")
        with pytest.raises(Unavailable):
            await categorize(msgspec.structs.replace(given, source="hub-b"), context(book), AgentChain())


def ways(result: Categorized) -> dict[str, list[str]]:
    return {
        share.route.hop.key: [candidate.recipient.address for candidate in share.recipients]
        for share in result.shares
    }


def rules(result: Categorized, stage: str) -> list[str]:
    return [decision.rule for decision in result.decisions if decision.stage == stage]


async def test_resolve_keeps_what_the_sender_said(book: Book) -> None:
    result = await run(book, "Al@example.com", "Bob@Example.com")
    assert ways(result) == {"store::store-a": ["alice@example.com"], "hub::hub-b": ["Bob@Example.com"]}
    (renamed,) = result.shares[0].recipients
    assert renamed.recipient.orcpt == "rfc822;Al@example.com"
    assert renamed.recipient.recipient_id == "id-alice@example.com"
    assert result.shares[1].recipients[0].recipient.orcpt == ""
    assert rules(result, "resolve") == ["alias", "address"]


async def test_postmaster_without_an_address_goes_to_whom_the_directory_names(book: Book) -> None:
    assert ways(await run(book, "postmaster")) == {"store::store-a": ["alice@example.com"]}
    assert ways(await run(book, "PostMaster@example.com")) == {"store::store-a": ["alice@example.com"]}


async def test_carried_id_counts_before_the_address(book: Book) -> None:
    moved = Recipient(address="old@example.com", recipient_id="id-bob@example.com")
    result = await run(book, moved)
    assert ways(result) == {"hub::hub-b": ["old@example.com"]}
    assert not book.asked
    gone = Recipient(address="alice@example.com", recipient_id="id-of-nobody")
    assert ways(await run(book, gone)) == {"store::store-a": ["alice@example.com"]}


async def test_unknown_fails_in_authoritative_domains_only(book: Book) -> None:
    book.kinds["relay.test"] = AcceptedDomain(domain="relay.test", kind="internal-relay")
    result = await run(book, "x@example.com", "x@relay.test")
    (failed,) = result.failed
    assert failed.failure is not None
    assert (failed.position, failed.failure.status) == (0, "5.1.1")
    assert ways(result) == {"mx:out:relay.test": ["x@relay.test"]}


async def test_directory_away_is_no_verdict(book: Book) -> None:
    book.away = True
    with pytest.raises(MailError) as refused:
        await run(book, "alice@example.com")
    assert not refused.value.permanent


async def test_contacts_that_lead_to_each_other_end(book: Book) -> None:
    book.contact("one@example.com", "two@example.com")
    book.contact("two@example.com", "one@example.com")
    result = await run(book, "one@example.com", "alice@example.com")
    (failed,) = result.failed
    assert failed.failure is not None
    assert failed.failure.status == "5.4.6"
    assert rules(result, "resolve").count("contact") == ROUNDS_MAX
    assert ways(result) == {"store::store-a": ["alice@example.com"]}


async def test_group_of_groups_with_a_loop_and_duplicates(book: Book) -> None:
    inner = book.group("inner@example.com", "alice@example.com", "out@example.org")
    outer = book.group("outer@example.com", "inner@example.com", "bob@example.com", "alice@example.com")
    book.groups[inner.recipient_id] += (outer,)
    result = await run(
        book,
        Recipient(address="outer@example.com", notify="SUCCESS,FAILURE"),
        "alice@example.com",
        "OUT@example.org",
    )
    assert ways(result) == {
        "hub::hub-b": ["bob@example.com"],
        "store::store-a": ["alice@example.com"],
        "mx:out:example.org": ["OUT@example.org"],
    }
    assert [group.recipient.address for group in result.expanded] == ["outer@example.com"]
    by_address = {c.recipient.address.lower(): c for share in result.shares for c in share.recipients}
    assert by_address["alice@example.com"].position == 1
    assert by_address["out@example.org"].position == 2
    assert by_address["bob@example.com"].recipient.notify == "FAILURE"
    assert by_address["bob@example.com"].recipient.expanded_from == outer.recipient_id
    assert "expanded-once" in rules(result, "expand")
    assert len(rules(result, "merge")) == 3


async def test_group_is_not_expanded_again_by_the_next_hub(book: Book) -> None:
    book.group("team@example.com", "alice@example.com")
    result = await run(book, Recipient(address="team@example.com", expanded_from="id-other"))
    (failed,) = result.failed
    assert failed.failure is not None
    assert failed.failure.status == "5.4.6"


async def test_empty_group_ends_without_failure(book: Book) -> None:
    book.group("empty@example.com")
    result = await run(book, "empty@example.com")
    assert (result.shares, result.failed, len(result.expanded)) == ((), (), 1)


class Journal:
    name = "journal"

    def __init__(self, *added: str) -> None:
        self.added = added
        self.calls = 0

    async def assess(self, message: QueuedMessage, recipients: Sequence[Candidate]) -> Assessment:
        self.calls += 1
        added = tuple(Recipient(address=address) for address in self.added)
        return Assessment(reason="journaled", added=added)


async def test_agents_run_once_and_what_they_add_is_resolved(book: Book) -> None:
    journal = Journal("al@example.com", "archive@example.org")
    result = await run(book, "bob@example.com", agents=[journal])
    assert journal.calls == 1
    assert ways(result) == {
        "hub::hub-b": ["bob@example.com"],
        "store::store-a": ["alice@example.com"],
        "mx:out:example.org": ["archive@example.org"],
    }
    assert result.assessed == "hub-a/1"


async def test_assessed_by_a_peer_is_not_assessed_again(book: Book) -> None:
    journal = Journal()
    chain = AgentChain(agents=(journal,))
    given = message("alice@example.com", assessed="hub-z/3")
    result = await categorize(given, context(book), chain)
    assert (journal.calls, result.assessed) == (0, "hub-z/3")
    (decision,) = [decision for decision in result.decisions if decision.stage == "comply"]
    assert decision.why == "assessed by hub-z version 3"


async def test_every_decision_says_what_and_why(book: Book) -> None:
    given = message("al@example.com", "x@example.org")
    result = await categorize(given, context(book), AgentChain())
    stages = [decision.stage for decision in result.decisions]
    assert stages == ["resolve", "resolve", "comply", "route", "route"]
    assert all(decision.what and decision.why and decision.rule for decision in result.decisions)


async def test_shares_are_bounded_and_planned_with_a_key_each(book: Book) -> None:
    given = message(*(f"u{number}@example.org" for number in range(RECIPIENTS_MAX + 1)), "nobody@example.com")
    result = await categorize(given, context(book), AgentChain())
    assert [len(share.recipients) for share in result.shares] == [RECIPIENTS_MAX, 1]
    keys = iter(("k1", "k2"))
    planned = plan(given, result, failing=(), new_key=lambda: next(keys), now_ms=7, server="hub-a")
    assert [unit.key for unit in planned.enqueue.units] == ["k1", "k2"]
    assert planned.enqueue.ended == (RECIPIENTS_MAX + 1,)
    assert [notice.status for notice in planned.notices] == ["5.1.1"]
    assert {event.event for event in planned.enqueue.events} == {"AGENTINFO", "TRANSFER", "FAIL"}
    assert planned.enqueue.units[0].delay_at_ms == 5


async def test_failing_hub_of_a_group_is_not_chosen(book: Book) -> None:
    book.user("carl@example.com", "store-c")
    given = message("carl@example.com", sender="")
    result = await categorize(given, context(book), AgentChain())
    planned = [
        plan(given, result, failing=failing, new_key=lambda: "k", now_ms=7, server="hub-a").enqueue.units[0]
        for failing in ((), ("hub::hub-c1",), ("hub::hub-c2",))
    ]
    assert [unit.hop for unit in planned[1:]] == ["hub::hub-c2", "hub::hub-c1"]
    assert planned[0].group == ("hub-c1", "hub-c2")
    assert planned[0].delay_at_ms == 0
