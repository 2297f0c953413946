"""Audit: of everything accepted since a time, what became of it, from the tracking of all servers held
against what their queues and mailboxes contain.

Servers are asked one after the other while mail flows, so the first picture is blurred: what does not add up,
and what began before it was looked for, is asked again whole before anything is said of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from foundation.interfaces.control import QueueEntry
from foundation.interfaces.holdings import FiledCopy, Miscount
from foundation.interfaces.tracking import TrackingEvent
from waypost.accounts import account_of
from waypost.evidence import Account, Counts, Evidence, Finding

__all__ = ["Audit", "Audited", "Counts", "Finding", "Observed"]


@dataclass
class Observed:
    """What servers said, asked once."""

    events: list[TrackingEvent] = field(default_factory=list)
    """Each server's in its own order."""
    queued: list[tuple[str, QueueEntry]] = field(default_factory=list)
    copies: list[FiledCopy] = field(default_factory=list)
    miscounts: list[tuple[str, Miscount]] = field(default_factory=list)
    away: dict[str, str] = field(default_factory=dict)
    """Servers that could not be asked, and why."""


@dataclass(frozen=True)
class Audited:
    counts: Counts
    findings: tuple[Finding, ...]
    messages: int
    events: Mapping[str, tuple[TrackingEvent, ...]]
    """Of each message in a finding, by its network message id."""


class Audit:
    """Take in what was observed; ask for `unsettled` again and `replace`, until it stays or is nothing."""

    def __init__(self, roles: Mapping[str, str], since_ms: int) -> None:
        """`roles`: of the organisation's servers, by name."""
        self._roles = roles
        self._since_ms = since_ms
        self._evidence: dict[str, Evidence] = {}
        self._accounts: dict[str, Account] = {}
        self._asked_whole: set[str] = set()
        self._stays: set[str] = set()
        """Asked for whole twice, with the same answer: it is not under way."""
        self._away: dict[str, str] = {}
        self._miscounts: dict[tuple[str, str], Miscount] = {}

    def take(self, observed: Observed) -> None:
        self._away.update(observed.away)
        for server, miscount in observed.miscounts:
            self._miscounts[server, miscount.email_id] = miscount
        self._put(_sort(observed))
        self._judge(self._evidence)

    def unsettled(self) -> tuple[str, ...]:
        """Messages to ask every server for again, with everything that it knows of them."""
        return tuple(
            name
            for name, account in self._accounts.items()
            if account.findings or (account.accepted_at_ms is None and not account.refused)
            if name not in self._asked_whole or self._in_question(account)
            if name not in self._stays
        )

    def replace(self, asked: Sequence[str], observed: Observed) -> None:
        """What was asked for again, in the place of what was known of these messages."""
        self._away.update(observed.away)
        wanted = frozenset(asked)
        before = {name: self._evidence[name] for name in asked}
        for name in asked:
            self._evidence[name] = Evidence(name)
        fresh = _sort(observed)
        self._put({name: evidence for name, evidence in fresh.items() if name in wanted})
        self._stays.update(
            name for name in asked if name in self._asked_whole and self._evidence[name] == before[name]
        )
        self._asked_whole.update(wanted)
        self._judge(asked)

    def result(self) -> Audited:
        counts = Counts()
        findings: list[Finding] = []
        messages = 0
        for account in self._accounts.values():
            if account.refused or not self._in_question(account):
                continue
            messages += 1
            counts.add(account.counts)
            findings += account.findings
        named = {finding.network_message_id for finding in findings}
        for (server, _), miscount in self._miscounts.items():
            if not miscount.network_message_id or miscount.network_message_id not in named:
                finding = self._miscounted(server, miscount)
                findings.append(finding)
                difference = abs(miscount.shown - miscount.filed)
                if finding.kind == "doubled":
                    counts.doubled += difference
                else:
                    counts.unexplained += difference
        events = {
            finding.network_message_id: tuple(self._evidence[finding.network_message_id].events)
            for finding in findings
            if finding.network_message_id in self._evidence
        }
        return Audited(counts, tuple(findings), messages, events)

    # --- parts

    def _put(self, sorted_evidence: Mapping[str, Evidence]) -> None:
        for name, fresh in sorted_evidence.items():
            evidence = self._evidence.setdefault(name, Evidence(name))
            evidence.events += fresh.events
            evidence.queued += fresh.queued
            evidence.copies += fresh.copies
            known = set(evidence.reports)
            evidence.reports += [event for event in fresh.reports if event not in known]

    def _judge(self, names: Iterable[str]) -> None:
        away, known = frozenset(self._away), frozenset(self._evidence)
        for name in list(names):
            self._accounts[name] = account_of(self._evidence[name], self._roles, away, known)

    def _in_question(self, account: Account) -> bool:
        """Accepted in the time that is looked at; if nothing says when, its name or its age in the queue
        does."""
        evidence = account.evidence
        if account.accepted_at_ms is not None:
            return account.accepted_at_ms >= self._since_ms
        if not evidence.events and not evidence.queued:
            return False
        made_at_ms = made_at(evidence.network_message_id)
        if made_at_ms is None:
            times = [event.at_ms for event in evidence.events]
            times += [entry.received_at_ms for _, entry in evidence.queued]
            made_at_ms = min(times)
        return made_at_ms >= self._since_ms

    def _miscounted(self, server: str, miscount: Miscount) -> Finding:
        more = miscount.shown > miscount.filed
        shown = f"{miscount.shown} messages show it, {miscount.filed} were filed or copied"
        return Finding(
            "doubled" if more else "unexplained",
            miscount.network_message_id,
            miscount.message_id,
            server,
            ", ".join(self._whose(mailbox) for mailbox in miscount.mailbox_ids),
            shown,
        )

    def _whose(self, mailbox_id: str) -> str:
        """An address that got mail in this mailbox, where there is one."""
        for evidence in self._evidence.values():
            for event in evidence.events:
                if event.event == "DELIVER" and event.mailbox_id == mailbox_id and event.recipients:
                    return event.recipients[0]
        return mailbox_id


def made_at(network_message_id: str) -> int | None:
    """When a UUIDv7 was made, in milliseconds (RFC 9562 5.7); None for another kind of id."""
    try:
        identifier = uuid.UUID(network_message_id)
    except ValueError:
        return None
    return identifier.int >> 80 if identifier.version == 7 else None


def _sort(observed: Observed) -> dict[str, Evidence]:
    found: dict[str, Evidence] = {}

    def of(network_message_id: str) -> Evidence:
        if network_message_id not in found:
            found[network_message_id] = Evidence(network_message_id)
        return found[network_message_id]

    for event in observed.events:
        if not event.network_message_id:
            continue
        of(event.network_message_id).events.append(event)
        if event.event == "DSN" and event.folder_id and event.related:
            of(event.related).reports.append(event)
    for server, entry in observed.queued:
        of(entry.network_message_id).queued.append((server, entry))
    for copy in observed.copies:
        of(copy.network_message_id).copies.append(copy)
    return found
