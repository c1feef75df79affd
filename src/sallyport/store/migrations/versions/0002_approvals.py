"""Approvals: what waited for a person, who decided, and grants."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of approvals, their decisions and grants."""
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("sql", sa.Text, nullable=False),
        sa.Column("binds", sa.LargeBinary, nullable=False),
        sa.Column("bind_formats", sa.JSON, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("policy_version", sa.Text, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("search_path", sa.JSON, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("requester", sa.JSON, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("reviewers", sa.JSON, nullable=False),
        sa.Column("quorum", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("touches", sa.JSON, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("in_transaction", sa.Boolean, nullable=False),
        sa.Column("preview", sa.JSON(none_as_null=True)),
        sa.Column("void_reason", sa.Text, nullable=False),
        sa.Column("grant_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
    )
    op.create_index("ix_approvals_status", "approvals", ["status"])
    op.create_index("ix_approvals_created", "approvals", ["created"])
    op.create_index("ix_approvals_digest", "approvals", ["digest"])
    op.create_table(
        "approval_decisions",
        sa.Column("approval", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("approve", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("links", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("approval", "number", name="pk_approval_decisions"),
        sa.ForeignKeyConstraint(
            ["approval"], ["approvals.id"], name="fk_approval_decisions_approval_approvals"
        ),
    )
    op.create_table(
        "approval_grants",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("example", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("reviewers", sa.JSON, nullable=False),
        sa.Column("requester", sa.JSON, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("policy_version", sa.Text, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("search_path", sa.JSON, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("decision", sa.JSON, nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float),
        sa.Column("revoked_by", sa.Text, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_approval_grants"),
    )
    op.create_index("ix_approval_grants_expires_at", "approval_grants", ["expires_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("approval_grants")
    op.drop_table("approval_decisions")
    op.drop_table("approvals")
