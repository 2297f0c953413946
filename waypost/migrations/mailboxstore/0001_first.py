"""first"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "contents",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("reference_count", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "delivered",
        sa.Column("network_message_id", sa.String(length=64), nullable=False),
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("mailbox_id", sa.String(length=36), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("network_message_id", "recipient_id", "mailbox_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("delivered_by_time", "delivered", ["at_ms"], unique=False)
    op.create_table(
        "emails",
        sa.Column("email", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("email_id", sa.String(length=36), nullable=False),
        sa.Column("reference_count", sa.BigInteger(), nullable=False),
        sa.Column("prefix", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("header_size", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("sent_day", sa.Integer(), nullable=True),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("body_structure", sa.LargeBinary(), nullable=False),
        sa.Column("parts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("email"),
        sqlite_autoincrement=True,
    )
    op.create_index("emails_by_content", "emails", ["content_sha256"], unique=False)
    op.create_index(
        "emails_unreferenced",
        "emails",
        ["email"],
        unique=False,
        sqlite_where=sa.text("reference_count = 0"),
        postgresql_where=sa.text("reference_count = 0"),
    )
    op.create_table(
        "mailboxes",
        sa.Column("mailbox", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mailbox_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("disconnected_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_uid_validity", sa.BigInteger(), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("mailbox"),
        sa.UniqueConstraint("mailbox_id"),
    )
    op.create_table(
        "messages",
        sa.Column(
            "folder",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("uid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("email", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("thread_id", sa.String(length=36), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("keywords", sa.Text(), nullable=False),
        sa.Column("internal_date_ms", sa.BigInteger(), nullable=False),
        sa.Column("internal_offset_minutes", sa.SmallInteger(), nullable=False),
        sa.Column("save_date_ms", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("folder", "uid"),
        sqlite_with_rowid=False,
    )
    op.create_index("messages_by_modseq", "messages", ["folder", "modseq"], unique=False)
    op.create_table(
        "outbox_units",
        sa.Column("transfer_key", sa.String(length=64), nullable=False),
        sa.Column("folder", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mailbox_id", sa.String(length=36), nullable=False),
        sa.Column("network_message_id", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("sender", sa.LargeBinary(), nullable=False),
        sa.Column("recipients", sa.LargeBinary(), nullable=False),
        sa.Column("probe", sa.Boolean(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_attempt_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_reply", sa.Text(), nullable=False),
        sa.Column("next_attempt_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("delay_reported", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_key"),
    )
    op.create_index("outbox_units_by_entry", "outbox_units", ["folder", "uid"], unique=False)
    op.create_index(
        "outbox_units_by_turn", "outbox_units", ["target", "state", "next_attempt_at_ms"], unique=False
    )
    op.create_table(
        "received_transfers",
        sa.Column("transfer_key", sa.String(length=64), nullable=False),
        sa.Column("network_message_id", sa.String(length=64), nullable=False),
        sa.Column("results", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("received_transfers_by_time", "received_transfers", ["at_ms"], unique=False)
    op.create_table(
        "sent_copies",
        sa.Column(
            "mailbox",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column(
            "folder",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("uid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("mailbox", "message_id", "folder", "uid"),
        sqlite_with_rowid=False,
    )
    op.create_index("sent_copies_by_time", "sent_copies", ["at_ms"], unique=False)
    op.create_table(
        "submissions",
        sa.Column("submission_key", sa.String(length=64), nullable=False),
        sa.Column("network_message_id", sa.String(length=64), nullable=False),
        sa.Column("mailbox_id", sa.String(length=36), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("submission_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("submissions_by_time", "submissions", ["at_ms"], unique=False)
    op.create_table(
        "thread_links",
        sa.Column(
            "mailbox",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("mailbox", "message_id", "subject"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tombstones",
        sa.Column(
            "folder",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("uid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("folder", "uid"),
        sqlite_with_rowid=False,
    )
    op.create_index("tombstones_by_modseq", "tombstones", ["folder", "modseq"], unique=False)
    op.create_table(
        "tracking_events",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("network_message_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("transfer_key", sa.Text(), nullable=False),
        sa.Column("next_hop", sa.Text(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("related", sa.Text(), nullable=False),
        sa.Column("mailbox_id", sa.Text(), nullable=False),
        sa.Column("folder_id", sa.Text(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("probe", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("tracking_events_by_at_ms", "tracking_events", ["at_ms"], unique=False)
    op.create_index("tracking_events_by_message_id", "tracking_events", ["message_id"], unique=False)
    op.create_index(
        "tracking_events_by_network_message_id", "tracking_events", ["network_message_id"], unique=False
    )
    op.create_table(
        "content_chunks",
        sa.Column("content_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["content_id"],
            ["contents.id"],
        ),
        sa.PrimaryKeyConstraint("content_id", "ordinal"),
    )
    op.create_table(
        "folders",
        sa.Column("folder", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("folder_id", sa.String(length=36), nullable=False),
        sa.Column("mailbox", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("selectable", sa.Boolean(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("uid_validity", sa.BigInteger(), nullable=False),
        sa.Column("uid_next", sa.BigInteger(), nullable=False),
        sa.Column("highest_modseq", sa.BigInteger(), nullable=False),
        sa.Column("recent_from", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("unseen", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox"],
            ["mailboxes.mailbox"],
        ),
        sa.PrimaryKeyConstraint("folder"),
        sa.UniqueConstraint("folder_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("folders_by_name", "folders", ["mailbox", "name"], unique=True)
    op.create_table(
        "subscriptions",
        sa.Column(
            "mailbox",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox"],
            ["mailboxes.mailbox"],
        ),
        sa.PrimaryKeyConstraint("mailbox", "name"),
        sqlite_with_rowid=False,
    )
