"""What `waypost queue release` takes for held, and when it asks."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import typer

from foundation.interfaces.control import QueueEntry
from waypost.cli import queue
from waypost.cli.output import NOT_FOUND, NOT_SO, PARTIAL, USAGE, CommandFailed


def entry(entry_id: str, next_hop: str = "hub-b", **fields: Any) -> QueueEntry:
    return QueueEntry(
        entry_id=entry_id,
        queue="delivery",
        next_hop=next_hop,
        state="retry",
        network_message_id=f"n-{entry_id}",
        message_id=f"{entry_id}@example.test",
        sender="alice@example.test",
        recipients=("bob@example.test",),
        size_bytes=1,
        received_at_ms=1,
        **fields,
    )


PLACES = [
    ("hub-a", entry("held-at-hub-b", outcome_unknown=True)),
    ("hub-a", entry("known-at-hub-b")),
    ("store-a", entry("held-at-hub-a", "hub-a", outcome_unknown=True)),
    ("hub-a", entry("known-at-store-a", "store-a")),
]


def held(*names: str, next_hop: str = "", partial: int = 0) -> list[str]:
    return [each.entry_id for _, each in queue._held(PLACES, names, next_hop, partial)]


def test_only_what_is_held_is_released() -> None:
    assert held(next_hop="hub-b") == ["held-at-hub-b"]
    assert held("held-at-hub-a", "held-at-hub-b", "known-at-hub-b") == ["held-at-hub-a", "held-at-hub-b"]
    assert held("held-at-hub-a@example.test", "held-at-hub-a") == ["held-at-hub-a"]
    assert held("held-at-hub-a", "held-at-hub-b", next_hop="hub-a") == ["held-at-hub-a"]


@pytest.mark.parametrize(
    ("names", "next_hop", "partial", "exit_code", "message"),
    [
        (("nothing",), "", 0, NOT_FOUND, "nothing that waits is called nothing"),
        (("nothing",), "", PARTIAL, PARTIAL, "nothing that waits is called nothing"),
        ((), "hub-z", 0, NOT_FOUND, "nothing waits for hub-z"),
        (("held-at-hub-a",), "hub-b", 0, NOT_FOUND, "nothing that waits is called held-at-hub-a"),
        (("known-at-hub-b",), "", 0, NOT_SO, "the outcome of what is called known-at-hub-b is known"),
        ((), "store-a", 0, NOT_SO, "the outcome of all that waits for store-a is known"),
    ],
)
def test_why_nothing_is_released(
    names: tuple[str, ...], next_hop: str, partial: int, exit_code: int, message: str
) -> None:
    with pytest.raises(CommandFailed) as failed:
        held(*names, next_hop=next_hop, partial=partial)
    assert (failed.value.exit_code, failed.value.message) == (exit_code, message)


@pytest.mark.parametrize("answer", [True, False])
def test_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    asked: list[str] = []

    def confirm(question: str, *, err: bool) -> bool:
        asked.append(question)
        return answer and err

    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", confirm)
    if answer:
        queue._confirm(2)
    else:
        with pytest.raises(CommandFailed, match="nothing was released") as failed:
            queue._confirm(2)
        assert failed.value.exit_code == NOT_SO
    assert asked == ["The next hop may have these 2 entries: a double is possible. Release?"]


def test_a_pipe_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typer, "confirm", None)
    with pytest.raises(CommandFailed, match="may be delivered twice") as failed:
        queue._confirm(1)
    assert (failed.value.exit_code, "--yes" in failed.value.mend) == (USAGE, True)


def test_the_state_tells_of_it() -> None:
    assert queue._state(PLACES[0][1]) == "retry, outcome unknown"
    assert queue._state(PLACES[1][1]) == "retry"
