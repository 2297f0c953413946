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
    assert any(simulate(seed).findings for seed in (sabotage.seed, *others))
