"""The delivery queues: transfer units that are ready, deferred, or unreachable, and what became of attempts.

Units of work for the writer. A unit in the daemon's memory is *claimed*; what was claimed when the daemon
ended may have been sent: inside, it is pinned to the server it had. Promises: the outcome of
an attempt is one commit with its events, its reports and the new unit for whoever is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from foundation.database.spool import Spool
from foundation.interfaces.tracking import TrackingEvent
from foundation.mail.envelope import Recipient
from hubtransport.queues import statements
from hubtransport.queues.records import HopState, QueuedMessage, QueuedRecipient, StoredHop, Unit
from hubtransport.queues.rows import encode_recipient, messages_of, recipient_values, unit_values, units_of
from hubtransport.queues.submission import add_reports, end_recipients, insert_message

Reports = tuple[tuple[QueuedMessage, bytes], ...]


class Enqueue(msgspec.Struct, frozen=True, kw_only=True):
    """What the categorizer made of a message."""

    message: QueuedMessage
    assessed: str
    next_position: int
    units: tuple[Unit, ...] = ()
    claimed: frozenset[str] = frozenset()
    """Keys of units that go on in memory."""
    assigned: tuple[tuple[int, Recipient, str], ...] = ()
    """Rows that stay: position, as resolved, transfer key."""
    added: tuple[tuple[QueuedRecipient, str], ...] = ()
    """New rows with their transfer key."""
    ended: tuple[int, ...] = ()
    events: tuple[TrackingEvent, ...] = ()
    reports: Reports = ()


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt made of a unit: recipients that ended, and what is left of it."""

    unit: Unit
    ended: tuple[int, ...] = ()
    left: Unit | None = None
    """None: nothing. The same key: the unit itself waits. Another key: the rest in a new unit."""
    claimed: bool = False
    """What is left goes on in memory."""
    resubmitted: tuple[int, ...] = ()
    """Recipients that go back to the categorizer."""
    stored: bool = False
    """Only if nobody took it into memory since it was read: it may be on its way then."""
    events: tuple[TrackingEvent, ...] = ()
    reports: Reports = ()


class Recovered(msgspec.Struct, frozen=True):
    hops: tuple[StoredHop, ...]
    failing: tuple[HopState, ...]
    submitted: int


def recover(connection: Connection, latest_ms: int) -> Recovered:
    """At the start. `latest_ms`: a next attempt after it is due now, for the clock was set back."""
    connection.execute(statements.pin_all_claimed_units)
    connection.execute(statements.release_all_units)
    connection.execute(statements.limit_next_attempts, {"latest_ms": latest_ms})
    hops = tuple(StoredHop(*row) for row in connection.execute(statements.summarise_hops))
    failing = []
    for row in connection.execute(statements.select_hops).mappings():
        state = HopState(**row)
        if state.next_attempt_at_ms > latest_ms:
            state = msgspec.structs.replace(state, next_attempt_at_ms=0)
        failing.append(state)
    submitted = connection.execute(statements.count_messages_in_state, {"of_state": "submitted"}).scalar()
    return Recovered(hops, tuple(failing), int(submitted or 0))


def enqueue(connection: Connection, plan: Enqueue) -> tuple[QueuedMessage, ...]:
    """Returns the reports, now queued as messages."""
    message = plan.message
    if plan.units:
        values = [unit_values(unit, claimed=unit.key in plan.claimed) for unit in plan.units]
        statements.insert_units.run_each(connection, values)
    for position, recipient, key in plan.assigned:
        statements.assign_recipient.run(
            connection,
            {
                "of_message": message.id,
                "of_position": position,
                "to_unit": key,
                "to_recipient": encode_recipient(recipient),
            },
        )
    if plan.added:
        rows = [recipient_values(message.id, queued, key) for queued, key in plan.added]
        statements.insert_recipients.run_each(connection, rows)
    if plan.ended or not plan.units:
        end_recipients(connection, message.id, message.content_id, plan.ended)
    statements.set_categorized.run(
        connection,
        {"of_message": message.id, "to_assessed": plan.assessed, "to_position": plan.next_position},
    )
    statements.tracking.record(connection, plan.events)
    return add_reports(connection, plan.reports)


