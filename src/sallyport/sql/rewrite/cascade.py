"""CASCADE, which reaches what does not stand in the statement: it is sent as RESTRICT.

Where nothing depends on what is dropped both do the same; where something does, PostgreSQL refuses
RESTRICT. Nobody else can tell for certain: a dependant may come between judging and running.
Source: src/backend/catalog/dependency.c, reportDependentObjects.
"""

from __future__ import annotations

from sallyport.core.errors import RefusedError
from sallyport.sql.facts import StatementFacts
from sallyport.sql.nodes import tag_of
from sallyport.sql.rewrite.cuts import Cut, Rewritten
from sallyport.sql.rewrite.ranges import cannot_rewrite
from sallyport.sql.text.parse import MAX_LENGTH, Node, parse
from sallyport.sql.text.tokens import Tokens


def cascade_cut(sql: bytes, facts: StatementFacts) -> Cut:
    """RESTRICT in the place of the CASCADE that the statement ends with. Raises RefusedError
    (SP1206) where the result is not the same statement with that word changed, a fault of the
    gateway.
    """
    text = sql[facts.start : facts.end]
    tokens = Tokens(text)
    last = len(tokens.starts) - 1
    if tokens.word(last) != b"cascade":
        raise cannot_rewrite("The gateway cannot locate CASCADE in the statement's text.")
    cut = Cut(tokens.starts[last], tokens.ends[last], b"RESTRICT")
    try:
        before, after = (
            parse(statement_text, MAX_LENGTH)
            for statement_text in (text, Rewritten(text, [cut]).text)
        )
    except RefusedError:
        raise cannot_rewrite("Without CASCADE the statement cannot be parsed.") from None
    if len(before) != 1 or len(after) != 1 or _restricted(before[0].node) != after[0].node:
        raise cannot_rewrite("Without CASCADE the statement has another meaning.")
    return cut._replace(start=cut.start + facts.start, end=cut.end + facts.start)


def _restricted(node: Node) -> Node:
    """What the parser makes of the statement with RESTRICT."""
    tag, body = tag_of(node)
    if tag == "DropStmt":
        return {tag: {**body, "behavior": "DROP_RESTRICT"}}
    *earlier, last = body["cmds"]
    command = {**last["AlterTableCmd"], "behavior": "DROP_RESTRICT"}
    return {tag: {**body, "cmds": [*earlier, {"AlterTableCmd": command}]}}
