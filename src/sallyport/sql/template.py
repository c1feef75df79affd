"""Statements that differ only in their literals, as one: the key of a second verdict cache.

Clients that put values into the text (``... WHERE id = 42``, ``... WHERE id = 43``) would miss a cache by exact text every time. A text whose
numbers and plain strings are replaced by parameters is judged instead: a parameter says less than a literal does, and the judge only
allows what it understands, so what is allowed for every value is allowed for this one. Where a literal's *value* means something
(``ORDER BY 1``, ``interval '1 day'``, ``varchar(10)``, ``set_config('role', ...)``), the text with parameters is not the same statement, does
not parse, or is refused: then there is no template, and the exact text is judged.

Reading a text wrongly here would let one statement pass for another, so anything that is not plain is not touched: comments,
backslashes, dollar signs, prefixed strings, characters outside ASCII.

Source: PostgreSQL documentation, section 4.1 "Lexical Structure"; src/backend/parser/scan.l.
"""

from __future__ import annotations

import re
from typing import Any

from sallyport.wire.scan import literals

#: Texts longer than this are judged as they are: long lists of values would make long keys.
MAX_BYTES = 2_000

# Tokens of a text that `literals` found plain; whatever is between them stays.
_TOKEN = re.compile(rb"""\"[^\"]*\"|'(?:[^']|'')*'|[A-Za-z_][A-Za-z0-9_]*|\d+(?:\.\d+)?""")


def key(sql: bytes) -> bytes | None:
    """What stays the same when literals change, or None when the text is not plain enough. Injective but for the literals."""
    return literals(sql, MAX_BYTES)


def with_parameters(sql: bytes) -> bytes:
    """The text with ``$1``, ``$2``, ... for its literals. Only for texts that have a :func:`key`."""
    number = 0

    def replace(match: re.Match[bytes]) -> bytes:
        nonlocal number
        found = match.group()
        if found[:1].isalpha() or found[:1] in (b'"', b"_"):
            return found
        number += 1
        return b"$%d" % number

    return _TOKEN.sub(replace, sql)


_POSITIONAL = ("sortClause", "groupClause", "distinctClause")


def is_positional(node: Any) -> bool:
    """Does a parse tree have a parameter right in ORDER BY, GROUP BY or DISTINCT ON? A number there means an output column."""
    if isinstance(node, list):
        return any(is_positional(item) for item in node)
    if not isinstance(node, dict):
        return False
    for name in _POSITIONAL:
        if any(_bare(item) for item in node.get(name) or ()):
            return True
    return any(is_positional(value) for value in node.values())


def _bare(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    if "ParamRef" in item:
        return True
    if "SortBy" in item:
        return _bare(item["SortBy"].get("node"))
    if "GroupingSet" in item:
        return any(_bare(inner) for inner in item["GroupingSet"].get("content") or ())
    if "List" in item:
        return any(_bare(inner) for inner in item["List"].get("items") or ())
    if "RowExpr" in item:
        return any(_bare(inner) for inner in item["RowExpr"].get("args") or ())
    return False