def add_routed(connection: Connection, work: Enqueue, content: Spool) -> tuple[Unit, ...]:
    """A message that had no row yet, with its units: they are returned with it."""
    recipients = [(queued, unit.key) for unit in work.units for queued in unit.recipients]
    final = msgspec.structs.replace(work.message, next_position=work.next_position)
    message = insert_message(connection, final, content, "queued", recipients)
    units = tuple(msgspec.structs.replace(unit, message=message) for unit in work.units)
    values = [unit_values(unit, claimed=unit.key in work.claimed) for unit in units]
    statements.insert_units.run_each(connection, values)
    return units


def claim_due(connection: Connection, hop: str, until_ms: int, count: int) -> list[Unit]:
    """Units of a next hop that are due, taken into memory."""
    values = {"of_hop": hop, "until_ms": until_ms, "count": count}
    rows = connection.execute(statements.select_due_units, values).mappings().all()
    if rows:
        connection.execute(statements.claim_units, {"keys": [row["unit_key"] for row in rows]})
    return units_of(connection, rows)


def stored(connection: Connection, hop: str) -> StoredHop:
    count, due_at_ms = connection.execute(statements.summarise_hop, {"of_hop": hop}).one()
    return StoredHop(hop, count, due_at_ms or 0)


def unclaim(connection: Connection, keys: Sequence[str]) -> None:
    """Units leave the memory without having been sent."""
    connection.execute(statements.release_units, {"keys": list(keys)})


def conclude(connection: Connection, conclusion: Conclusion) -> tuple[QueuedMessage, ...] | None:
    """Returns what the categorizer gets: reports, and the message of recipients that are routed anew. None
    when the unit was gone already: nothing is done twice."""
    unit, left = conclusion.unit, conclusion.left
    message = unit.message
    if left is not None and left.key == unit.key:
        values = {
            "of_key": unit.key,
            "to_claimed": conclusion.claimed,
            "to_pinned": left.pinned,
            "at_ms": left.last_attempt_at_ms,
            "to_reply": left.last_reply,
            "next_ms": left.next_attempt_at_ms,
        }
        changed = statements.defer_unit.run(connection, values)
    else:
        changed = _delete(connection, unit.key, stored=conclusion.stored)
    if not changed:
        return None
    if left is not None and left.key != unit.key:
        statements.insert_units.run(connection, unit_values(left, claimed=conclusion.claimed))
        positions = [queued.position for queued in left.recipients]
        connection.execute(
            statements.move_recipients,
            {"of_message": message.id, "positions": positions, "to_unit": left.key},
        )
    statements.tracking.record(connection, conclusion.events)
    if conclusion.ended:
        end_recipients(connection, message.id, message.content_id, conclusion.ended)
    again = wait_again(connection, message.id, conclusion.resubmitted) if conclusion.resubmitted else ()
    return (*add_reports(connection, conclusion.reports), *again)


def save_hop(connection: Connection, state: HopState, events: Sequence[TrackingEvent]) -> None:
    connection.execute(statements.delete_hop, {"of_hop": state.hop})
    connection.execute(statements.insert_hop, msgspec.structs.asdict(state))
    statements.tracking.record(connection, events)


def clear_hop(connection: Connection, hop: str) -> None:
    connection.execute(statements.delete_hop, {"of_hop": hop})


def redirect(
    connection: Connection,
    keys: Sequence[str],
    from_hop: str,
    to_hop: str,
    to_group: str,
    events: Sequence[TrackingEvent],
) -> tuple[StoredHop, StoredHop]:
    """Units that were certainly not taken by one server go to another: those in memory by key, and all that
    are only stored. Returns what both queues now have in the database."""
    values = {"to_hop": to_hop, "to_group": to_group}
    if keys:
        connection.execute(statements.redirect_units, {"keys": list(keys), **values})
    connection.execute(statements.redirect_stored_units, {"of_hop": from_hop, **values})
    statements.tracking.record(connection, events)
    return stored(connection, from_hop), stored(connection, to_hop)


def expired(connection: Connection, until_ms: int, count: int) -> list[Unit]:
    values = {"until_ms": until_ms, "count": count}
    return units_of(connection, connection.execute(statements.select_expired_units, values).mappings().all())


