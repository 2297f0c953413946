"""The soak in short: every kind of fault once or twice on real processes under load, and the ledger balances.

`make soak MINUTES=10` is the same for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.__main__ import report
from tests.soak.soak import soak

pytestmark = pytest.mark.slow


async def test_nothing_is_lost_or_doubled_whatever_breaks(tmp_path: Path) -> None:
    outcome = await soak(tmp_path, 16, seed=20, clients=3, pause_seconds=0.1, short=True)
    assert outcome.ledger.accepted > 20
    assert outcome.ledger.clean, report(outcome)
    assert outcome.audited.findings == (), report(outcome)
    assert outcome.waiting == [], report(outcome)
