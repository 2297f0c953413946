"""What a hub would do, from the same stages as the worker's: doors, next hops outside, what would wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from config.model import Endpoint, SendConnector, Topology
from foundation.interfaces.explanation import Explanation, Question
from foundation.interfaces.world import MailExchanger, NameNotFound, NameServiceUnavailable, World
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError, Unavailable
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor
from hubtransport.categorizer.comply import AgentChain
from hubtransport.categorizer.decision import Context
from hubtransport.categorizer.enqueue import plan
from hubtransport.categorizer.pipeline import categorize
from hubtransport.delivery.courier import HopFailed, HopRefused
from hubtransport.explain import HubExplainer, computed
from hubtransport.queues.records import HopState
from hubtransport.routing.table import RoutingTable
from tests.unit.hubtransport.lab import Names
from tests.unit.hubtransport.test_categorizer import Book, context, message
from tests.unit.hubtransport.test_routing_table import organisation

OUT = SendConnector(name="out")
Hosts = Callable[[str], Awaitable[tuple[str, ...]]]


@pytest.fixture
def book() -> Book:
    book = Book()
    book.user("alice@example.com", "store-a", "al@example.com")
    book.user("bob@example.com", "store-b")
    book.user("carl@example.com", "store-c")
    return book


async def two_hosts(domain: str) -> tuple[str, ...]:
    return (f"mx1.{domain}", f"mx2.{domain}")


def explainer(
    book: Book,
    topology: Topology | None = None,
    hosts: Hosts = two_hosts,
    failing: dict[str, HopState] | None = None,
) -> HubExplainer:
    topology = topology or organisation(send_connectors=(OUT,))
    table = RoutingTable(topology, "hub-a")
    now = Context(directory=book, table=table, server="hub-a", default_domain="example.com")
    return HubExplainer(
        table.map.hubs["hub-a"],
        topology,
        lambda: now,
        AgentChain(),
        hosts,
        lambda: failing or {},
        live=True,
    )


def question(*to: str, **fields: Any) -> Question:
    values: dict[str, Any] = {
        "door": "smtp-internal",
        "sender": Sender(address="s@example.com"),
        "size_bytes": 100,
        "network_message_id": "n",
        **fields,
    }
    return Question(recipients=tuple(Recipient(address=address) for address in to), **values)


def with_outside(**changes: Any) -> Topology:
    """hub-a takes mail from outside."""
    found = organisation(send_connectors=(OUT,), **changes)
    hubs = tuple(
        hub.model_copy(update={"smtp": Endpoint(host="127.0.0.1", port=25)}) if hub.name == "hub-a" else hub
        for hub in found.hubs
    )
    return found.model_copy(update={"hubs": hubs})


async def test_events_and_units_are_those_of_the_worker(book: Book) -> None:
    book.group("team@example.com", "alice@example.com", "bob@example.com", "x@example.org")
    to = ("al@example.com", "team@example.com", "nobody@example.com", "y@example.org")
    told = await explainer(book).explain(question(*to))
    given = message(*to)
    result = await categorize(given, context(book), AgentChain())
    keys = iter("abcdefgh")
    planned = plan(given, result, failing=(), new_key=lambda: next(keys), now_ms=7, server="hub-a")
    assert [(event.event, event.recipients, event.reason) for event in told.events] == [
        (event.event, event.recipients, event.reason) for event in planned.enqueue.events
    ]
    assert [onward.queue for onward in told.onward] == [unit.hop for unit in planned.enqueue.units]
    assert [step.what for step in told.steps[1:]] == [decision.what for decision in result.decisions]
    ends = {end.original: (end.outcome, end.reply[:9]) for end in told.ends}
    assert ends == {
        "nobody@example.com": ("failed", "550 5.1.1"),
        "team@example.com": ("merged", ""),
    }
    assert {end.address for end in told.ends if end.outcome == "expanded"} == {"team@example.com"}
    assert told.assessed == "hub-a/1"


async def test_who_takes_mail_outside(book: Book) -> None:
    told = await explainer(book).explain(question("eve@Example.org"))
    (onward,) = told.onward
    assert (onward.door, onward.choices) == (None, ("mx1.example.org", "mx2.example.org"))
    smart = SendConnector(name="relay", smart_hosts=(Endpoint(host="smart.example.net", port=587),))
    told = await explainer(book, organisation(send_connectors=(smart,))).explain(question("eve@example.org"))
    assert told.onward[0].choices == ("smart.example.net:587",)


async def test_a_name_service_that_is_away_is_a_wait(book: Book) -> None:
    async def away(domain: str) -> tuple[str, ...]:
        raise HopFailed(f"the name service does not answer for {domain}")

    (onward,) = (await explainer(book, hosts=away).explain(question("eve@example.org"))).onward
    assert onward.wait is not None
    assert "name service" in onward.wait.reason
    assert onward.choices == ()


async def test_a_domain_that_takes_no_mail_is_a_failure(book: Book) -> None:
    async def refusing(domain: str) -> tuple[str, ...]:
        raise HopRefused(MailError(556, "5.1.10", f"The domain {domain} takes no mail"))

    told = await explainer(book, hosts=refusing).explain(question("eve@example.org", "bob@example.com"))
    (end,) = told.ends
    assert (end.original, end.outcome, end.reply[:10]) == ("eve@example.org", "failed", "556 5.1.10")
    assert [onward.next_hop for onward in told.onward] == ["hub-b"]


async def test_hubs_that_can_be_chosen_the_failing_ones_last(book: Book) -> None:
    state = HopState(
        hop="hub::hub-c1",
        failures=2,
        failing_since_ms=1000,
        last_attempt_at_ms=2000,
        next_attempt_at_ms=3000,
        last_reply="421 4.3.2 closing",
    )
    (onward,) = (
        await explainer(book, failing={state.hop: state}).explain(question("carl@example.com"))
    ).onward
    assert (onward.choices, onward.wait) == (("hub-c2", "hub-c1"), None)
    both = dict.fromkeys(("hub::hub-c1", "hub::hub-c2"), state)
    (onward,) = (await explainer(book, failing=both).explain(question("carl@example.com"))).onward
    assert onward.wait is not None
    assert (onward.wait.reason, onward.wait.since_ms, onward.wait.next_attempt_at_ms) == (
        "421 4.3.2 closing",
        1000,
        3000,
    )
    assert (onward.path, onward.cost) == (("A", "B", "C"), 5)


async def test_without_a_way_it_waits_in_the_unreachable_queue(book: Book) -> None:
    book.user("dan@example.com", "store-d")
    told = await explainer(book).explain(question("dan@example.com"))
    (end,) = told.ends
    assert (end.outcome, told.onward) == ("unreachable", ())
    assert "no site links" in end.why


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        ("eve@example.org", "550 5.7.1"),
        ("nobody@example.com", "550 5.1.1"),
        ("postmaster@example.com", ""),
        ("alice@example.com", ""),
    ],
)
async def test_from_outside_as_the_listener_says_it(book: Book, address: str, reply: str) -> None:
    told = await explainer(book, with_outside()).explain(question(address, door="smtp"))
    assert [(end.outcome, end.reply[:9]) for end in told.ends] == ([("refused", reply)] if reply else [])


async def test_a_hub_without_the_listener_takes_nothing_from_outside(book: Book) -> None:
    told = await explainer(book).explain(question("alice@example.com", door="smtp"))
    assert [(end.outcome, end.reply[:9]) for end in told.ends] == [("refused", "550 5.3.2")]


async def test_too_large_is_refused_outside_and_reported_inside(book: Book) -> None:
    size = 1 << 30
    sender = Sender(address="s@example.com", size_bytes=size)
    for door, outcome in (("smtp", "refused"), ("smtp-internal", "failed")):
        told = await explainer(book, with_outside()).explain(
            question("alice@example.com", door=door, size_bytes=size, sender=sender)
        )
        assert [(end.outcome, end.reply[:9]) for end in told.ends] == [(outcome, "552 5.3.4")]


async def test_a_directory_that_is_away_is_no_answer(book: Book) -> None:
    book.away = True
    with pytest.raises(Unavailable):
        await explainer(book).explain(question("alice@example.com"))


async def test_computed_looks_names_up_as_the_courier_does(book: Book) -> None:
    names = Names()
    names.exchangers["example.org"] = (MailExchanger(10, "mx.example.org"),)
    names.exchangers["null.example"] = (MailExchanger(0, "."),)
    names.exchangers["away.example"] = NameServiceUnavailable("SERVFAIL")
    names.exchangers["none.example"] = NameNotFound("none.example")
    world = World(
        clock=SystemClock(),
        entropy=SystemEntropy(),
        disk=SystemDisk(),
        resolver=names,
        executor=ThreadExecutor,
    )
    hub = computed(organisation(send_connectors=(OUT,)), "hub-a", book, world)
    to = ("a@example.org", "b@null.example", "c@away.example", "d@none.example", "alice@example.com")
    told: Explanation = await hub.explain(question(*to))
    assert not told.live
    assert [onward.choices for onward in told.onward] == [("mx.example.org",), (), ("store-a",)]
    assert told.onward[1].wait is not None
    assert {end.original: end.reply[:9] for end in told.ends} == {
        "b@null.example": "556 5.1.1",
        "d@none.example": "550 5.1.2",
    }
