"""Sessions and requests belong to a process that says that it lives. Those from before belong to
none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the columns."""
    op.create_table(
        "owners",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("gateway", sa.String(16), nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("beat", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_owners"),
    )
    op.create_index("ix_owners_beat", "owners", ["beat"])
    for table in ("sessions", "approvals"):
        column = sa.Column("owner", sa.String(64), nullable=False, server_default="")
        op.add_column(table, column)


def downgrade() -> None:
    """Forget them."""
    for table in ("sessions", "approvals"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("owner")
    op.drop_table("owners")
