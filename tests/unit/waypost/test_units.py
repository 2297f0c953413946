"""Sizes and durations as they are written and shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from waypost.cli.output import duration
from waypost.cli.units import parse_ago, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("4096", 4096), ("10KiB", 10240), ("10mib", 10 * 1024**2), ("2 GiB", 2 * 1024**3), ("7B", 7)],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("24h", 86400), ("7d", 604800), ("250ms", 0.25), ("1.5s", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


def test_a_time_or_a_duration_ago() -> None:
    assert parse_ago("15m") == 900
    then = datetime.now(UTC) - timedelta(hours=2)
    for text in (then.isoformat(), then.strftime("%Y-%m-%dT%H:%M:%SZ"), then.isoformat().lower()):
        assert parse_ago(text) == pytest.approx(7200, abs=60)
    for wrong in ("yesterday", "2026-11-24T", "2026-11-24T22:00:00", "2026-13-24T22:00:00Z"):
        with pytest.raises(typer.BadParameter, match="is no"):
            parse_ago(wrong)


def test_a_time_to_come_is_refused() -> None:
    """Nothing happened since: an account of that would always be in order."""
    with pytest.raises(typer.BadParameter, match="is still to come"):
        parse_ago((datetime.now(UTC) + timedelta(hours=1)).isoformat())


@pytest.mark.parametrize("text", ["", "-1", "10MB", "ten", "1e3", "10MiB!"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="no size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "5", "-5s", "soon", "5 s", "1w"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (12, "12 ms"),
        (3400, "3.4 s"),
        (320_000, "5 min 20 s"),
        (11_100_000, "3 h 5 min"),
        (187_200_000, "2 d 4 h"),
    ],
)
def test_durations_as_shown(milliseconds: int, shown: str) -> None:
    assert duration(milliseconds) == shown
