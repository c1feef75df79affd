"""Sessions of SAML providers that single logout ended."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table: earlier versions do without it."""
    op.create_table(
        "ended_sessions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("indexes", sa.JSON, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("kept", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ended_sessions"),
    )
    op.create_index("ix_ended_sessions_kept", "ended_sessions", ["kept"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("ended_sessions")
