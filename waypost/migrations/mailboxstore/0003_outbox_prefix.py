"""outbox prefix"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("outbox_units", sa.Column("prefix", sa.LargeBinary(), nullable=True))
