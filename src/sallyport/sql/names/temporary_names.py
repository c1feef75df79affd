"""Temporary relations in statements: their names, and unknowns as (code, message, hint)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sallyport.sql.catalog.snapshot import ColumnId

#: What would go through a view to the tables that it reads.
THROUGH_VIEW: Final = frozenset({"insert", "update", "delete", "merge", "lock"})
#: Message and hint: a temporary view is no way to write.
ONLY_READ: Final = (
    "a temporary view can only be read through the gateway",
    "Write to the table that it reads, or lock that.",
)


def concerned(
    temporary: frozenset[int],
    accesses: Mapping[tuple[int, str, bool], Any],
    columns: Iterable[Iterable[ColumnId]],
) -> frozenset[int]:
    """Which of the session's temporary relations a statement concerns. ``accesses``: by relation,
    action and whether they are indirect. ``columns``: that it has anything to do with.
    """
    if not temporary:
        return temporary
    named = {relation for relation, _, _ in accesses}
    return temporary & named.union(*({column.relation for column in some} for some in columns))


def of_unknown_maker(name: str) -> tuple[str, str, str]:
    """The name is one of :attr:`~sallyport.sql.catalog.snapshot.CatalogSnapshot.unknown_names`."""
    return (
        "SP1102",
        f"cannot determine what made the temporary relation {name}",
        "A function or trigger may have left it, and it hides any other relation of this name. "
        "Send DISCARD TEMP first.",
    )


def before_unfollowed(what: str, name: str) -> tuple[str, str, str]:
    """Code that nobody follows (``what``) would find the temporary relation in another's place."""
    return (
        "SP1102",
        f"cannot determine what {what} reads while temporary {name} hides a relation",
        f"Drop the temporary relation first: DROP TABLE pg_temp.{name}.",
    )


def of_two(name: str) -> tuple[str, str, str]:
    """A relation that others see got the name of a temporary one."""
    return (
        "SP1102",
        f'"{name}" is the name of a temporary relation and of another one',
        f"Write the schema: pg_temp.{name}, or that of the other relation.",
    )
