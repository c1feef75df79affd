"""Sessions: who connected where, what came of it, and where the recording is."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of sessions."""
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("groups", sa.JSON, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("application", sa.Text, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("ended", sa.Float),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("statements", sa.Integer, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("last_hash", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
    )
    op.create_index("ix_sessions_started", "sessions", ["started"])
    op.create_index("ix_sessions_status", "sessions", ["status"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("sessions")
