"""How many rows an UPDATE or DELETE would touch, as a SELECT made from the statement's own text. Pure.

The pieces (WITH, FROM or USING, WHERE) are cut out of the text where their words stand. Whether a cut is right is not guessed: the
SELECT is parsed, and counts only if its parts are, node for node, the parts of the statement. Everything else is None with a reason.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sallyport.approvals.fingerprint import shape
from sallyport.core.errors import RefusedError
from sallyport.sql.parse import MAX_LENGTH, parse

#: Cuts that are tried at most.
_TRIES: Final = 60
_WRITES: Final = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CurrentOfExpr"})


@dataclass(frozen=True, slots=True)
class Count:
    """``sql``: the SELECT, "" when there is none, and then ``why``."""

    sql: str = ""
    why: str = ""


def count_of(sql: str) -> Count:
    """The SELECT that counts the rows which this UPDATE, DELETE or TRUNCATE would touch at this moment."""
    try:
        statements = parse(sql.encode(), MAX_LENGTH)
    except RefusedError as error:
        return Count(why=error.refusal.message)
    if len(statements) != 1:
        return Count(why="it is not one statement")
    kind, node = next(iter(statements[0].node.items()), ("", {}))
    if kind == "TruncateStmt":
        return _truncate(node)
    if kind not in ("UpdateStmt", "DeleteStmt"):
        return Count(why=f"counting the rows of {_name(kind)} is not supported")
    body = sql.encode()[statements[0].start : statements[0].end].decode()
    return _modified(body, kind, node)


def _truncate(node: dict[str, Any]) -> Count:
    names = [_relation(item.get("RangeVar", {}), alias=False) for item in node.get("relations", ())]
    if not names or not all(names):
        return Count(why="its relations cannot be named")
    counts = " + ".join(f"(SELECT pg_catalog.count(*) FROM {name})" for name in names)
    return Count(f"SELECT {counts}")


def _modified(body: str, kind: str, node: dict[str, Any]) -> Count:
    target = node.get("relation", {})
    relation = _relation(target, alias=True)
    items = node.get("fromClause" if kind == "UpdateStmt" else "usingClause", [])
    wanted = {"with": shape(node.get("withClause"), False), "where": shape(node.get("whereClause"), False)}
    wanted["from"] = shape(items, False)
    if not relation:
        return Count(why="its relation cannot be named")
    if _holds_write({k: node.get(k) for k in ("withClause", "whereClause")}):
        return Count(why="it changes data in WITH, or names the row of a cursor")
    verb, opener = ("update", "from") if kind == "UpdateStmt" else ("delete", "using")
    cuts = itertools.product(
        _with(body, verb) if wanted["with"] else [""],
        _clauses(body, opener if items else "", "where" if wanted["where"] else ""),
    )
    for with_, (from_, where) in itertools.islice(cuts, _TRIES):
        tail = (f", {from_}" if items else "") + (f"\nWHERE {where}" if where else "")
        inner = f"{with_}SELECT 1\nFROM {relation}{tail}\n"
        if _matches(inner, wanted):
            return Count(_counting(with_, relation, target, tail, bool(items)))
    return Count(why="its WHERE clause could not be separated from the rest")


def _counting(with_: str, relation: str, target: dict[str, Any], tail: str, joined: bool) -> str:
    if not joined:
        return f"{with_}SELECT pg_catalog.count(*)\nFROM {relation}{tail}\n"
    # A join can meet the same row more than once; it is changed once.
    name = _quoted(target.get("alias", {}).get("aliasname") or target["relname"])
    rows = f"{with_}SELECT DISTINCT {name}.tableoid, {name}.ctid\nFROM {relation}{tail}\n"
    return f"SELECT pg_catalog.count(*) FROM ({rows}) AS sallyport_rows"


def _matches(sql: str, wanted: dict[str, Any]) -> bool:
    """Whether the SELECT has exactly the statement's WITH, items after its relation, and WHERE."""
    try:
        statements = parse(sql.encode(), MAX_LENGTH)
    except RefusedError:
        return False
    select = statements[0].node.get("SelectStmt") if len(statements) == 1 else None
    if not isinstance(select, dict):
        return False
    known = {"targetList", "fromClause", "whereClause", "withClause", "limitOption", "op"}
    return (
        select.keys() <= known
        and len(select.get("targetList", ())) == 1
        and shape(select.get("withClause"), False) == wanted["with"]
        and shape(select.get("whereClause"), False) == wanted["where"]
        and shape(select.get("fromClause", [None])[1:], False) == (wanted["from"] or [])
    )


def _with(body: str, verb: str) -> Iterator[str]:
    for match in re.finditer(rf"\b{verb}\b", body, re.I):
        yield body[: match.start()]


def _clauses(body: str, opener: str, where: str) -> Iterator[tuple[str, str]]:
    """(items, condition): every way to cut the text at these words; the likely ones (last FROM, first WHERE after it) come early."""
    ends = [*(m.start() for m in re.finditer(r"\breturning\b", body, re.I)), len(body)]
    wheres = list(re.finditer(r"\bwhere\b", body, re.I)) if where else [None]
    openers = list(re.finditer(rf"\b{opener}\b", body, re.I)) if opener else [None]
    for first, second, end in itertools.product(openers, wheres, ends):
        start = second.end() if second else end
        stop = second.start() if second else end
        if start <= end and (first is None or first.end() <= stop):
            yield (body[first.end() : stop] if first else "", body[start:end] if second else "")


def _relation(node: dict[str, Any], *, alias: bool) -> str:
    """The relation as FROM names it; "" when it cannot be."""
    if not node.get("relname") or node.get("catalogname"):
        return ""
    schema = f"{_quoted(node['schemaname'])}." if node.get("schemaname") else ""
    only = "" if node.get("inh") else "ONLY "
    named = node.get("alias", {})
    if named.get("colnames"):
        return ""
    known_as = f" AS {_quoted(named['aliasname'])}" if alias and named.get("aliasname") else ""
    return f"{only}{schema}{_quoted(node['relname'])}{known_as}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _holds_write(node: Any) -> bool:
    if isinstance(node, list):
        return any(_holds_write(one) for one in node)
    if not isinstance(node, dict):
        return False
    return not _WRITES.isdisjoint(node) or any(_holds_write(value) for value in node.values())


def _name(kind: str) -> str:
    return kind.removesuffix("Stmt").upper()
