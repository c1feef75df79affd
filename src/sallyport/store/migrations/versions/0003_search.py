"""Statements to find sessions by, and the policies that were in force. Sessions from before are
searched in their recordings.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make what sessions are searched by, and the versions of policy."""
    op.add_column(
        "sessions", sa.Column("searchable", sa.String(8), nullable=False, server_default="")
    )
    op.create_table(
        "statements",
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("sql", sa.Text, nullable=False),
        sa.Column("relations", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("session", "number", name="pk_statements"),
    )
    op.create_table(
        "policy_versions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("loaded", sa.Float, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("changed", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_policy_versions"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("policy_versions")
    op.drop_table("statements")
    op.drop_column("sessions", "searchable")
