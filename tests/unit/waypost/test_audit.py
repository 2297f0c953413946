"""The account of a message from its events, queues and mailboxes: what adds up, and what is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from foundation.interfaces.control import QueueEntry
from foundation.interfaces.holdings import CopyState, FiledCopy, Miscount
from foundation.interfaces.tracking import REFUSED_AT_THE_END, TrackingEvent
from waypost.accounts import EVENT_RECIPIENTS_MAX
from waypost.audit import Audit, Audited, Observed, made_at

ROLES = {"hub-a": "hub", "hub-b": "hub", "store-a": "store", "store-b": "store", "access": "access"}
A, B, C, D = (f"{name}@example.test" for name in ("alice", "bob", "carol", "dave"))
OUT = "friend@elsewhere.example"


def event(name: str, server: str, *recipients: str, **fields: Any) -> TrackingEvent:
    given: dict[str, Any] = {
        "source": "SMTP",
        "at_ms": 1000,
        "network_message_id": "n-1",
        "message_id": "m@x",
        "sender": A,
        **fields,
    }
    return TrackingEvent(event=name, server=server, recipients=recipients, **given)  # type: ignore[arg-type]


def submitted(*recipients: str, hub: str = "hub-a") -> list[TrackingEvent]:
    """Through the Outbox of store-a to its hub."""
    return [
        event("RECEIVE", "store-a", *recipients, source="STOREDRIVER", transfer_key="s-1", next_hop="access"),
        event("SUBMIT", "store-a", *recipients, source="STOREDRIVER", transfer_key="k-1", next_hop=hub),
        event("RECEIVE", hub, *recipients, transfer_key="k-1", next_hop="store-a"),
    ]


def delivered(
    *recipients: str, key: str = "k-2", hub: str = "hub-a", store: str = "store-a"
) -> list[TrackingEvent]:
    return [
        event("TRANSFER", hub, *recipients, source="ROUTING", transfer_key=key, next_hop=store),
        event("SEND", hub, *recipients, source="LMTP", transfer_key=key, next_hop=store),
        *(
            event(
                "DELIVER",
                store,
                each,
                source="LMTP",
                transfer_key=key,
                next_hop=hub,
                mailbox_id=f"box-{each}",
                folder_id=f"inbox-{each}",
                uid=1,
            )
            for each in recipients
        ),
    ]


def copies(events: list[TrackingEvent], state: CopyState = "present") -> list[FiledCopy]:
    return [
        FiledCopy(
            network_message_id=each.network_message_id,
            mailbox_id=each.mailbox_id,
            folder_id=each.folder_id,
            uid=each.uid,
            state=state,
        )
        for each in events
        if each.folder_id
    ]


def audit(
    events: list[TrackingEvent],
    *,
    found: list[FiledCopy] | None = None,
    queued: list[tuple[str, QueueEntry]] | None = None,
    since_ms: int = 0,
    **more: Any,
) -> Audited:
    numbered = [msgspec.structs.replace(each, sequence=number) for number, each in enumerate(events, 1)]
    observed = Observed(
        events=numbered, queued=queued or [], copies=copies(events) if found is None else found, **more
    )
    account = Audit(ROLES, since_ms)
    account.take(observed)
    return account.result()


def counted(result: Audited) -> dict[str, int]:
    """What is not 0."""
    return {name: value for name, value in msgspec.to_builtins(result.counts).items() if value}


def named(result: Audited) -> list[tuple[str, str, str]]:
    return [(finding.kind, finding.server, finding.recipient) for finding in result.findings]


def entry(key: str, *recipients: str, queue: str = "delivery", **fields: Any) -> QueueEntry:
    given: dict[str, Any] = {"next_hop": "hub-b", "state": "retry", "received_at_ms": 1000, **fields}
    return QueueEntry(
        entry_id=key,
        queue=queue,  # type: ignore[arg-type]
        network_message_id="n-1",
        message_id="m@x",
        sender=A,
        recipients=recipients,
        size_bytes=1,
        **given,
    )


def test_a_delivered_message_adds_up() -> None:
    result = audit(submitted(A, C) + delivered(A, C))
    assert counted(result) == {"accepted": 2, "delivered": 2}
    assert result.findings == ()


def test_two_hubs_and_one_outside() -> None:
    events = submitted(B, OUT)
    events += [
        event("TRANSFER", "hub-a", B, OUT, source="ROUTING", transfer_key="k-2", next_hop="hub-b"),
        event("SEND", "hub-a", B, OUT, transfer_key="k-2", next_hop="hub-b"),
        event("RECEIVE", "hub-b", B, OUT, transfer_key="k-2", next_hop="hub-a"),
        event("TRANSFER", "hub-b", OUT, source="ROUTING", transfer_key="k-3", next_hop="elsewhere.example"),
        event("SEND", "hub-b", OUT, transfer_key="k-3", next_hop="mx.elsewhere.example"),
    ]
    events += delivered(B, key="k-4", hub="hub-b", store="store-b")
    assert counted(audit(events)) == {"accepted": 2, "delivered": 1, "relayed": 1}


def test_groups_that_hold_each_other_and_an_alias() -> None:
    """outer = inner, C; inner = B, D, outer; robert is B."""
    group, inner, alias = "outer@example.test", "inner@example.test", "robert@example.test"
    routing = {"source": "ROUTING"}
    events = submitted(group, alias)
    events += [
        event("EXPAND", "hub-a", inner, C, related=group, **routing),
        event("EXPAND", "hub-a", B, D, group, related=inner, **routing),
        event("EXPAND", "hub-a", related=group, reason="not expanded again", **routing),
        event("RESOLVE", "hub-a", B, related=alias, **routing),
        event("DUPLICATEDELIVER", "hub-a", B, related=inner, **routing),
    ]
    events += delivered(B, C, D)
    result = audit(events)
    assert result.findings == ()
    assert counted(result) == {"accepted": 2, "expanded": 2, "delivered": 3, "merged": 1}


def test_a_large_group_is_told_in_parts() -> None:
    members = [f"u{number}@example.test" for number in range(EVENT_RECIPIENTS_MAX + 5)]
    parts = (members[:EVENT_RECIPIENTS_MAX], members[EVENT_RECIPIENTS_MAX:])
    events = submitted("all@example.test")
    events += [
        event("EXPAND", "hub-a", *part, related="all@example.test", source="ROUTING", reason="all")
        for part in parts
    ]
    result = audit(events + delivered(*members))
    assert result.findings == ()
    assert counted(result) == {"accepted": 1, "expanded": len(members) - 1, "delivered": len(members)}


def test_a_failure_with_its_report() -> None:
    events = submitted(B)
    fields = {"source": "ROUTING", "reply": "550 5.1.1"}
    events += [
        event("FAIL", "hub-a", B, **fields),
        event("DSN", "hub-a", B, source="DSN", related="n-2", reason="failed: reported to alice"),
        event(
            "RECEIVE", "hub-a", A, source="DSN", network_message_id="n-2", message_id="r@x", next_hop="hub-a"
        ),
    ]
    report = [msgspec.structs.replace(each, network_message_id="n-2") for each in delivered(A, key="k-9")]
    assert counted(audit(events + report)) == {"accepted": 2, "delivered": 1, "bounced": 1}
    untold = [each for each in events if each.event not in ("DSN", "RECEIVE") or each.server == "store-a"]
    untold.insert(2, events[2])
    assert named(audit(untold)) == [("unexplained", "hub-a", B)]
    unwanted = [*untold, event("BADMAIL", "hub-a", B, source="DSN")]
    assert counted(audit(unwanted)) == {"accepted": 1, "discarded": 1}
    without = [each for each in events if each.network_message_id == "n-1"]
    assert "there is no message n-2" in audit(without).findings[0].what


def test_a_report_of_a_store_is_an_accepted_message_of_its_own() -> None:
    fields = {"source": "STOREDRIVER", "transfer_key": "k-1", "next_hop": "hub-a"}
    events = [
        event("RECEIVE", "store-a", B, source="STOREDRIVER", transfer_key="s-1", next_hop="access"),
        event("FAIL", "store-a", B, **fields),
        event(
            "DSN",
            "store-a",
            A,
            source="DSN",
            network_message_id="n-2",
            related="n-1",
            mailbox_id="box",
            folder_id="inbox",
            uid=3,
        ),
        event("FAIL", "hub-a", B, transfer_key="k-1", next_hop="store-a", reason=REFUSED_AT_THE_END),
    ]
    result = audit(events)
    assert result.findings == ()
    assert counted(result) == {"accepted": 2, "delivered": 1, "bounced": 1}


def test_what_was_refused_was_never_accepted() -> None:
    refused = event("FAIL", "hub-a", B, next_hop="192.0.2.1", reason=REFUSED_AT_THE_END)
    result = audit([refused])
    assert (counted(result), result.findings, result.messages) == ({}, (), 0)


def test_withdrawn_and_waiting() -> None:
    received = event("RECEIVE", "store-a", B, C, source="STOREDRIVER", transfer_key="s-1", next_hop="access")
    withdrawn = event("WITHDRAW", "store-a", B, C, source="STOREDRIVER", transfer_key="k-1")
    assert counted(audit([received, withdrawn])) == {"accepted": 2, "discarded": 2}
    waiting = [("store-a", entry("k-1", B, C, queue="outbox"))]
    assert counted(audit([received], queued=waiting)) == {"accepted": 2, "pending": 2}
    assert named(audit([received])) == [("unexplained", "store-a", B), ("unexplained", "store-a", C)]


def test_what_the_next_hop_has_does_not_wait_as_well() -> None:
    """Between a receiver's commit and its sender's reading of the answer both have it."""
    events = submitted(B)
    events += [
        event("TRANSFER", "hub-a", B, source="ROUTING", transfer_key="k-2", next_hop="hub-b"),
        event("RECEIVE", "hub-b", B, transfer_key="k-2", next_hop="hub-a"),
    ]
    queued = [("hub-a", entry("k-2", B)), ("hub-b", entry("e-1", B, queue="submission"))]
    result = audit(events, queued=queued)
    assert result.findings == ()
    assert counted(result) == {"accepted": 1, "pending": 1}


def test_a_repeated_transfer_is_not_a_double() -> None:
    events = submitted(B) + delivered(B)
    events += [
        event("DUPLICATEDELIVER", "hub-a", B, transfer_key="k-1", next_hop="store-a"),
        event("DUPLICATEDELIVER", "store-a", B, source="LMTP", transfer_key="k-2", next_hop="hub-a"),
    ]
    assert counted(audit(events)) == {"accepted": 1, "delivered": 1}


def test_what_an_operator_released_may_have_arrived_all_the_same() -> None:
    """hub-a had taken it and never said so; what was released went by hub-b, and the guard merged both."""
    release = "released by an operator: its disk was thought to be gone"
    events = [
        event("RECEIVE", "store-a", B, source="STOREDRIVER", transfer_key="s-1", next_hop="access"),
        event("RESUBMIT", "store-a", B, source="ADMIN", transfer_key="k-1", next_hop="hub-a", reason=release),
        event("SUBMIT", "store-a", B, source="STOREDRIVER", transfer_key="k-9", next_hop="hub-b"),
        event("RECEIVE", "hub-a", B, transfer_key="k-1", next_hop="store-a"),
        event("RECEIVE", "hub-b", B, transfer_key="k-9", next_hop="store-a"),
        *delivered(B, key="k-2", hub="hub-a"),
        event("TRANSFER", "hub-b", B, source="ROUTING", transfer_key="k-3", next_hop="store-a"),
        event("SEND", "hub-b", B, source="LMTP", transfer_key="k-3", next_hop="store-a"),
        event(
            *("DUPLICATEDELIVER", "store-a", B),
            source="LMTP",
            transfer_key="k-3",
            next_hop="hub-b",
            mailbox_id=f"box-{B}",
        ),
    ]
    assert counted(audit(events)) == {"accepted": 1, "delivered": 1, "merged": 1}


def test_what_its_guard_kept_from_a_second_delivery_is_merged() -> None:
    events = submitted(B, C) + delivered(B)
    events += [
        event("TRANSFER", "hub-a", C, source="ROUTING", transfer_key="k-3", next_hop="store-a"),
        event("SEND", "hub-a", C, source="LMTP", transfer_key="k-3", next_hop="store-a"),
        event(
            "DUPLICATEDELIVER",
            "store-a",
            C,
            source="LMTP",
            transfer_key="k-3",
            next_hop="hub-a",
            mailbox_id=f"box-{B}",
        ),
    ]
    assert counted(audit(events)) == {"accepted": 2, "delivered": 1, "merged": 1}


@pytest.mark.parametrize("number", range(6))
def test_each_missing_event_is_named_once(number: int) -> None:
    events = submitted(B) + delivered(B)
    del events[number]
    result = audit(events, found=copies(events))
    assert [kind for kind, _, _ in named(result)] == ["unexplained"]
    assert result.counts.unexplained == 1


@pytest.mark.parametrize("number", range(6))
def test_each_doubled_event_is_named_once(number: int) -> None:
    events = submitted(B) + delivered(B)
    events.append(msgspec.structs.replace(events[number], at_ms=2000))
    assert [kind for kind, _, _ in named(audit(events))] == ["doubled"]


@pytest.mark.parametrize(
    ("state", "fine"),
    [
        ("present", True),
        ("removed", True),
        ("folder-gone", True),
        ("mailbox-gone", True),
        ("missing", False),
        ("damaged", False),
    ],
)
def test_what_was_delivered_is_looked_for(state: CopyState, fine: bool) -> None:
    events = submitted(B) + delivered(B)
    result = audit(events, found=copies(events, state))
    assert (result.findings == ()) is fine
    assert result.counts.delivered == int(fine)
    assert result.counts.unexplained == int(not fine)


def test_delivered_twice_to_one_mailbox() -> None:
    events = submitted(B) + delivered(B)
    events.append(msgspec.structs.replace(events[-1], uid=2))
    assert named(audit(events)) == [("doubled", "store-a", B)]


def test_miscounts_are_named_where_nothing_else_is() -> None:
    events = submitted(B) + delivered(B)
    more = Miscount(
        email_id="e", message_id="m@x", network_message_id="n-1", mailbox_ids=(f"box-{B}",), filed=1, shown=2
    )
    result = audit(events, miscounts=[("store-a", more)])
    assert named(result) == [("doubled", "store-a", B)]
    fewer = msgspec.structs.replace(more, filed=1, shown=0)
    lost = audit(events, found=copies(events, "missing"), miscounts=[("store-a", fewer)])
    assert lost.counts.unexplained == 1


def test_a_server_that_was_not_asked_is_said_to_be_the_reason() -> None:
    events = [each for each in submitted(B) + delivered(B) if each.server != "store-a"]
    result = audit(events, found=[], away={"store-a": "no answer"})
    assert [finding.what for finding in result.findings] == ["hub-a handed it over; store-a can't be asked"]


def test_only_what_was_accepted_since_then_counts() -> None:
    events = submitted(B) + delivered(B)
    assert audit(events, since_ms=1001).messages == 0
    late = [each for each in events if each.event != "RECEIVE"]
    account = Audit(ROLES, 500)
    account.take(Observed(events=late, copies=copies(late)))
    assert account.unsettled() == ("n-1",)
    account.replace(("n-1",), Observed(events=events, copies=copies(events)))
    assert account.unsettled() == ()
    assert account.result().findings == ()


def test_what_stays_wrong_is_not_asked_for_without_end() -> None:
    events = submitted(B)
    account = Audit(ROLES, 0)
    account.take(Observed(events=events))
    for _ in range(2):
        assert account.unsettled() == ("n-1",)
        account.replace(("n-1",), Observed(events=list(events)))
    assert account.unsettled() == ()
    assert named(account.result()) == [("unexplained", "hub-a", B)]


def test_the_time_in_a_name() -> None:
    assert made_at("01a20f7e-9d93-7255-8d17-a50911f47ac9") == 0x01A20F7E9D93
    assert made_at("550e8400-e29b-41d4-a716-446655440000") is None
    assert made_at("n-1") is None
