"""The shortest story of a run that failed: what concerns the finding, and the faults that came in between."""

from __future__ import annotations

import re

from waypost.simulator.journal import Entry
from waypost.simulator.run import Verdict
from waypost.simulator.world import BEGIN_MS

LINES_MAX = 80
MARGIN_SECONDS = 2.0
_ATTEMPT = re.compile(r"\b[0-9a-f]{12}\.\d+\b")
_MESSAGE = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")


def story(verdict: Verdict, finding: str) -> list[str]:
    """What clients saw of the messages that a finding names, what tracking says of them, and every fault
    meanwhile, in order."""
    attempts = dict.fromkeys(_ATTEMPT.findall(finding))
    ids = dict.fromkeys(_MESSAGE.findall(finding))
    message_ids = {attempt.partition(".")[0] for attempt in attempts}
    entries: list[Entry] = []
    for event in verdict.events:
        if event.network_message_id in ids or event.message_id.partition("@")[0] in message_ids:
            at = (event.at_ms - BEGIN_MS) / 1000
            way = f" to {event.next_hop}" if event.next_hop else ""
            what = f"{event.event} {','.join(event.recipients[:4])}{way} {event.reply} {event.reason}".strip()
            entries.append(Entry(at, event.server, f"tracking: {what}"))
    for entry in verdict.entries:
        if not entry.text.startswith("FINDING") and any(name in entry.text for name in attempts):
            entries.append(entry)
    if not entries:
        return [str(entry) for entry in verdict.entries if entry.text.startswith("FAULT")][:LINES_MAX]
    first = min(entry.at for entry in entries) - MARGIN_SECONDS
    last = max(entry.at for entry in entries) + MARGIN_SECONDS
    entries += [each for each in verdict.entries if first <= each.at <= last and _is_turn(each)]
    entries.sort(key=lambda entry: entry.at)
    return [str(entry) for entry in entries[:LINES_MAX]]


def _is_turn(entry: Entry) -> bool:
    """Something went wrong here, or began anew."""
    return entry.text.startswith(("FAULT", "start ", "ready", "has failed", "can't start"))
