"""What a what-if found, as numbers for people and programs. Nothing here depends on how long it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waypost.simulator.whatif.outcomes import LATE_SECONDS, Slowest
from waypost.simulator.whatif.queues import Sample
from waypost.simulator.whatif.run import Asked, Happened

DRAINED = 0.05
"""A queue that is down to this share of its most counts as emptied."""


@dataclass(frozen=True)
class Peak:
    """The most that waited at a server."""

    server: str
    role: str
    site: str
    most: int
    at: float
    next_hop: str
    """Where most of it wanted to go."""
    at_the_end: int
    emptied_at: float | None
    """When it was down again; None: not within the run."""


@dataclass(frozen=True)
class Report:
    asked: Asked
    happened: Happened
    peaks: tuple[Peak, ...]

    @property
    def good(self) -> bool:
        """Nothing lost, nothing twice, nothing that nobody foresaw."""
        found = self.happened.outcomes
        return not (found.lost or found.doubled or self.happened.errors)


def report_of(asked: Asked, happened: Happened) -> Report:
    roles = [("hub", hub) for hub in asked.topology.hubs] + [
        ("store", each) for each in asked.topology.stores
    ]
    peaks = tuple(_peak(server.name, role, server.site, happened.samples) for role, server in roles)
    return Report(asked, happened, peaks)


def _peak(server: str, role: str, site: str, samples: Sequence[Sample]) -> Peak:
    highest = max(samples, key=lambda sample: sample.depths[server].total)
    depth = highest.depths[server]
    hop = max(depth.by_next_hop.items(), key=lambda item: item[1])[0] if depth.by_next_hop else ""
    after = [sample for sample in samples if sample.at >= highest.at]
    down = (sample.at for sample in after if sample.depths[server].total <= depth.total * DRAINED)
    emptied = next(down, None) if depth.total else None
    return Peak(server, role, site, depth.total, highest.at, hop, samples[-1].depths[server].total, emptied)


def share(waits: Sequence[float], part: float) -> float:
    """The wait that this part of all recipients did not exceed; `waits` in order."""
    return waits[min(int(len(waits) * part), len(waits) - 1)] if waits else 0.0


def document(report: Report) -> dict[str, Any]:
    """Everything, for `--json`."""
    asked, happened = report.asked, report.happened
    books, found = happened.books, happened.outcomes
    return {
        "good": report.good,
        "interrupted": happened.interrupted,
        "asked": {
            "seed": asked.seed,
            "load_per_second": round(asked.rate, 6),
            "until_seconds": round(asked.until_seconds, 3),
            "users": asked.users_made,
            "size_bytes": asked.size_bytes,
            "fail": [_failure(failure) for failure in asked.failures],
        },
        "simulated_seconds": round(happened.seconds, 3),
        "messages": {
            "written": books.written,
            "accepted": len(books.accepted),
            "held_by_clients": books.holding,
            "longest_held_seconds": round(books.longest_holding_seconds, 3),
            "sent_again_unanswered": len(books.unanswered),
        },
        "recipients": {
            "accepted": found.accepted,
            "delivered": found.delivered,
            "relayed": found.relayed,
            "bounced": found.bounced,
            "waiting": found.waiting,
            "lost": found.lost,
            "doubled": found.doubled,
            "delayed": found.late,
            "delayed_over_seconds": LATE_SECONDS,
            "arrived_unanswered": found.unanswered,
        },
        "wait": {
            "median_seconds": round(share(found.waits, 0.5), 3),
            "p95_seconds": round(share(found.waits, 0.95), 3),
            "p99_seconds": round(share(found.waits, 0.99), 3),
            "longest": _slowest(found.longest, happened.began_at),
            "longest_of_those_waiting": _slowest(found.waiting_longest, happened.began_at),
        },
        "refused": [{"reply": reply, "count": count} for reply, count in most_frequent(books.refused)],
        "put_off": [{"reply": reply, "count": count} for reply, count in most_frequent(books.put_off)],
        "bounced": [
            {"server": server, "next_hop": hop, "reason": reason, "count": count}
            for (server, hop, reason), count in most_frequent(found.bounces)
        ],
        "waiting": [
            {"server": server, "next_hop": hop, "last_reply": reply, "count": count}
            for (server, hop, reply), count in most_frequent(found.waiting_at)
        ],
        "queues": [_queue(peak) for peak in report.peaks],
        "samples": [_sample(sample) for sample in happened.samples],
        "wrong": list(found.wrong),
        "errors": list(happened.errors),
    }


def most_frequent(counted: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """In that order; what is equally frequent in its own."""
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def _failure(failure: Any) -> dict[str, Any]:
    endless = failure.end_seconds == float("inf")
    return {
        "fail": failure.text,
        "kind": failure.kind,
        "servers": list(failure.targets),
        "from_servers": list(failure.others),
        "begin_seconds": round(failure.begin_seconds, 3),
        "end_seconds": None if endless else round(failure.end_seconds, 3),
    }


def _slowest(slowest: Slowest | None, began_at: float) -> dict[str, Any] | None:
    if slowest is None:
        return None
    return {
        "wait_seconds": round(slowest.seconds, 3),
        "sent_at_seconds": round(slowest.sent_at - began_at, 3),
        "sender": slowest.sender,
        "recipient": slowest.recipient,
        "waits_at": slowest.next_hop,
        "last_reply": slowest.reply,
    }


def _queue(peak: Peak) -> dict[str, Any]:
    return {
        "server": peak.server,
        "role": peak.role,
        "site": peak.site,
        "most": peak.most,
        "most_at_seconds": round(peak.at, 3),
        "most_for": peak.next_hop,
        "at_the_end": peak.at_the_end,
        "emptied_at_seconds": None if peak.emptied_at is None else round(peak.emptied_at, 3),
    }


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "at_seconds": round(sample.at, 3),
        "waiting": {name: depth.total for name, depth in sample.depths.items()},
        "by_next_hop": {name: depth.by_next_hop for name, depth in sample.depths.items() if depth.total},
    }
