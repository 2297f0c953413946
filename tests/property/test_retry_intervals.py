"""Intervals never shrink while failures go on, stay within their bounds, and jitter stays within its
share."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from config.model import Retry
from hubtransport.delivery.retry import JITTER, RetryPolicy

RETRY = st.builds(
    Retry,
    glitch_count=st.integers(0, 15),
    transient_count=st.integers(0, 15),
    glitch_interval_seconds=st.floats(1, 100),
    transient_interval_seconds=st.floats(100, 1000),
    outbound_interval_seconds=st.floats(1000, 4000),
    message_interval_seconds=st.floats(60, 2000),
    probe_first_seconds=st.floats(0.01, 5),
    probe_longest_seconds=st.floats(5, 60),
)


@settings(max_examples=60, deadline=None)
@given(RETRY, st.booleans(), st.floats(0, 1, exclude_max=True))
def test_intervals(retry: Retry, internal: bool, chance: float) -> None:
    policy = RetryPolicy(retry, lambda low, high: low + (high - low) * chance)
    hops = [policy.hop_interval_seconds(n, internal=internal) for n in range(1, 60)]
    messages = [policy.message_interval_seconds(n, internal=internal) for n in range(1, 60)]
    for intervals in (hops, messages):
        assert intervals == sorted(intervals)
        assert intervals[0] > 0 and intervals[-1] <= policy.longest_seconds
    for n in (1, 5, 50):
        drawn = policy.hop_seconds(n, internal=internal)
        assert hops[n - 1] * (1 - JITTER) <= drawn <= hops[n - 1]
        drawn = policy.message_seconds(n, internal=internal)
        assert messages[n - 1] * (1 - JITTER) <= drawn <= messages[n - 1]
    if internal:
        assert hops[0] == retry.probe_first_seconds
        assert hops[-1] == retry.probe_longest_seconds
    else:
        assert hops.count(retry.glitch_interval_seconds) >= retry.glitch_count
        assert hops[retry.glitch_count + retry.transient_count] == retry.outbound_interval_seconds


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_lateness_is_seen_well_within_the_time_that_a_message_has(notice: float, expiry: float) -> None:
    policy = RetryPolicy(Retry(delay_notice_seconds=notice, expiry_seconds=expiry), lambda low, _: low)
    assert 0 < policy.sweep_seconds <= min(15.0, max(notice / 2, 0.5), max(expiry / 2, 0.5))
