"""Reading the parse tree so that forgetting is impossible.

Every handler declares the fields of its node that it consumes. A field that is present and not
declared, and a node that has no handler, make an Unknown, and an Unknown is a refusal. libpg_query
leaves out fields that hold their default (0, false, NULL, empty).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar, cast

from sallyport.sql.text.parse import Node

H = TypeVar("H", bound=Callable[..., Any])
F = TypeVar("F", bound=Callable[..., Any])


class Handlers(Generic[H]):
    """Handlers by node tag, each with the fields it consumes."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.table: dict[str, tuple[H, frozenset[str]]] = {}

    def on(self, tag: str, fields: str, since: int = 0) -> Callable[[F], F]:
        """Register a handler for ``tag``; ``fields``: names of the consumed fields, separated by
        spaces. ``since``: the first version of PostgreSQL whose grammar has it. An older one may
        read the same text as the call of a function that somebody made.
        """

        def register(handler: F) -> F:
            if tag in self.table:
                raise ValueError(f"two {self.what} handlers for {tag}")
            used = partial(_of_version, handler, since) if since else handler
            self.table[tag] = (cast("H", used), frozenset(fields.split()) | {"location"})
            return handler

        return register


def _of_version(
    handler: Callable[..., Any], since: int, analysis: Any, node: Node, *places: Any
) -> Any:
    if analysis.catalog.server_version < since * 10_000:
        analysis.unknown(
            "SP1102",
            f"a construct of PostgreSQL {since} is not supported here: the target is older",
            "If a function of that name is meant, write its schema before it.",
            position_of(node),
        )
    return handler(analysis, node, *places)


def fields(names: str) -> frozenset[str]:
    """The declared fields of a structure that is read in place."""
    return frozenset(names.split()) | {"location"}


def tag_of(node: Node) -> tuple[str, Node]:
    """A node's tag and body; ("", {}) for the empty node."""
    for tag, body in node.items():
        return tag, body
    return "", {}


def string(node: Node) -> str:
    """The text of a String node; "" for anything else."""
    return node["String"].get("sval", "") if "String" in node else ""


def strings(items: list[Node]) -> tuple[str, ...]:
    """The texts of String nodes; "" for anything else."""
    if len(items) == 2:  # of most columns
        first, second = items
        return (
            first["String"].get("sval", "") if "String" in first else "",
            second["String"].get("sval", "") if "String" in second else "",
        )
    if len(items) == 1:
        return (string(items[0]),)
    return tuple([string(item) for item in items])


def position_of(node: Node) -> int:
    """The byte offset of a node's body in the script, or -1. (A location of 0 is left out of the
    tree.)
    """
    location: int = node.get("location", 0)
    return location
