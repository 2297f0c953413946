"""Files one message for all its recipients of this store in one unit of work: the way's last commit.

Promises: a recipient gets a message once, whatever is repeated or merged on the way (guard rows and the
transfer key are in the same commit); the content is stored once for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from foundation.interfaces.mailbox_store import Notice
from foundation.interfaces.tracking import TrackingEvent
from mailboxstore.database import guards
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import over_quota
from mailboxstore.database.emails import NewEmail, add_email, change_references, thread_of
from mailboxstore.database.guards import RecipientResult
from mailboxstore.database.mailboxes import folder_by_role, make_mailbox, open_change, save_change
from mailboxstore.database.messages import Placement, place_message


@dataclass(frozen=True)
class FiledRecipient:
    """An accepted recipient."""

    result_key: str
    """Recipient id, or the address where there is none; names the recipient in the transfer's results."""
    recipient_id: str
    mailbox_id: str
    address: str


@dataclass(frozen=True)
class Delivery:
    network_message_id: str
    transfer_key: str
    sender: str
    peer: str
    """Name of the hub."""
    probe: bool
    recipients: tuple[FiledRecipient, ...]
    email: NewEmail


@dataclass(frozen=True)
class Filed:
    results: tuple[RecipientResult, ...]
    """One for each recipient, in order."""
    notices: tuple[tuple[str, Notice], ...] = ()


def file_delivery(
    connection: Connection, database: MailboxDatabase, delivery: Delivery, now_ms: int
) -> Filed:
    """The unit of work. A known transfer key gives the results of the first time."""
    if delivery.transfer_key:
        known = guards.transfer_results(connection, delivery.transfer_key)
        if known is not None:
            return answer_again(connection, database, delivery, known, now_ms)
    results: list[RecipientResult] = []
    events: list[TrackingEvent] = []
    notices: list[tuple[str, Notice]] = []
    email = 0
    placed = 0
    for item in delivery.recipients:
        make_mailbox(connection, item.mailbox_id, item.recipient_id, now_ms, database.identifier)
        change = open_change(connection, item.mailbox_id)
        if over_quota(change.mailbox, delivery.email.size_bytes, database.quota_bytes):
            results.append(RecipientResult(item.result_key, 452, "4.2.2", "The mailbox is full"))
            events.append(_event(database, delivery, now_ms, "DEFER", item, reply="452 4.2.2"))
            continue
        fresh = guards.mark_delivered(
            connection, delivery.network_message_id, item.recipient_id, item.mailbox_id, now_ms
        )
        if not fresh:
            results.append(RecipientResult(item.result_key, 250, "2.1.5", "Delivered before"))
            events.append(_event(database, delivery, now_ms, "DUPLICATEDELIVER", item))
            continue
        if not placed:
            email = add_email(connection, database.contents, delivery.email, 1)
        placed += 1
        summary = delivery.email.summary
        thread = thread_of(connection, change.mailbox.mailbox, summary, database.identifier())
        inbox = folder_by_role(connection, change, "inbox", now_ms, database.identifier)
        placement = Placement(
            email=email, thread_id=thread, size_bytes=delivery.email.size_bytes, now_ms=now_ms
        )
        uid = place_message(connection, change, inbox, placement)
        save_change(connection, change)
        notices.extend(change.all_notices(item.mailbox_id))
        results.append(RecipientResult(item.result_key, 250, "2.1.5", "Delivered"))
        events.append(_event(database, delivery, now_ms, "DELIVER", item, folder_id=inbox.folder_id, uid=uid))
    if placed > 1:
        change_references(connection, [email] * (placed - 1), 1)
    if delivery.transfer_key:
        guards.remember_transfer(
            connection, delivery.transfer_key, delivery.network_message_id, tuple(results), now_ms
        )
    database.tracking.record(connection, events)
    return Filed(tuple(results), tuple(notices))


def answer_again(
    connection: Connection,
    database: MailboxDatabase,
    delivery: Delivery,
    known: tuple[RecipientResult, ...],
    now_ms: int,
) -> Filed:
    """The unit of work for a transfer that came before: only noted."""
    event = _event(database, delivery, now_ms, "DUPLICATEDELIVER", delivery.recipients[0])
    event = msgspec.structs.replace(
        event,
        recipients=tuple(item.address for item in delivery.recipients),
        mailbox_id="",
        reason="This transfer came before",
    )
    database.tracking.record(connection, [event])
    return Filed(tuple(earlier_result(known, item.result_key) for item in delivery.recipients))


def earlier_result(known: tuple[RecipientResult, ...], result_key: str) -> RecipientResult:
    """What the recipient was answered the first time; 451 4.3.0 for one who was not in that transfer."""
    for result in known:
        if result.recipient == result_key:
            return result
    return RecipientResult(result_key, 451, "4.3.0", "The transfer is known, but without this recipient")


def _event(
    database: MailboxDatabase,
    delivery: Delivery,
    now_ms: int,
    name: str,
    item: FiledRecipient,
    *,
    folder_id: str = "",
    uid: int = 0,
    reply: str = "",
) -> TrackingEvent:
    return TrackingEvent(
        event=name,  # type: ignore[arg-type]  # one of EventName by the callers above
        source="LMTP",
        at_ms=now_ms,
        server=database.server,
        network_message_id=delivery.network_message_id,
        message_id=delivery.email.summary.message_id,
        sender=delivery.sender,
        recipients=(item.address,),
        transfer_key=delivery.transfer_key,
        next_hop=delivery.peer,
        reply=reply or "250 2.1.5",
        reason="" if name == "DELIVER" else _REASONS[name],
        mailbox_id=item.mailbox_id,
        folder_id=folder_id,
        uid=uid,
        size_bytes=delivery.email.size_bytes,
        probe=delivery.probe,
    )


_REASONS = {
    "DUPLICATEDELIVER": "This recipient has the message already",
    "DEFER": "The mailbox is over its quota",
}
