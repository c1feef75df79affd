"""INSERT, UPDATE, DELETE and MERGE: what is written where, from what, and what RETURNING gives
back.
"""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.sql.analysis import QUERIES, Analysis
from sallyport.sql.catalog.snapshot import ColumnId, Relation
from sallyport.sql.expressions.calls import conversion, judge
from sallyport.sql.expressions.columns import named_column, subscript
from sallyport.sql.expressions.constant_uses import note
from sallyport.sql.expressions.expression import distinct_rows, spread
from sallyport.sql.facts import Clause, Dependence
from sallyport.sql.lineage import Field, Value, derived
from sallyport.sql.names.missing import missing_column_of
from sallyport.sql.names.scope import Item, Scope, raw_item
from sallyport.sql.nodes import fields, position_of, tag_of
from sallyport.sql.queries.ctes import with_clause
from sallyport.sql.queries.from_items import (
    RANGE_VAR,
    aliased,
    from_clause,
    from_item,
    make_item,
    note_range_variable,
)
from sallyport.sql.queries.relation_items import note_condition, relation_item
from sallyport.sql.queries.select import target_list
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import note_condition_cast, note_implicit_cast
from sallyport.sql.values.types import RECORD
from sallyport.sql.writes.constraints import note_partition, note_value, note_write
from sallyport.sql.writes.hidden_code import set_off, writing
from sallyport.sql.writes.where import where

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

    def __init__(self, analysis: Analysis, node: Node) -> None:
        analysis.check("RangeVar", node, RANGE_VAR)
        self.relation: Relation | None = analysis.named_relation(node)
        self.position: int = node.get("location", -1)
        #: what gets a value, and whether that value comes from no column
        self.written: dict[ColumnId, bool] = {}
        #: what of it may become longer than short constants
        self.long: set[ColumnId] = set()
        alias = node.get("alias")
        if self.relation is None:
            self.item = self.proposed = aliased(
                analysis, make_item(node.get("relname", ""), ()), alias
            )
            return
        note_range_variable(analysis, node, self.relation.oid)
        self.proposed = aliased(
            analysis, relation_item(analysis, self.relation, self.position), alias
        )
        self.item = raw_item(self.proposed)
        self.item.variable = self.position
        analysis.mentioned_columns.update(
            ColumnId(self.relation.oid, c.attnum) for c in self.relation.columns
        )
        writing(analysis, self.relation, self.position)
        if self.relation.has_rules:
            what = f"cannot determine what the rules on {self.relation.qualified} do"
            analysis.unknown("SP1102", what, position=self.position)
        if self.relation.kind not in "rpvf":
            analysis.unknown(
                "SP1102", f"cannot write to {self.relation.qualified}", position=self.position
            )
        is_read = not analysis.context.runs_code
        if self.relation.kind == "v" and self.relation.has_triggers and is_read:
            what = f"cannot determine what the triggers of view {self.relation.qualified} do"
            analysis.unknown("SP1102", what, position=self.position)

    def column(
        self, analysis: Analysis, name: str, position: int
    ) -> tuple[ColumnId, int, Value] | None:
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
        missing_column_of(
            analysis, name, self.relation.name, [c.name for c in self.relation.columns], position
        )
        return None

    def access(
        self, analysis: Analysis, action: str, columns: frozenset[ColumnId] = frozenset()
    ) -> None:
        """Writing; through a view also to what is under it."""
        analysis.actions.add(action)
        if self.relation is None:
            return
        analysis.access(self.relation.oid, action, columns)
        set_off(analysis, self.relation.oid, action, self.position)
        if action != "insert":
            note_partition(analysis, self.relation, self.position)
        if self.relation.kind == "v":
            note_condition(analysis, self.relation, action, self.position)
        if self.relation.kind != "v":
            self._note(analysis, self.relation.oid, action, columns)
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
            analysis.access_under(relation, action, underlying)
            set_off(analysis, relation, action, self.position)
            self._note(analysis, relation, action, frozenset(underlying))

    def _note(
        self, analysis: Analysis, relation: int, action: str, columns: frozenset[ColumnId]
    ) -> None:
        if action in ("insert", "update", "delete"):
            written = {c: self.written.get(c, True) for c in columns}
            short = self.written.keys() - self.long
            note_write(analysis, relation, action, written, self.position, short)

    def assign(
        self,
        analysis: Analysis,
        name: str,
        value: Value,
        position: int,
        indirection: bool = False,
        node: Node | None = None,
    ) -> ColumnId | None:
        """``column = value``: a flow. ``indirection``: a part of the column. ``node``: the value's
        own, where there is one.
        """
        target_column = self.column(analysis, name, position)
        if target_column is None:
            return None
        id_, type_, current = target_column
        if node is not None and value.dependence is not Dependence.OPAQUE and not value.denied:
            note(analysis, (node,), value.sources | current.sources | {id_}, not indirection)
        if not indirection and value.type != type_ and value.type:
            judge(
                analysis,
                conversion(analysis, value.type, type_),
                "a conversion to the column's type",
                position,
            )
        if indirection or value.type in (0, RECORD):
            note_implicit_cast(
                analysis, value, 0 if indirection else type_, position, assignment=True
            )
        if indirection and analysis.clause is Clause.SET:
            # whether a part can be set depends on what the whole is: its dimensions, its keys, a
            # domain's check
            analysis.influence(current.sources, Clause.SET, False, position)
        for target in {id_, *(s for s in current.sources if current.bare)}:
            analysis.flow(target, value.sources, position)
            note_value(
                analysis,
                target,
                replace(value, dependence=Dependence.DERIVED) if indirection else value,
                position,
            )
            self.written[target] = self.written.get(target, True) and not value.sources
            literal = value.literal if value.constant and not indirection else None
            if literal is None or len(literal) > _SHORT:
                self.long.add(target)
        return id_


