"""content in files"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("contents", sa.Column("file", sa.String(length=36), nullable=True))
    op.add_column("contents", sa.Column("file_start", sa.BigInteger(), nullable=True))
    op.create_index(
        "contents_file",
        "contents",
        ["file"],
        unique=True,
        sqlite_where=sa.text("file IS NOT NULL"),
        postgresql_where=sa.text("file IS NOT NULL"),
    )
