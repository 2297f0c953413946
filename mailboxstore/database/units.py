"""Transfer units of the Outbox as rows: one for each entry, with its hub, its key and how far it is.

States: `ready` (not tried), `retry` (tried, nothing was taken), `active` (being handed over), `unknown` (a
hub may have it: only the same hub under the same key is asked again), `repeat` (being asked again). Only
`ready` and `retry` can be withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection

from foundation.interfaces.mailbox_store import Refusal
from foundation.mail.envelope import Recipient, Sender
from mailboxstore.database import transfer_statements

REPLY_LENGTH_MAX = 1000
WAITING = ("ready", "retry")
"""States in which no hub can have the unit."""

State = Literal["ready", "retry", "active", "unknown", "repeat"]

_CLAIMED: dict[State, State] = {"ready": "active", "retry": "active", "unknown": "repeat"}

_encode = msgspec.msgpack.Encoder().encode
_decode_sender = msgspec.msgpack.Decoder(Sender).decode
_decode_recipients = msgspec.msgpack.Decoder(tuple[Recipient, ...]).decode


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    transfer_key: str
    folder: int
    uid: int
    email: int
    mailbox_id: str
    network_message_id: str
    message_id: str
    sender: Sender
    recipients: tuple[Recipient, ...]
    probe: bool = False
    size_bytes: int
    target: str
    state: State
    attempts: int = 0
    last_attempt_at_ms: int = 0
    last_reply: str = ""
    next_attempt_at_ms: int
    received_at_ms: int
    expires_at_ms: int
    delay_reported: bool = False
    prefix: bytes = b""
    """Trace fields that go before the email."""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(recipient.address for recipient in self.recipients)


def add_unit(connection: Connection, unit: Unit) -> None:
    values = msgspec.structs.asdict(unit)
    values["sender"] = _encode(unit.sender)
    values["recipients"] = _encode(unit.recipients)
    transfer_statements.ADD_UNIT.run(connection, values)


def delete_unit(connection: Connection, transfer_key: str) -> bool:
    """Whether it was there."""
    return transfer_statements.DELETE_UNIT.run(connection, {"transfer_key": transfer_key}) > 0


def find_unit(connection: Connection, transfer_key: str) -> Unit | None:
    row = transfer_statements.FIND_UNIT.first(connection, {"transfer_key": transfer_key})
    return _unit(row) if row else None


def unit_state(connection: Connection, transfer_key: str) -> State | None:
    """None: there is no such unit."""
    state: State | None = transfer_statements.UNIT_STATE.scalar(connection, {"transfer_key": transfer_key})
    return state


def withdraw_units(connection: Connection, folder: int, uids: Sequence[int]) -> tuple[Unit, ...]:
    """Takes back what no hub has of these entries. Refusal INUSE, for all of them, when one is on its way."""
    if not uids:
        return ()
    wanted = set(uids)
    values = {"folder": folder, "first": min(uids), "last": max(uids)}
    rows = connection.execute(transfer_statements.UNITS_OF_ENTRIES, values)
    units = tuple(unit for unit in map(_unit, rows) if unit.uid in wanted)
    if any(unit.state not in WAITING for unit in units):
        raise Refusal("INUSE", "The message is on its way and can't be withdrawn now", 450, "4.2.0")
    for unit in units:
        delete_unit(connection, unit.transfer_key)
    return units


def claim_due(
    connection: Connection, target: str, away: Sequence[str], now_ms: int, horizon_ms: int, limit: int
) -> tuple[Unit, ...]:
    """Makes up to `limit` units active: those whose outcome at this hub is unknown first, then those that
    are due here or at a hub that is away. A next attempt beyond `horizon_ms` is due: the clock went back.
    """
    times = {"target": target, "now_ms": now_ms, "horizon_ms": horizon_ms}
    unknown = connection.execute(transfer_statements.UNKNOWN_UNITS, {**times, "limit": limit})
    claimed = [_unit(row) for row in unknown]
    values = {**times, "away": list(away), "limit": limit - len(claimed)}
    if values["limit"]:
        claimed += [_unit(row) for row in connection.execute(transfer_statements.DUE_UNITS, values)]
    if claimed:
        connection.execute(
            transfer_statements.CLAIM_UNIT,
            [
                {
                    "of_key": unit.transfer_key,
                    "state": _CLAIMED[unit.state],
                    "target": target,
                    "last_attempt_at_ms": now_ms,
                }
                for unit in claimed
            ],
        )
    return tuple(
        msgspec.structs.replace(
            unit,
            state=_CLAIMED[unit.state],
            target=target,
            attempts=unit.attempts + 1,
            last_attempt_at_ms=now_ms,
        )
        for unit in claimed
    )


def set_state(
    connection: Connection, transfer_key: str, state: State, last_reply: str, next_attempt_at_ms: int
) -> None:
    connection.execute(
        transfer_statements.SET_UNIT_STATE,
        {
            "of_key": transfer_key,
            "state": state,
            "last_reply": last_reply[:REPLY_LENGTH_MAX],
            "next_attempt_at_ms": next_attempt_at_ms,
        },
    )


def recover(connection: Connection, hubs: Sequence[str]) -> None:
    """After a start: what was being handed over may have arrived; what is for a hub that the settings no
    longer have goes to another one: taking it out of the settings gave its units free.
    """
    connection.execute(transfer_statements.INTERRUPTED_UNITS)
    if hubs:
        values = {"known": list(hubs), "new_target": hubs[0]}
        connection.execute(transfer_statements.ORPHANED_TARGETS, values)


def next_due_ms(connection: Connection, target: str, away: Sequence[str]) -> int | None:
    values = {"target": target, "away": list(away)}
    due: int | None = connection.execute(transfer_statements.NEXT_DUE, values).scalar()
    return due


def units_page(connection: Connection, after_key: str, limit: int) -> tuple[Unit, ...]:
    values = {"after": after_key, "limit": limit}
    return tuple(_unit(row) for row in connection.execute(transfer_statements.UNITS_PAGE, values))


def overdue(connection: Connection, now_ms: int, limit: int) -> tuple[Unit, ...]:
    values = {"now_ms": now_ms, "limit": limit}
    return tuple(_unit(row) for row in connection.execute(transfer_statements.OVERDUE_UNITS, values))


def delayed(connection: Connection, received_before_ms: int, limit: int) -> tuple[Unit, ...]:
    values = {"received_before_ms": received_before_ms, "limit": limit}
    return tuple(_unit(row) for row in connection.execute(transfer_statements.DELAYED_UNITS, values))


def set_delay_reported(connection: Connection, transfer_key: str) -> None:
    connection.execute(transfer_statements.SET_DELAY_REPORTED, {"of_key": transfer_key})


def make_due(connection: Connection, target: str, keys: Iterable[str], now_ms: int) -> int:
    """Units of these keys, else of this hub, else all; returns how many."""
    chosen = list(keys)
    if chosen:
        statement = transfer_statements.RETRY_SOME_UNITS
        return connection.execute(statement, {"keys": chosen, "now_ms": now_ms}).rowcount
    values = {"any_hop": not target, "of_target": target, "now_ms": now_ms}
    return connection.execute(transfer_statements.RETRY_UNITS, values).rowcount


def count_units(connection: Connection) -> int:
    return int(connection.execute(transfer_statements.COUNT_UNITS).scalar_one())


def _unit(row: Sequence[Any]) -> Unit:
    values = dict(zip(transfer_statements.UNIT_COLUMNS, row, strict=True))
    values["sender"] = _decode_sender(values["sender"])
    values["recipients"] = _decode_recipients(values["recipients"])
    values["prefix"] = values["prefix"] or b""
    return Unit(**values)
