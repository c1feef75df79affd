"""Approvals: the text that is sent to the database, with masks put into it.

What is open is kept, without such a text: an asynchronous approval from before is void when it is
used.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("approvals", sa.Column("sent", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("approvals") as batch:
        batch.drop_column("sent")
