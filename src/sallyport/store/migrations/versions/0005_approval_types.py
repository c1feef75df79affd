"""Approvals: the types that a statement's parameters were declared to have."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("approvals", sa.Column("types", sa.JSON, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("approvals") as batch:
        batch.drop_column("types")
