"""When the Outbox tries again: towards the organisation's own hubs, so in seconds, doubling, with jitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

DOUBLINGS_MAX = 30


@dataclass(frozen=True)
class Backoff:
    """`jitter(low, high)` is a random number: retries of many servers must not meet."""

    first_seconds: float
    longest_seconds: float
    jitter: Callable[[float, float], float]

    def seconds(self, failures: int) -> float:
        """After so many failures in a row (1 or more)."""
        doubled = self.first_seconds * float(2 ** min(max(failures - 1, 0), DOUBLINGS_MAX))
        return min(doubled, self.longest_seconds) * self.jitter(0.8, 1.0)

    def next_ms(self, now_ms: int, failures: int) -> int:
        return now_ms + int(self.seconds(failures) * 1000)
