"""Statements on what keeps a transfer from being done twice, and on the Outbox's transfer units."""

from __future__ import annotations

from sqlalchemy import Table, and_, bindparam, delete, exists, func, insert, or_, select, update

from foundation.database.prepared import Prepared
from mailboxstore.database.tables import (
    delivered,
    outbox_units,
    received_transfers,
    sent_copies,
    submissions,
)

# --- guards ---


def _add_new(table: Table) -> Prepared:
    """Adds a row unless its key is there already; how many were added tells which."""
    given = {column.name: bindparam(column.name, type_=column.type) for column in table.columns}
    same = exists().where(*(column == given[column.name] for column in table.primary_key))
    return Prepared(insert(table).from_select(list(given), select(*given.values()).where(~same)))


ADD_DELIVERED = _add_new(delivered)
ADD_TRANSFER = Prepared(insert(received_transfers))
FIND_TRANSFER = Prepared(
    select(received_transfers.c.results).where(received_transfers.c.transfer_key == bindparam("transfer_key"))
)
ADD_SUBMISSION = _add_new(submissions)
FIND_SUBMISSION = Prepared(
    select(submissions.c.at_ms).where(submissions.c.submission_key == bindparam("submission_key"))
)

_old_delivered = (
    select(delivered.c.network_message_id, delivered.c.recipient_id, delivered.c.mailbox_id)
    .where(delivered.c.at_ms < bindparam("before_ms"))
    .limit(bindparam("limit"))
)
OLD_DELIVERED = _old_delivered
DELETE_DELIVERED = delete(delivered).where(
    delivered.c.network_message_id == bindparam("network_message_id"),
    delivered.c.recipient_id == bindparam("recipient_id"),
    delivered.c.mailbox_id == bindparam("mailbox_id"),
)
DELETE_OLD_TRANSFERS = delete(received_transfers).where(
    received_transfers.c.transfer_key.in_(
        select(received_transfers.c.transfer_key)
        .where(received_transfers.c.at_ms < bindparam("before_ms"))
        .limit(bindparam("limit"))
    )
)
DELETE_OLD_SUBMISSIONS = delete(submissions).where(
    submissions.c.submission_key.in_(
        select(submissions.c.submission_key)
        .where(submissions.c.at_ms < bindparam("before_ms"))
        .limit(bindparam("limit"))
    )
)

# --- Sent copies that the store made ---

ADD_SENT_COPY = Prepared(insert(sent_copies))
FIND_SENT_COPIES = (
    select(sent_copies.c.folder, sent_copies.c.uid)
    .where(
        sent_copies.c.mailbox == bindparam("mailbox"),
        sent_copies.c.message_id == bindparam("message_id"),
        sent_copies.c.at_ms >= bindparam("since_ms"),
    )
    .order_by(sent_copies.c.at_ms, sent_copies.c.uid)
)
DELETE_SENT_COPY = Prepared(
    delete(sent_copies).where(
        sent_copies.c.mailbox == bindparam("mailbox"),
        sent_copies.c.message_id == bindparam("message_id"),
        sent_copies.c.folder == bindparam("folder"),
        sent_copies.c.uid == bindparam("uid"),
    )
)
DELETE_OLD_SENT_COPIES = delete(sent_copies).where(sent_copies.c.at_ms < bindparam("before_ms"))

# --- transfer units ---

_u = outbox_units.c
_waits = _u.state.in_(("ready", "retry"))
_rests = _u.state.in_(("ready", "retry", "unknown"))
_due = or_(_u.next_attempt_at_ms <= bindparam("now_ms"), _u.next_attempt_at_ms > bindparam("horizon_ms"))

UNIT_COLUMNS = tuple(column.name for column in outbox_units.c)
"""As the statements that select units have them."""
ADD_UNIT = Prepared(insert(outbox_units))
UNITS_OF_ENTRIES = (
    select(outbox_units)
    .where(_u.folder == bindparam("folder"), _u.uid.between(bindparam("first"), bindparam("last")))
    .order_by(_u.uid)
)
UNITS_PAGE = (
    select(outbox_units)
    .where(_u.transfer_key > bindparam("after"))
    .order_by(_u.transfer_key)
    .limit(bindparam("limit"))
)
FIND_UNIT = Prepared(select(outbox_units).where(_u.transfer_key == bindparam("transfer_key")))
UNIT_STATE = Prepared(select(_u.state).where(_u.transfer_key == bindparam("transfer_key")))
DUE_UNITS = (
    select(outbox_units)
    .where(
        or_(_u.target == bindparam("target"), _u.target.in_(bindparam("away", expanding=True))),
        _waits,
        _due,
    )
    .order_by(_u.next_attempt_at_ms, _u.transfer_key)
    .limit(bindparam("limit"))
)
UNKNOWN_UNITS = (
    select(outbox_units)
    .where(_u.target == bindparam("target"), _u.state == "unknown", _due)
    .order_by(_u.transfer_key)
    .limit(bindparam("limit"))
)
NEXT_DUE = select(func.min(_u.next_attempt_at_ms)).where(
    or_(
        and_(_u.target == bindparam("target"), _rests),
        and_(_u.target.in_(bindparam("away", expanding=True)), _waits),
    )
)
CLAIM_UNIT = (
    update(outbox_units)
    .where(_u.transfer_key == bindparam("of_key"))
    .values(
        state=bindparam("state"),
        target=bindparam("target"),
        attempts=_u.attempts + 1,
        last_attempt_at_ms=bindparam("last_attempt_at_ms"),
    )
)
SET_UNIT_STATE = (
    update(outbox_units)
    .where(_u.transfer_key == bindparam("of_key"))
    .values(
        state=bindparam("state"),
        last_reply=bindparam("last_reply"),
        next_attempt_at_ms=bindparam("next_attempt_at_ms"),
    )
)
INTERRUPTED_UNITS = (
    update(outbox_units)
    .where(_u.state.in_(("active", "repeat")))
    .values(state="unknown", next_attempt_at_ms=0)
)
ORPHANED_TARGETS = (
    update(outbox_units)
    .where(_rests, _u.target.not_in(bindparam("known", expanding=True)))
    .values(target=bindparam("new_target"), state="retry")
)
DELETE_UNIT = Prepared(delete(outbox_units).where(_u.transfer_key == bindparam("transfer_key")))
RETRY_UNITS = (
    update(outbox_units)
    .where(_rests, or_(bindparam("any_hop"), _u.target == bindparam("of_target")))
    .values(next_attempt_at_ms=bindparam("now_ms"))
)
RETRY_SOME_UNITS = (
    update(outbox_units)
    .where(_rests, _u.transfer_key.in_(bindparam("keys", expanding=True)))
    .values(next_attempt_at_ms=bindparam("now_ms"))
)
OVERDUE_UNITS = (
    select(outbox_units)
    .where(_waits, _u.expires_at_ms <= bindparam("now_ms"))
    .order_by(_u.transfer_key)
    .limit(bindparam("limit"))
)
DELAYED_UNITS = (
    select(outbox_units)
    .where(_waits, ~_u.delay_reported, _u.received_at_ms <= bindparam("received_before_ms"))
    .order_by(_u.transfer_key)
    .limit(bindparam("limit"))
)
SET_DELAY_REPORTED = (
    update(outbox_units).where(_u.transfer_key == bindparam("of_key")).values(delay_reported=True)
)
COUNT_UNITS = select(func.count()).select_from(outbox_units)
