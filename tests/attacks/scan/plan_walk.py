"""No node of a plan above a scan has a raw value of a masked column.

:func:`carried` plans the text that the gateway sends, as the owner and beside the gateway, and
walks the plan. A scan may read the column, and its output may hold mask expressions over it.
Everything above it may name the column only within such an expression: EXPLAIN prints what a node
below computed as the expression that computed it. So those expressions are cut out of each text of
a node; a raw column that remains was carried up: in Output, a sort, group, hash or cache key, a
join's or another relation's condition. A scan whose own output has the bare column is at fault when
the node above it keeps rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

#: Nodes that keep what the node below gives them, in memory, on disk or in a queue, and whose size
#: or order may show it.
_KEEPING = frozenset(
    {
        "Hash",
        "Sort",
        "Incremental Sort",
        "Materialize",
        "Memoize",
        "WindowAgg",
        "SetOp",
        "Recursive Union",
        "Gather",
        "Gather Merge",
    }
)
#: What a node says of values; everything that is text or a list of texts and not one of the names
#: is looked at.
_NAMES = frozenset(
    {
        "Node Type", "Alias", "Relation Name", "Schema", "Index Name", "Parent Relationship",
        "Join Type", "Strategy", "Partial Mode", "Scan Direction",
        "CTE Name", "Subplan Name", "Function Name", "Operation", "Command", "Cache Mode",
        "Conflict Resolution", "Conflict Arbiter Indexes",
        "Custom Plan Provider", "Repeatable Seed",
    }
)  # fmt: skip
#: Nodes whose alias names something that was computed already.
_COMPUTED = frozenset(
    {
        "Subquery Scan",
        "CTE Scan",
        "Function Scan",
        "Values Scan",
        "WorkTable Scan",
        "Table Function Scan",
    }
)
_IDENTIFIER = r'(?:[A-Za-z_]\w*|"(?:[^"]|"")+")'
_REFERENCE = re.compile(rf"({_IDENTIFIER})\.({_IDENTIFIER}|\*)")
_TOKEN = re.compile(rf"'(?:[^']|'')*'|({_IDENTIFIER})\.({_IDENTIFIER}|\*)")
_MARK = re.compile(r"\0[^\s(),\[\]]+")
_NUMBERED = re.compile(r"_\d+$")


@dataclass(frozen=True)
class Carried:
    """A raw column where it must not be. ``where``: the node and what it says."""

    column: str
    where: str

    def __str__(self) -> str:
        return f"{self.column} in {self.where}"


@dataclass
class _Scans:
    """What the scans of a plan read. ``aliases``: alias to masked columns; ``expressions``: over
    raw columns, computed in a scan, as :meth:`marked` writes them.
    """

    aliases: dict[str, set[str]] = field(default_factory=dict)
    expressions: set[str] = field(default_factory=set)

    def raw(self, text: str, own: str = "") -> str:
        """The first raw column in a text, mask expressions aside and those of alias ``own``; empty
        where there is none.
        """
        text = self.marked(text, own)
        for expression in sorted(self.expressions, key=len, reverse=True):
            text = text.replace(expression, "")
        left = _MARK.search(text)
        return left[0][1:] if left else ""

    def marked(self, text: str, own: str = "") -> str:
        """A text in which raw columns stand out. Partitions are written like the table they belong
        to, as nodes above name that.
        """

        def mark(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0]  # a string
            alias, column = _unquoted(match[1]), _unquoted(match[2])
            columns = self.aliases.get(alias, set())
            if alias == own or not (column in columns or (column == "*" and columns)):
                return match[0]
            return f"\0{_NUMBERED.sub('', alias)}.{column}"

        return _TOKEN.sub(mark, text)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def plans(connection: psycopg.Connection[Any], text: str, settings: Sequence[str]) -> Any:
    """The plan of a text under planner settings, as EXPLAIN (VERBOSE, FORMAT JSON) gives it.
    Nothing runs or stays.
    """
    with connection.transaction(force_rollback=True):
        for setting in settings:
            connection.execute(setting.replace("SET ", "SET LOCAL ", 1).encode())
        if any("force_generic_plan" in setting for setting in settings):
            connection.execute(b"PREPARE walked AS " + text.encode())
            text = "EXECUTE walked"
        try:
            rows = connection.execute(
                b"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) " + text.encode()
            ).fetchone()
        finally:
            if text == "EXECUTE walked":
                connection.execute("DEALLOCATE ALL")
    return (
        rows[0] if rows and not isinstance(rows[0], str) else json.loads(rows[0] if rows else "[]")
    )


def carried(
    connection: psycopg.Connection[Any],
    text: str,
    masked: Mapping[str, set[str]],
    settings: Sequence[str] = (),
) -> list[Carried]:
    """Raw columns above the scans of the plan of ``text``. ``masked``: relation to columns. Raises
    psycopg.Error where it has no plan.
    """
    faults: list[Carried] = []
    for explained in plans(connection, text, settings):
        if "Plan" in explained:  # utility statements have none
            faults += walk(explained["Plan"], masked)
    return faults


def walk(plan: dict[str, Any], masked: Mapping[str, set[str]]) -> list[Carried]:
    scans = _Scans()
    computed: set[str] = set()
    for node, _ in _nodes(plan):
        relation, alias = node.get("Relation Name", ""), node.get("Alias", "")
        if node["Node Type"] in _COMPUTED:
            computed.add(alias)
        elif relation in masked and node["Node Type"] != "ModifyTable":
            for name in {alias, _NUMBERED.sub("", alias), relation}:
                scans.aliases.setdefault(name, set()).update(masked[relation])
    for alias in computed:
        scans.aliases.pop(alias, None)
    for node, _ in _nodes(plan):
        if _scans_masked(node, scans):
            written = [scans.marked(text) for text in node.get("Output", []) if not _bare(text)]
            scans.expressions |= {text for text in written if "\0" in text}
    return [fault for node, parent in _nodes(plan) for fault in _faults(node, parent, scans)]


def _nodes(plan: dict[str, Any], parent: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    yield plan, parent
    for child in plan.get("Plans", []):
        yield from _nodes(child, plan["Node Type"])


def _scans_masked(node: dict[str, Any], scans: _Scans) -> bool:
    return node.get("Alias", "") in scans.aliases and node["Node Type"] not in {
        "ModifyTable",
        *_COMPUTED,
    }


def _bare(text: str) -> bool:
    return _REFERENCE.fullmatch(text.strip("()")) is not None


def _faults(node: dict[str, Any], parent: str, scans: _Scans) -> Iterator[Carried]:
    kind = node["Node Type"]
    scan = _scans_masked(node, scans)
    own = node.get("Alias", "") if scan or kind == "ModifyTable" else ""
    kept = parent in _KEEPING or node.get("Subplan Name", "").startswith("CTE ")
    if scan and kept:
        for text in node.get("Output", []):
            if _bare(text) and (name := scans.raw(text)):
                yield Carried(name, f"{parent} over {kind}: Output")
    for key, value in node.items():
        if key in _NAMES or key == "Plans":
            continue
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and (name := scans.raw(text, own)):
                yield Carried(name, f"{kind}: {key}: {text:.160}")
