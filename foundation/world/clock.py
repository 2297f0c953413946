"""The machine's clock. The only place that asks the operating system for the time."""

from __future__ import annotations

import time


class SystemClock:
    def now_ms(self) -> int:
        """Wall clock: UTC milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never go back; for intervals within one process."""
        return time.monotonic()
