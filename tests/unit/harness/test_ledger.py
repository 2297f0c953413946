"""The soak's ledger can fail: what is lost, doubled or damaged is counted and named."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.soak.ledger import Answer, Entry, Found, Ledger, balance

A, B = "alice@example.test", "bob@example.test"


def books(
    entry: Entry,
    *,
    inbox: int = 1,
    sent: int = 1,
    reports: int = 0,
    outside: int = 0,
    damaged: frozenset[str] = frozenset(),
) -> Ledger:
    found = Found(
        inboxes={A: Counter(), B: Counter({"m": inbox})},
        sent={A: Counter({"m": sent})},
        reports={A: Counter({"m": reports})},
        outside=Counter({"m": outside}),
        damaged=damaged,
    )
    return balance([entry], found)


def entry(answer: Answer = "accepted", **fields: object) -> Entry:
    return Entry("m", A, (B,), answer=answer, **fields)  # type: ignore[arg-type]


def test_what_arrived_once_is_fine() -> None:
    ledger = books(entry(outside=("x",), bounced=("y",)), reports=1, outside=1)
    assert ledger.clean
    assert (ledger.accepted, ledger.delivered, ledger.relayed, ledger.bounced) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("counts", "lost", "doubled"),
    [
        ({"inbox": 0}, 1, 0),
        ({"sent": 0}, 1, 0),
        ({"inbox": 0, "sent": 0}, 2, 0),
        ({"inbox": 3}, 0, 2),
        ({"sent": 2}, 0, 1),
    ],
)
def test_lost_and_doubled(counts: dict[str, int], lost: int, doubled: int) -> None:
    ledger = books(entry(), **counts)
    assert (ledger.lost, ledger.doubled, ledger.clean) == (lost, doubled, False)
    assert len(ledger.problems) == len(counts)


def test_a_missing_or_second_report_and_a_missing_relay() -> None:
    assert books(entry(bounced=("y",))).lost == 1
    assert books(entry(bounced=("y",)), reports=2).doubled == 1
    assert books(entry(outside=("x",))).lost == 1
    outside = books(entry(outside=("x",)), outside=2)
    assert (outside.clean, outside.doubled_outside) == (True, 1)


def test_without_an_answer_it_may_have_arrived_once_or_not() -> None:
    assert books(entry("unknown"), inbox=0, sent=0).clean
    assert books(entry("unknown")).clean
    assert books(entry("unknown"), inbox=2).doubled == 1


def test_damaged_content() -> None:
    ledger = books(entry(), damaged=frozenset({"m"}))
    assert (ledger.damaged, ledger.clean) == (1, False)