def assignments(
    analysis: Analysis, target: WriteTarget, nodes: list[Node], scope: Scope
) -> frozenset[ColumnId]:
    """SET lists; the columns that are assigned."""
    with analysis.place(Clause.SET):
        return _assignments(analysis, target, nodes, scope)


def _assignments(
    analysis: Analysis, target: WriteTarget, nodes: list[Node], scope: Scope
) -> frozenset[ColumnId]:
    written = set()
    sources: dict[int, list[Value]] = {}
    for node in nodes:
        body = node["ResTarget"]
        analysis.check("ResTarget", body, _RES_TARGET)
        position = position_of(body)
        steps = body.get("indirection", [])
        value = _assigned(analysis, body["val"], scope, sources)
        for step in steps:
            tag, inner = tag_of(step)
            if tag == "A_Indices":
                value = subscript(analysis, value, inner, scope)
            elif tag != "String":
                analysis.not_understood(tag, inner)
        source = None if "MultiAssignRef" in body["val"] else body["val"]
        id_ = target.assign(analysis, body.get("name", ""), value, position, bool(steps), source)
        if id_ is not None:
            written.add(id_)
    return frozenset(written)


def _assigned(analysis: Analysis, node: Node, scope: Scope, rows: dict[int, list[Value]]) -> Value:
    tag, body = tag_of(node)
    if tag != "MultiAssignRef":
        return analysis.expression(node, scope)
    analysis.check(tag, body, _MULTI)
    # every reference repeats the same source in the tree; it is walked once per column, and facts
    # are sets
    source_tag, source = tag_of(body["source"])
    number = body.get("colno", 1) - 1
    if source_tag == "RowExpr":
        values = [f.value for item in source.get("args", []) for f in spread(analysis, item, scope)]
        return values[number] if number < len(values) else analysis.not_understood(tag, body)
    if source_tag == "SubLink":
        value = analysis.expression(body["source"], scope)
        if value.row is not None:
            return (
                derived((value.row[number].value,), value.row[number].value.type)
                if number < len(value.row)
                else value
            )
        return value
    return analysis.not_understood(source_tag, source)


def returning(
    analysis: Analysis, node: Node | None, target: WriteTarget, scope: Scope
) -> tuple[Field, ...] | None:
    """RETURNING with old and new (or the names given to them).

    At the top its plain columns come back as they are, for the gateway to mask; inside WITH the
    statement reads them.
    """
    if node is None:
        return None
    analysis.check("ReturningClause", node, _RETURNING)
    names = {"old": "old", "new": "new"}
    for option in node.get("options", []):
        body = option["ReturningOption"]
        analysis.check("ReturningOption", body, _OPTION)
        key = "old" if body.get("option") == "RETURNING_OPTION_OLD" else "new"
        names[key] = body.get("value", "")
    taken = {item.name for item in scope.items if item.visible}
    extra = [
        replace(target.item, name=name, schema="", visible=True, columns_visible=False)
        for name in names.values()
        if name not in taken
    ]
    if target.relation is not None:
        analysis.read_relation(target.relation)
    inner = Scope(scope.parent, [*scope.items, *extra], scope.ctes)
    with analysis.place(Clause.RETURNING):
        return target_list(analysis, node.get("exprs", []), inner, returned=scope.parent is None)


