"""Pieces of a statement's own text (WITH, relations, WHERE, the parts of MERGE), to make SELECTs of
them. Pure.

A piece is cut where its words stand. Whether a cut is right is not guessed: what was cut is parsed
in a SELECT, and counts only if it is, node for node, the part of the statement that it is taken
for. Functions give None when no cut is right.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sallyport.approvals.fingerprint import shape
from sallyport.core.errors import RefusedError
from sallyport.sql.identifiers import quoted
from sallyport.sql.parse import MAX_LENGTH, parse

#: Cuts that are tried at most.
_TRIES: Final = 60
_WRITES: Final = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CurrentOfExpr"})
_ITEMS: Final = {
    "UpdateStmt": ("update", "fromClause", "from"),
    "DeleteStmt": ("delete", "usingClause", "using"),
}


@dataclass(frozen=True, slots=True)
class Modified:
    """UPDATE or DELETE. ``relation`` as FROM names it, known as ``name`` (both quoted); ``tail``:
    further items and WHERE. ``joined``: there are further items.
    """

    with_: str
    relation: str
    name: str
    tail: str
    joined: bool


@dataclass(frozen=True, slots=True)
class When:
    """One WHEN of MERGE. matched: MATCHED | NOT_MATCHED_BY_SOURCE | NOT_MATCHED_BY_TARGET.
    ``action``: update, delete, insert, or nothing. ``condition``: "" without one.
    """

    matched: str
    action: str
    condition: str


@dataclass(frozen=True, slots=True)
class Merge:
    """``on``: the join condition."""

    with_: str
    relation: str
    name: str
    source: str
    on: str
    whens: tuple[When, ...]


def modified(body: str, kind: str, node: dict[str, Any]) -> Modified | None:
    """``kind``: UpdateStmt or DeleteStmt. ``body``: the statement's text."""
    verb, key, opener = _ITEMS[kind]
    relation, name = relation_of(node.get("relation", {}))
    items = node.get(key, [])
    expected = {
        "with": shape(node.get("withClause"), False),
        "where": shape(node.get("whereClause"), False),
    }
    expected["from"] = shape(items, False)
    cuts = itertools.product(
        _with(body, verb) if expected["with"] else [""],
        _clauses(body, opener if items else "", "where" if expected["where"] else ""),
    )
    for with_, (from_, where) in itertools.islice(cuts, _TRIES):
        tail = (f", {from_}" if items else "") + (f"\nWHERE {where}" if where else "")
        if relation and _matches(f"{with_}SELECT 1\nFROM {relation}{tail}\n", expected):
            return Modified(with_, relation, name, tail, bool(items))
    return None


def merge(body: str, node: dict[str, Any]) -> Merge | None:
    """A MERGE statement."""
    relation, name = relation_of(node.get("relation", {}))
    expected = {
        "with": shape(node.get("withClause"), False),
        "source": shape(node.get("sourceRelation"), False),
        "on": shape(node.get("joinCondition"), False),
    }
    usings, ons = (list(re.finditer(rf"\b{word}\b", body, re.I)) for word in ("using", "on"))
    whens = list(re.finditer(r"\bwhen\b", body, re.I))
    cuts = (
        (with_, body[using.end() : on.start()], body[on.end() : when.start()], when.start())
        for with_ in (_with(body, "merge") if expected["with"] else [""])
        for using, on, when in itertools.product(usings, ons, whens)
        if using.end() <= on.start() and on.end() <= when.start()
    )
    for with_, source, on, end in itertools.islice(cuts, _TRIES):
        if relation and _are(with_, source, on, expected):
            when_clauses = _whens(body[end:], node.get("mergeWhenClauses", ()))
            return (
                None
                if when_clauses is None
                else Merge(with_, relation, name, source, on, when_clauses)
            )
    return None


def query(body: str, node: dict[str, Any]) -> tuple[str, str] | None:
    """The WITH and the query of an INSERT."""
    expected = {
        "with": shape(node.get("withClause"), False),
        "query": shape(node.get("selectStmt"), False),
    }
    starts = [m.start() for m in re.finditer(r"\b(?:select|with|values|table)\b|\(", body, re.I)]
    ends = [
        *(m.start() for m in re.finditer(r"\bon\s+conflict\b|\breturning\b", body, re.I)),
        len(body),
    ]
    cuts = (
        (with_, start, end)
        for with_ in (_with(body, "insert") if expected["with"] else [""])
        for start, end in itertools.product((start for start in starts if start > len(with_)), ends)
    )
    for with_, start, end in itertools.islice(cuts, 4 * _TRIES):
        text = body[start:end]
        if (
            start < end
            and shape(_parsed(text), False) == expected["query"]
            and _opens(with_, expected["with"])
        ):
            return with_, text
    return None


