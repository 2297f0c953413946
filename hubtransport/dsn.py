"""Delivery status notifications: who is told of what became of a recipient (RFC 3461), and the message that
says it.

Promises: the null sender is never answered, NOTIFY is obeyed, a recipient is reported once for each thing
that ends or delays it. The report is a message of its own, with a network message id of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from foundation.mail.envelope import Recipient, Sender
from foundation.mail.report import ReportedRecipient, delivery_report
from foundation.mail.xtext import encode_utf8_address, encode_xtext
from hubtransport.queues.records import QueuedMessage, QueuedRecipient

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]

ORIGINAL_BYTES_MAX = 1024 * 1024
"""RET=FULL returns whole messages up to this size; of larger ones the header (RFC 3461 4.3 lets the MTA
choose)."""

_ACTIONS: tuple[Action, ...] = ("failed", "delayed", "delivered", "relayed", "expanded")


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one recipient."""

    recipient: QueuedRecipient
    action: Action
    status: str
    """Enhanced status code (RFC 3463)."""
    diagnostic: str = ""
    """Reply of the server that decided, or the sentence why."""
    remote: str = ""
    """That server; empty: this one."""
    at_ms: int
    retry_until_ms: int = 0


class Report(msgspec.Struct, frozen=True):
    """One message to the sender, about all recipients with the same fate."""

    action: Action
    notices: tuple[Notice, ...]


class Reporter(msgspec.Struct, kw_only=True):
    """Who reports; one for all of a hub, so that a reload reaches them."""

    server: str
    hostname: str
    default_domain: str
    expiry_ms: int


def notice_wanted(notify: str, action: Action) -> bool:
    """RFC 3461 4.1; without NOTIFY failures are told, delays too, successes are not (RFC 3461 5.2.1)."""
    if notify == "NEVER":
        return False
    asked = notify.split(",") if notify else ["FAILURE", "DELAY"]
    if action == "failed":
        return "FAILURE" in asked
    if action == "delayed":
        return "DELAY" in asked
    return "SUCCESS" in asked


def notify_of_members(notify: str) -> str:
    """NOTIFY for the members of a group: success was reported as `expanded` (RFC 3461 5.2.7.2)."""
    if "SUCCESS" not in notify:
        return notify
    return ",".join(word for word in notify.split(",") if word != "SUCCESS") or "NEVER"


def keep_original(recipient: Recipient) -> str:
    """ORCPT for a recipient whose address changes: what the sender called it (RFC 3461 5.2.1, RFC 6533 3)."""
    if recipient.orcpt:
        return recipient.orcpt
    if recipient.address.isascii():
        return f"rfc822;{encode_xtext(recipient.address)}"
    return f"utf-8;{encode_utf8_address(recipient.address, ascii_only=True)}"


def reports(sender: Sender, notices: Sequence[Notice]) -> tuple[Report, ...]:
    """Which messages the sender gets for these notices; none for the null sender (RFC 3461 6.1, RFC 5321
    4.5.5)."""
    if not sender.address:
        return ()
    found: list[Report] = []
    for action in _ACTIONS:
        told = tuple(
            notice
            for notice in notices
            if notice.action == action and notice_wanted(notice.recipient.recipient.notify, action)
        )
        if told:
            found.append(Report(action, told))
    return tuple(found)


def returns_content(message: QueuedMessage, report: Report) -> bool:
    """Whether the whole message goes back, not only its header (RFC 3461 4.3: only with failures)."""
    wanted = message.sender.ret == "FULL" and report.action == "failed"
    return wanted and message.content_bytes <= ORIGINAL_BYTES_MAX


def compose(
    report: Report,
    message: QueuedMessage,
    reporter: Reporter,
    *,
    header: bytes,
    original: bytes | None,
    now_ms: int,
    network_message_id: str,
    entry_id: str,
) -> tuple[QueuedMessage, bytes]:
    """The report as a message to be queued, without its row, and its content.

    `header` ends with the empty line; `original` is the whole message when `returns_content`.
    """
    message_id = f"{network_message_id}@{reporter.default_domain}"
    content = delivery_report(
        kind=report.action,
        reporting_mta=reporter.hostname,
        sender=message.sender.address,
        recipients=[_reported(notice) for notice in report.notices],
        envid=message.sender.envid,
        original_header=header,
        original=original,
        at_ms=now_ms,
        message_id=message_id,
        from_address=f"postmaster@{reporter.default_domain}",  # RFC 3464 2
        arrival_ms=message.received_at_ms,
        network_message_id=message.network_message_id,
    )
    utf8 = not message.sender.address.isascii() or not content.split(b"\r\n\r\n", 1)[0].isascii()
    queued = QueuedMessage(
        entry_id=entry_id,
        network_message_id=network_message_id,
        message_id=message_id,
        sender=Sender(
            address="",
            body="7BIT" if content.isascii() else "8BITMIME",
            smtputf8=utf8,
            size_bytes=len(content),
        ),
        content_bytes=len(content),
        content_sha256="",
        utf8_header=utf8,
        probe=message.probe,
        received_at_ms=now_ms,
        expires_at_ms=now_ms + reporter.expiry_ms,
        source="dsn",
        next_position=1,
        recipients=(
            QueuedRecipient(
                position=0,
                # RFC 3461 6.1: a DSN is sent with NOTIFY=NEVER
                recipient=Recipient(address=message.sender.address, notify="NEVER"),
                original=message.sender.address,
            ),
        ),
    )
    return queued, content


def _reported(notice: Notice) -> ReportedRecipient:
    return ReportedRecipient(
        address=notice.recipient.recipient.address,
        orcpt=notice.recipient.recipient.orcpt,
        action=notice.action,
        status=notice.status,
        diagnostic=notice.diagnostic,
        remote_mta=notice.remote,
        last_attempt_ms=notice.at_ms,
        will_retry_until_ms=notice.retry_until_ms,
    )
