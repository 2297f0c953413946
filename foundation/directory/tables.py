"""Tables of the directory: one organisation, shared by all its daemons, written by the command line alone.

Every row carries the revision of the change that last touched it; what went away stays as a tombstone for a
while, so that a reader that knows revision N reads only what came after. A group's members change with the
revision of the group.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table, Text

SCHEMA_REVISION = 1

metadata = MetaData()

organisation = Table(
    "directory_organisation",
    metadata,
    Column("organisation_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("default_domain", Text, nullable=False),
    Column("postmaster_id", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # The revision of the last change. Every change begins by raising it: its row lock orders the changes.
    Column("revision", BigInteger, nullable=False),
    # Tombstones up to this revision are gone; a reader that knows less reads everything anew.
    Column("pruned_revision", BigInteger, nullable=False),
)

domains = Table(
    "directory_domains",
    metadata,
    Column("domain_id", Text, primary_key=True),
    Column("domain", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("removed_at_ms", BigInteger),
    Column("revision", BigInteger, nullable=False, index=True),
)

recipients = Table(
    "directory_recipients",
    metadata,
    Column("recipient_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("mailbox_id", Text, nullable=False),
    Column("store", Text, nullable=False, index=True),
    Column("database", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("removed_at_ms", BigInteger),
    Column("revision", BigInteger, nullable=False, index=True),
)

addresses = Table(
    "directory_addresses",
    metadata,
    Column("address_key", Text, primary_key=True),
    Column("address", Text, nullable=False),
    # Empty: a tombstone.
    Column("recipient_id", Text, nullable=False, index=True),
    Column("is_primary", Boolean, nullable=False),
    Column("removed_at_ms", BigInteger),
    Column("revision", BigInteger, nullable=False, index=True),
)

members = Table(
    "directory_members",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    # One of the two: a recipient of the directory, or an address outside.
    Column("member_id", Text, nullable=False),
    Column("address", Text, nullable=False),
    Index("directory_members_member", "member_id"),
)

disconnected_mailboxes = Table(
    "directory_disconnected_mailboxes",
    metadata,
    Column("mailbox_id", Text, primary_key=True),
    Column("recipient_id", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("store", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)
