"""The fingerprint of a statement: equal for statements that differ in nothing but constants, layout
and comments.

SHA-256 over PostgreSQL's own parse tree without positions, and the declared types of the
parameters. Strings and numbers of SELECT, INSERT, UPDATE, DELETE and MERGE are replaced by their
type, for the type decides which function or operator of a name is called; TRUE, FALSE and NULL,
names, types, the length of lists and every other kind of statement count as written. A grant by
fingerprint therefore gives the statement *with any constants*: people who give one must read it so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sallyport.sql.text.parse import parse

_POSITIONS: Final = frozenset(
    {
        "location", "name_location", "arglocation", "string_location", "stmt_location", "stmt_len",
        "list_start", "list_end", "rexpr_list_start", "rexpr_list_end",
    }
)  # fmt: skip
_FREE: Final = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
#: Bytes: about 20 ms.
_LONGEST: Final = 1 << 16
_KINDS: Final = ("ival", "fval", "sval", "bsval")


def fingerprint(sql: str, types: Sequence[int] = ()) -> str:
    """Hex digits. ``types``: as in Binding. Raises RefusedError (SP1101, SP1105) when the text
    cannot be read, or is so long that others would wait for it.
    """
    statements = parse(sql.encode(), _LONGEST)
    shapes = [
        shape(statement.node, not _FREE.isdisjoint(statement.node)) for statement in statements
    ]
    return hashlib.sha256(
        b"sallyport fingerprint 2\0" + msgspec.json.encode([shapes, list(types)], order="sorted")
    ).hexdigest()


def shape(node: Any, free: bool) -> Any:
    """The tree without positions; ``free``: without the values of constants. Its depth is what the
    parser bounds.
    """
    if isinstance(node, list):
        return [shape(item, free) for item in node]
    if not isinstance(node, dict):
        return node
    constant = node.get("A_Const")
    if free and isinstance(constant, dict):
        kind = next((k for k in _KINDS if k in constant), None)
        if kind is not None:
            return {"A_Const": _number(constant[kind]) if kind == "fval" else kind}
    return {key: shape(value, free) for key, value in node.items() if key not in _POSITIONS}


def _number(constant: Any) -> str:
    """int8 or numeric: what the parser could not take for an int4 (make_const in parse_node.c)."""
    text = str(constant.get("fval", "") if isinstance(constant, dict) else constant).replace(
        "_", ""
    )
    try:
        value = int(text, 0 if text[:2].lower() in ("0x", "0o", "0b") else 10)
    except ValueError:
        return "numeric"
    return "int8" if -(1 << 63) <= value < 1 << 63 else "numeric"