def delayed(connection: Connection, until_ms: int, count: int) -> list[Unit]:
    values = {"until_ms": until_ms, "count": count}
    return units_of(connection, connection.execute(statements.select_delayed_units, values).mappings().all())


def delay_told(
    connection: Connection, key: str, events: Sequence[TrackingEvent], reports: Reports
) -> tuple[QueuedMessage, ...]:
    """The delay notice of a unit; nothing when the unit is gone."""
    if not connection.execute(statements.set_delay_told, {"of_key": key}).rowcount:
        return ()
    statements.tracking.record(connection, events)
    return add_reports(connection, reports)


def units_after(connection: Connection, after: str, count: int) -> list[Unit]:
    """All units by key, a page at a time."""
    values = {"after": after, "count": count}
    return units_of(connection, connection.execute(statements.select_units_after, values).mappings().all())


def retry_now(connection: Connection, hop: str) -> int:
    """Makes every unit of a next hop due. Returns how many there are."""
    return connection.execute(statements.retry_hop_now, {"of_hop": hop}).rowcount


def retry_keys(connection: Connection, keys: Sequence[str]) -> list[str]:
    """Makes units due; returns the next hop of each."""
    return list(connection.execute(statements.retry_units_now, {"keys": list(keys)}).scalars())


def exactly(hop: str) -> str:
    """The pattern for this next hop alone."""
    return hop.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def last_stored(connection: Connection, pattern: str) -> str:
    """The greatest key among the units that `stored_units` gives; keys rise."""
    return connection.execute(statements.select_last_unit_of_hops_like, {"pattern": pattern}).scalar() or ""


def stored_units(connection: Connection, pattern: str, last: str, count: int) -> list[Unit]:
    """Units of next hops whose name is LIKE pattern, neither claimed nor pinned, up to the key `last`."""
    values = {"pattern": pattern, "last": last, "count": count}
    rows = connection.execute(statements.select_units_of_hops_like, values).mappings().all()
    return units_of(connection, rows)


def resubmit(
    connection: Connection, units: Sequence[Unit], events: Sequence[TrackingEvent], *, stored: bool = False
) -> list[QueuedMessage]:
    """Units go back to the categorizer: their recipients wait again. One event for each; what is gone already
    stays gone, and nothing is told of it. `stored`: the same for what was taken into memory meanwhile."""
    told: list[TrackingEvent] = []
    for unit, event in zip(units, events, strict=True):
        if not _delete(connection, unit.key, stored=stored):
            continue
        told.append(event)
        _free(connection, unit.message.id, [queued.position for queued in unit.recipients])
    statements.tracking.record(connection, told)
    found: list[QueuedMessage] = []
    for message in dict.fromkeys(unit.message.id for unit in units):
        found += _waiting(connection, message)
    return found


def release(
    connection: Connection, keys: Sequence[str], event: Callable[[Unit], TrackingEvent]
) -> tuple[list[Unit], list[QueuedMessage]]:
    """Units of unknown outcome that are only stored go back to the categorizer, and their messages."""
    rows = connection.execute(statements.select_held_units, {"keys": list(keys)}).mappings().all()
    units = units_of(connection, rows)
    return units, resubmit(connection, units, [event(unit) for unit in units])


def wait_again(connection: Connection, message: int, positions: Sequence[int]) -> list[QueuedMessage]:
    """Recipients wait for the categorizer; returns their message."""
    _free(connection, message, positions)
    return _waiting(connection, message)


def _delete(connection: Connection, key: str, *, stored: bool) -> int:
    statement = statements.delete_stored_unit if stored else statements.delete_unit
    return statement.run(connection, {"of_key": key})


def _free(connection: Connection, message: int, positions: Sequence[int]) -> None:
    values: dict[str, Any] = {"of_message": message, "positions": list(positions), "to_unit": ""}
    connection.execute(statements.move_recipients, values)
    connection.execute(statements.set_message_state, {"of_message": message, "to_state": "submitted"})


def _waiting(connection: Connection, message: int) -> list[QueuedMessage]:
    rows = connection.execute(statements.select_message, {"of_message": message}).mappings().all()
    return messages_of(connection, rows)
