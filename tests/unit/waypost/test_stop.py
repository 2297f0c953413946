"""A stop ends, whatever hangs."""

from __future__ import annotations

import threading

import pytest

from waypost import service


def test_a_stop_that_hangs_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(service.os, "_exit", end)
    service._end_within(0.01)
    assert ended.wait(10)
    assert codes == [1]
