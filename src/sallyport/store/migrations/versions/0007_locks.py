"""Locks of subjects and agents."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of locks."""
    op.create_table(
        "locks",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("by_issuer", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("released_at", sa.Float),
        sa.Column("released_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_locks"),
    )
    op.create_index("ix_locks_created", "locks", ["created"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("locks")
