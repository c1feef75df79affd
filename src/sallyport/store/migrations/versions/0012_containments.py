"""Who read untrusted text and is contained."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "containments",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("agents", sa.JSON, nullable=False),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("column", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("statement", sa.Integer, nullable=False),
        sa.Column("read_at", sa.Float, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("released_at", sa.Float),
        sa.Column("released_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_containments"),
    )
    op.create_index("ix_containments_read_at", "containments", ["read_at"])


def downgrade() -> None:
    """Drop it: nobody is contained."""
    op.drop_table("containments")
