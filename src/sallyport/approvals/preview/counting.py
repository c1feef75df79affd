"""What a statement would touch, as SELECTs made from its parse tree: how many rows, and which.
Pure.

A SELECT is written from a tree by libpg_query's deparser and parsed again: it counts only if its
tree is, node for node, the one that it was written from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sallyport.approvals.fingerprint import shape
from sallyport.core.errors import RefusedError
from sallyport.sql.text.parse import MAX_DEPTH, MAX_LENGTH, parse

Node = dict[str, Any]

_CURSOR: Final = "it changes data in WITH, or names the row of a cursor"
_UNWRITABLE: Final = "its conditions cannot be written as a SELECT"
_WRITES: Final = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CurrentOfExpr"})
#: Clauses of INSERT, UPDATE, DELETE and MERGE that become part of a SELECT.
_CLAUSES: Final = (
    "withClause", "whereClause", "fromClause", "usingClause", "joinCondition", "sourceRelation",
    "selectStmt", "mergeWhenClauses",
)  # fmt: skip
_FURTHER_ITEMS: Final = {"UpdateStmt": "fromClause", "DeleteStmt": "usingClause"}
_MATCHED: Final = "MERGE_WHEN_MATCHED"
_NOT_BY_SOURCE: Final = "MERGE_WHEN_NOT_MATCHED_BY_SOURCE"
_NOT_BY_TARGET: Final = "MERGE_WHEN_NOT_MATCHED_BY_TARGET"


class _UncountableError(Exception):
    """Why there is no SELECT, in words."""


@dataclass(frozen=True, slots=True)
class CountQuery:
    """``sql``: the SELECT, "" when there is none, and then ``why``. Without ``actions`` it gives
    one number. With them it gives rows of two: an index into ``actions``, and how many. ``number``:
    the number, where no SELECT is needed. ``note``: what to know about the number.
    """

    sql: str = ""
    why: str = ""
    actions: tuple[str, ...] = ()
    number: int | None = field(default=None, compare=False)
    note: str = ""


def count_of(sql: str) -> CountQuery:
    """Counts the rows which this INSERT, UPDATE, DELETE, MERGE or TRUNCATE would touch at this
    moment.
    """
    try:
        kind, node = _statement(sql)
        match kind:
            case "TruncateStmt":
                return _truncate(node)
            case "InsertStmt":
                return _inserted(node)
            case "UpdateStmt" | "DeleteStmt":
                return CountQuery(_modified(node, node.get(_FURTHER_ITEMS[kind], [])))
            case "MergeStmt":
                return _merged(node)
    except _UncountableError as error:
        return CountQuery(why=str(error))
    return CountQuery(
        why=f"counting the rows of {kind.removesuffix('Stmt').upper()} is not supported"
    )


def sample_of(sql: str, rows: int) -> CountQuery:
    """Some of the rows that this UPDATE, DELETE or MERGE would change or delete, with all their
    columns.
    """
    try:
        kind, node = _statement(sql)
        if kind in _FURTHER_ITEMS:
            items = [_relation(node), *node.get(_FURTHER_ITEMS[kind], [])]
            select = _select(_column(node, "*"), items, node.get("whereClause"))
        elif kind == "MergeStmt":
            select = _merged_rows(node)
        else:
            raise _UncountableError("it changes no rows that are there already")
        return CountQuery(f"{_written(select, node)}\nLIMIT {rows}\n")
    except _UncountableError as error:
        return CountQuery(why=str(error))


def _statement(sql: str) -> tuple[str, Node]:
    try:
        statements = parse(sql.encode(), MAX_LENGTH)
    except RefusedError as error:
        raise _UncountableError(error.refusal.message) from None
    if len(statements) != 1:
        raise _UncountableError("it is not one statement")
    kind = next(iter(statements[0].node), "")
    node: Node = statements[0].node.get(kind, {})
    if _holds_write([node.get(key) for key in _CLAUSES]):
        raise _UncountableError(_CURSOR)
    return kind, node


def _holds_write(node: Any) -> bool:
    """Is there a statement that changes data inside, or WHERE CURRENT OF?"""
    left = [node]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if not _WRITES.isdisjoint(item):
                return True
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
    return False


def _truncate(node: Node) -> CountQuery:
    counts = [
        _written(_select(_COUNT, [{"RangeVar": _without_alias(item.get("RangeVar", {}))}]), {})
        for item in node.get("relations", ())
    ]
    if not counts:
        raise _UncountableError("its relations cannot be named")
    return CountQuery(f"SELECT {' + '.join(f'({count})' for count in counts)}")


def _inserted(node: Node) -> CountQuery:
    note = (
        "rows that conflict with others are counted as well" if "onConflictClause" in node else ""
    )
    select: Node = node.get("selectStmt", {}).get("SelectStmt", {})
    if not select:
        return CountQuery(number=1, note=note)
    lists = select.get("valuesLists")
    if lists and not {"limitCount", "limitOffset"} & select.keys():
        return CountQuery(number=len(lists), note=note)
    item = {"RangeSubselect": {"subquery": {"SelectStmt": select}, "alias": _ALIAS}}
    return CountQuery(_written(_select(_COUNT, [item]), node), note=note)


def _modified(node: Node, items: list[Node]) -> str:
    select = _select(_COUNT, [_relation(node)], node.get("whereClause"))
    if items:
        # A join can meet the same row more than once; it is changed once.
        rows = _select(
            [*_column(node, "tableoid"), *_column(node, "ctid")],
            [_relation(node), *items],
            node.get("whereClause"),
        )
        rows["distinctClause"] = [{}]
        subquery = {"subquery": {"SelectStmt": rows}, "alias": _ALIAS}
        select = _select(_COUNT, [{"RangeSubselect": subquery}])
    return _written(select, node)


def _merged(node: Node) -> CountQuery:
    """The first WHEN whose condition is true decides about a row (MERGE, "Description")."""
    clauses = _when_clauses(node)
    branches = []
    for matched in (_MATCHED, _NOT_BY_TARGET, _NOT_BY_SOURCE):
        cases = [
            (clause, _integer(index))
            for index, clause in enumerate(clauses)
            if clause.get("matchKind") == matched
        ]
        if cases:
            from_, where = _merge_rows(node, matched)
            branches.append(_written(_select([_target(_case(cases))], from_, where), node))
    union = "\nUNION ALL\n".join(f"({branch})" for branch in branches)
    return CountQuery(
        f"SELECT sallyport_rows.action, pg_catalog.count(*) FROM (\n{union}\n) AS"
        " sallyport_rows (action) WHERE sallyport_rows.action IS NOT NULL GROUP BY 1 ORDER BY 1",
        actions=tuple(_action(clause) for clause in clauses),
    )


def _merged_rows(node: Node) -> Node:
    """Rows that are there and would be changed or deleted: matched ones, or else those that the
    source does not have.
    """
    for matched in (_MATCHED, _NOT_BY_SOURCE):
        clauses = [item for item in _when_clauses(node) if item.get("matchKind") == matched]
        if any(_action(clause) in ("update", "delete") for clause in clauses):
            case = _case([(item, _boolean(_action(item) != "nothing")) for item in clauses])
            from_, where = _merge_rows(node, matched)
            condition = case if where is None else _boolean_expression("AND_EXPR", where, case)
            return _select(_column(node, "*"), from_, condition)
    raise _UncountableError("it changes no rows that are there already")


def _merge_rows(node: Node, matched: str) -> tuple[list[Node], Node | None]:
    """FROM items and condition of the rows that WHEN clauses of this kind see."""
    relation, source = _relation(node), node.get("sourceRelation", {})
    condition: Node = node.get("joinCondition", {})
    if matched == _MATCHED:
        join = {"jointype": "JOIN_INNER", "larg": relation, "rarg": source, "quals": condition}
        return [{"JoinExpr": join}], None
    here, there = (source, relation) if matched == _NOT_BY_TARGET else (relation, source)
    inner = {"SelectStmt": _select([_target(_integer(1))], [there], condition)}
    exists = {"SubLink": {"subLinkType": "EXISTS_SUBLINK", "subselect": inner}}
    return [here], _boolean_expression("NOT_EXPR", exists)


def _when_clauses(node: Node) -> list[Node]:
    return [item.get("MergeWhenClause", {}) for item in node.get("mergeWhenClauses", ())]


def _action(clause: Node) -> str:
    """update, delete, insert or nothing."""
    return str(clause.get("commandType", "")).removeprefix("CMD_").lower()


# -- trees (parsenodes.h, as libpg_query writes them)


def _integer(value: int) -> Node:
    return {"A_Const": {"ival": {"ival": value} if value else {}}}


def _boolean(value: bool) -> Node:
    return {"A_Const": {"boolval": {"boolval": True} if value else {}}}


def _boolean_expression(operator: str, *arguments: Node) -> Node:
    return {"BoolExpr": {"boolop": operator, "args": list(arguments)}}


def _case(choices: Iterable[tuple[Node, Node]]) -> Node:
    """CASE WHEN: each clause's condition, in order, with its result."""
    whens = [
        {"CaseWhen": {"expr": clause.get("condition", _boolean(True)), "result": result}}
        for clause, result in choices
    ]
    return {"CaseExpr": {"args": whens}}


