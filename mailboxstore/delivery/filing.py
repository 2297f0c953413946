"""Files one message for all its recipients of this store in one unit of work: the way's last commit.

Promises: a recipient gets a message once, whatever is repeated or merged on the way (guard rows and the
transfer key are in the same commit); the content is stored once for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import msgspec
from sqlalchemy import Connection

from foundation.interfaces.mailbox_store import Notice
from foundation.interfaces.tracking import EventName, TrackingEvent
from mailboxstore.database import guards
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import MailboxChange, over_quota
from mailboxstore.database.emails import (
    NewEmail,
    ThreadLink,
    add_email,
    add_thread_links,
    change_references,
    find_thread,
)
from mailboxstore.database.guards import RecipientResult
from mailboxstore.database.mailboxes import (
    find_change,
    folder_by_role,
    make_mailbox,
    open_change,
    save_changes,
)
from mailboxstore.database.messages import NewMessage, Placement, add_messages, new_message


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
    filing = _Filing(connection, database, delivery, now_ms)
    for item in delivery.recipients:
        filing.add(item)
    return filing.written()


class _Filing:
    """What is found out for one recipient after the other, and written for all of them at once."""

    def __init__(
        self, connection: Connection, database: MailboxDatabase, delivery: Delivery, now_ms: int
    ) -> None:
        self._connection = connection
        self._database = database
        self._delivery = delivery
        self._now_ms = now_ms
        self._email = 0
        self._changes: dict[str, MailboxChange] = {}
        """By mailbox id: two recipients may share one."""
        self._messages: list[NewMessage] = []
        self._links: list[ThreadLink] = []
        self._results: list[RecipientResult] = []
        self._events: list[TrackingEvent] = []

    def add(self, item: FiledRecipient) -> None:
        connection, database, delivery = self._connection, self._database, self._delivery
        change = self._opened(item)
        size_bytes = delivery.email.size_bytes
        if over_quota(change.mailbox, size_bytes, database.quota_bytes):
            self._answer(item, 452, "4.2.2", "The mailbox is full")
            self._note("DEFER", item, reply="452 4.2.2")
            return
        if not guards.mark_delivered(
            connection, delivery.network_message_id, item.recipient_id, item.mailbox_id, self._now_ms
        ):
            self._answer(item, 250, "2.1.5", "Delivered before")
            self._note("DUPLICATEDELIVER", item)
            return
        if not self._messages:
            self._email = add_email(connection, database.contents, delivery.email, 1)
        inbox = folder_by_role(connection, change, "inbox", self._now_ms, database.identifier)
        placement = Placement(
            email=self._email,
            thread_id=self._thread(item, change),
            size_bytes=size_bytes,
            now_ms=self._now_ms,
        )
        uid, message = new_message(change, inbox, placement)
        self._messages.append(message)
        self._changes[item.mailbox_id] = change
        self._answer(item, 250, "2.1.5", "Delivered")
        self._note("DELIVER", item, folder_id=inbox.folder_id, uid=uid)

    def written(self) -> Filed:
        connection, database, delivery = self._connection, self._database, self._delivery
        add_messages(connection, self._messages)
        add_thread_links(connection, self._links)
        if len(self._messages) > 1:
            change_references(connection, [self._email] * (len(self._messages) - 1), 1)
        save_changes(connection, list(self._changes.values()))
        results = tuple(self._results)
        if delivery.transfer_key:
            guards.remember_transfer(
                connection, delivery.transfer_key, delivery.network_message_id, results, self._now_ms
            )
        database.tracking.record(connection, self._events)
        notices = (change.all_notices(mailbox) for mailbox, change in self._changes.items())
        return Filed(results, tuple(chain.from_iterable(notices)))

    def _opened(self, item: FiledRecipient) -> MailboxChange:
        """The recipient's mailbox, made at its first message."""
        connection, mailbox_id = self._connection, item.mailbox_id
        change = self._changes.get(mailbox_id) or find_change(connection, mailbox_id, ("inbox",))
        if change is not None and change.mailbox.connected:
            return change
        make_mailbox(connection, mailbox_id, item.recipient_id, self._now_ms, self._database.identifier)
        return open_change(connection, mailbox_id, ("inbox",))

    def _thread(self, item: FiledRecipient, change: MailboxChange) -> str:
        database, summary = self._database, self._delivery.email.summary
        if item.mailbox_id in self._changes:  # its links are known, but not written yet
            add_thread_links(self._connection, self._links)
            self._links = []
        thread_id, links = find_thread(
            self._connection, change.mailbox.mailbox, summary, database.identifier()
        )
        self._links += links
        return thread_id

    def _answer(self, item: FiledRecipient, code: int, status: str, text: str) -> None:
        self._results.append(RecipientResult(item.result_key, code, status, text))

    def _note(
        self, name: EventName, item: FiledRecipient, *, folder_id: str = "", uid: int = 0, reply: str = ""
    ) -> None:
        event = _event(
            self._database,
            self._delivery,
            self._now_ms,
            name,
            item,
            folder_id=folder_id,
            uid=uid,
            reply=reply,
        )
        self._events.append(event)


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
    name: EventName,
    item: FiledRecipient,
    *,
    folder_id: str = "",
    uid: int = 0,
    reply: str = "",
) -> TrackingEvent:
    return TrackingEvent(
        event=name,
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
