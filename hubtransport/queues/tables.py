"""The queue database of a hub: messages, their recipients, transfer units, keys received, state of next hops.

Content and tracking events stand in the same database, so that one commit covers all of it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from foundation.database.content import content_tables
from foundation.tracking.tables import tracking_table

REVISION = 2

METADATA = MetaData()

_Id = BigInteger().with_variant(Integer, "sqlite")

CONTENTS = content_tables(METADATA)
TRACKING = tracking_table(METADATA)

MESSAGES = Table(
    "messages",
    METADATA,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("entry_id", Text, nullable=False),
    Column(
        "state", Text, nullable=False, doc="submitted: recipients wait for the categorizer; queued; poison"
    ),
    Column("network_message_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("sender", LargeBinary, nullable=False, doc="msgpack of foundation.mail.envelope.Sender"),
    Column("content_id", BigInteger, nullable=False),
    Column("content_bytes", BigInteger, nullable=False),
    Column("prefix", LargeBinary, nullable=False),
    Column("carried_prefix_bytes", Integer, nullable=False),
    Column("content_sha256", Text, nullable=False),
    Column("utf8_header", Boolean, nullable=False),
    Column("assessed", Text, nullable=False),
    Column("probe", Boolean, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("delay_at_ms", BigInteger, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("next_position", Integer, nullable=False),
    Index("messages_by_state", "state", "id"),
    sqlite_autoincrement=True,
)

RECIPIENTS = Table(
    "recipients",
    METADATA,
    Column("message", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("unit", Text, nullable=False, doc="transfer key; empty: waits for the categorizer"),
    Column("recipient", LargeBinary, nullable=False, doc="msgpack of foundation.mail.envelope.Recipient"),
    Column("original", Text, nullable=False),
    sqlite_with_rowid=False,
)

UNITS = Table(
    "transfer_units",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("message", BigInteger, nullable=False),
    Column("hop", Text, nullable=False),
    Column("group", Text, nullable=False, doc="hubs that may take it, parted by commas; empty: no group"),
    Column("claimed", Boolean, nullable=False, doc="in the memory of the running daemon, perhaps being sent"),
    Column("pinned", Boolean, nullable=False, doc="an attempt may have succeeded unseen"),
    Column("attempts", Integer, nullable=False),
    Column("last_attempt_at_ms", BigInteger, nullable=False),
    Column("last_reply", Text, nullable=False),
    Column("next_attempt_at_ms", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("delay_at_ms", BigInteger, nullable=False),
    Index("transfer_units_by_hop", "hop", "claimed", "next_attempt_at_ms"),
    Index("transfer_units_by_message", "message"),
    Index("transfer_units_by_expiry", "expires_at_ms"),
    Index("transfer_units_by_delay", "delay_at_ms"),
)

HOPS = Table(
    "next_hops",
    METADATA,
    Column("hop", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("failing_since_ms", BigInteger, nullable=False),
    Column("last_attempt_at_ms", BigInteger, nullable=False),
    Column("next_attempt_at_ms", BigInteger, nullable=False),
    Column("last_reply", Text, nullable=False),
)

KEYS = Table(
    "received_keys",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("network_message_id", Text, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("results", LargeBinary, nullable=False, doc="msgpack: RCPT address -> code, status, text"),
    Index("received_keys_by_time", "received_at_ms"),
)
