"""INSERT, UPDATE, DELETE and MERGE: what is written where, from what, and what RETURNING gives
back.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sallyport.sql.analysis import QUERIES, Analysis
from sallyport.sql.catalog.snapshot import ColumnId, Relation
from sallyport.sql.expressions.calls import conversion, judge
from sallyport.sql.expressions.columns import named_column, subscript
from sallyport.sql.expressions.constant_uses import note
from sallyport.sql.expressions.equality import compared_by_equality, note_comparisons
from sallyport.sql.expressions.expression import distinct_rows, spread
from sallyport.sql.facts import Clause, Dependence
from sallyport.sql.lineage import Field, Value, derived
from sallyport.sql.names.missing import missing_column_of
from sallyport.sql.names.scope import Item, Scope, raw_item
from sallyport.sql.nodes import fields, position, tag_of
from sallyport.sql.queries.ctes import with_clause
from sallyport.sql.queries.from_items import (
    RANGE_VAR,
    aliased,
    from_clause,
    from_item,
    make_item,
    note_range_variable,
)
from sallyport.sql.queries.relation_items import expand, relation_item
from sallyport.sql.queries.select import target_list
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import converts
from sallyport.sql.values.types import RECORD
from sallyport.sql.writes.constraints import note_partition, note_value, note_write
from sallyport.sql.writes.hidden_code import set_off, writing

_RES_TARGET = fields("name val indirection")
_RETURNING = fields("options exprs")
_OPTION = fields("option value")
_CONFLICT = fields("action infer targetList whereClause")
_INFER = fields("indexElems whereClause conname")
_INDEX_ELEMENT = fields("name expr collation opclass ordering nulls_ordering")
_MULTI = fields("source colno ncolumns")
_WHEN = fields("matchKind commandType override condition targetList values")
#: Characters of a constant that is too short to measure with what else an index's entry holds.
_SHORT = 100


class WriteTarget:
    """The relation that is written, as a namespace item.

    ``item``: of its rows as they are, whose values are raw. ``proposed``: of rows that do not exist
    yet.
    """

    def __init__(self, a: Analysis, node: Node) -> None:
        a.check("RangeVar", node, RANGE_VAR)
        self.relation: Relation | None = a.named_relation(node)
        self.at: int = node.get("location", -1)
        #: what gets a value, and whether that value comes from no column
        self.written: dict[ColumnId, bool] = {}
        #: what of it may become longer than short constants
        self.long: set[ColumnId] = set()
        alias = node.get("alias")
        if self.relation is None:
            self.item = self.proposed = aliased(a, make_item(node.get("relname", ""), ()), alias)
            return
        note_range_variable(a, node, self.relation.oid)
        self.proposed = aliased(a, relation_item(a, self.relation, self.at), alias)
        self.item = raw_item(self.proposed)
        self.item.variable = self.at
        a.touched.update(ColumnId(self.relation.oid, c.attnum) for c in self.relation.columns)
        writing(a, self.relation, self.at)
        if self.relation.has_rules:
            what = f"cannot determine what the rules on {self.relation.qualified} do"
            a.unknown("SP1102", what, position=self.at)
        if self.relation.kind not in "rpvf":
            a.unknown("SP1102", f"cannot write to {self.relation.qualified}", position=self.at)
        is_read = not a.context.runs_code
        if self.relation.kind == "v" and self.relation.has_triggers and is_read:
            what = f"cannot determine what the triggers of view {self.relation.qualified} do"
            a.unknown("SP1102", what, position=self.at)

    def column(self, a: Analysis, name: str, at: int) -> tuple[ColumnId, int, Value] | None:
        """A column of the target by its real name: id, type, and its value as it is now."""
        if self.relation is None:
            return None
        for number, column in enumerate(self.relation.columns):
            if column.name == name:
                return (
                    ColumnId(self.relation.oid, column.attnum),
                    column.type_oid,
                    self.item.fields[number].value,
                )
        missing_column_of(a, name, self.relation.name, [c.name for c in self.relation.columns], at)
        return None

    def access(self, a: Analysis, action: str, columns: frozenset[ColumnId] = frozenset()) -> None:
        """Writing; through a view also to what is under it."""
        a.actions.add(action)
        if self.relation is None:
            return
        a.access(self.relation.oid, action, columns)
        set_off(a, self.relation.oid, action, self.at)
        if action != "insert":
            note_partition(a, self.relation, self.at)
            if self.relation.kind == "v":  # its definition chooses the rows
                expansion = expand(a, self.relation)
                decide = expansion.mentioned | expansion.read_in_functions
                a.influence(decide, Clause.WHERE, False, self.at)
        if self.relation.kind != "v":
            self._note(a, self.relation.oid, action, columns)
            return
        under: dict[int, set[ColumnId]] = {}
        for column, field in zip(self.relation.columns, self.item.fields, strict=False):
            written = not columns or ColumnId(self.relation.oid, column.attnum) in columns
            for source in field.value.sources:
                if source.relation != self.relation.oid:
                    under.setdefault(source.relation, set()).update(
                        (source,) if written and columns else ()
                    )
        for relation, underlying in under.items():
            a.access_under(relation, action, underlying)
            set_off(a, relation, action, self.at)
            self._note(a, relation, action, frozenset(underlying))

    def _note(self, a: Analysis, relation: int, action: str, columns: frozenset[ColumnId]) -> None:
        if action in ("insert", "update", "delete"):
            written = {c: self.written.get(c, True) for c in columns}
            short = self.written.keys() - self.long
            note_write(a, relation, action, written, self.at, short)

    def assign(
        self,
        a: Analysis,
        name: str,
        value: Value,
        at: int,
        indirection: bool = False,
        node: Node | None = None,
    ) -> ColumnId | None:
        """``column = value``: a flow. ``indirection``: a part of the column. ``node``: the value's
        own, where there is one.
        """
        target_column = self.column(a, name, at)
        if target_column is None:
            return None
        id_, type_, current = target_column
        if node is not None and value.dependence is not Dependence.OPAQUE and not value.denied:
            note(a, (node,), value.sources | current.sources | {id_}, not indirection)
        if not indirection and value.type != type_ and value.type:
            judge(a, conversion(a, value.type, type_), "a conversion to the column's type", at)
        if indirection or value.type in (0, RECORD):
            converts(a, value, 0 if indirection else type_, at, assignment=True)
        if indirection and a.clause is Clause.SET:
            # whether a part can be set depends on what the whole is: its dimensions, its keys, a
            # domain's check
            a.influence(current.sources, Clause.SET, False, at)
        for target in {id_, *(s for s in current.sources if current.bare)}:
            a.flow(target, value.sources, at)
            note_value(
                a,
                target,
                replace(value, dependence=Dependence.DERIVED) if indirection else value,
                at,
            )
            self.written[target] = self.written.get(target, True) and not value.sources
            literal = value.literal if value.constant and not indirection else None
            if literal is None or len(literal) > _SHORT:
                self.long.add(target)
        return id_


def assignments(
    a: Analysis, target: WriteTarget, nodes: list[Node], scope: Scope
) -> frozenset[ColumnId]:
    """SET lists; the columns that are assigned."""
    with a.place(Clause.SET):
        return _assignments(a, target, nodes, scope)


def _assignments(
    a: Analysis, target: WriteTarget, nodes: list[Node], scope: Scope
) -> frozenset[ColumnId]:
    written = set()
    sources: dict[int, list[Value]] = {}
    for node in nodes:
        body = node["ResTarget"]
        a.check("ResTarget", body, _RES_TARGET)
        at = position(body)
        steps = body.get("indirection", [])
        value = _assigned(a, body["val"], scope, sources)
        for step in steps:
            tag, inner = tag_of(step)
            if tag == "A_Indices":
                value = subscript(a, value, inner, scope)
            elif tag != "String":
                a.not_understood(tag, inner)
        source = None if "MultiAssignRef" in body["val"] else body["val"]
        id_ = target.assign(a, body.get("name", ""), value, at, bool(steps), source)
        if id_ is not None:
            written.add(id_)
    return frozenset(written)


def _assigned(a: Analysis, node: Node, scope: Scope, rows: dict[int, list[Value]]) -> Value:
    tag, body = tag_of(node)
    if tag != "MultiAssignRef":
        return a.expression(node, scope)
    a.check(tag, body, _MULTI)
    # every reference repeats the same source in the tree; it is walked once per column, and facts
    # are sets
    source_tag, source = tag_of(body["source"])
    number = body.get("colno", 1) - 1
    if source_tag == "RowExpr":
        values = [f.value for item in source.get("args", []) for f in spread(a, item, scope)]
        return values[number] if number < len(values) else a.not_understood(tag, body)
    if source_tag == "SubLink":
        value = a.expression(body["source"], scope)
        if value.row is not None:
            return (
                derived((value.row[number].value,), value.row[number].value.type)
                if number < len(value.row)
                else value
            )
        return value
    return a.not_understood(source_tag, source)


def returning(
    a: Analysis, node: Node | None, target: WriteTarget, scope: Scope
) -> tuple[Field, ...] | None:
    """RETURNING with old and new (or the names given to them).

    At the top its plain columns come back as they are, for the gateway to mask; inside WITH the
    statement reads them.
    """
    if node is None:
        return None
    a.check("ReturningClause", node, _RETURNING)
    names = {"old": "old", "new": "new"}
    for option in node.get("options", []):
        body = option["ReturningOption"]
        a.check("ReturningOption", body, _OPTION)
        key = "old" if body.get("option") == "RETURNING_OPTION_OLD" else "new"
        names[key] = body.get("value", "")
    taken = {item.name for item in scope.items if item.visible}
    extra = [
        replace(target.item, name=name, schema="", visible=True, columns_visible=False)
        for name in names.values()
        if name not in taken
    ]
    if target.relation is not None:
        a.read_relation(target.relation)
    inner = Scope(scope.parent, [*scope.items, *extra], scope.ctes)
    with a.place(Clause.RETURNING):
        return target_list(a, node.get("exprs", []), inner, returned=scope.parent is None)


@QUERIES.on(
    "InsertStmt", "relation cols selectStmt onConflictClause returningClause withClause override"
)
def insert(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...] | None:
    if "withClause" in node:
        with_clause(a, node["withClause"], scope)
    target = WriteTarget(a, node["relation"])
    names, nested = _insert_columns(a, node.get("cols", []), target, scope)
    rows = _insert_rows(a, node["selectStmt"], scope) if "selectStmt" in node else []
    proposed: dict[str, Value] = {}
    for row in rows:
        for name, (value, source) in zip(names, row, strict=False):
            target.assign(a, name, value, target.at, name in nested, source)
            proposed[name] = derived((proposed[name], value)) if name in proposed else value
    if any(len(row) > len(names) for row in rows) and target.relation is not None:
        a.unknown("SP1102", "INSERT has more expressions than target columns", position=target.at)
    target_columns = [target.column(a, name, target.at) for name in names]
    width = max((len(row) for row in rows), default=0)
    written = frozenset(
        f[0]
        for f in (target_columns if node.get("cols") else target_columns[:width])
        if f is not None
    )
    target.access(a, "insert", written)
    inner = Scope(scope.parent, [target.item], scope.ctes)
    if "onConflictClause" in node:
        _on_conflict(a, node["onConflictClause"], target, proposed, written, inner)
    return returning(a, node.get("returningClause"), target, inner)


def _insert_columns(
    a: Analysis, nodes: list[Node], target: WriteTarget, scope: Scope
) -> tuple[list[str], set[str]]:
    if not nodes:
        return [
            c.name for c in target.relation.columns
        ] if target.relation is not None else [], set()
    names, nested = [], set()
    for node in nodes:
        body = node["ResTarget"]
        a.check("ResTarget", body, _RES_TARGET)
        names.append(body.get("name", ""))
        target.column(a, body.get("name", ""), position(body))
        if "indirection" in body:
            nested.add(body.get("name", ""))
            for step in body["indirection"]:
                tag, inner = tag_of(step)
                if tag == "A_Indices":
                    subscript(a, Value(), inner, scope)
                elif tag != "String":
                    a.not_understood(tag, inner)
    return names, nested


def _insert_rows(a: Analysis, node: Node, scope: Scope) -> list[list[tuple[Value, Node | None]]]:
    """The values that are inserted: the rows of VALUES, each with its node where it stands by
    itself, or the one row of columns of a query.
    """
    tag, body = tag_of(node)
    if (
        tag != "SelectStmt"
        or "valuesLists" not in body
        or body.keys() - {"valuesLists", "limitOption", "op"}
    ):
        columns = a.query(node, Scope(scope)) or ()
        return [[(f.value, None) for f in columns]]
    return [
        [
            (f.value, None if f.name else entry)
            for entry in item["List"].get("items", [])
            for f in spread(a, entry, scope)
        ]
        for item in distinct_rows(body["valuesLists"])
    ]


def _on_conflict(
    a: Analysis,
    node: Node,
    target: WriteTarget,
    proposed: dict[str, Value],
    written: frozenset[ColumnId],
    scope: Scope,
) -> None:
    a.check("OnConflictClause", node, _CONFLICT)
    infer = node.get("infer")
    arbiters: frozenset[ColumnId] = frozenset()
    if infer is not None:
        arbiters = _arbiters(a, infer, Scope(scope.parent, [target.proposed], scope.ctes))
    if not arbiters and target.relation is not None:
        # any unique index may decide: whatever is written is compared with what is there
        arbiters = written or frozenset(
            ColumnId(target.relation.oid, c.attnum) for c in target.relation.columns
        )
    a.influence(arbiters, Clause.ON_CONFLICT, True, position(node))
    if node.get("action") != "ONCONFLICT_UPDATE":
        return
    excluded = tuple(Field(f.name, _excluded(target, proposed, f)) for f in target.item.fields)
    item = make_item("excluded", excluded)
    inner = Scope(scope.parent, [target.item, item.shown(True, True)], scope.ctes)
    changed = assignments(a, target, node.get("targetList", []), inner)
    target.access(a, "update", changed)
    if "whereClause" in node:
        with a.place(Clause.ON_CONFLICT):
            a.condition(a.expression(node["whereClause"], inner))


def _excluded(target: WriteTarget, proposed: dict[str, Value], field: Field) -> Value:
    """A column of the proposed row: as given, or computed from what is (generated columns,
    expressions of a view).
    """
    proposed_value = proposed.get(field.name)
    if proposed_value is None:
        columns = target.relation.columns if target.relation is not None else ()
        fields = {f.name: f.value.sources for f in target.item.fields}
        own = {
            c.name: frozenset((ColumnId(target.relation.oid, c.attnum),))
            | fields.get(c.name, frozenset())
            for c in columns
            if target.relation is not None
        }
        proposed_value = derived(
            value
            for name, value in proposed.items()
            if not field.value.sources.isdisjoint(own.get(name, ()))
        )
    return replace(proposed_value, origin=None, constant=False, type=field.value.type)


def _arbiters(a: Analysis, node: Node, scope: Scope) -> frozenset[ColumnId]:
    a.check("InferClause", node, _INFER)
    sources: set[ColumnId] = set()
    for element in node.get("indexElems", []):
        body = element["IndexElem"]
        a.check("IndexElem", body, _INDEX_ELEMENT)
        if "name" in body:
            value = named_column(a, body["name"], scope)
            a.mention(value.sources)
        else:
            value = a.expression(body["expr"], scope)
        sources |= value.sources
    if "whereClause" in node:
        a.expression(node["whereClause"], scope)
    return frozenset(sources)


def _selective(where: Node | None) -> bool:
    """Whether a WHERE can leave out a row: ``WHERE true`` cannot, and counts as none."""
    waiting: list[Any] = [where]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if item.keys() & {"ColumnRef", "SubLink", "CurrentOfExpr"}:
                return True
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False


def _where(a: Analysis, node: Node, scope: Scope) -> None:
    if "whereClause" in node:
        where = node["whereClause"]
        with a.place(Clause.WHERE, compared_by_equality(a, where, scope)):
            a.condition(a.expression(where, scope))
        note_comparisons(a, where, scope)


@QUERIES.on("UpdateStmt", "relation targetList whereClause fromClause returningClause withClause")
def update(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...] | None:
    if "withClause" in node:
        with_clause(a, node["withClause"], scope)
    target = WriteTarget(a, node["relation"])
    from_clause(a, node.get("fromClause", []), scope, (target.item,))
    written = assignments(a, target, node.get("targetList", []), scope)
    target.access(a, "update", written)
    a.note_where(_selective(node.get("whereClause")))
    _where(a, node, scope)
    return returning(a, node.get("returningClause"), target, scope)


@QUERIES.on("DeleteStmt", "relation usingClause whereClause returningClause withClause")
def delete(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...] | None:
    if "withClause" in node:
        with_clause(a, node["withClause"], scope)
    target = WriteTarget(a, node["relation"])
    from_clause(a, node.get("usingClause", []), scope, (target.item,))
    target.access(a, "delete")
    a.note_where(_selective(node.get("whereClause")))
    _where(a, node, scope)
    return returning(a, node.get("returningClause"), target, scope)


@QUERIES.on(
    "MergeStmt", "relation sourceRelation joinCondition mergeWhenClauses returningClause withClause"
)
def merge(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...] | None:
    if "withClause" in node:
        with_clause(a, node["withClause"], scope)
    target = WriteTarget(a, node["relation"])
    source = from_item(a, node["sourceRelation"], scope, [])
    both = Scope(scope.parent, [target.item, *source], scope.ctes)
    with a.place(Clause.MERGE_CONDITION):
        a.condition(a.expression(node["joinCondition"], both))
    target.access(a, "merge")
    for item in node.get("mergeWhenClauses", []):
        _when(a, item["MergeWhenClause"], target, source, both)
    # RETURNING * gives the source first
    order = Scope(scope.parent, [*source, target.item], scope.ctes)
    return returning(a, node.get("returningClause"), target, order)


def _when(a: Analysis, node: Node, target: WriteTarget, source: list[Item], both: Scope) -> None:
    a.check("MergeWhenClause", node, _WHEN)
    kind = node.get("matchKind", "MERGE_WHEN_MATCHED")
    scope = both
    if kind == "MERGE_WHEN_NOT_MATCHED_BY_TARGET":
        scope = Scope(both.parent, source, both.ctes)
    elif kind == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE":
        scope = Scope(both.parent, [target.item], both.ctes)
    if "condition" in node:
        with a.place(Clause.MERGE_CONDITION):
            a.condition(a.expression(node["condition"], scope))
    command = node.get("commandType")
    if command == "CMD_UPDATE":
        target.access(a, "update", assignments(a, target, node.get("targetList", []), scope))
    elif command == "CMD_DELETE":
        target.access(a, "delete")
    elif command == "CMD_INSERT":
        _merge_insert(a, node, target, scope)
    elif command != "CMD_NOTHING":
        a.unknown("SP1102", f"{command} is not supported in MERGE")


def _merge_insert(a: Analysis, node: Node, target: WriteTarget, scope: Scope) -> None:
    names, nested = _insert_columns(a, node.get("targetList", []), target, scope)
    values = [f.value for item in node.get("values", []) for f in spread(a, item, scope)]
    if len(values) > len(names):
        a.unknown("SP1102", "INSERT has more expressions than target columns", position=target.at)
    written = set()
    for name, value in zip(names, values, strict=False):
        id_ = target.assign(a, name, value, target.at, name in nested)
        if id_ is not None:
            written.add(id_)
    target.access(a, "insert", frozenset(written))
