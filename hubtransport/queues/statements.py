"""The statements of the queue database, each built once."""

from __future__ import annotations

from sqlalchemy import bindparam, case, delete, exists, func, insert, or_, select, update

from foundation.database.content import Contents
from foundation.database.prepared import Prepared
from foundation.tracking.statements import Tracking
from hubtransport.queues.tables import CONTENTS, HOPS, KEYS, MESSAGES, RECIPIENTS, TRACKING, UNITS

contents = Contents(CONTENTS)
tracking = Tracking(TRACKING)

_message = MESSAGES.c
_recipient = RECIPIENTS.c
_unit = UNITS.c

# --- messages ---
insert_message = Prepared(insert(MESSAGES))
insert_recipients = Prepared(insert(RECIPIENTS))
select_messages_in_state = (
    select(MESSAGES)
    .where(_message.state == bindparam("of_state"), _message.id > bindparam("after"))
    .order_by(_message.id)
    .limit(bindparam("count"))
)
select_message = select(MESSAGES).where(_message.id == bindparam("of_message"))
select_waiting_recipients = (
    select(_recipient.message, _recipient.position, _recipient.recipient, _recipient.original)
    .where(_recipient.message.in_(bindparam("of_messages", expanding=True)), _recipient.unit == "")
    .order_by(_recipient.message, _recipient.position)
)
count_messages_in_state = select(func.count()).where(_message.state == bindparam("of_state"))
select_any_recipient = Prepared(
    select(_recipient.position).where(_recipient.message == bindparam("of_message")).limit(1)
)
set_message_state = (
    update(MESSAGES).where(_message.id == bindparam("of_message")).values(state=bindparam("to_state"))
)
_some_recipient_waits = exists().where(_recipient.message == bindparam("of_message"), _recipient.unit == "")
set_categorized = Prepared(
    update(MESSAGES)
    .where(_message.id == bindparam("of_message"))
    .values(
        # Others may have come back to the categorizer meanwhile.
        state=case((_some_recipient_waits, "submitted"), else_="queued"),
        assessed=bindparam("to_assessed"),
        next_position=bindparam("to_position"),
        crashes=0,
    )
)
set_crashes = (
    update(MESSAGES)
    .where(_message.id == bindparam("of_message"))
    .values(crashes=bindparam("to_crashes"), state=bindparam("to_state"))
)
delete_message = Prepared(delete(MESSAGES).where(_message.id == bindparam("of_message")))

# --- recipients ---
delete_recipient = Prepared(
    delete(RECIPIENTS).where(
        _recipient.message == bindparam("of_message"), _recipient.position == bindparam("of_position")
    )
)
assign_recipient = Prepared(
    update(RECIPIENTS)
    .where(_recipient.message == bindparam("of_message"), _recipient.position == bindparam("of_position"))
    .values(unit=bindparam("to_unit"), recipient=bindparam("to_recipient"))
)
move_recipients = (
    update(RECIPIENTS)
    .where(
        _recipient.message == bindparam("of_message"),
        _recipient.position.in_(bindparam("positions", expanding=True)),
    )
    .values(unit=bindparam("to_unit"))
)
select_unit_recipients = (
    select(_recipient.unit, _recipient.position, _recipient.recipient, _recipient.original)
    .where(
        _recipient.message.in_(bindparam("of_messages", expanding=True)),
        _recipient.unit.in_(bindparam("of_units", expanding=True)),
    )
    .order_by(_recipient.message, _recipient.position)
)

