"""The table of tracking events: one row for each thing a server did with a message, and why.

It stands in the database of the work, so that an event is committed with what it tells of.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table, Text


def tracking_table(metadata: MetaData, name: str = "tracking_events") -> Table:
    """A column for every field of TrackingEvent; `recipients` is a JSON list."""
    return Table(
        name,
        metadata,
        # SQLite numbers rows by itself only in a column of type INTEGER.
        Column(
            "sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
        ),
        Column("event", Text, nullable=False),
        Column("source", Text, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("server", Text, nullable=False),
        Column("network_message_id", Text, nullable=False),
        Column("message_id", Text, nullable=False),
        Column("sender", Text, nullable=False),
        Column("recipients", Text, nullable=False),
        Column("transfer_key", Text, nullable=False),
        Column("next_hop", Text, nullable=False),
        Column("reply", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("related", Text, nullable=False),
        Column("mailbox_id", Text, nullable=False),
        Column("folder_id", Text, nullable=False),
        Column("uid", BigInteger, nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("probe", Boolean, nullable=False),
        Index(f"{name}_by_message_id", "message_id"),
        Index(f"{name}_by_network_message_id", "network_message_id"),
        Index(f"{name}_by_at_ms", "at_ms"),
        sqlite_autoincrement=True,
    )
