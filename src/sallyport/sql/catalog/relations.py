"""Which relations of ``pg_catalog`` and ``information_schema`` are readable, and why not. Pure;
data in ``relations.tsv``.

Promises: what psql and drivers need to describe a schema is readable; what holds data, secrets,
collected statistics or other people's statements is not. A relation that is not listed, or that
users placed in a system schema (OID from 16384 on), is not readable. Where only some columns are,
``columns`` is the allow-list; system columns (attnum < 0) are never in it.

Some have a substitute (:mod:`sallyport.sql.catalog.system_views`): where statements are rewritten
with it, all their columns are readable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

from sallyport.sql.catalog.extensions import unreadable
from sallyport.sql.catalog.functions import FIRST_USER_OID
from sallyport.sql.catalog.snapshot import Relation

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})
#: Of pg_catalog, those readable ones whose rows are texts of the session's statements.
STATEMENT_TEXTS = frozenset({"pg_cursors", "pg_prepared_statements"})


@dataclass(frozen=True, slots=True)
class RelationClass:
    """``reason`` completes "the system relation ...". ``columns``: None when all of them are
    readable.

    ``substitute``: readable only through what :func:`sallyport.sql.catalog.system_views.substitute`
    puts in its place, where that gives something.
    """

    readable: bool
    reason: str
    columns: frozenset[str] | None = None
    substitute: bool = False


_SOURCES: dict[str, frozenset[str]] = {
    "pg_catalog.pg_proc": frozenset({"prosrc", "probin", "prosqlbody", "proconfig"}),
    "information_schema.routines": frozenset({"routine_definition"}),
}


def source_columns(relation: Relation) -> frozenset[str]:
    """Columns that tell how a function works: readable with an action of its own,
    ``function-source``.
    """
    return _SOURCES.get(relation.qualified, frozenset())


_NOT_SYSTEM = RelationClass(False, "is not one that PostgreSQL ships")
_NOT_LISTED = RelationClass(False, "is not classified by this version of the gateway")
_SUBSTITUTED = RelationClass(True, "is readable through a substitute", substitute=True)


@cache
def _table() -> tuple[dict[str, RelationClass], frozenset[str]]:
    """The classes by name, and the names of those that have a substitute."""
    table: dict[str, RelationClass] = {}
    substituted: set[str] = set()
    text = (
        resources.files("sallyport.sql.catalog")
        .joinpath("relations.tsv")
        .read_text(encoding="utf-8")
    )
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, access, reason, columns = line.split("\t")
        if access.startswith("substitute:"):
            access = access.removeprefix("substitute:")
            substituted.add(name)
        some = None if access != "some" else frozenset(columns.split(","))
        table[name] = RelationClass(access != "no", reason, some)
    return table, frozenset(substituted)


def classify_relation(relation: Relation, *, substituted: bool = True) -> RelationClass:
    """How much of a system relation is readable; not readable for anything outside the system
    schemas.

    ``substituted``: whether a substitute stands in its place where there is one.
    """
    if reason := unreadable(relation):
        return RelationClass(False, reason)
    if relation.schema not in SYSTEM_SCHEMAS or not 0 < relation.oid < FIRST_USER_OID:
        return _NOT_SYSTEM
    table, names = _table()
    if substituted and relation.qualified in names:
        return _SUBSTITUTED
    return table.get(relation.qualified, _NOT_LISTED)
