"""The proof of a rewritten text: it is parsed again, and every relation in it is one that may stand
there.

This walk shares nothing with the analysis but what it is to prove: it finds each RangeVar of the
new tree, wherever it is, and asks whether the gateway put it there, or whether the analysis saw it,
as that relation, and found no masks to apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.facts import RangeVariable
from sallyport.sql.nodes import position_of
from sallyport.sql.rewrite.cuts import Rewritten
from sallyport.sql.text.parse import MAX_LENGTH, Node, parse, parse_counted

#: Parts of the tree in which a RangeVar names an item of FROM by its alias, or a relation that does
#: not exist yet; and nodes that hold nothing but names or a constant.
_NAMES_ONLY = frozenset({"lockedRels", "rel", "A_Const", "ColumnRef", "String"})
#: Statements whose own relation is the target of a write.
_WRITES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
#: Those whose relations are no range variables, and that may be changed.
_JUDGED_APART = frozenset({"TruncateStmt", "RenameStmt"})
#: What RENAME gives another name as a whole.
_WHOLE = frozenset(
    f"OBJECT_{kind}" for kind in ("TABLE", "INDEX", "SEQUENCE", "VIEW", "MATVIEW", "FOREIGN_TABLE")
)


def is_subselect(text: str) -> bool:
    """Whether ``(text)`` is a subselect and nothing else, so that any other may stand in
    its place.
    """
    try:
        statements = parse(f"SELECT FROM ({text}) AS t".encode(), MAX_LENGTH)
    except RefusedError:
        return False
    select = statements[0].node.get("SelectStmt", {}) if len(statements) == 1 else {}
    if select.keys() != {"fromClause", "limitOption", "op"} or len(select["fromClause"]) != 1:
        return False
    return bool(select["fromClause"][0].get("RangeSubselect", {}).keys() == {"subquery", "alias"})


def disproved(
    rewritten: Rewritten,
    variables: Mapping[int, RangeVariable],
    masked: frozenset[int],
    catalog: CatalogSnapshot,
    path: tuple[str, ...],
    emptied: frozenset[int] = frozenset(),
) -> str:
    """Why the text must not be sent, or "". Subselects in it are those of :func:`is_subselect`.

    ``variables``: every range variable that the analysis saw, by position in the original.
    ``masked``: positions of those that had to be replaced. ``emptied``: OIDs of what TRUNCATE was
    judged for. Raises RefusedError where the text does not parse.
    """
    rewritten = rewritten.skeleton()
    for statement in parse_counted(rewritten.text, MAX_LENGTH).statements:
        is_changed = rewritten.is_changed(statement.start, statement.end)
        if _JUDGED_APART & statement.node.keys():
            if is_changed and not _is_harmless(statement.node, catalog, path, emptied):
                return "a table to empty or rename that was not judged"
            continue
        for node, is_target in _range_variables(statement.node):
            offset = position_of(node)
            if rewritten.is_made(offset):
                if node.get("schemaname") != "pg_catalog":
                    return "an unexpected relation outside the gateway's subselects"
                continue
            variable = variables.get(rewritten.before(offset))
            if variable is None and not is_changed:
                # a statement as it was judged, like LOCK TABLE, whose relations are no range
                # variables
                continue
            if variable is None:
                return "a relation that was not judged"
            if variable.position in masked:
                return "a relation whose masks were not applied"
            if variable.target is not is_target:
                return "a relation whose use as source or target has changed"
            if variable.relation and _relation(node, catalog, path) != variable.relation:
                return "another relation than the one that was judged"
    return ""


def _range_variables(root: Node) -> Iterator[tuple[Node, bool]]:
    """Every RangeVar, and whether it is the target of a write."""
    level: list[tuple[str, Node]] = [("", root)]
    while level:
        tag, item = level.pop()
        for key, value in item.items():
            kind = type(value)
            if kind is list:
                if key not in _NAMES_ONLY:
                    level += [(key, inner) for inner in value if type(inner) is dict]
            elif kind is not dict or key in _NAMES_ONLY:
                continue
            elif key == "RangeVar":
                yield value, False
            elif key == "relation" and tag in _WRITES:
                yield value, True
            else:
                level.append((key, value))


def _is_harmless(
    node: Node, catalog: CatalogSnapshot, path: tuple[str, ...], emptied: frozenset[int]
) -> bool:
    """Whether a TRUNCATE empties only these; whether a RENAME gives a relation, if there is one,
    the name that it has, which fails.
    """
    rename = node.get("RenameStmt")
    if rename is None:
        return _named(node, catalog, path) <= emptied
    is_whole = rename.get("missing_ok", False) and rename.get("renameType") in _WHOLE
    return bool(is_whole and rename.get("newname") == rename["relation"].get("relname"))


def _named(root: Node, catalog: CatalogSnapshot, path: tuple[str, ...]) -> set[int]:
    return {_relation(node, catalog, path) for node, _ in _range_variables(root)}


def _relation(node: Node, catalog: CatalogSnapshot, path: tuple[str, ...]) -> int:
    name = node.get("relname", "")
    for schema in (node["schemaname"],) if "schemaname" in node else catalog.lookup_path(path):
        relation = catalog.relation_by_name.get((schema, name))
        if relation is not None:
            return relation.oid
    return 0
