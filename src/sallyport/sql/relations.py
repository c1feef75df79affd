"""Which relations of ``pg_catalog`` and ``information_schema`` are readable, and why not. Pure; data in
``relations.tsv``.

Promises: what psql and drivers need to describe a schema is readable; what holds data, secrets, collected
statistics or other people's statements is not. A relation that is not listed, or that users placed in a
system schema (OID from 16384 on), is not readable. Where only some columns are, ``columns`` is the
allow-list; system columns (attnum < 0) are never in it.

``special`` is "settings" for ``pg_settings``: its value columns are not in the allow-list because they
would show every setting; a caller that proves that rows are limited to ``name = '<constant>'`` with
:func:`sallyport.sql.settings.show_allowed` may read ``setting``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

from sallyport.sql.catalog import Relation
from sallyport.sql.extensions import unreadable
from sallyport.sql.functions import FIRST_USER_OID

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})


@dataclass(frozen=True, slots=True)
class RelationClass:
    """``reason`` completes "the system relation ...". ``columns``: None when all of them are readable."""

    readable: bool
    reason: str
    columns: frozenset[str] | None = None
    special: str = ""  # "" | "settings"


_NOT_SYSTEM = RelationClass(False, "is not one that PostgreSQL ships")
_NOT_LISTED = RelationClass(False, "is not classified by this version of the gateway")


@cache
def _table() -> dict[str, RelationClass]:
    table: dict[str, RelationClass] = {}
    text = resources.files("sallyport.sql").joinpath("relations.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, access, reason, columns = line.split("\t")
        some = None if access != "some" else frozenset(columns.split(","))
        special = "settings" if name == "pg_catalog.pg_settings" else ""
        table[name] = RelationClass(access != "no", reason, some, special)
    return table


def classify_relation(relation: Relation) -> RelationClass:
    """How much of a system relation is readable; not readable for anything outside the system schemas."""
    if reason := unreadable(relation):
        return RelationClass(False, reason)
    if relation.schema not in SYSTEM_SCHEMAS or not 0 < relation.oid < FIRST_USER_OID:
        return _NOT_SYSTEM
    return _table().get(relation.qualified, _NOT_LISTED)
