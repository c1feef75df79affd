"""Session tokens: what Sallyport issued, by the hash of its text."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of session tokens."""
    op.create_table(
        "session_tokens",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("subject", sa.JSON, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("networks", sa.JSON, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("revoked_at", sa.Float),
        sa.Column("revoked_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_session_tokens"),
    )
    op.create_index("ix_session_tokens_expires_at", "session_tokens", ["expires_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("session_tokens")
