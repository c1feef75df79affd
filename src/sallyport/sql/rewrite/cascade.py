"""CASCADE, which reaches what does not stand in the statement: it is sent as RESTRICT, and TRUNCATE
with the relations it is known to reach (:mod:`sallyport.sql.ddl.truncate`).

Where nothing depends on what is dropped both do the same; where something does, PostgreSQL refuses
RESTRICT. Nobody else can tell for certain: a dependant may come between judging and running.
Source: src/backend/catalog/dependency.c, reportDependentObjects.
"""

from __future__ import annotations

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.snapshot import Relation
from sallyport.sql.facts import StatementFacts
from sallyport.sql.nodes import position_of, tag_of
from sallyport.sql.rewrite.cuts import Cut, Rewritten
from sallyport.sql.rewrite.ranges import cannot_rewrite
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.parse import MAX_LENGTH, Node, parse
from sallyport.sql.text.tokens import Tokens

_OF_SEQUENCES = frozenset({b"restart", b"continue"})


def cascade_cuts(sql: bytes, facts: StatementFacts) -> tuple[Cut, ...]:
    """RESTRICT in the place of the CASCADE that the statement ends with, and behind what TRUNCATE
    lists what else it empties. Raises RefusedError (SP1206) where the result is not the same
    statement with that changed, a fault of the gateway.
    """
    text = sql[facts.start : facts.end]
    tokens = Tokens(text)
    last = len(tokens.starts) - 1
    if tokens.word(last) != b"cascade":
        raise cannot_rewrite("The gateway cannot locate CASCADE in the statement's text.")
    cuts = [Cut(tokens.starts[last], tokens.ends[last], b"RESTRICT")]
    if facts.truncates:
        says_sequences = tokens.word(last - 1) == b"identity" and (
            tokens.word(last - 2) in _OF_SEQUENCES
        )
        behind = tokens.ends[last - (3 if says_sequences else 1)]
        cuts.insert(0, Cut(behind, behind, _listed(facts.truncates)))
    try:
        before, after = (
            parse(statement_text, MAX_LENGTH)
            for statement_text in (text, Rewritten(text, cuts).text)
        )
    except RefusedError:
        raise cannot_rewrite("Without CASCADE the statement cannot be parsed.") from None
    if len(before) != 1 or len(after) != 1:
        raise cannot_rewrite("Without CASCADE it is another number of statements.")
    if _restricted(before[0].node, after[0].node, facts.truncates) != after[0].node:
        raise cannot_rewrite("Without CASCADE the statement has another meaning.")
    return tuple(
        cut._replace(start=cut.start + facts.start, end=cut.end + facts.start) for cut in cuts
    )


def _listed(relations: tuple[Relation, ...]) -> bytes:
    """Each by itself; those under one that is partitioned are emptied with it (and stand here)."""
    return "".join(
        f", {'' if _is_partitioned(relation) else 'ONLY '}{quoted(relation.schema, relation.name)}"
        for relation in relations
    ).encode()


def _restricted(node: Node, sent: Node, truncates: tuple[Relation, ...]) -> Node:
    """What the parser makes of the statement with RESTRICT. ``sent``: what it made of that; where
    the names of ``truncates`` stand is taken from there.
    """
    tag, body = tag_of(node)
    if tag == "DropStmt":
        return {tag: {**body, "behavior": "DROP_RESTRICT"}}
    if tag == "TruncateStmt":
        listed = tag_of(sent)[1].get("relations", [])[len(body["relations"]) :]
        also = [
            {"RangeVar": _range_variable(relation, position_of(item.get("RangeVar", {})))}
            for relation, item in zip(truncates, listed, strict=False)
        ]
        return {tag: {**body, "relations": body["relations"] + also, "behavior": "DROP_RESTRICT"}}
    *earlier, last = body["cmds"]
    command = {**last["AlterTableCmd"], "behavior": "DROP_RESTRICT"}
    return {tag: {**body, "cmds": [*earlier, {"AlterTableCmd": command}]}}


def _is_partitioned(relation: Relation) -> bool:
    return relation.kind == "p"  # which has no rows of its own, and refuses ONLY


def _range_variable(relation: Relation, position: int) -> Node:
    names = {"schemaname": relation.schema, "relname": relation.name}
    inherits = {"inh": True} if _is_partitioned(relation) else {}
    return {**names, **inherits, "relpersistence": "p", "location": position}
