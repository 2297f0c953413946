"""Writes, finds and prunes tracking events, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Table, bindparam, delete, func, insert, or_, select

from foundation.database.prepared import Prepared
from foundation.interfaces.tracking import TrackingEvent

FOUND_AT_ONCE = 500
PRUNED_AT_ONCE = 500
MESSAGES_OF_ONE_ID = 1000
"""Messages looked up for one Message-ID: a bound against a sender that gives the same one to all."""

ROW_BYTES = 320
"""What a row takes beside its texts, with its place in the indexes: an estimate."""

_ROWS_MEASURED = 1000
_FIELDS = TrackingEvent.__struct_fields__
_encode = msgspec.json.Encoder().encode
_decode_recipients = msgspec.json.Decoder(tuple[str, ...]).decode


class Tracking:
    """The statements on one database's tracking table."""

    def __init__(self, table: Table) -> None:
        columns = table.c
        self._insert = Prepared(insert(table))
        self._messages = (
            select(columns.network_message_id)
            .where(columns.message_id == bindparam("message_id"), columns.network_message_id != "")
            .distinct()
            .order_by(columns.network_message_id)
            .limit(MESSAGES_OF_ONE_ID)
        )
        self._find = (
            select(*(columns[name] for name in _FIELDS))
            .where(
                or_(
                    columns.message_id.in_(bindparam("message_ids", expanding=True)),
                    columns.network_message_id.in_(bindparam("network_message_ids", expanding=True)),
                ),
                columns.sequence > bindparam("after_sequence"),
            )
            .order_by(columns.sequence)
            .limit(bindparam("limit"))
        )
        self._since = (
            select(*(columns[name] for name in _FIELDS))
            .where(columns.at_ms >= bindparam("since_ms"), columns.sequence > bindparam("after_sequence"))
            .order_by(columns.sequence)
            .limit(bindparam("limit"))
        )
        older = select(columns.sequence).where(columns.at_ms < bindparam("older_than_ms"))
        older = older.order_by(columns.at_ms).limit(bindparam("limit"))
        oldest = select(columns.sequence).order_by(columns.sequence).limit(bindparam("limit"))
        self._delete_older = delete(table).where(columns.sequence.in_(older))
        self._delete_oldest = delete(table).where(columns.sequence.in_(oldest))
        self._span = select(func.max(columns.sequence) - func.min(columns.sequence) + 1)
        lengths = [func.length(column) for column in columns if column.type.python_type is str]
        texts = sum(lengths[1:], start=lengths[0])
        newest = select(texts.label("text_bytes")).order_by(columns.sequence.desc()).limit(_ROWS_MEASURED)
        self._average = select(func.avg(newest.subquery().c.text_bytes))

    def record(self, connection: Connection, events: Sequence[TrackingEvent]) -> None:
        """Adds events in their order; the database gives the sequence."""
        self._insert.run_each(connection, [_values(event) for event in events])

    def find(
        self,
        connection: Connection,
        message_id: str,
        network_message_ids: Sequence[str],
        after_sequence: int = 0,
        limit: int = FOUND_AT_ONCE,
    ) -> tuple[TrackingEvent, ...]:
        """Events of the messages with this Message-ID (empty: none) or one of these network message ids.

        By sequence, the next page after the last one's. An event that carries no Message-ID is found by
        the network message id it shares with one that does.
        """
        identifiers = dict.fromkeys(identifier for identifier in network_message_ids if identifier)
        if message_id:
            same = connection.execute(self._messages, {"message_id": message_id}).scalars()
            identifiers.update(dict.fromkeys(same))
        values = {
            "message_ids": [message_id] if message_id else [],
            "network_message_ids": list(identifiers),
            "after_sequence": after_sequence,
            "limit": limit,
        }
        return tuple(_event(row) for row in connection.execute(self._find, values))

    def since(
        self, connection: Connection, since_ms: int, after_sequence: int = 0, limit: int = FOUND_AT_ONCE
    ) -> tuple[TrackingEvent, ...]:
        """Events at or after a time, by sequence, the next page after the last one's."""
        values = {"since_ms": since_ms, "after_sequence": after_sequence, "limit": limit}
        return tuple(_event(row) for row in connection.execute(self._since, values))

    def prune(
        self, connection: Connection, older_than_ms: int, max_bytes: int, limit: int = PRUNED_AT_ONCE
    ) -> int:
        """Removes at most `limit` events that are too old, or the oldest while all take more than max_bytes.

        Returns how many; repeat, each in a commit of its own, until it is 0. The size is estimated.
        """
        removed = connection.execute(
            self._delete_older, {"older_than_ms": older_than_ms, "limit": limit}
        ).rowcount
        if removed == 0 and self._estimated_bytes(connection) > max_bytes:
            removed = connection.execute(self._delete_oldest, {"limit": limit}).rowcount
        return removed

    def _estimated_bytes(self, connection: Connection) -> int:
        # The span of sequences stands for the count: it costs no walk over a table of millions of rows.
        rows = connection.execute(self._span).scalar() or 0
        average = connection.execute(self._average).scalar() or 0
        return int(rows * (float(average) + ROW_BYTES))


def _values(event: TrackingEvent) -> dict[str, Any]:
    values = msgspec.structs.asdict(event)
    del values["sequence"]
    values["recipients"] = _encode(event.recipients).decode()
    return values


def _event(row: Row[Any]) -> TrackingEvent:
    values = dict(zip(_FIELDS, row, strict=True))
    values["recipients"] = _decode_recipients(values["recipients"])
    return TrackingEvent(**values)
