"""Outbox and Sent in one unit of work: the first durable station of a message's way.

Promises: when `submit` returns, the message is in both folders and its transfer unit stands, in one commit; a
repeat under the same key changes nothing; the copy that leaves has no Bcc field, the Sent copy keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from foundation.database.spool import Spool, with_header
from foundation.interfaces.mailbox_store import SEEN, Notice, Submission
from foundation.interfaces.tracking import TrackingEvent
from foundation.mail.headers import BLIND_RECIPIENTS, header_block, remove_headers
from mailboxstore.database import guards
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import FolderRow, MailboxChange, refuse_over_quota
from mailboxstore.database.emails import NewEmail, add_email, thread_of
from mailboxstore.database.mailboxes import folder_by_role, open_change, save_change
from mailboxstore.database.messages import Placement, place_message
from mailboxstore.database.units import State, Unit, add_unit
from mailboxstore.outbox.kept import KeptEmail, kept_email


class Turns(Protocol):
    """Where a new transfer unit goes; answered by outbox/agent.py."""

    def assign(self) -> tuple[str, State]:
        """The hub, and `active` when the unit is handed over as soon as it is committed, else `ready`."""
        ...

    def accepted(self, unit: Unit, kept: KeptEmail | None) -> None:
        """The unit is committed. `kept`: its email, when it is small."""
        ...

    def abandoned(self, target: str, state: State) -> None:
        """An assigned unit did not come to be."""
        ...


@dataclass(frozen=True)
class _Prepared:
    """A submission with everything that is decided before its unit of work."""

    submission: Submission
    sent: NewEmail
    leaving: NewEmail
    """The same one, unless blind recipients are named in it."""
    target: str
    state: State
    transfer_key: str
    now_ms: int


@dataclass(frozen=True)
class _Submitted:
    unit: Unit | None
    """None: the same submission came before."""
    notices: tuple[tuple[str, Notice], ...] = ()


class OutboxSubmission:
    def __init__(
        self,
        database: MailboxDatabase,
        turns: Turns,
        publish: Callable[[tuple[tuple[str, Notice], ...]], None],
        expiry_ms: int,
    ) -> None:
        self._database = database
        self._turns = turns
        self._publish = publish
        self._expiry_ms = expiry_ms

    async def submit(self, submission: Submission, content: Spool) -> None:
        """Returns after the commit. Not to be cancelled; the caller closes `content`.

        Refusal OVERQUOTA, NONEXISTENT.
        """
        database = self._database
        sent, leaving = await database.compute(content.size_bytes, lambda: self._emails(content))
        try:
            await database.secure(*((sent,) if leaving is sent else (sent, leaving)))
            await self._commit(submission, sent, leaving)
        finally:
            if isinstance(leaving.content, Spool) and leaving.content is not content:
                leaving.content.close()

    async def _commit(self, submission: Submission, sent: NewEmail, leaving: NewEmail) -> None:
        database, turns = self._database, self._turns
        target, state = turns.assign()
        prepared = _Prepared(
            submission, sent, leaving, target, state, database.identifier(), database.clock.now_ms()
        )

        def committed(result: _Submitted) -> None:
            if result.unit is None:
                turns.abandoned(target, state)
                return
            self._publish(result.notices)
            turns.accepted(result.unit, kept)

        try:
            kept = kept_email(leaving)
            await database.writer.run(lambda connection: self._file(connection, prepared), committed)
        except Exception:
            turns.abandoned(target, state)
            raise

    def _file(self, connection: Connection, prepared: _Prepared) -> _Submitted:
        """The unit of work."""
        database, submission, now_ms = self._database, prepared.submission, prepared.now_ms
        if not guards.mark_submitted(
            connection, submission.key, submission.network_message_id, submission.mailbox_id, now_ms
        ):
            return _Submitted(None)
        change = open_change(connection, submission.mailbox_id, ("outbox", "sent"))
        mailbox = change.mailbox
        both = prepared.sent.size_bytes + prepared.leaving.size_bytes
        refuse_over_quota(mailbox, both, database.quota_bytes)
        outbox = folder_by_role(connection, change, "outbox", now_ms, database.identifier)
        sent = folder_by_role(connection, change, "sent", now_ms, database.identifier)
        summary = prepared.sent.summary
        thread = thread_of(connection, mailbox.mailbox, summary, prepared.sent.email_id)
        apart = prepared.leaving is not prepared.sent
        email = add_email(connection, database.contents, prepared.sent, 1 if apart else 2)
        sent_uid = _place(connection, change, sent, email, prepared.sent, thread, now_ms)
        if apart:
            email = add_email(connection, database.contents, prepared.leaving, 1)
        uid = _place(connection, change, outbox, email, prepared.leaving, thread, now_ms)
        if summary.message_id:
            guards.remember_sent_copy(
                connection, mailbox.mailbox, summary.message_id, sent.folder, sent_uid, now_ms
            )
        unit = self._unit(prepared, outbox.folder, uid, email)
        add_unit(connection, unit)
        database.tracking.record(connection, [_received(database.server, submission, unit, outbox, now_ms)])
        save_change(connection, change)
        return _Submitted(unit, change.all_notices(submission.mailbox_id))

    def _unit(self, prepared: _Prepared, folder: int, uid: int, email: int) -> Unit:
        submission, now_ms = prepared.submission, prepared.now_ms
        begun = prepared.state == "active"
        return Unit(
            transfer_key=prepared.transfer_key,
            folder=folder,
            uid=uid,
            email=email,
            mailbox_id=submission.mailbox_id,
            network_message_id=submission.network_message_id,
            message_id=prepared.sent.summary.message_id,
            sender=submission.sender,
            recipients=submission.recipients,
            probe=submission.probe,
            size_bytes=len(submission.received) + prepared.leaving.size_bytes,
            prefix=submission.received,
            target=prepared.target,
            state=prepared.state,
            attempts=1 if begun else 0,
            last_attempt_at_ms=now_ms if begun else 0,
            next_attempt_at_ms=now_ms,
            received_at_ms=submission.received_at_ms or now_ms,
            expires_at_ms=now_ms + self._expiry_ms,
        )

    def _emails(self, content: Spool) -> tuple[NewEmail, NewEmail]:
        """The Sent copy, and the one that leaves: without the fields that name blind recipients."""
        database = self._database
        buffer = content.buffer()
        sent = NewEmail(database.identifier(), b"", content, database.summaries.of(content))
        header = bytes(buffer[: header_block(buffer)])
        open_header = remove_headers(header, BLIND_RECIPIENTS)  # RFC 5322 3.6.3, 3.6.6
        if open_header is header:
            return sent, sent
        leaving = with_header(content, len(header), open_header, database.spool())
        return sent, NewEmail(database.identifier(), b"", leaving, database.summaries.of(leaving))


def _place(
    connection: Connection,
    change: MailboxChange,
    folder: FolderRow,
    email: int,
    new: NewEmail,
    thread_id: str,
    now_ms: int,
) -> int:
    placement = Placement(
        email=email, thread_id=thread_id, size_bytes=new.size_bytes, now_ms=now_ms, flags=SEEN
    )
    return place_message(connection, change, folder, placement)


def _received(
    server: str, submission: Submission, unit: Unit, outbox: FolderRow, now_ms: int
) -> TrackingEvent:
    return TrackingEvent(
        event="RECEIVE",
        source="STOREDRIVER",
        at_ms=now_ms,
        server=server,
        network_message_id=unit.network_message_id,
        message_id=unit.message_id,
        sender=unit.sender.address,
        recipients=unit.addresses,
        transfer_key=submission.key,
        next_hop=submission.client,
        reason="Filed in Outbox and Sent",
        mailbox_id=unit.mailbox_id,
        folder_id=outbox.folder_id,
        uid=unit.uid,
        size_bytes=unit.size_bytes,
        probe=unit.probe,
    )
