"""Runs of the simulator: the promises hold, and a seed tells the same story wherever it is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from waypost.simulator.run import simulate


@pytest.mark.parametrize("seed", (2, 3, 7, 8, 33))
def test_the_promises_hold(seed: int) -> None:
    verdict = simulate(seed)
    assert not verdict.findings
    assert verdict.attempts["accepted"]


def test_one_seed_is_one_story_in_every_process() -> None:
    digests = []
    for hash_seed in ("1", "20"):
        printed = subprocess.run(
            [sys.executable, "-m", "waypost", "simulate", "--seed", "3", "--json"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        )
        digests.append(json.loads(printed.stdout)["items"][0]["digest"])
    assert digests[0] == digests[1] == simulate(3).digest
