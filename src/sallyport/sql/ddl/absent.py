"""ALTER ... IF EXISTS of a relation that is not there, of which PostgreSQL says no more than that.

Sent is a statement that says the same and changes nothing should the relation be there by then: one
that renames it to its own name, which PostgreSQL refuses.

Source: src/backend/commands/tablecmds.c (RenameRelation, RenameRelationInternal).
"""

from __future__ import annotations

from sallyport.sql.analysis import Analysis
from sallyport.sql.ddl.changes import candidate_names, changes_schema, index_table
from sallyport.sql.queries.from_items import RANGE_VAR
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.parse import Node

#: What rules call it, and SQL.
_KINDS = {
    "table": "TABLE",
    "index": "INDEX",
    "sequence": "SEQUENCE",
    "view": "VIEW",
    "materialized_view": "MATERIALIZED VIEW",
    "foreign_table": "FOREIGN TABLE",
}


def alters_nothing(analysis: Analysis, node: Node, kind: str, target: Node) -> bool:
    """Note that the statement alters a ``kind``. Whether it says IF EXISTS and the relation
    ``target`` is not there: then what is sent is noted, and all is said.
    """
    changes_schema(analysis, f"alter_{kind}")
    if not node.get("missing_ok") or kind not in _KINDS or "catalogname" in target:
        return False
    schema, name = target.get("schemaname", ""), target.get("relname", "")
    if index_table(analysis, schema, name) or analysis.relation(schema, name):
        return False
    analysis.check("RangeVar", target, RANGE_VAR)
    for place in candidate_names(analysis, [part for part in (schema, name) if part]):
        analysis.name(analysis.kind, *place)
    called = quoted(schema, name) if schema else quoted(name)
    analysis.absent = f"ALTER {_KINDS[kind]} IF EXISTS {called} RENAME TO {quoted(name)}"
    return True
