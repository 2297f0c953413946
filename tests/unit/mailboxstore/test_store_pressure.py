"""Back pressure on a store: nothing new is taken, what was taken is answered as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.mail.envelope import Sender, Transfer
from foundation.mail.errors import MailError
from foundation.pressure.levels import Level
from foundation.smtp.command import MailCommand
from tests.unit.mailboxstore.bench import Bench


@pytest.fixture
def level(bench: Bench) -> list[Level]:
    levels: list[Level] = ["normal"]
    bench.store._pressure = lambda: levels[-1]
    return levels


async def test_submissions_and_appends_are_refused_for_now(bench: Bench, level: list[Level]) -> None:
    await bench.submit(key="before")
    level.append("medium")
    await bench.submit(key="at medium")
    level.append("high")
    for new in (bench.submit(key="new"), bench.append()):
        with pytest.raises(MailError) as refused:
            await new
        assert (refused.value.code, refused.value.status) == (452, "4.3.1")
    await bench.submit(key="before")  # a repeat whose first answer was lost
    level.append("normal")
    await bench.submit(key="new")
    assert len(bench.turns.units) == 3


async def test_deliveries_are_refused_for_now(bench: Bench, tmp_path: Path) -> None:
    level: Level = "high"
    session = bench.delivery(pressure=lambda: level)
    command = MailCommand(
        sender=Sender(address="a@example.org"),
        transfer=Transfer(network_message_id="n-1", transfer_key="k-1"),
    )
    with pytest.raises(MailError) as refused:
        await session.mail(command)
    assert (refused.value.code, refused.value.status) == (452, "4.3.1")
    level = "medium"
    await session.mail(command)
