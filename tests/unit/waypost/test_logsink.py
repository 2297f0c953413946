"""Log lines are written in order; a reader that does not read costs lines, never a server."""

from __future__ import annotations

import io
import json
import threading

import pytest

from waypost import logsink
from waypost.logsink import LogSink


class Stuck(io.StringIO):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.waits.set()
        self.go.wait(10)
        return super().write(text)


def test_lines_come_in_order_as_json() -> None:
    stream = io.StringIO()
    sink = LogSink(stream)
    for number in range(3):
        sink.write({"message": str(number)})
    sink.close()
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["0", "1", "2"]


def test_a_reader_that_is_stuck_costs_lines_which_are_counted() -> None:
    stream = Stuck()
    sink = LogSink(stream, queued_lines=2)
    sink.write({"message": "first"})
    assert stream.waits.wait(10)
    for number in range(5):
        sink.write({"message": str(number)})
    assert sink.dropped == 3
    stream.go.set()
    while sink.dropped:
        sink.write({"message": "after"})
    sink.close()
    said = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert said[:3] == ["first", "0", "1"]
    assert any("log lines were dropped" in line for line in said[3:])


def test_lines_that_wait_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logsink, "LINES_AT_ONCE", 3)
    stream = Stuck()
    written: list[int] = []
    monkeypatch.setattr(stream, "flush", lambda: written.append(len(stream.getvalue().splitlines())))
    sink = LogSink(stream)
    sink.write({"message": "first"})
    assert stream.waits.wait(10)
    for number in range(5):
        sink.write({"message": str(number)})
    stream.go.set()
    sink.close()
    assert written == [1, 4, 6]


def test_it_ends_though_its_queue_is_full_again_by_then() -> None:
    stream = Stuck()
    sink = LogSink(stream, queued_lines=2)
    sink.write({"message": "first"})
    assert stream.waits.wait(10)
    sink._lines.put(None)
    sink.write({"message": "last"})
    stream.go.set()
    sink._thread.join(10)
    assert not sink._thread.is_alive()
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["first", "last"]
