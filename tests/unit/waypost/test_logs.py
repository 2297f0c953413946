from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from waypost.logs import JsonFormatter, line_of, parse_line, readable


def test_a_record_is_one_line_of_json_with_its_fields() -> None:
    try:
        raise ValueError("broken\nhere")
    except ValueError:
        error = sys.exc_info()
    record = logging.getLogger("waypost.hub").makeRecord(
        "waypost.hub",
        logging.ERROR,
        "f",
        1,
        "relay of %s failed",
        ("m1",),
        error,
        extra={"next_hop": "hub-b"},
    )
    line = JsonFormatter("hub-a").format(record)
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["server"] == "hub-a"
    assert entry["level"] == "error"
    assert entry["message"] == "relay of m1 failed"
    assert entry["next_hop"] == "hub-b"
    assert "ValueError: broken" in entry["exception"]


def test_half_a_character_and_what_json_has_no_word_for_are_written_all_the_same() -> None:
    line = line_of({"message": "half \ud800", "path": Path("/x")}).encode()
    assert parse_line("hub-a", line) == {"message": "half ?", "path": "/x", "server": "hub-a"}
    assert line_of({"message": "ganz ä", "path": Path("/x")}) == '{"message":"ganz ä","path":"/x"}'


def test_people_read_one_line_and_then_the_exception() -> None:
    entry = {
        "time": "2026-11-24T20:00:00.123Z",
        "level": "warning",
        "server": "hub-a",
        "message": "slow",
        "next_hop": "hub-b",
        "exception": "Traceback",
    }
    assert readable(entry, colours=False) == "20:00:00.123 hub-a     WARNING: slow next_hop=hub-b\nTraceback"
    assert "\x1b[" in readable(entry, colours=True)


def test_a_line_that_is_no_json_is_kept_as_what_it_says() -> None:
    entry = parse_line("store-b", b"Fatal Python error: \xff\n")
    assert entry["server"] == "store-b"
    assert entry["message"] == "Fatal Python error: \\xff"
    assert parse_line("store-b", b"[1]\n")["message"] == "[1]"
