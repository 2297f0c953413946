"""Checks of back pressure: nobody is refused for want of resources that were there, outsiders are refused
first, and every change of level is told, up to the return to normal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from foundation.interfaces.tracking import TrackingEvent
from waypost.simulator.ledger import Attempt, Ledger, Shortage

NOTICED_SECONDS = 60.0
"""A sample comes every two seconds, and waits for the commit that tells of the one before."""
_REFUSALS = ("short of resources", "Not enough space now")
_CHANGE = re.compile(r"^(?P<resource>.+): (?P<before>\w+) to (?P<after>\w+) at ")


def pressure_findings(ledger: Ledger, events: Sequence[TrackingEvent], stores: Sequence[str]) -> list[str]:
    found = []
    for attempt in ledger.attempts.values():
        if _refused_for_want(attempt) and not _excused(attempt, ledger.shortages, stores):
            found.append(f"{attempt.name} was refused for want of resources that were there: {attempt.reply}")
    return found + _gaps(ledger, events)


def _refused_for_want(attempt: Attempt) -> bool:
    replies = (attempt.reply, *attempt.refused.values())
    return any(text in reply for reply in replies for text in _REFUSALS)


def _excused(attempt: Attempt, shortages: Sequence[Shortage], stores: Sequence[str]) -> bool:
    """Somebody of the organisation is refused by the own store alone, and only when it is very short."""
    return any(
        each.since <= attempt.ended_at
        and attempt.begun_at <= each.until + NOTICED_SECONDS
        and (each.high or not attempt.inside)
        and (each.server in stores) == attempt.inside
        for each in shortages
    )


def _gaps(ledger: Ledger, events: Sequence[TrackingEvent]) -> list[str]:
    """Each change begins where the one before ended, and the last one ends at normal; a restart begins at
    normal without saying so."""
    levels: dict[tuple[str, str], str] = {}
    breaks: dict[str, int] = {}
    for event in events:
        change = _CHANGE.match(event.reason) if event.event == "THROTTLE" else None
        if change is None:
            continue
        place = event.server, change["resource"]
        if levels.get(place, "normal") != change["before"]:
            breaks[event.server] = breaks.get(event.server, 0) + 1
        levels[place] = change["after"]
    for (server, _), level in levels.items():
        if level != "normal":
            breaks[server] = breaks.get(server, 0) + 1
    return [
        f"{server}: {count} changes of its back pressure are untold"
        for server, count in breaks.items()
        if count > sum(name == server for _, name in ledger.upsets)
    ]
