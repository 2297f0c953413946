"""The checker can fail: each deliberate mistake in the running code is found within a bounded number of
seeds."""

from __future__ import annotations

import pytest

from tests.simulation.sabotages import SABOTAGES, Sabotage
from waypost.simulator.run import simulate

SEEDS_MAX = 40


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.name)
def test_a_mistake_is_found(sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed that is known to find it comes first; as the code changes it may be another one."""
    sabotage.apply(monkeypatch)
    others = (seed for seed in range(1, SEEDS_MAX + 1) if seed != sabotage.seed)
    for seed in (sabotage.seed, *others):
        findings = simulate(seed).findings
        # A patch that no longer fits the code would be found as well, and show nothing.
        assert not [finding for finding in findings if "<locals>" in finding]
        if findings:
            return
    pytest.fail(f"not found by seeds up to {SEEDS_MAX}")
