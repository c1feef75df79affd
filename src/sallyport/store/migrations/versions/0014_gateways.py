"""Many gateways: which of them has a session's recording, which store this is, and, in PostgreSQL,
the index of statements that they share. Sessions from before are nobody's: in a store that is not
shared, everything is its gateway's.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column and tables."""
    op.add_column("sessions", sa.Column("gateway", sa.Text, nullable=False, server_default=""))
    op.create_index("ix_sessions_gateway", "sessions", ["gateway"])
    op.create_table(
        "store_facts",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_store_facts"),
    )
    if op.get_bind().dialect.name == "postgresql":
        _create_search()


def _create_search() -> None:
    op.create_table(
        "search_texts",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    texts = ("outcome", "code", "sqlstate", "fingerprint", "who", "what")
    op.create_table(
        "search_statements",
        sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("sql", sa.Text, nullable=False),
        sa.Column("shortened", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in texts),
        sa.Column("rows", sa.Integer),
        sa.Column("seconds", sa.Float),
        sa.Column("terms", ARRAY(sa.Text), nullable=False),
        sa.Column("words", TSVECTOR, nullable=False),
    )
    op.create_index("ix_search_statements_session", "search_statements", ["session"])
    for name in ("terms", "words"):
        index = f"ix_search_statements_{name}"
        op.create_index(index, "search_statements", [name], postgresql_using="gin")
    op.create_table(
        "search_progress",
        sa.Column("gateway", sa.Text, primary_key=True),
        sa.Column("version", sa.SmallInteger, nullable=False),
        sa.Column("cursor", sa.Text, nullable=False),
        sa.Column("complete_until", sa.Float, nullable=False),
        sa.Column("statements", sa.Integer, nullable=False),
        sa.Column("dropped", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    """Remove them."""
    if op.get_bind().dialect.name == "postgresql":
        for name in ("search_progress", "search_statements", "search_texts"):
            op.drop_table(name)
    op.drop_table("store_facts")
    op.drop_index("ix_sessions_gateway", "sessions")
    op.drop_column("sessions", "gateway")
