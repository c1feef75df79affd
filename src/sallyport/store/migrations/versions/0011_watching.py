"""Baselines of agents, and findings about them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two tables."""
    op.create_table(
        "watch_baselines",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("updated", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_watch_baselines"),
    )
    texts = ("about", "issuer", "subject", "actor", "agent", "target", "evidence", "by", "reason")
    op.create_table(
        "watch_findings",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("detector", sa.String(32), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in texts),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.Column("last", sa.Integer, nullable=False),
        sa.Column("done", sa.JSON, nullable=False),
        sa.Column("acknowledged", sa.Float, nullable=False),
        sa.Column("expected", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_watch_findings"),
    )
    op.create_index("ix_watch_findings_at", "watch_findings", ["at"])
    op.create_index("ix_watch_findings_session", "watch_findings", ["session"])


def downgrade() -> None:
    """Without them."""
    op.drop_table("watch_findings")
    op.drop_table("watch_baselines")
