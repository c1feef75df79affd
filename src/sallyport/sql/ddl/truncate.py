"""TRUNCATE, and what its CASCADE empties besides: tables with foreign keys to those it names.

Each of them is judged as if it were listed, and is listed in what is sent, with RESTRICT
(:mod:`sallyport.sql.rewrite.cascade`): PostgreSQL refuses that where another table refers to one of
them, so a foreign key that came meanwhile empties nothing that was not judged.
Source: src/backend/catalog/heap.c, heap_truncate_find_FKs; src/backend/commands/tablecmds.c,
ExecuteTruncateGuts.
"""

from __future__ import annotations

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.descendants import with_descendants
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Relation
from sallyport.sql.queries.from_items import RANGE_VAR
from sallyport.sql.text.parse import Node
from sallyport.sql.writes.hidden_code import truncating


@STATEMENTS.on("TruncateStmt", "relations restart_seqs behavior")
def _truncate(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "truncate"
    emptied: dict[int, Relation] = {}
    for item in node.get("relations", []):
        body = item["RangeVar"]
        analysis.check("RangeVar", body, RANGE_VAR)
        relation = analysis.named_relation(body)
        if relation is None:
            continue
        parts = with_descendants(analysis.catalog, relation.oid) if body.get("inh") else (relation,)
        for part in parts:
            emptied[part.oid] = part
    if node.get("behavior") == "DROP_CASCADE":
        analysis.cascades = True
        referring = _referring(analysis.catalog, emptied)
        analysis.truncates = tuple(referring)
        emptied |= {relation.oid: relation for relation in referring}
    for relation in emptied.values():
        analysis.access(relation.oid, "truncate")
        truncating(analysis, relation)


def _referring(catalog: CatalogSnapshot, emptied: dict[int, Relation]) -> list[Relation]:
    """Relations with a foreign key to one of these, or to one that has such a key, in the order in
    which PostgreSQL reaches them.
    """
    referring: list[Relation] = []
    seen, reached = set(emptied), set(emptied)
    while reached:
        sources = {source for oid in reached for source, _ in catalog.references.get(oid, ())}
        reached = sources - seen
        seen |= reached
        referring += [catalog.relations[oid] for oid in sorted(reached)]
    return referring
