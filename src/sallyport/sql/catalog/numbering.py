"""Which columns a sequence fills: who reads its last value reads the newest row's."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId

#: A constant in a default, and the parts of a name in it, as pg_get_expr writes them.
_CONSTANT = re.compile(r"'((?:[^']|'')+)'")
_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


def numbered_columns(catalog: CatalogSnapshot) -> Mapping[int, frozenset[ColumnId]]:
    """By the OID of a sequence: the column that it belongs to, and those whose defaults call
    nextval() and name it.
    """
    columns: defaultdict[int, set[ColumnId]] = defaultdict(set)
    sequences: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for relation in catalog.relations.values():
        if relation.kind == "S":
            sequences[relation.name].append((relation.schema, relation.oid))
            if relation.owner is not None:
                columns[relation.oid].add(ColumnId(*relation.owner))
    for relation in catalog.relations.values() if sequences else ():
        for column in relation.columns:
            if "nextval(" in column.default:
                for schema, name in map(_name, _CONSTANT.findall(column.default)):
                    for own, oid in sequences.get(name, ()):
                        if schema in ("", own):
                            columns[oid].add(ColumnId(relation.oid, column.attnum))
    return {oid: frozenset(members) for oid, members in columns.items()}


def _name(constant: str) -> tuple[str, str]:
    """Schema, "" where it has none, and name."""
    parts = [
        inside.replace('""', '"') or plain
        for inside, plain in _PART.findall(constant.replace("''", "'"))
    ]
    return ("", *parts)[-2:] if parts else ("", "")