def _target(analysis: Analysis, node: Node, scope: Scope) -> WriteTarget:
    """What the statement writes; its WITH comes first."""
    if "withClause" in node:
        with_clause(analysis, node["withClause"], scope)
    return WriteTarget(analysis, node["relation"])


@QUERIES.on(
    "InsertStmt", "relation cols selectStmt onConflictClause returningClause withClause override"
)
def insert(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...] | None:
    """INSERT; gives the columns of its RETURNING, None without one."""
    target = _target(analysis, node, scope)
    names, nested = _insert_columns(analysis, node.get("cols", []), target, scope)
    rows = _insert_rows(analysis, node["selectStmt"], scope) if "selectStmt" in node else []
    proposed: dict[str, Value] = {}
    for row in rows:
        for name, (value, source) in zip(names, row, strict=False):
            target.assign(analysis, name, value, target.position, name in nested, source)
            proposed[name] = derived((proposed[name], value)) if name in proposed else value
    if any(len(row) > len(names) for row in rows) and target.relation is not None:
        analysis.unknown(
            "SP1102", "INSERT has more expressions than target columns", position=target.position
        )
    target_columns = [target.column(analysis, name, target.position) for name in names]
    width = max((len(row) for row in rows), default=0)
    assigned = target_columns if node.get("cols") else target_columns[:width]
    written = frozenset(column[0] for column in assigned if column is not None)
    target.access(analysis, "insert", written)
    inner = Scope(scope.parent, [target.item], scope.ctes)
    if "onConflictClause" in node:
        _on_conflict(analysis, node["onConflictClause"], target, proposed, written, inner)
    return returning(analysis, node.get("returningClause"), target, inner)


def _insert_columns(
    analysis: Analysis, nodes: list[Node], target: WriteTarget, scope: Scope
) -> tuple[list[str], set[str]]:
    if not nodes:
        columns = target.relation.columns if target.relation is not None else ()
        return [column.name for column in columns], set()
    names, nested = [], set()
    for node in nodes:
        body = node["ResTarget"]
        analysis.check("ResTarget", body, _RES_TARGET)
        names.append(body.get("name", ""))
        target.column(analysis, body.get("name", ""), position_of(body))
        if "indirection" in body:
            nested.add(body.get("name", ""))
            for step in body["indirection"]:
                tag, inner = tag_of(step)
                if tag == "A_Indices":
                    subscript(analysis, Value(), inner, scope)
                elif tag != "String":
                    analysis.not_understood(tag, inner)
    return names, nested


def _insert_rows(
    analysis: Analysis, node: Node, scope: Scope
) -> list[list[tuple[Value, Node | None]]]:
    """The values that are inserted: the rows of VALUES, each with its node where it stands by
    itself, or the one row of columns of a query.
    """
    tag, body = tag_of(node)
    if (
        tag != "SelectStmt"
        or "valuesLists" not in body
        or body.keys() - {"valuesLists", "limitOption", "op"}
    ):
        columns = analysis.query(node, Scope(scope)) or ()
        return [[(f.value, None) for f in columns]]
    return [
        [
            (f.value, None if f.name else entry)
            for entry in item["List"].get("items", [])
            for f in spread(analysis, entry, scope)
        ]
        for item in distinct_rows(body["valuesLists"])
    ]


def _on_conflict(
    analysis: Analysis,
    node: Node,
    target: WriteTarget,
    proposed: dict[str, Value],
    written: frozenset[ColumnId],
    scope: Scope,
) -> None:
    analysis.check("OnConflictClause", node, _CONFLICT)
    infer = node.get("infer")
    arbiters: frozenset[ColumnId] = frozenset()
    if infer is not None:
        arbiters = _arbiters(analysis, infer, Scope(scope.parent, [target.proposed], scope.ctes))
    if not arbiters and target.relation is not None:
        # any unique index may decide: whatever is written is compared with what is there
        arbiters = written or frozenset(
            ColumnId(target.relation.oid, c.attnum) for c in target.relation.columns
        )
    analysis.influence(arbiters, Clause.ON_CONFLICT, True, position_of(node))
    if node.get("action") != "ONCONFLICT_UPDATE":
        return
    excluded = tuple(Field(f.name, _excluded(target, proposed, f)) for f in target.item.fields)
    item = make_item("excluded", excluded)
    inner = Scope(scope.parent, [target.item, item.shown(True, True)], scope.ctes)
    changed = assignments(analysis, target, node.get("targetList", []), inner)
    target.access(analysis, "update", changed)
    if "whereClause" in node:
        with analysis.place(Clause.ON_CONFLICT):
            note_condition_cast(analysis, analysis.expression(node["whereClause"], inner))


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


