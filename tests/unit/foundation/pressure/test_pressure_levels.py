"""Levels with hysteresis, and the watch over them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from foundation.mail.errors import MailError
from foundation.pressure.gauges import bounds, events_of
from foundation.pressure.levels import Change, Gauge, refuse_all, refuse_outsiders
from foundation.pressure.watch import PressureWatch, disk_percent

QUEUE = (9_999, 15_000, 10_000, 2_000)


def levels(gauge: Gauge, *values: float) -> list[str]:
    found = []
    for value in values:
        gauge.sample(value)
        found.append(gauge.level)
    return found


def test_a_level_is_left_below_where_it_was_entered() -> None:
    gauge = Gauge("submission queue", "", bounds(QUEUE))
    assert levels(gauge, 9_999, 10_000, 15_000, 15_001) == ["normal", "medium", "medium", "high"]
    assert levels(gauge, 10_001, 10_000, 2_001, 2_000) == ["high", "medium", "medium", "normal"]
    assert levels(gauge, 20_000, 0) == ["high", "normal"]


def test_a_level_rises_only_after_so_many_samples_in_a_row() -> None:
    gauge = Gauge("memory", " %", bounds((72, 75, 73, 71), samples=3))
    assert levels(gauge, 80, 80, 70, 80, 80) == ["normal"] * 5
    assert levels(gauge, 80, 70) == ["high", "normal"]


def test_changes_say_what_changed() -> None:
    gauge = Gauge("disk", " %", bounds((96, 99, 97, 94)))
    assert gauge.sample(50) is None
    change = gauge.sample(99.5)
    assert change == Change(resource="disk", before="normal", after="high", value=99.5, unit=" %")
    (event,) = events_of([change], "hub-a", 1)
    assert (event.event, event.reason) == ("THROTTLE", "disk: normal to high at 99.5 %")


@pytest.mark.parametrize(
    ("level", "outsiders", "insiders"), [("normal", 1, 1), ("medium", 0, 1), ("high", 0, 0)]
)
def test_outsiders_are_refused_first(level: str, outsiders: bool, insiders: bool) -> None:
    for refuse, admitted in ((refuse_outsiders, outsiders), (refuse_all, insiders)):
        if admitted:
            refuse(level)  # type: ignore[arg-type]
            continue
        with pytest.raises(MailError) as refused:
            refuse(level)  # type: ignore[arg-type]
        assert (refused.value.code, refused.value.status) == (452, "4.3.1")


async def test_a_change_that_can_not_be_recorded_is_told_again() -> None:
    values, told = [50.0, 99.9, 99.9, 50.0], []
    failing = True

    async def read() -> float:
        return values.pop(0)

    async def record(changes: Sequence[Change]) -> None:
        if failing:
            raise MailError(452, "4.3.1", "full")
        told.extend((change.before, change.after) for change in changes)

    watch = PressureWatch([(Gauge("disk", " %", bounds((96, 99, 97, 94))), read)], record)
    await watch.sample()
    assert (watch.level, watch.reasons) == ("normal", ())
    await watch.sample()
    assert (watch.level, watch.reasons) == ("high", ("disk high: 99.9 %",))
    failing = False
    await watch.sample()
    await watch.sample()
    assert told == [("normal", "high"), ("high", "normal")]


async def test_what_can_not_be_sampled_keeps_its_level() -> None:
    answers: list[float | Exception | None] = [99.9, OSError("gone"), None]

    async def read() -> float | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def record(changes: Sequence[Change]) -> None:
        return None

    watch = PressureWatch([(Gauge("disk", " %", bounds((96, 99, 97, 94))), read)], record)
    for _ in range(3):
        await watch.sample()
        assert watch.level == "high"


@pytest.mark.parametrize(
    ("free", "reusable", "percent"),
    [(10, 0, 90.0), (10, 5, 85.0), (30, 0, 0.0), (10, 20, 0.0), (0, 0, 100.0)],
)
async def test_disk_counts_what_the_database_can_use_again(free: int, reusable: int, percent: float) -> None:
    class Resources:
        def disk(self, folder: object) -> tuple[int, int]:
            return 100, free

    class World:
        resources = Resources()

    async def inside() -> int:
        return reusable

    read = disk_percent(World(), None, 30, inside)  # type: ignore[arg-type]
    assert await read() == percent