def _target(value: Node) -> Node:
    return {"ResTarget": {"val": value}}


def _string(text: str) -> Node:
    return {"String": {"sval": text}}


def _column(node: Node, column: str) -> list[Node]:
    """A target list of one column of the statement's relation; ``*``: all of them."""
    relation = node.get("relation", {})
    name = relation.get("alias", {}).get("aliasname") or relation.get("relname", "")
    last: Node = {"A_Star": {}} if column == "*" else _string(column)
    return [_target({"ColumnRef": {"fields": [_string(name), last]}})]


def _without_alias(relation: Node) -> Node:
    """``relation`` as FROM may name it. Raises _UncountableError."""
    if not relation.get("relname") or relation.get("catalogname"):
        raise _UncountableError("its relation cannot be named")
    return {key: value for key, value in relation.items() if key != "alias"}


def _relation(node: Node) -> Node:
    """The statement's relation as a FROM item. Raises _UncountableError."""
    relation = node.get("relation", {})
    named = _without_alias(relation)
    return {"RangeVar": named | ({"alias": relation["alias"]} if "alias" in relation else {})}


_ALIAS: Final = {"aliasname": "sallyport_rows"}
_COUNT: Final = [
    _target(
        {
            "FuncCall": {
                "funcname": [_string("pg_catalog"), _string("count")],
                "agg_star": True,
                "funcformat": "COERCE_EXPLICIT_CALL",
            }
        }
    )
]


