"""The ledger: what clients were answered, against what is in all mailboxes at the end."""

from __future__ import annotations

import email
import email.policy
import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from email.message import Message
from typing import Literal

Answer = Literal["accepted", "refused", "unknown"]
"""unknown: the connection broke, or a temporary refusal came after the content: it may have been taken."""

DIGEST = "X-Soak-Digest"


@dataclass(frozen=True)
class Entry:
    """One submission, as its client saw it."""

    message_id: str
    sender: str
    copies: tuple[str, ...]
    """Mailboxes that get one copy each."""
    outside: tuple[str, ...] = ()
    """Recipients outside that take it."""
    bounced: tuple[str, ...] = ()
    """Recipients outside that refuse it: the sender gets one report."""
    answer: Answer = "accepted"
    local: bool = True
    """From a user, who has a copy in Sent."""


@dataclass
class Ledger:
    sent: int = 0
    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    delivered: int = 0
    relayed: int = 0
    bounced: int = 0
    lost: int = 0
    doubled: int = 0
    damaged: int = 0
    doubled_outside: int = 0
    """Where the last reply of a host outside was lost: RFC 1047 allows it."""
    problems: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.damaged)

    def shown(self) -> str:
        names = ("sent", "accepted", "refused", "unknown", "delivered", "relayed", "bounced")
        names += ("lost", "doubled", "damaged", "doubled_outside")
        width = max(map(len, names))
        return "\n".join(f"{name:<{width}}  {getattr(self, name):>7}" for name in names)


@dataclass(frozen=True)
class Found:
    """What is in mailboxes and outside at the end: Message-IDs, counted."""

    inboxes: dict[str, Counter[str]]
    sent: dict[str, Counter[str]]
    reports: dict[str, Counter[str]]
    """By the mailbox that has them: the Message-IDs that they tell of."""
    outside: Counter[str]
    damaged: frozenset[str] = frozenset()


def balance(entries: list[Entry], found: Found) -> Ledger:
    ledger = Ledger(sent=len(entries), damaged=len(found.damaged))
    ledger.problems += [f"damaged: <{message_id}>" for message_id in sorted(found.damaged)]
    for entry in entries:
        setattr(ledger, entry.answer, getattr(ledger, entry.answer) + 1)
        for mailbox in entry.copies:
            count = found.inboxes[mailbox][entry.message_id]
            ledger.delivered += min(count, 1)
            _check(ledger, entry, f"Inbox of {mailbox}", count)
        if entry.local:
            _check(ledger, entry, f"Sent of {entry.sender}", found.sent[entry.sender][entry.message_id])
        if entry.bounced:
            count = found.reports[entry.sender][entry.message_id]
            ledger.bounced += min(count, 1)
            _check(ledger, entry, f"report to {entry.sender}", count)
        if entry.outside:
            count = found.outside[entry.message_id]
            ledger.relayed += min(count, 1)
            ledger.doubled_outside += max(count - 1, 0)
            _check(ledger, entry, "host outside", min(count, 1))
    return ledger


def _check(ledger: Ledger, entry: Entry, where: str, count: int) -> None:
    if count > 1:
        ledger.doubled += count - 1
        ledger.problems.append(f"doubled: <{entry.message_id}>, {count} times in {where} ({entry.answer})")
    elif count == 0 and entry.answer == "accepted":
        ledger.lost += 1
        ledger.problems.append(f"lost: <{entry.message_id}>, not in {where}")


def digest_of(body: str) -> str:
    return hashlib.sha256("\n".join(body.split()).encode()).hexdigest()


def message_id_of(message: Message) -> str:
    return str(message["Message-ID"] or "").strip().strip("<>")


def parsed(content: bytes) -> Message:
    return email.message_from_bytes(content, policy=email.policy.default)


def undamaged(message: Message) -> bool:
    """Whether the body is the one that was sent."""
    body = message.get_payload(decode=True)
    return (
        isinstance(body, bytes) and digest_of(body.decode("utf-8", "replace")) == str(message[DIGEST]).strip()
    )


def told_of(report: bytes) -> str:
    """The Message-ID of what a report is about; empty: it is no report."""
    if b"multipart/report" not in report:
        return ""
    found = re.findall(rb"(?im)^message-id:\s*<([^>]+)>", report)
    return found[-1].decode() if len(found) > 1 else ""
