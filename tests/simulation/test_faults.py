"""Faults one by one: each really happens in a run, and the promises hold all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from waypost.simulator.faults import Fault, Plan
from waypost.simulator.run import Verdict, simulate

STILL = Plan(
    seed=1,
    seconds=120.0,
    messages=24,
    crowd=0,
    faults=(),
    cut_share=0.0,
    stall_share=0.0,
    pieces_share=0.0,
    latency_seconds=0.002,
    client_nonsense_share=0.0,
)


def run(seed: int, *faults: Fault) -> Verdict:
    verdict = simulate(seed, plan=replace(STILL, seed=seed, faults=faults))
    assert not verdict.findings
    return verdict


def levels(verdict: Verdict, server: str) -> list[str]:
    """Changes of back pressure, as tracking tells them."""
    told = [event.reason for event in verdict.events if event.event == "THROTTLE" and event.server == server]
    return [reason.partition(" at ")[0] for reason in told]


def refused_for_want(verdict: Verdict) -> list[str]:
    """Who was, for each attempt."""
    attempts = [entry for entry in verdict.entries if entry.text.startswith("attempt ")]
    refusal = "452 4.3.1 The server is short of resources"
    return [entry.machine for entry in attempts if refusal in entry.text]


@pytest.mark.parametrize("server", ["hub-a", "hub-b", "store-a", "store-b"])
def test_power_fails_within_a_commit(server: str) -> None:
    faults = [Fault(5.0 + 20 * number, "power in a commit", server, 5.0) for number in range(5)]
    verdict = run(1, *faults)
    assert verdict.faults["power in a commit"] == 5
    assert verdict.faults["torn commit"] >= 2


def test_users_move_and_their_mail_follows() -> None:
    moves = [Fault(8.0 + 7 * number, "move", "directory", 0.0, str(number % 8)) for number in range(16)]
    away = Fault(10.0, "kill", "store-a", 60.0)
    verdict = run(2, away, *moves)
    assert verdict.faults["move"] == 16
    followed = [e for e in verdict.events if e.event == "RESUBMIT" and e.reply.startswith("451 4.1.6")]
    assert followed


def test_a_hub_with_little_disk_refuses_outsiders_alone() -> None:
    shortages = [Fault(1.0, "disk short", hub, 110.0, "97.0") for hub in ("hub-a", "hub-b", "hub-c")]
    verdict = run(3, *shortages)
    for hub in ("hub-a", "hub-b", "hub-c"):
        assert levels(verdict, hub) == ["disk: normal to medium", "disk: medium to normal"]
    refused = refused_for_want(verdict)
    assert set(refused) == {"stranger@outside.example"}
    assert verdict.attempts["accepted"] > len(refused)


def test_a_store_with_hardly_any_disk_refuses_all_and_recovers() -> None:
    verdict = run(4, *(Fault(1.0, "disk short", store, 100.0, "99.6") for store in ("store-a", "store-b")))
    for store in ("store-a", "store-b"):
        changes = levels(verdict, store)
        assert (changes[0], changes[-1][-6:]) == ("disk: normal to high", "normal")
    refused = refused_for_want(verdict)
    assert any(machine.startswith("user") for machine in refused)
    assert verdict.delivered


def test_memory_counts_when_it_is_short_for_a_minute() -> None:
    verdict = run(5, Fault(1.0, "memory short", "hub-a", 30.0, "80.0"))
    assert not levels(verdict, "hub-a")
    verdict = run(5, Fault(1.0, "memory short", "hub-a", 90.0, "80.0"))
    assert levels(verdict, "hub-a")[0] == "memory: normal to high"