def _select(targets: list[Node], from_: list[Node], where: Node | None = None) -> Node:
    select = {
        "targetList": targets,
        "fromClause": from_,
        "limitOption": "LIMIT_OPTION_DEFAULT",
        "op": "SETOP_NONE",
    }
    return select if where is None else select | {"whereClause": where}


def _written(select: Node, statement: Node) -> str:
    """SQL of the SELECT with the statement's WITH. Raises _UncountableError."""
    # Imported here: it takes a third of a second, and only previews need it.
    from google.protobuf.json_format import ParseDict, ParseError
    from postgast import PgQueryError, deparse
    from postgast.pg_query_pb2 import ParseResult

    if "withClause" in statement:
        select = select | {"withClause": statement["withClause"]}
    tree = {"SelectStmt": select}
    try:
        message = ParseDict(
            {"stmts": [{"stmt": tree}]}, ParseResult(), max_recursion_depth=4 * MAX_DEPTH
        )
        sql = str(deparse(message))
        statements = parse(sql.encode(), MAX_LENGTH)
    except (ParseError, PgQueryError, RefusedError):
        raise _UncountableError(_UNWRITABLE) from None
    if len(statements) != 1 or shape(statements[0].node, False) != shape(tree, False):
        raise _UncountableError(_UNWRITABLE)
    return sql
