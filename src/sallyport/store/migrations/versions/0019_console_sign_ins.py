"""Who is signed in to the consoles of a store."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table: earlier versions do without it."""
    op.create_table(
        "console_sign_ins",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_console_sign_ins"),
    )
    op.create_index("ix_console_sign_ins_until", "console_sign_ins", ["until"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("console_sign_ins")
