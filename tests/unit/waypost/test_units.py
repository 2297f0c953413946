"""Sizes and durations as they are written and shown."""

from __future__ import annotations

import pytest
import typer

from waypost.cli.output import duration
from waypost.cli.units import parse_duration, parse_size


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
