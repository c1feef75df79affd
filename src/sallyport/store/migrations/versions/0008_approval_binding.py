"""Approvals: what an approval is for is one value, not a column for each of its fields.

What is open is kept, with the same digest.
"""

from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TEXTS = (
    "sql",
    "sent",
    "target",
    "subject",
    "issuer",
    "session",
    "policy_version",
    "epoch",
    "role",
)
_LISTS = ("bind_formats", "search_path", "rules", "settings", "types")


def _columns() -> list[sa.Column[Any]]:
    empty = r"'\xc0'::bytea" if op.get_bind().dialect.name == "postgresql" else "x'c0'"
    return [
        *(sa.Column(name, sa.Text, nullable=False, server_default="") for name in _TEXTS),
        *(sa.Column(name, sa.JSON, nullable=False, server_default="[]") for name in _LISTS),
        sa.Column("binds", sa.LargeBinary, nullable=False, server_default=sa.text(empty)),
    ]


def _table(*columns: str) -> Any:
    kinds = {column.name: column.type for column in _columns()} | {
        "binding": sa.LargeBinary(),
        "id": sa.Text(),
    }
    return sa.table(
        "approvals", *(sa.column(name, kinds[name]) for name in ("id", "binding", *columns))
    )


def upgrade() -> None:
    """Add the columns."""
    op.add_column(
        "approvals", sa.Column("binding", sa.LargeBinary, nullable=False, server_default="")
    )
    table, connection = _table(*_TEXTS, *_LISTS, "binds"), op.get_bind()
    for row in connection.execute(sa.select(table)).all():
        fields = {name: getattr(row, name) for name in (*_TEXTS, *_LISTS)}
        fields["binds"] = msgspec.msgpack.decode(row.binds)
        encoded = msgspec.msgpack.encode(fields)
        connection.execute(table.update().where(table.c.id == row.id).values(binding=encoded))
    for column in _columns():
        op.drop_column("approvals", column.name)


def downgrade() -> None:
    """Drop them."""
    for column in _columns():
        op.add_column("approvals", column)
    table, connection = _table(*_TEXTS, *_LISTS, "binds"), op.get_bind()
    for row in connection.execute(sa.select(table.c.id, table.c.binding)).all():
        fields = msgspec.msgpack.decode(row.binding)
        fields["binds"] = msgspec.msgpack.encode(fields["binds"])
        connection.execute(table.update().where(table.c.id == row.id).values(**fields))
    op.drop_column("approvals", "binding")
