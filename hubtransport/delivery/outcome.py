"""Delivery, the outcome: replies become a result for each recipient, results become what is committed.

Promises: every recipient of a unit is in exactly one result; after an unknown outcome the unit stays as it
is, with its key and its server, until that server has answered for its recipients; whoever is refused or
deferred after others were taken leaves with a new key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from foundation.interfaces.tracking import EventName, Source, TrackingEvent
from foundation.mail.errors import MailError
from foundation.mail.status import DELIVERY_EXPIRED, NO_ANSWER
from foundation.smtp.reply import Reply
from hubtransport.dsn import Notice
from hubtransport.queues.events import event_of
from hubtransport.queues.records import QueuedRecipient, Unit

Verdict = Literal["delivered", "relayed", "deferred", "failed"]

TOO_MANY_RECIPIENTS = (452, "4.5.3")


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What a next hop said to one transfer."""

    sender: Reply | None = None
    recipients: tuple[Reply, ...] = ()
    final: tuple[Reply, ...] = ()
    """LMTP: one for each accepted recipient; SMTP: one; empty: no content was sent."""
    lmtp: bool = False
    dsn: bool = False
    """The next hop reports successes itself (RFC 3461)."""
    remote: str = ""
    """Server or host that answered."""
    broken: str = ""
    """The connection ended before the transfer did: how."""
    unknown: bool = False
    """… and the content had been sent whole: it may have been taken."""
    refused: MailError | None = None
    """Not offered at all, because the next hop can't take it."""


class RecipientResult(msgspec.Struct, frozen=True, kw_only=True):
    recipient: QueuedRecipient
    verdict: Verdict
    reply: str
    status: str
    again_now: bool = False
    """Only too many for one transaction: the next one takes it."""


def judge(unit: Unit, attempt: Attempt) -> tuple[RecipientResult, ...]:
    """One result for each recipient, in their order. Not for broken connections."""
    if attempt.refused is not None:
        error = attempt.refused
        reply = Reply.of(error.code, error.status, error.sentence)
        return tuple(_result(queued, reply, attempt) for queued in unit.recipients)
    if attempt.sender is not None and not attempt.sender.positive:
        return tuple(_result(queued, attempt.sender, attempt) for queued in unit.recipients)
    finals = list(attempt.final)
    some_taken = any(reply.positive for reply in attempt.recipients) and any(f.positive for f in finals)
    results = []
    for queued, reply in zip(unit.recipients, attempt.recipients, strict=True):
        if not reply.positive:
            # RFC 5321 4.5.3.1.10: the rest of many recipients goes in a transaction of its own, at once
            too_many = (reply.code, reply.status) == TOO_MANY_RECIPIENTS and some_taken
            results.append(_result(queued, reply, attempt, again_now=too_many))
        elif attempt.lmtp:
            results.append(_result(queued, finals.pop(0), attempt))  # RFC 2033 4.2
        else:
            results.append(_result(queued, finals[0], attempt))
    return tuple(results)


def rest_of(
    unit: Unit,
    results: Sequence[RecipientResult],
    attempt: Attempt,
    *,
    now_ms: int,
    delay_ms: Callable[[int], int],
    new_key: Callable[[], str],
) -> Unit | None:
    """What is left of the unit. `delay_ms(attempts)`: until a deferred message is offered again."""
    left = tuple(result.recipient for result in results if result.verdict == "deferred")
    if not left:
        return None
    deferred = [result for result in results if result.verdict == "deferred"]
    # A key that came with content may be known to the receiver; what is left needs another.
    same = len(left) == len(unit.recipients) and not attempt.final
    # Refused at MAIL or before, the key was perhaps not looked up: the server may have what was sent earlier.
    asked = attempt.refused is None and (attempt.sender is None or attempt.sender.positive)
    at_once = all(result.again_now for result in deferred)
    return msgspec.structs.replace(
        unit,
        key=unit.key if same else new_key(),
        recipients=left,
        pinned=unit.pinned and not asked,
        attempts=unit.attempts + 1,
        last_attempt_at_ms=now_ms,
        last_reply=deferred[0].reply,
        next_attempt_at_ms=now_ms if at_once else now_ms + delay_ms(unit.attempts + 1),
    )


