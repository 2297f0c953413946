"""Tracking events as JSON lines, for whoever reads them outside: one object a line, empty fields left out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec

from foundation.interfaces.tracking import TrackingEvent

_encode = msgspec.json.Encoder().encode


def document(event: TrackingEvent) -> dict[str, Any]:
    """For JSON: the time as RFC 3339 in UTC under `at`."""
    fields = msgspec.structs.asdict(event)
    at = datetime.fromtimestamp(fields.pop("at_ms") / 1000, UTC).isoformat(timespec="milliseconds")
    shown: dict[str, Any] = {"at": at.replace("+00:00", "Z")}
    shown.update((name, value) for name, value in fields.items() if value not in ("", (), 0, False))
    return shown


def write_lines(output: BinaryIO, events: Iterable[TrackingEvent]) -> int:
    """Returns how many were written."""
    count = 0
    for event in events:
        output.write(_encode(document(event)) + b"\n")
        count += 1
    return count
