"""Unknowns about names that temporary relations have, as (code, what, hint)."""

from __future__ import annotations


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