def _arbiters(analysis: Analysis, node: Node, scope: Scope) -> frozenset[ColumnId]:
    analysis.check("InferClause", node, _INFER)
    sources: set[ColumnId] = set()
    for element in node.get("indexElems", []):
        body = element["IndexElem"]
        analysis.check("IndexElem", body, _INDEX_ELEMENT)
        if "name" in body:
            value = named_column(analysis, body["name"], scope)
            analysis.mention(value.sources)
        else:
            value = analysis.expression(body["expr"], scope)
        sources |= value.sources
    if "whereClause" in node:
        analysis.expression(node["whereClause"], scope)
    return frozenset(sources)


@QUERIES.on("UpdateStmt", "relation targetList whereClause fromClause returningClause withClause")
def update(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...] | None:
    """UPDATE, as :func:`insert`."""
    target = _target(analysis, node, scope)
    from_clause(analysis, node.get("fromClause", []), scope, (target.item,))
    written = assignments(analysis, target, node.get("targetList", []), scope)
    target.access(analysis, "update", written)
    where(analysis, node, target.relation, target.position, scope)
    return returning(analysis, node.get("returningClause"), target, scope)


@QUERIES.on("DeleteStmt", "relation usingClause whereClause returningClause withClause")
def delete(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...] | None:
    """DELETE, as :func:`insert`."""
    target = _target(analysis, node, scope)
    from_clause(analysis, node.get("usingClause", []), scope, (target.item,))
    target.access(analysis, "delete")
    where(analysis, node, target.relation, target.position, scope)
    return returning(analysis, node.get("returningClause"), target, scope)


@QUERIES.on(
    "MergeStmt", "relation sourceRelation joinCondition mergeWhenClauses returningClause withClause"
)
def merge(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...] | None:
    """MERGE, as :func:`insert`."""
    target = _target(analysis, node, scope)
    source = from_item(analysis, node["sourceRelation"], scope, [])
    analysis.are_by_key.append(False)
    both = Scope(scope.parent, [target.item, *source], scope.ctes)
    with analysis.place(Clause.MERGE_CONDITION):
        note_condition_cast(analysis, analysis.expression(node["joinCondition"], both))
    target.access(analysis, "merge")
    for item in node.get("mergeWhenClauses", []):
        _when(analysis, item["MergeWhenClause"], target, source, both)
    # RETURNING * gives the source first
    order = Scope(scope.parent, [*source, target.item], scope.ctes)
    return returning(analysis, node.get("returningClause"), target, order)


def _when(
    analysis: Analysis, node: Node, target: WriteTarget, source: list[Item], both: Scope
) -> None:
    analysis.check("MergeWhenClause", node, _WHEN)
    kind = node.get("matchKind", "MERGE_WHEN_MATCHED")
    scope = both
    if kind == "MERGE_WHEN_NOT_MATCHED_BY_TARGET":
        scope = Scope(both.parent, source, both.ctes)
    elif kind == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE":
        scope = Scope(both.parent, [target.item], both.ctes)
    if "condition" in node:
        with analysis.place(Clause.MERGE_CONDITION):
            note_condition_cast(analysis, analysis.expression(node["condition"], scope))
    command = node.get("commandType")
    if command == "CMD_UPDATE":
        target.access(
            analysis, "update", assignments(analysis, target, node.get("targetList", []), scope)
        )
    elif command == "CMD_DELETE":
        target.access(analysis, "delete")
    elif command == "CMD_INSERT":
        _merge_insert(analysis, node, target, scope)
    elif command != "CMD_NOTHING":
        analysis.unknown("SP1102", f"{command} is not supported in MERGE")


def _merge_insert(analysis: Analysis, node: Node, target: WriteTarget, scope: Scope) -> None:
    names, nested = _insert_columns(analysis, node.get("targetList", []), target, scope)
    values = [f.value for item in node.get("values", []) for f in spread(analysis, item, scope)]
    if len(values) > len(names):
        analysis.unknown(
            "SP1102", "INSERT has more expressions than target columns", position=target.position
        )
    written = set()
    for name, value in zip(names, values, strict=False):
        id_ = target.assign(analysis, name, value, target.position, name in nested)
        if id_ is not None:
            written.add(id_)
    target.access(analysis, "insert", frozenset(written))
