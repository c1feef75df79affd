"""Approvals: several hold rules at once, and the settings that a statement's meaning depends on.

What is open is kept: it has one rule, and no settings, so an asynchronous approval from before is
void when it is used.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEW = {
    "approvals": ("rules", "settings", "further"),
    "approval_decisions": ("rules",),
    "approval_grants": ("rules", "settings"),
}


def upgrade() -> None:
    """Add the columns."""
    for table, names in _NEW.items():
        for name in names:
            op.add_column(table, sa.Column(name, sa.JSON, nullable=False, server_default="[]"))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    array = "json_array(rule)" if is_sqlite else "json_build_array(rule)::text"
    op.execute(f"UPDATE approvals SET rules = {array}")
    op.execute(
        "UPDATE approval_decisions SET rules ="
        " (SELECT a.rules FROM approvals a WHERE a.id = approval_decisions.approval)"
    )
    op.execute(f"UPDATE approval_grants SET rules = {array}")


def downgrade() -> None:
    """Drop them."""
    for table, names in _NEW.items():
        with op.batch_alter_table(table) as batch:
            for name in names:
                batch.drop_column(name)
