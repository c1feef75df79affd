"""What gateways did, in buckets of time."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table: earlier versions do without it."""
    op.create_table(
        "activity_buckets",
        sa.Column("seconds", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("start", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("process", sa.String(32), nullable=False),
        sa.Column("allowed", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("refused", sa.BigInteger, nullable=False),
        sa.Column("refusals", sa.JSON, nullable=False),
        sa.Column("masked", sa.JSON, nullable=False),
        sa.Column("logins", sa.JSON, nullable=False),
        sa.Column("latency", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("seconds", "start", "process", name="pk_activity_buckets"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("activity_buckets")
