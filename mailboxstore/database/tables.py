"""The tables of a mailbox database: mailboxes, folders, messages, what guards against doubles, the Outbox's
units.

Rows are joined by small integers; every mailbox, folder, message and thread also has its immutable id
(UUIDv7), the only name that leaves the database. A *stored email* is one run of bytes with what was computed
from it once; a *message* is its place in a folder, so a copy is one small row.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

from foundation.database.content import content_tables
from foundation.tracking.tables import tracking_table

COMPONENT = "mailboxstore"
REVISION = 4

Key = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

contents = content_tables(metadata)
tracking = tracking_table(metadata)

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("mailbox", Key, primary_key=True),
    Column("mailbox_id", String(36), nullable=False, unique=True),
    Column("user_id", String(36), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("disconnected_at_ms", BigInteger, doc="NULL: connected"),
    Column("last_uid_validity", BigInteger, nullable=False, doc="never goes back"),
    Column("modseq", BigInteger, nullable=False, doc="the last one given in this mailbox"),
    Column("messages", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
)

folders = Table(
    "folders",
    metadata,
    Column("folder", Key, primary_key=True),
    Column("folder_id", String(36), nullable=False, unique=True),
    Column("mailbox", Key, ForeignKey("mailboxes.mailbox"), nullable=False),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("selectable", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("uid_validity", BigInteger, nullable=False),
    Column("uid_next", BigInteger, nullable=False),
    Column("highest_modseq", BigInteger, nullable=False),
    Column(
        "recent_from", BigInteger, nullable=False, doc="first UID that no session has claimed as \\Recent"
    ),
    Column("messages", BigInteger, nullable=False),
    Column("unseen", BigInteger, nullable=False),
    Column("deleted", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("folders_by_name", "mailbox", "name", unique=True),
    sqlite_autoincrement=True,
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("mailbox", Key, ForeignKey("mailboxes.mailbox"), primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    sqlite_with_rowid=False,
)

emails = Table(
    "emails",
    metadata,
    Column("email", Key, primary_key=True),
    Column("email_id", String(36), nullable=False),
    Column("reference_count", BigInteger, nullable=False, doc="messages that show it; 0: to be collected"),
    Column("prefix", LargeBinary, nullable=False),
    Column("content", Key, nullable=False),
    Column("content_sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False, doc="prefix and content"),
    Column("header_size", Integer, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("sent_day", Integer, doc="day of the Date header as yyyymmdd"),
    Column("envelope", LargeBinary, nullable=False),
    Column("body_structure", LargeBinary, nullable=False),
    Column("parts", LargeBinary, nullable=False),
    Column("header_fields", LargeBinary, doc="foundation/mail/listed_fields.py; NULL: not taken out yet"),
    Column("searched_fields", LargeBinary, doc="the same, as searches compare them"),
    Index("emails_by_content", "content_sha256"),
    sqlite_autoincrement=True,
)
Index(
    "emails_without_fields",
    emails.c.email,
    sqlite_where=emails.c.header_fields.is_(None),
    postgresql_where=emails.c.header_fields.is_(None),
)
Index(
    "emails_unreferenced",
    emails.c.email,
    sqlite_where=emails.c.reference_count == 0,
    postgresql_where=emails.c.reference_count == 0,
)

messages = Table(
    "messages",
    metadata,
    Column("folder", Key, primary_key=True, autoincrement=False),
    Column("uid", BigInteger, primary_key=True, autoincrement=False),
    Column("email", Key, nullable=False),
    Column("thread_id", String(36), nullable=False),
    Column("modseq", BigInteger, nullable=False),
    Column("flags", SmallInteger, nullable=False),
    Column("keywords", Text, nullable=False, doc="joined by spaces, sorted"),
    Column("internal_date_ms", BigInteger, nullable=False),
    Column("internal_offset_minutes", SmallInteger, nullable=False),
    Column("save_date_ms", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("messages_by_modseq", "folder", "modseq"),
    sqlite_with_rowid=False,
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("folder", Key, primary_key=True, autoincrement=False),
    Column("uid", BigInteger, primary_key=True, autoincrement=False),
    Column("modseq", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False, doc="id of the user, or the part of the store that did it"),
    Index("tombstones_by_modseq", "folder", "modseq"),
    sqlite_with_rowid=False,
)

thread_links = Table(
    "thread_links",
    metadata,
    Column("mailbox", Key, primary_key=True, autoincrement=False),
    Column("message_id", Text, primary_key=True, doc="of a message of the thread, or of one it refers to"),
    Column("subject", Text, primary_key=True, doc="base subject (RFC 5256 2.1)"),
    Column("thread_id", String(36), nullable=False),
    sqlite_with_rowid=False,
)

delivered = Table(
    "delivered",
    metadata,
    Column("network_message_id", String(64), primary_key=True),
    Column("recipient_id", String(36), primary_key=True),
    Column("mailbox_id", String(36), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Index("delivered_by_time", "at_ms"),
    sqlite_with_rowid=False,
)

received_transfers = Table(
    "received_transfers",
    metadata,
    Column("transfer_key", String(64), primary_key=True),
    Column("network_message_id", String(64), nullable=False),
    Column("results", LargeBinary, nullable=False, doc="msgpack: reply by recipient"),
    Column("at_ms", BigInteger, nullable=False),
    Index("received_transfers_by_time", "at_ms"),
    sqlite_with_rowid=False,
)

submissions = Table(
    "submissions",
    metadata,
    Column("submission_key", String(64), primary_key=True),
    Column("network_message_id", String(64), nullable=False),
    Column("mailbox_id", String(36), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("submissions_by_time", "at_ms"),
    sqlite_with_rowid=False,
)

sent_copies = Table(
    "sent_copies",
    metadata,
    Column("mailbox", Key, primary_key=True, autoincrement=False),
    Column("message_id", Text, primary_key=True),
    Column("folder", Key, primary_key=True, autoincrement=False),
    Column("uid", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("sent_copies_by_time", "at_ms"),
    sqlite_with_rowid=False,
)

outbox_units = Table(
    "outbox_units",
    metadata,
    Column("transfer_key", String(64), primary_key=True),
    Column("folder", Key, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("email", Key, nullable=False),
    Column("mailbox_id", String(36), nullable=False),
    Column("network_message_id", String(64), nullable=False),
    Column("message_id", Text, nullable=False),
    Column("sender", LargeBinary, nullable=False, doc="msgpack"),
    Column("recipients", LargeBinary, nullable=False, doc="msgpack"),
    Column("probe", Boolean, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("target", String(255), nullable=False, doc="name of the hub it goes to"),
    Column("state", String(8), nullable=False, doc="ready, retry, active, unknown"),
    Column("attempts", Integer, nullable=False),
    Column("last_attempt_at_ms", BigInteger, nullable=False),
    Column("last_reply", Text, nullable=False),
    Column("next_attempt_at_ms", BigInteger, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("delay_reported", Boolean, nullable=False),
    Column("prefix", LargeBinary, doc="trace fields that leave before the email; NULL: none"),
    Index("outbox_units_by_entry", "folder", "uid"),
    Index("outbox_units_by_turn", "target", "state", "next_attempt_at_ms"),
)
