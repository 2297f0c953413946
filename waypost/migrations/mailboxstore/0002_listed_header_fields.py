"""listed header fields: taken out of the messages that are there by the store's upkeep, after the start"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("emails", sa.Column("header_fields", sa.LargeBinary(), nullable=True))
    op.add_column("emails", sa.Column("searched_fields", sa.LargeBinary(), nullable=True))
    op.create_index(
        "emails_without_fields",
        "emails",
        ["email"],
        unique=False,
        sqlite_where=sa.text("header_fields IS NULL"),
        postgresql_where=sa.text("header_fields IS NULL"),
    )
