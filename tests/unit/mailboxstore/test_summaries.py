"""Summaries that are computed once, and kept within a bound."""

from __future__ import annotations

import pytest

from foundation.database.spool import Spool
from foundation.mail.rendering import Summary
from mailboxstore.database import summaries as module
from mailboxstore.database.summaries import KEPT_BYTES_MAX, KEPT_MAX, Summaries
from tests.unit.mailboxstore.bench import message


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the messages that were looked through."""
    found: list[int] = []
    original = module._summary

    def summary(content: Spool) -> Summary:
        found.append(content.size_bytes)
        return original(content)

    monkeypatch.setattr(module, "_summary", summary)
    return found


def test_the_last_ones_are_kept(computed: list[int]) -> None:
    summaries = Summaries()
    for number in (0, 0, *range(KEPT_MAX + 1), KEPT_MAX, 0):
        summaries.of(Spool.of(message(f"{number}")))
    assert len(computed) == KEPT_MAX + 2, "the first one had to go"


@pytest.mark.parametrize(
    "large",
    [
        "To: " + ",\r\n ".join(f"user-{number}@example.org" for number in range(2000)),
        "References: " + "\r\n ".join(f"<{number}@a-host.with-a-long-name.example>" for number in range(999)),
        'Content-Type: text/plain; name="' + "x" * KEPT_BYTES_MAX + '"',
    ],
    ids=["envelope", "references", "structure"],
)
def test_large_ones_are_not_kept(computed: list[int], large: str) -> None:
    summaries, content = Summaries(), Spool.of(message(more=large + "\r\n"))
    assert summaries.of(content) == summaries.of(content)
    assert len(computed) == 2
