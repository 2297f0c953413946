"""The way of a message built from events: joined by keys, robust against clocks, honest about gaps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config.reader import read_topology
from foundation.interfaces.tracking import TrackingEvent
from foundation.mail.errors import Unavailable
from waypost.cli.control import Servers
from waypost.cli.trace import collect
from waypost.trace import build_trace, every_visit, further_ids

CONFIG = Path(__file__).parents[3] / "config" / "two-sites.toml"
SERVERS = ("access", "store-a", "hub-a", "hub-b", "store-b")


class Recorder:
    """Makes events with a sequence and a clock per server."""

    def __init__(self) -> None:
        self.events: list[TrackingEvent] = []
        self.clock_ms = 1_000_000
        self.offset_ms: dict[str, int] = {}

    def __call__(self, server: str, event: Any, **fields: Any) -> None:
        self.clock_ms += 10
        values: dict[str, Any] = {
            "network_message_id": "n1",
            "message_id": "m1@example.org",
            "sender": "alice@example.org",
            "recipients": ("bob@example.org",),
            "source": "SMTP",
            **fields,
        }
        self.events.append(
            TrackingEvent(
                event=event,
                server=server,
                at_ms=self.clock_ms + self.offset_ms.get(server, 0),
                sequence=len(self.events) + 1,
                **values,
            )
        )


def across_sites(record: Recorder) -> None:
    record("store-a", "RECEIVE", transfer_key="k0", next_hop="access")
    record("store-a", "TRANSFER", transfer_key="k1", next_hop="hub-a")
    record("hub-a", "RECEIVE", transfer_key="k1", next_hop="store-a")
    record("store-a", "SUBMIT", transfer_key="k1", next_hop="hub-a")
    record("hub-a", "RESOLVE", related="robert@example.org")
    record("hub-a", "TRANSFER", transfer_key="k2", next_hop="hub-b")
    record("hub-b", "RECEIVE", transfer_key="k2", next_hop="hub-a")
    record("hub-a", "SEND", transfer_key="k2", next_hop="hub-b")
    record("hub-b", "TRANSFER", transfer_key="k3", next_hop="store-b")
    record("store-b", "DELIVER", transfer_key="k3", next_hop="hub-b")
    record("hub-b", "SEND", transfer_key="k3", next_hop="store-b")


def servers(trace: Any) -> list[str]:
    return [visit.server for message in trace.messages for visit in every_visit(message)]


def test_hops_are_joined_by_their_keys() -> None:
    record = Recorder()
    across_sites(record)
    trace = build_trace(record.events, SERVERS)
    assert servers(trace) == ["store-a", "hub-a", "hub-b", "store-b"]
    assert trace.messages[0].message_id == "m1@example.org"
    assert trace.clock_differences == ()
    store_a, hub_a, *_ = every_visit(trace.messages[0])
    assert [event.event for event in hub_a.events] == ["RECEIVE", "RESOLVE", "TRANSFER", "SEND"]
    assert store_a.spent_ms == 30
    assert hub_a.spent_ms == 50


def test_a_clock_that_is_wrong_by_an_hour_changes_no_order_and_is_named() -> None:
    record = Recorder()
    record.offset_ms["hub-b"] = -3_600_000
    across_sites(record)
    trace = build_trace(record.events, SERVERS)
    assert servers(trace) == ["store-a", "hub-a", "hub-b", "store-b"]
    named = {(each.server, each.compared_with): each.at_least_ms for each in trace.clock_differences}
    assert named["hub-b", "hub-a"] == -3_600_000 + 10
    assert named["store-b", "hub-b"] == 3_600_000 - 10


def test_a_unit_first_written_of_after_the_answer_makes_no_clock_wrong() -> None:
    record = Recorder()
    record("store-a", "RECEIVE", transfer_key="k0", next_hop="access")
    record("hub-a", "RECEIVE", transfer_key="k1", next_hop="store-a")
    record("store-a", "SUBMIT", transfer_key="k1", next_hop="hub-a")
    trace = build_trace(record.events, SERVERS)
    assert servers(trace) == ["store-a", "hub-a"]
    assert trace.clock_differences == ()


def test_what_is_noted_after_the_answer_says_nothing_of_the_time_before() -> None:
    """An Outbox notes SUBMIT alone, once the hub has answered: the hub had it earlier, by the same clock."""
    record = Recorder()
    record("store-a", "RECEIVE", transfer_key="k0", next_hop="access")
    record("hub-a", "RECEIVE", transfer_key="k1", next_hop="store-a")
    record("store-a", "SUBMIT", transfer_key="k1", next_hop="hub-a")
    trace = build_trace(record.events, SERVERS)
    assert servers(trace) == ["store-a", "hub-a"]
    assert trace.clock_differences == ()


def test_a_hub_that_had_it_before_it_was_submitted_is_behind() -> None:
    record = Recorder()
    record.offset_ms["hub-a"] = -1000
    record("store-a", "RECEIVE", transfer_key="k0", next_hop="access")
    record("hub-a", "RECEIVE", transfer_key="k1", next_hop="store-a")
    record("store-a", "SUBMIT", transfer_key="k1", next_hop="hub-a")
    (difference,) = build_trace(record.events, SERVERS).clock_differences
    assert (difference.server, difference.compared_with, difference.at_least_ms) == ("hub-a", "store-a", -990)


def test_a_server_that_took_it_and_tells_nothing_is_a_gap() -> None:
    record = Recorder()
    across_sites(record)
    trace = build_trace([event for event in record.events if event.server != "hub-b"], SERVERS)
    visits = every_visit(trace.messages[0])
    assert [visit.server for visit in visits] == ["store-a", "hub-a", "store-b"]
    assert visits[1].missing == ("hub-b",)


def test_a_foreign_host_that_took_it_is_no_gap() -> None:
    record = Recorder()
    record("hub-a", "RECEIVE", transfer_key="k1")
    record("hub-a", "TRANSFER", transfer_key="k2", next_hop="mx.example.net")
    record("hub-a", "SEND", transfer_key="k2", next_hop="mx.example.net")
    trace = build_trace(record.events, SERVERS)
    assert every_visit(trace.messages[0])[0].missing == ()


def test_two_ways_of_one_message_fork() -> None:
    record = Recorder()
    record("hub-a", "RECEIVE", transfer_key="k1", recipients=("bob@example.org", "eve@example.org"))
    record("hub-a", "TRANSFER", transfer_key="k2", next_hop="store-a", recipients=("bob@example.org",))
    record("hub-a", "TRANSFER", transfer_key="k3", next_hop="hub-b", recipients=("eve@example.org",))
    record("hub-b", "RECEIVE", transfer_key="k3", recipients=("eve@example.org",))
    record("store-a", "RECEIVE", transfer_key="k2")
    record("store-a", "DELIVER", transfer_key="k2")
    trace = build_trace(record.events, SERVERS)
    root = trace.messages[0].visits[0]
    assert [visit.server for visit in root.next] == ["store-a", "hub-b"]
    assert root.next[1].waiting
    assert not root.next[0].waiting


def test_a_repeated_transfer_is_one_visit() -> None:
    record = Recorder()
    record("hub-a", "TRANSFER", transfer_key="k2", next_hop="hub-b")
    record("hub-b", "RECEIVE", transfer_key="k2")
    record("hub-a", "DEFER", transfer_key="k2", reason="no reply to the final dot")
    record("hub-b", "RECEIVE", transfer_key="k2", reason="transfer known already")
    record("hub-a", "SEND", transfer_key="k2", next_hop="hub-b")
    assert servers(build_trace(record.events, SERVERS)) == ["hub-a", "hub-b"]


def test_sender_and_recipient_on_one_store_are_two_visits() -> None:
    record = Recorder()
    record("store-a", "RECEIVE", transfer_key="k0")
    record("store-a", "SUBMIT", transfer_key="k1", next_hop="hub-a")
    record("hub-a", "RECEIVE", transfer_key="k1")
    record("hub-a", "SEND", transfer_key="k2", next_hop="store-a")
    record("store-a", "RECEIVE", transfer_key="k2")
    record("store-a", "DELIVER", transfer_key="k2")
    assert servers(build_trace(record.events, SERVERS)) == ["store-a", "hub-a", "store-a"]


def test_what_the_sender_gets_too_may_be_delivered_before_the_submission_is_noted() -> None:
    record = Recorder()
    both = ("alice@example.org", "bob@example.org")
    record("store-a", "RECEIVE", transfer_key="k0", recipients=both)
    record("hub-a", "RECEIVE", transfer_key="k1", next_hop="store-a", recipients=both)
    record("hub-a", "TRANSFER", transfer_key="k2", next_hop="store-a", recipients=both)
    record("store-a", "DELIVER", transfer_key="k2", next_hop="hub-a", recipients=("alice@example.org",))
    record("store-a", "SUBMIT", transfer_key="k1", next_hop="hub-a", recipients=both)
    record("hub-a", "SEND", transfer_key="k2", next_hop="store-a", recipients=both)
    (message,) = build_trace(record.events, SERVERS).messages
    assert [visit.server for visit in every_visit(message)] == ["store-a", "hub-a", "store-a"]
    assert not any(visit.waiting for visit in every_visit(message))


def test_several_messages_of_one_message_id_are_all_shown() -> None:
    record = Recorder()
    record("store-a", "RECEIVE", transfer_key="k0")
    record("store-a", "RECEIVE", transfer_key="k9", network_message_id="n2")
    trace = build_trace(record.events, SERVERS)
    assert [message.network_message_id for message in trace.messages] == ["n1", "n2"]


def test_a_report_hangs_where_it_was_made() -> None:
    record = Recorder()
    record("hub-a", "RECEIVE", transfer_key="k1")
    record("hub-a", "FAIL", reply="550 5.1.1 no such user")
    record("hub-a", "DSN", related="n2", recipients=("alice@example.org",))
    assert set(further_ids(record.events)) == {"n1", "n2"}
    report: dict[str, Any] = {"network_message_id": "n2", "message_id": "dsn@hub-a", "sender": ""}
    record("hub-a", "TRANSFER", transfer_key="k5", next_hop="store-a", **report)
    record("store-a", "RECEIVE", transfer_key="k5", **report)
    record("store-a", "DELIVER", transfer_key="k5", **report)
    trace = build_trace(record.events, SERVERS)
    assert [message.network_message_id for message in trace.messages] == ["n1"]
    reports = trace.messages[0].visits[0].reports
    assert [visit.server for visit in every_visit(reports[0])] == ["hub-a", "store-a"]


def test_a_report_that_the_store_filed_itself_hangs_there_and_waits_for_nothing() -> None:
    record = Recorder()
    record("store-a", "RECEIVE", transfer_key="k0")
    record(
        "store-a", "DSN", network_message_id="n2", message_id="dsn@store-a", related="n1", uid=7, sender=""
    )
    record("store-a", "SUBMIT", transfer_key="k1", next_hop="hub-a")
    (message,) = build_trace(record.events, SERVERS).messages
    (report,) = message.visits[0].reports
    assert report.network_message_id == "n2"
    assert not report.visits[0].waiting


def test_no_events_make_no_message() -> None:
    assert build_trace([], SERVERS).messages == ()


class FakeControl:
    """A server's control interface with events of its own; counts the questions."""

    def __init__(self, events: list[TrackingEvent] | None) -> None:
        self.events = events
        self.questions = 0

    async def trace(
        self, message_id: str, network_message_ids: tuple[str, ...]
    ) -> AsyncIterator[tuple[TrackingEvent, ...]]:
        self.questions += 1
        if self.events is None:
            raise Unavailable("no answer")
        yield tuple(self.events)