# --- transfer units ---
_unit_columns = [column for column in UNITS.c if column.name not in ("message", "claimed")]
_with_message = select(
    *(column.label(f"unit_{column.name}") for column in _unit_columns),
    _unit.claimed.label("unit_claimed"),
    MESSAGES,
).join(MESSAGES, _message.id == _unit.message)
insert_units = Prepared(insert(UNITS))
select_due_units = (
    _with_message.where(
        _unit.hop == bindparam("of_hop"),
        _unit.claimed.is_(False),
        _unit.next_attempt_at_ms <= bindparam("until_ms"),
    )
    .order_by(_unit.next_attempt_at_ms)
    .limit(bindparam("count"))
)
select_expired_units = (
    _with_message.where(
        _unit.expires_at_ms <= bindparam("until_ms"),
        _unit.claimed.is_(False),
        _unit.pinned.is_(False),
    )
    .order_by(_unit.expires_at_ms)
    .limit(bindparam("count"))
)
select_delayed_units = (
    _with_message.where(_unit.delay_at_ms > 0, _unit.delay_at_ms <= bindparam("until_ms"))
    .order_by(_unit.delay_at_ms)
    .limit(bindparam("count"))
)
select_units_after = (
    _with_message.where(_unit.key > bindparam("after")).order_by(_unit.key).limit(bindparam("count"))
)
select_held_units = _with_message.where(
    _unit.key.in_(bindparam("keys", expanding=True)), _unit.pinned.is_(True), _unit.claimed.is_(False)
).order_by(_unit.key)
claim_units = update(UNITS).where(_unit.key.in_(bindparam("keys", expanding=True))).values(claimed=True)
release_units = update(UNITS).where(_unit.key.in_(bindparam("keys", expanding=True))).values(claimed=False)
pin_all_claimed_units = (
    update(UNITS)
    .where(_unit.claimed.is_(True), or_(_unit.hop.startswith("hub:"), _unit.hop.startswith("store:")))
    .values(claimed=False, pinned=True)
)
release_all_units = update(UNITS).where(_unit.claimed.is_(True)).values(claimed=False)
limit_next_attempts = (
    update(UNITS).where(_unit.next_attempt_at_ms > bindparam("latest_ms")).values(next_attempt_at_ms=0)
)
summarise_hops = (
    select(_unit.hop, func.count(), func.min(_unit.next_attempt_at_ms))
    .where(_unit.claimed.is_(False))
    .group_by(_unit.hop)
)
summarise_hop = select(func.count(), func.min(_unit.next_attempt_at_ms)).where(
    _unit.hop == bindparam("of_hop"), _unit.claimed.is_(False)
)
defer_unit = Prepared(
    update(UNITS)
    .where(_unit.key == bindparam("of_key"))
    .values(
        claimed=bindparam("to_claimed"),
        pinned=bindparam("to_pinned"),
        attempts=_unit.attempts + 1,
        last_attempt_at_ms=bindparam("at_ms"),
        last_reply=bindparam("to_reply"),
        next_attempt_at_ms=bindparam("next_ms"),
    )
)
delete_unit = Prepared(delete(UNITS).where(_unit.key == bindparam("of_key")))
delete_stored_unit = Prepared(
    delete(UNITS).where(_unit.key == bindparam("of_key"), _unit.claimed.is_(False), _unit.pinned.is_(False))
)
redirect_units = (
    update(UNITS)
    .where(_unit.key.in_(bindparam("keys", expanding=True)))
    .values(hop=bindparam("to_hop"), group=bindparam("to_group"))
)
redirect_stored_units = (
    update(UNITS)
    .where(
        _unit.hop == bindparam("of_hop"), _unit.claimed.is_(False), _unit.pinned.is_(False), _unit.group != ""
    )
    .values(hop=bindparam("to_hop"), group=bindparam("to_group"))
)
set_delay_told = update(UNITS).where(_unit.key == bindparam("of_key")).values(delay_at_ms=0)
retry_hop_now = update(UNITS).where(_unit.hop == bindparam("of_hop")).values(next_attempt_at_ms=0)
retry_units_now = (
    update(UNITS)
    .where(_unit.key.in_(bindparam("keys", expanding=True)))
    .values(next_attempt_at_ms=0)
    .returning(_unit.hop)
)
_free_of_hops_like = (
    _unit.hop.like(bindparam("pattern"), escape="\\"),
    _unit.claimed.is_(False),
    _unit.pinned.is_(False),
)
select_units_of_hops_like = (
    _with_message.where(*_free_of_hops_like, _unit.key <= bindparam("last"))
    .order_by(_unit.key)
    .limit(bindparam("count"))
)
select_last_unit_of_hops_like = select(func.max(_unit.key)).where(*_free_of_hops_like)

# --- state of next hops ---
select_hops = select(HOPS)
delete_hop = delete(HOPS).where(HOPS.c.hop == bindparam("of_hop"))
insert_hop = insert(HOPS)

# --- transfer keys received ---
select_key = Prepared(
    select(KEYS.c.results, KEYS.c.network_message_id).where(KEYS.c.key == bindparam("of_key"))
)
insert_key = Prepared(insert(KEYS))
prune_keys = delete(KEYS).where(
    KEYS.c.key.in_(
        select(KEYS.c.key)
        .where(KEYS.c.received_at_ms < bindparam("before_ms"))
        .order_by(KEYS.c.received_at_ms)
        .limit(bindparam("count"))
    )
)
