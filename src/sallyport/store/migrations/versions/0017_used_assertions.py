"""Ids of SAML assertions that were used, so that none is accepted twice."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table: earlier versions do without it."""
    op.create_table(
        "used_assertions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_used_assertions"),
    )
    op.create_index("ix_used_assertions_until", "used_assertions", ["until"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("used_assertions")