def _whens(text: str, clauses: Any) -> tuple[When, ...] | None:
    """The WHENs of MERGE with the texts of their conditions, found from left to right."""
    whens, at = [], 0
    for item in clauses:
        clause = item.get("MergeWhenClause", {})
        condition = ""
        if "condition" in clause:
            cut = _condition(text, at, shape(clause["condition"], False))
            if cut is None:
                return None
            condition, at = cut
        kind = str(clause.get("matchKind", "")).removeprefix("MERGE_WHEN_")
        action = str(clause.get("commandType", "")).removeprefix("CMD_").lower()
        whens.append(When(kind, action, condition))
    return tuple(whens)


def _condition(text: str, at: int, expected: Any) -> tuple[str, int] | None:
    """The text between some AND and some THEN that is this condition, and where it ends."""
    ands = [m.end() for m in re.finditer(r"\band\b", text, re.I) if m.start() >= at]
    thens = [m.start() for m in re.finditer(r"\bthen\b", text, re.I) if m.start() >= at]
    for start, end in itertools.islice(((a, t) for a in ands for t in thens if a <= t), _TRIES):
        if (
            shape(_select(f"SELECT 1 WHERE ({text[start:end]}\n)").get("whereClause"), False)
            == expected
        ):
            return text[start:end], end
    return None


def _parsed(sql: str) -> dict[str, Any] | None:
    """The tree of one statement; None when it is anything else."""
    try:
        statements = parse(sql.encode(), MAX_LENGTH)
    except RefusedError:
        return None
    return statements[0].node if len(statements) == 1 else None


def _select(sql: str) -> dict[str, Any]:
    """A SELECT of one value that has nothing but FROM, WHERE and WITH; {} for anything else."""
    select = (_parsed(sql) or {}).get("SelectStmt")
    expected_keys = {"targetList", "fromClause", "whereClause", "withClause", "limitOption", "op"}
    plain = (
        isinstance(select, dict)
        and select.keys() <= expected_keys
        and len(select.get("targetList", ())) == 1
    )
    return select if plain and isinstance(select, dict) else {}


def _matches(sql: str, expected: dict[str, Any]) -> bool:
    """Whether the SELECT has exactly the statement's WITH, items after its relation, and WHERE."""
    select = _select(sql)
    return bool(select) and (
        shape(select.get("withClause"), False) == expected["with"]
        and shape(select.get("whereClause"), False) == expected["where"]
        and shape(select.get("fromClause", [None])[1:], False) == (expected["from"] or [])
    )


def _are(with_: str, source: str, on: str, expected: dict[str, Any]) -> bool:
    """Each piece by itself, for they are put together in another order: half a parenthesis in each
    would fit in this one.
    """
    from_, where = _select(f"SELECT 1 FROM {source}\n"), _select(f"SELECT 1 WHERE ({on}\n)")
    return (
        _opens(with_, expected["with"])
        and from_.keys().isdisjoint({"whereClause", "withClause"})
        and shape(from_.get("fromClause"), False) == [expected["source"]]
        and shape(where.get("whereClause"), False) == expected["on"]
    )


def _opens(with_: str, expected: Any) -> bool:
    return not with_ or shape(_select(f"{with_}SELECT 1").get("withClause"), False) == expected


def _with(body: str, verb: str) -> Iterator[str]:
    for match in re.finditer(rf"\b{verb}\b", body, re.I):
        yield body[: match.start()]


def _clauses(body: str, opener: str, where: str) -> Iterator[tuple[str, str]]:
    """(items, condition): every way to cut the text at these words; the likely ones (last FROM,
    first WHERE after it) come early.
    """
    ends = [*(m.start() for m in re.finditer(r"\breturning\b", body, re.I)), len(body)]
    wheres = list(re.finditer(r"\bwhere\b", body, re.I)) if where else [None]
    openers = list(re.finditer(rf"\b{opener}\b", body, re.I)) if opener else [None]
    for first, second, end in itertools.product(openers, wheres, ends):
        start = second.end() if second else end
        stop = second.start() if second else end
        if start <= end and (first is None or first.end() <= stop):
            yield (body[first.end() : stop] if first else "", body[start:end] if second else "")


def relation_of(node: dict[str, Any], *, alias: bool = True) -> tuple[str, str]:
    """The relation as FROM names it, and the name it is known by there; "" when it cannot be."""
    named = node.get("alias", {})
    if not node.get("relname") or node.get("catalogname") or named.get("colnames"):
        return "", ""
    schema = f"{quoted(node['schemaname'])}." if node.get("schemaname") else ""
    only = "" if node.get("inh") else "ONLY "
    known_as = f" AS {quoted(named['aliasname'])}" if alias and named.get("aliasname") else ""
    name = quoted(named.get("aliasname") or node["relname"])
    return f"{only}{schema}{quoted(node['relname'])}{known_as}", name


def holds_write(node: Any) -> bool:
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
