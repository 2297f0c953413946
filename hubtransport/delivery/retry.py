"""Delivery, when again: the next attempt of a next hop and of a message, the delay notice, the end.

Towards the Internet with Exchange's three steps: glitch, transient failure, then for ever. Towards Waypost's
own servers a failed next hop is probed soon, doubling up to a bound, and a message that was deferred alone
doubles up to the message interval. Jitter only ever shortens an interval, so a bound is a bound.
"""

from __future__ import annotations

from collections.abc import Callable

from config.model import Retry

JITTER = 0.1
"""The share of an interval that chance may take away."""

SWEEP_SECONDS_MIN = 0.5
SWEEP_SECONDS_MAX = 15.0

_DOUBLINGS_MAX = 32


class RetryPolicy:
    def __init__(self, settings: Retry, uniform: Callable[[float, float], float]) -> None:
        """`uniform(low, high)` draws the jitter."""
        self.settings = settings
        """May be replaced: the next intervals are of the new ones."""
        self._uniform = uniform

    def hop_seconds(self, failures: int, *, internal: bool) -> float:
        """Until a next hop that has now failed `failures` times in a row (1, 2, …) is tried again."""
        return self._with_jitter(self.hop_interval_seconds(failures, internal=internal))

    def message_seconds(self, attempts: int, *, internal: bool) -> float:
        """Until a message that its next hop has now deferred `attempts` times is offered again."""
        return self._with_jitter(self.message_interval_seconds(attempts, internal=internal))

    def hop_interval_seconds(self, failures: int, *, internal: bool) -> float:
        settings = self.settings
        if internal:
            return min(settings.probe_longest_seconds, _doubled(settings.probe_first_seconds, failures))
        if failures <= settings.glitch_count:
            return settings.glitch_interval_seconds
        if failures <= settings.glitch_count + settings.transient_count:
            return settings.transient_interval_seconds
        return settings.outbound_interval_seconds

    def message_interval_seconds(self, attempts: int, *, internal: bool) -> float:
        settings = self.settings
        if internal:
            return min(settings.message_interval_seconds, _doubled(settings.probe_first_seconds, attempts))
        return settings.message_interval_seconds

    @property
    def longest_seconds(self) -> float:
        """No stored next attempt can be further away than this, unless the clock was set back."""
        settings = self.settings
        return max(
            settings.glitch_interval_seconds,
            settings.transient_interval_seconds,
            settings.outbound_interval_seconds,
            settings.message_interval_seconds,
            settings.probe_longest_seconds,
        )

    @property
    def sweep_seconds(self) -> float:
        """How often to look for messages that are late or over: the shorter the time they have, the more."""
        shortest = min(self.settings.delay_notice_seconds, self.settings.expiry_seconds)
        return min(max(shortest / 10, SWEEP_SECONDS_MIN), SWEEP_SECONDS_MAX)

    def expires_at_ms(self, received_at_ms: int) -> int:
        return received_at_ms + round(self.settings.expiry_seconds * 1000)

    def delay_at_ms(self, received_at_ms: int) -> int:
        """When the sender is told that it takes longer."""
        return received_at_ms + round(self.settings.delay_notice_seconds * 1000)

    def _with_jitter(self, seconds: float) -> float:
        return seconds * (1 - self._uniform(0.0, JITTER))


def _doubled(first: float, times: int) -> float:
    return first * float(2 ** min(max(times - 1, 0), _DOUBLINGS_MAX))
