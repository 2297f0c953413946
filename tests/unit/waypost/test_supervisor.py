from __future__ import annotations

from waypost.supervisor import BackOff


def test_restarts_back_off_and_begin_anew_after_a_minute_up() -> None:
    back_off = BackOff()
    assert [back_off.delay_seconds(0.1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert back_off.delay_seconds(61) == 1
    assert back_off.delay_seconds(5) == 2
