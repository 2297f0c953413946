"""Units of work that end an attempt: the Outbox entry goes when a hub has the message, a refusal becomes an
NDR, the rest waits. One commit each, with the tracking events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import Connection

from foundation.interfaces.control import released_because
from foundation.interfaces.mailbox_store import Notice
from foundation.interfaces.tracking import TrackingEvent
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import MailboxChange
from mailboxstore.database.emails import add_email, thread_of
from mailboxstore.database.mailboxes import find_change, folder_by_role, open_with_folder, save_change
from mailboxstore.database.messages import Placement, messages_in, place_message, remove_messages
from mailboxstore.database.units import (
    WAITING,
    State,
    Unit,
    add_unit,
    delete_unit,
    find_unit,
    set_delay_reported,
    set_state,
    unit_state,
)
from mailboxstore.outbox.outcome import Outcome
from mailboxstore.outbox.reports import Report

ACTOR = "outbox-agent"


@dataclass(frozen=True)
class Attempt:
    """An attempt that ended, and what to do about the recipients that are left."""

    unit: Unit
    hub: str
    """Empty: no attempt, the unit is given up."""
    outcome: Outcome
    report: Report | None
    now_ms: int
    next_attempt_ms: int
    new_key: str
    """For a unit of those recipients that were deferred, when others of the unit were not."""


@dataclass(frozen=True)
class Taken:
    """A unit that a hub has taken for all its recipients."""

    unit: Unit
    hub: str
    reply: str
    now_ms: int


@dataclass
class Settled:
    notices: tuple[tuple[str, Notice], ...] = ()
    waits: bool = False
    """Something of it is to be tried again."""


@dataclass
class _Work:
    connection: Connection
    database: MailboxDatabase
    unit: Unit
    now_ms: int
    events: list[TrackingEvent] = field(default_factory=list)

    def event(self, name: str, **values: object) -> None:
        base: dict[str, object] = {
            "event": name,
            "source": "STOREDRIVER",
            "at_ms": self.now_ms,
            "server": self.database.server,
            "network_message_id": self.unit.network_message_id,
            "message_id": self.unit.message_id,
            "sender": self.unit.sender.address,
            "recipients": self.unit.addresses,
            "transfer_key": self.unit.transfer_key,
            "mailbox_id": self.unit.mailbox_id,
            "uid": self.unit.uid,
            "size_bytes": self.unit.size_bytes,
            "probe": self.unit.probe,
        }
        self.events.append(msgspec.convert({**base, **values}, TrackingEvent))


def settle(connection: Connection, database: MailboxDatabase, attempt: Attempt) -> Settled:
    """Writes an attempt's outcome. Nothing when the unit is gone, or is given up while it is being handed
    over.
    """
    unit, outcome = attempt.unit, attempt.outcome
    state = unit_state(connection, unit.transfer_key)
    if state is None or (not attempt.hub and state not in WAITING):
        return Settled()
    work = _Work(connection, database, unit, attempt.now_ms)
    if outcome.taken:
        work.event(
            "SUBMIT",
            recipients=tuple(recipient.address for recipient in outcome.taken),
            next_hop=attempt.hub,
            reply=outcome.reply,
        )
    for item in outcome.failed:
        work.event("FAIL", recipients=(item.recipient.address,), next_hop=attempt.hub, reply=str(item.reply))
    reported = frozenset(attempt.report.recipients if attempt.report is not None else ())
    untold = tuple(
        item.recipient.address for item in outcome.failed if item.recipient.address not in reported
    )
    if untold:
        work.event("BADMAIL", source="DSN", recipients=untold, reason="NOTIFY asks for no report")
    if outcome.deferred:
        first = outcome.deferred[0]
        work.event(
            "DEFER",
            recipients=tuple(item.recipient.address for item in outcome.deferred),
            next_hop=attempt.hub,
            reply=str(first.reply),
        )
    settled = _rows(work, attempt)
    database.tracking.record(connection, work.events)
    return settled


def settle_taken(connection: Connection, database: MailboxDatabase, together: Sequence[Taken]) -> Settled:
    """Writes down that these units of one mailbox are gone to a hub. Nothing of those that are gone from
    here.
    """
    found = [taken for taken in together if delete_unit(connection, taken.unit.transfer_key)]
    events: list[TrackingEvent] = []
    by_folder: dict[int, list[Taken]] = {}
    for taken in found:
        work = _Work(connection, database, taken.unit, taken.now_ms, events)
        work.event("SUBMIT", next_hop=taken.hub, reply=taken.reply)
        by_folder.setdefault(taken.unit.folder, []).append(taken)
    database.tracking.record(connection, events)
    notices: list[tuple[str, Notice]] = []
    for folder, units in by_folder.items():
        mailbox_id = units[0].unit.mailbox_id
        change, outbox = open_with_folder(connection, mailbox_id, folder) or (None, None)
        if change is None or outbox is None:
            continue
        uids = sorted(taken.unit.uid for taken in units)
        entries = messages_in(connection, outbox.folder, tuple((uid, uid) for uid in uids))
        remove_messages(connection, change, outbox, entries, ACTOR, units[-1].now_ms)
        save_change(connection, change)
        notices += change.all_notices(mailbox_id)
    return Settled(tuple(notices))


def _rows(work: _Work, attempt: Attempt) -> Settled:
    connection, unit, outcome = work.connection, work.unit, attempt.outcome
    if outcome.deferred and not outcome.taken and not outcome.failed:
        # A hub that may have it since an earlier attempt, and defers now, may still have it.
        state: State = "unknown" if unit.state == "repeat" else "retry"
        set_state(connection, unit.transfer_key, state, outcome.reply, attempt.next_attempt_ms)
        return Settled(waits=True)
    delete_unit(connection, unit.transfer_key)
    if outcome.deferred:
        left = tuple(item.recipient for item in outcome.deferred)
        rest = msgspec.structs.replace(
            unit,
            transfer_key=attempt.new_key,
            recipients=left,
            state="retry",
            last_reply=str(outcome.deferred[0].reply),
            next_attempt_at_ms=attempt.next_attempt_ms,
        )
        add_unit(connection, rest)
        work.event(
            "TRANSFER",
            recipients=rest.addresses,
            transfer_key=rest.transfer_key,
            next_hop=rest.target,
            reason="The recipients that were deferred, as a unit of their own",
        )
    opened = open_with_folder(connection, unit.mailbox_id, unit.folder)
    if opened is None:
        return Settled(waits=bool(outcome.deferred))
    change, outbox = opened
    if outbox is not None and not outcome.deferred:
        entries = messages_in(connection, outbox.folder, ((unit.uid, unit.uid),))
        remove_messages(connection, change, outbox, entries, ACTOR, work.now_ms)
    if attempt.report is not None:
        _file_report(work, change, attempt.report)
    save_change(connection, change)
    return Settled(change.all_notices(unit.mailbox_id), bool(outcome.deferred))


def release(
    connection: Connection, database: MailboxDatabase, keys: Sequence[str], reason: str, now_ms: int
) -> int:
    """Units of unknown outcome are given free by an operator: new keys, any hub. Returns how many."""
    released = 0
    for key in keys:
        unit = find_unit(connection, key)
        if unit is None or unit.state != "unknown":
            continue
        free = msgspec.structs.replace(
            unit, transfer_key=database.identifier(), state="retry", next_attempt_at_ms=now_ms
        )
        delete_unit(connection, key)
        add_unit(connection, free)
        work = _Work(connection, database, unit, now_ms)
        work.event("RESUBMIT", source="ADMIN", next_hop=unit.target, reason=released_because(reason))
        work.event(
            "TRANSFER", transfer_key=free.transfer_key, next_hop=free.target, reason="Any hub may have it"
        )
        database.tracking.record(connection, work.events)
        released += 1
    return released


def report_delay(
    connection: Connection, database: MailboxDatabase, unit: Unit, report: Report | None, now_ms: int
) -> Settled:
    """Notes that the sender was told of the delay (or wanted not to be), and files the report."""
    if unit_state(connection, unit.transfer_key) is None:
        return Settled()
    set_delay_reported(connection, unit.transfer_key)
    change = find_change(connection, unit.mailbox_id)
    if report is None or change is None:
        return Settled()
    work = _Work(connection, database, unit, now_ms)
    _file_report(work, change, report)
    save_change(connection, change)
    database.tracking.record(connection, work.events)
    return Settled(change.all_notices(unit.mailbox_id))


def _file_report(work: _Work, change: MailboxChange, report: Report) -> None:
    connection, database = work.connection, work.database
    inbox = folder_by_role(connection, change, "inbox", work.now_ms, database.identifier)
    email = add_email(connection, database.contents, report.email, 1)
    thread = thread_of(connection, change.mailbox.mailbox, report.email.summary, report.email.email_id)
    placement = Placement(
        email=email, thread_id=thread, size_bytes=report.email.size_bytes, now_ms=work.now_ms
    )
    uid = place_message(connection, change, inbox, placement)
    work.event(
        "DSN",
        source="DSN",
        network_message_id=report.network_message_id,
        message_id=report.email.summary.message_id,
        sender="",
        recipients=(work.unit.sender.address,),
        related=work.unit.network_message_id,
        reason="Report on " + ", ".join(report.recipients[:20]),
        folder_id=inbox.folder_id,
        uid=uid,
        size_bytes=report.email.size_bytes,
        transfer_key="",
    )
