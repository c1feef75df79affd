"""Many gateways as one: what they count together, the policy that they are given, and what each of
their processes runs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_OWNERS = ("name", "software", "policy", "policy_problem")


def upgrade() -> None:
    """Add columns and tables: version 0014 can use them as well."""
    facts = sa.table("store_facts", sa.column("name"), sa.column("value"))
    op.bulk_insert(facts, [{"name": "usable_from", "value": "0014"}])
    for name in _OWNERS:
        op.add_column("owners", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.create_table(
        "shared_counts",
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("memory", sa.String(16), nullable=False),
        sa.Column("worker", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("sessions", sa.Integer, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("changed", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("key", "memory", "worker", name="pk_shared_counts"),
    )
    op.create_index("ix_shared_counts_changed", "shared_counts", ["changed"])
    op.create_table(
        "published_policies",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("published", sa.Float, nullable=False),
        sa.Column("publisher", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_published_policies"),
    )


def downgrade() -> None:
    """Remove them."""
    op.execute("DELETE FROM store_facts WHERE name = 'usable_from'")
    op.drop_table("published_policies")
    op.drop_index("ix_shared_counts_changed", "shared_counts")
    op.drop_table("shared_counts")
    for name in _OWNERS:
        op.drop_column("owners", name)
