"""PostgreSQL's plan of a statement in a few words, for a line of text: its nodes with relations and
indexes, without costs and conditions.
"""

from __future__ import annotations

import json
from typing import Any

_DEEPEST = 12


def plan_in_words(plan: str) -> str:
    """An EXPLAIN (FORMAT JSON) as ``Update on payments by Index Scan using payments_order``; ""
    when it is none. What is more than twelve nodes deep is left out.
    """
    try:
        return _node(json.loads(plan)[0]["Plan"], "", _DEEPEST)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""


def _node(node: dict[str, Any], above: str, depth: int) -> str:
    """``above``: the relation of the node above, which is not said twice."""
    words = str(node.get("Operation") or node["Node Type"])
    relation = str(node.get("Relation Name") or above)
    if relation != above:
        words += f" on {relation}"
    if "Index Name" in node:
        words += f" using {node['Index Name']}"
    below = [_node(child, relation, depth - 1) for child in node.get("Plans", ()) if depth]
    if not below:
        return words
    sources = ", ".join(below)
    return f"{words} by {sources}" if len(below) == 1 else f"{words} by ({sources})"