def unknown_rest(unit: Unit, attempt: Attempt, *, now_ms: int, next_ms: int, pin: bool) -> Unit:
    """The unit after an outcome that nobody knows. `pin`: towards Waypost's own servers."""
    return msgspec.structs.replace(
        unit,
        pinned=pin,
        attempts=unit.attempts + 1,
        last_attempt_at_ms=now_ms,
        last_reply=attempt.broken,
        next_attempt_at_ms=next_ms,
    )


def notices_of(
    unit: Unit, results: Sequence[RecipientResult], attempt: Attempt, now_ms: int
) -> tuple[Notice, ...]:
    """What the sender may want to know of the recipients that ended."""
    notices = []
    for result in results:
        if result.verdict == "deferred":
            continue
        if result.verdict == "relayed" and attempt.dsn:
            continue  # RFC 3461 5.2.2: the next hop reports
        notices.append(
            Notice(
                recipient=result.recipient,
                action=result.verdict,
                status=result.status,
                diagnostic=result.reply,
                remote=attempt.remote,
                at_ms=now_ms,
            )
        )
    return tuple(notices)


def expiry_notices(unit: Unit, now_ms: int, status: str = DELIVERY_EXPIRED) -> tuple[Notice, ...]:
    last = f"; the last answer was: {unit.last_reply}" if unit.last_reply else ""
    sentence = f"Not delivered within the time for it{last}"
    return tuple(
        Notice(recipient=queued, action="failed", status=status, diagnostic=sentence, at_ms=now_ms)
        for queued in unit.recipients
    )


def delay_notices(unit: Unit, now_ms: int, last_reply: str) -> tuple[Notice, ...]:
    why = last_reply or unit.last_reply or "The next server can't be reached"
    said = _TEMPORARY.match(why)
    status = said[1] if said is not None else NO_ANSWER
    return tuple(
        Notice(
            recipient=queued,
            action="delayed",
            status=status,
            diagnostic=why,
            at_ms=unit.last_attempt_at_ms or now_ms,
            retry_until_ms=unit.expires_at_ms,
        )
        for queued in unit.recipients
    )


_TEMPORARY = re.compile(r"4\d\d (4\.\d{1,3}\.\d{1,3})\b")
"""A reply and its enhanced code (RFC 2034 4)."""

_EVENTS: dict[Verdict, EventName] = {
    "delivered": "SEND",
    "relayed": "SEND",
    "deferred": "DEFER",
    "failed": "FAIL",
}


def events_of(
    unit: Unit,
    results: Sequence[RecipientResult],
    attempt: Attempt,
    *,
    now_ms: int,
    server: str,
    next_attempt: str = "",
) -> tuple[TrackingEvent, ...]:
    """One event for all recipients with the same verdict and reply."""
    groups: dict[tuple[Verdict, str], list[str]] = {}
    for result in results:
        groups.setdefault((result.verdict, result.reply), []).append(result.recipient.recipient.address)
    return tuple(
        event_of(
            unit.message,
            _EVENTS[verdict],
            source_of(unit),
            at_ms=now_ms,
            server=server,
            recipients=tuple(addresses),
            transfer_key=unit.key,
            next_hop=attempt.remote,
            reply=reply,
            reason=next_attempt if verdict == "deferred" else "",
        )
        for (verdict, reply), addresses in groups.items()
    )


def source_of(unit: Unit) -> Source:
    return "LMTP" if unit.hop.startswith("store:") else "SMTP"


def _result(
    queued: QueuedRecipient, reply: Reply, attempt: Attempt, again_now: bool = False
) -> RecipientResult:
    verdict: Verdict
    if reply.positive:
        verdict = "delivered" if attempt.lmtp else "relayed"
    else:
        verdict = "failed" if reply.permanent else "deferred"
    return RecipientResult(
        recipient=queued,
        verdict=verdict,
        reply=str(reply),
        status=reply.status or f"{reply.code // 100}.0.0",  # RFC 3463 2
        again_now=again_now,
    )