async def test_who_can_not_be_reached_is_asked_once_and_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Recorder()
    across_sites(record)
    record("store-a", "DSN", related="n1", network_message_id="n2")
    controls = {
        name: FakeControl([event for event in record.events if event.server == name])
        for name in ("hub-a", "store-a", "store-b")
    } | {"hub-b": FakeControl(None), "access": FakeControl([])}
    servers = Servers(read_topology(CONFIG, {}))
    monkeypatch.setattr(servers, "_client", lambda server: FakeClient(controls[server.name]))
    events, gaps = await collect(servers, "m1@example.org")
    assert gaps == {"hub-b": "no answer"}
    assert {event.server for event in events} == {"store-a", "hub-a", "store-b"}
    assert controls["hub-b"].questions == 1 < controls["hub-a"].questions


class FakeClient:
    def __init__(self, control: FakeControl) -> None:
        self._control = control

    def interface(self, protocol: object) -> FakeControl:
        return self._control


async def test_a_message_is_found_by_the_id_in_the_reply_to_its_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, ...]] = []

    class Remembering(FakeControl):
        async def trace(
            self, message_id: str, network_message_ids: tuple[str, ...]
        ) -> AsyncIterator[tuple[TrackingEvent, ...]]:
            asked.append(network_message_ids)
            yield tuple(event for event in record.events if event.network_message_id in network_message_ids)

    record = Recorder()
    across_sites(record)
    servers = Servers(read_topology(CONFIG, {})).only("hub-a")
    monkeypatch.setattr(servers, "_client", lambda server: FakeClient(Remembering([])))
    events, _ = await collect(servers, "n1")
    assert len(events) == len(record.events)
    assert all("n1" in ids for ids in asked)
