"""Rows of the queue database, to and from records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping

from foundation.mail.envelope import Recipient, Sender
from hubtransport.queues import statements
from hubtransport.queues.records import MessageState, QueuedMessage, QueuedRecipient, Unit

_encode = msgspec.msgpack.Encoder().encode
_sender = msgspec.msgpack.Decoder(Sender).decode
_recipient = msgspec.msgpack.Decoder(Recipient).decode

_PLAIN = tuple(name for name in QueuedMessage.__struct_fields__ if name not in ("id", "sender", "recipients"))
_UNIT = tuple(name for name in Unit.__struct_fields__ if name not in ("message", "recipients"))


def message_values(message: QueuedMessage, content_id: int, state: MessageState) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(message, name) for name in _PLAIN}
    values["sender"] = _encode(message.sender)
    values["content_id"] = content_id
    values["state"] = state
    return values


def message_of(row: RowMapping, recipients: Sequence[QueuedRecipient] = ()) -> QueuedMessage:
    values = {name: row[name] for name in _PLAIN}
    return QueuedMessage(id=row["id"], sender=_sender(row["sender"]), recipients=tuple(recipients), **values)


def encode_recipient(recipient: Recipient) -> bytes:
    return _encode(recipient)


def recipient_values(message: int, queued: QueuedRecipient, unit: str) -> dict[str, Any]:
    return {
        "message": message,
        "position": queued.position,
        "unit": unit,
        "recipient": _encode(queued.recipient),
        "original": queued.original,
    }


def unit_values(unit: Unit, *, claimed: bool) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(unit, name) for name in _UNIT}
    values["group"] = ",".join(unit.group)
    values["message"] = unit.message.id
    values["claimed"] = claimed
    return values


def units_of(connection: Connection, rows: Sequence[RowMapping]) -> list[Unit]:
    """Units with their messages and recipients, in the order of the rows."""
    if not rows:
        return []
    found = connection.execute(
        statements.select_unit_recipients,
        {"of_messages": sorted({row["id"] for row in rows}), "of_units": [row["unit_key"] for row in rows]},
    )
    recipients: dict[str, list[QueuedRecipient]] = {}
    for key, position, recipient, original in found:
        recipients.setdefault(key, []).append(
            QueuedRecipient(position=position, recipient=_recipient(recipient), original=original)
        )
    units = []
    for row in rows:
        values = {name: row[f"unit_{name}"] for name in _UNIT}
        values["group"] = tuple(values["group"].split(",")) if values["group"] else ()
        units.append(
            Unit(message=message_of(row), recipients=tuple(recipients.get(values["key"], ())), **values)
        )
    return units


def messages_of(connection: Connection, rows: Sequence[RowMapping]) -> list[QueuedMessage]:
    """Messages with the recipients that wait for the categorizer."""
    if not rows:
        return []
    found = connection.execute(
        statements.select_waiting_recipients, {"of_messages": [row["id"] for row in rows]}
    )
    waiting: dict[int, list[QueuedRecipient]] = {}
    for message, position, recipient, original in found:
        waiting.setdefault(message, []).append(
            QueuedRecipient(position=position, recipient=_recipient(recipient), original=original)
        )
    return [message_of(row, waiting.get(row["id"], ())) for row in rows]
