"""Sizes and durations as people write them: 10MiB, 90s, 15m, 24h, 7d."""

from __future__ import annotations

import re
import time
from datetime import datetime

import typer

_SIZE = re.compile(r"([0-9]{1,15})(?:(?:\s*)(B|KiB|MiB|GiB))?", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_BYTES = {"b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """Bytes. Raises typer.BadParameter."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no size; write it like 4096, 10KiB or 10MiB")
    return int(found[1]) * _BYTES[(found[2] or "B").lower()]


def parse_duration(text: str) -> float:
    """Seconds. Raises typer.BadParameter."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration; write it like 90s, 15m, 24h or 7d")
    return float(found[1]) * _SECONDS[found[2]]


def parse_ago(text: str) -> float:
    """Seconds from a time until now: an RFC 3339 time, or a duration ago. Raises typer.BadParameter."""
    if "T" not in text.upper():
        return parse_duration(text)
    try:
        then = datetime.fromisoformat(text.strip())
    except ValueError:
        then = None
    if then is None or then.tzinfo is None:
        raise typer.BadParameter(f"{text!r} is no time; write it like 2026-11-24T22:00:00Z")
    seconds = time.time() - then.timestamp()
    if seconds < 0:
        raise typer.BadParameter(f"{text!r} is still to come")
    return seconds
