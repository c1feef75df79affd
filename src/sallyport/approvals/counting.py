"""What a statement would touch, as SELECTs made from its own text
(:mod:`sallyport.approvals.cutting`): how many rows, and which. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from sallyport.approvals import cutting
from sallyport.approvals.cutting import Merge, Modified, When
from sallyport.core.errors import RefusedError
from sallyport.sql.parse import MAX_LENGTH, parse

_CURSOR: Final = "it changes data in WITH, or names the row of a cursor"
_PARTS: Final = "could not be separated from the rest"


@dataclass(frozen=True, slots=True)
class Count:
    """``sql``: the SELECT, "" when there is none, and then ``why``. Without ``actions`` it gives
    one number. With them it gives rows of two: an index into ``actions``, and how many. ``known``:
    the number, where no SELECT is needed. ``note``: what to know about the number.
    """

    sql: str = ""
    why: str = ""
    actions: tuple[str, ...] = ()
    known: int | None = field(default=None, compare=False)
    note: str = ""


def count_of(sql: str) -> Count:
    """Counts the rows which this INSERT, UPDATE, DELETE, MERGE or TRUNCATE would touch at this
    moment.
    """
    statement = _statement(sql)
    if isinstance(statement, str):
        return Count(why=statement)
    body, kind, node = statement
    match kind:
        case "TruncateStmt":
            return _truncate(node)
        case "InsertStmt":
            return _inserted(body, node)
        case "UpdateStmt" | "DeleteStmt":
            parts = cutting.modified(body, kind, node)
            return (
                Count(why=f"its WHERE clause {_PARTS}")
                if parts is None
                else Count(_counting(parts))
            )
        case "MergeStmt":
            merge = cutting.merge(body, node)
            return Count(why=f"its conditions {_PARTS}") if merge is None else _merged(merge)
    return Count(why=f"counting the rows of {kind.removesuffix('Stmt').upper()} is not supported")


def sample_of(sql: str, rows: int) -> Count:
    """Some of the rows that this UPDATE, DELETE or MERGE would change or delete, with all their
    columns.
    """
    statement = _statement(sql)
    if isinstance(statement, str):
        return Count(why=statement)
    body, kind, node = statement
    text: str | None = None
    if kind in ("UpdateStmt", "DeleteStmt"):
        if (parts := cutting.modified(body, kind, node)) is not None:
            text = f"{parts.with_}SELECT {parts.name}.*\nFROM {parts.relation}{parts.tail}\n"
    elif kind == "MergeStmt":
        merge = cutting.merge(body, node)
        if merge is not None and (text := _merged_rows(merge)) is None:
            return Count(why="it changes no rows that are there already")
    else:
        return Count(why="it changes no rows that are there already")
    return Count(f"{text}LIMIT {rows}\n") if text else Count(why=f"its conditions {_PARTS}")


def _statement(sql: str) -> tuple[str, str, dict[str, Any]] | str:
    """Text, kind and node of the one statement; in words, why nothing can be made of it."""
    try:
        statements = parse(sql.encode(), MAX_LENGTH)
    except RefusedError as error:
        return error.refusal.message
    if len(statements) != 1:
        return "it is not one statement"
    kind = next(iter(statements[0].node), "")
    node: dict[str, Any] = statements[0].node.get(kind, {})
    parts = ("withClause", "whereClause", "joinCondition", "sourceRelation", "selectStmt")
    if cutting.holds_write({key: node.get(key) for key in parts}):
        return _CURSOR
    if (
        kind in ("UpdateStmt", "DeleteStmt", "MergeStmt")
        and not cutting.relation_of(node.get("relation", {}))[0]
    ):
        return "its relation cannot be named"
    return sql.encode()[statements[0].start : statements[0].end].decode(), kind, node


def _truncate(node: dict[str, Any]) -> Count:
    names = [
        cutting.relation_of(item.get("RangeVar", {}), alias=False)[0]
        for item in node.get("relations", ())
    ]
    if not names or not all(names):
        return Count(why="its relations cannot be named")
    counts = " + ".join(f"(SELECT pg_catalog.count(*) FROM {name})" for name in names)
    return Count(f"SELECT {counts}")


def _inserted(body: str, node: dict[str, Any]) -> Count:
    note = (
        "rows that conflict with others are counted as well" if "onConflictClause" in node else ""
    )
    select = node.get("selectStmt", {}).get("SelectStmt", {})
    if not select:
        return Count(known=1, note=note)
    lists = select.get("valuesLists")
    if lists and not {"limitCount", "limitOffset"} & select.keys():
        return Count(known=len(lists), note=note)
    parts = cutting.query(body, node)
    if parts is None:
        return Count(why=f"its query {_PARTS}")
    with_, query = parts
    return Count(
        f"{with_}SELECT pg_catalog.count(*) FROM (\n{query}\n) AS sallyport_rows\n", note=note
    )


def _counting(parts: Modified) -> str:
    if not parts.joined:
        return f"{parts.with_}SELECT pg_catalog.count(*)\nFROM {parts.relation}{parts.tail}\n"
    # A join can meet the same row more than once; it is changed once.
    rows = (
        f"{parts.with_}SELECT DISTINCT {parts.name}.tableoid, {parts.name}.ctid\nFROM"
        f" {parts.relation}{parts.tail}\n"
    )
    return f"SELECT pg_catalog.count(*) FROM ({rows}) AS sallyport_rows"


def _merged(parts: Merge) -> Count:
    """The first WHEN whose condition is true decides about a row (MERGE, "Description")."""
    branches = []
    for matched in ("MATCHED", "NOT_MATCHED_BY_TARGET", "NOT_MATCHED_BY_SOURCE"):
        chosen = [
            (index, when) for index, when in enumerate(parts.whens) if when.matched == matched
        ]
        if chosen:
            cases = _case([(when, str(index)) for index, when in chosen])
            branches.append(f"SELECT {cases} FROM {_rows(parts, matched)}")
    union = "\nUNION ALL\n".join(branches)
    return Count(
        f"{parts.with_}SELECT sallyport_rows.action, pg_catalog.count(*) FROM (\n{union}\n) AS"
        " sallyport_rows (action) WHERE sallyport_rows.action IS NOT NULL GROUP BY 1 ORDER BY 1",
        actions=tuple(when.action for when in parts.whens),
    )


def _merged_rows(parts: Merge) -> str | None:
    """Rows that are there and would be changed or deleted: matched ones, or else those that the
    source does not have.
    """
    for matched, word in (("MATCHED", "WHERE"), ("NOT_MATCHED_BY_SOURCE", "AND")):
        chosen = [when for when in parts.whens if when.matched == matched]
        if any(when.action in ("update", "delete") for when in chosen):
            case = _case(
                [(when, "false" if when.action == "nothing" else "true") for when in chosen]
            )
            return (
                f"{parts.with_}SELECT {parts.name}.*\nFROM {_rows(parts, matched)} {word} {case}\n"
            )
    return None


def _rows(parts: Merge, matched: str) -> str:
    if matched == "MATCHED":
        return f"{parts.relation} JOIN {parts.source}\nON {parts.on}\n"
    here, there = (
        (parts.source, parts.relation)
        if matched.endswith("TARGET")
        else (parts.relation, parts.source)
    )
    return f"{here}\nWHERE NOT EXISTS (SELECT 1 FROM {there}\nWHERE ({parts.on}\n))"


def _case(choices: list[tuple[When, str]]) -> str:
    cases = " ".join(f"WHEN ({when.condition or 'true'}\n) THEN {value}" for when, value in choices)
    return f"CASE {cases} END"
