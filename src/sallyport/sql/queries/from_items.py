"""FROM items: relations, subqueries, joins, functions (parse_clause.c, transformFromClauseItem).

Every handler gets the items to its left (visible to it only if it is LATERAL or a function) and
returns the namespace it adds; the last item of that list stands for the whole of it, as
PostgreSQL's nsitem does.
"""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.core.errors import RefusedError, refuse
from sallyport.sql.analysis import EXPRESSIONS, FROM_ITEMS, Analysis
from sallyport.sql.expressions.calls import EQUALS, common_type, operator, type_oid
from sallyport.sql.expressions.function_calls import call, concrete, function_name
from sallyport.sql.facts import RangeVariable
from sallyport.sql.lineage import OPAQUE, Field, Value, either, is_raw, union
from sallyport.sql.names.names_of import figure
from sallyport.sql.names.scope import Ambiguous, Item, Scope
from sallyport.sql.nodes import fields, position_of, strings, tag_of
from sallyport.sql.queries.ctes import cte_fields, invalid_recursion
from sallyport.sql.queries.relation_items import relation_item
from sallyport.sql.queries.setops import settle_text
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import note_condition_cast
from sallyport.sql.values.types import INT8, RECORD
from sallyport.sql.writes.constraints import note_partition

on = FROM_ITEMS.on
RANGE_VAR = fields("catalogname schemaname relname inh relpersistence alias")
_ALIAS = fields("aliasname colnames")
_COLUMN_DEF = fields("colname typeName is_local collClause")


def from_clause(
    analysis: Analysis, nodes: list[Node], scope: Scope, before: tuple[Item, ...] = ()
) -> None:
    """Fill ``scope`` with what FROM brings. ``before``: items that come first but are not laterally
    visible (UPDATE's target).
    """
    items: list[Item] = []
    for node in nodes:
        items.extend(from_item(analysis, node, scope, items))
    scope.items = [*before, *items]


def from_item(analysis: Analysis, node: Node, scope: Scope, left: list[Item]) -> list[Item]:
    """What an entry of FROM brings into scope. ``left``: items before it, which LATERAL sees."""
    tag, body = tag_of(node)
    entry = FROM_ITEMS.table.get(tag)
    if entry is None:
        analysis.not_understood(tag, body)
        return [make_item("", ())]
    handler, known_keys = entry
    if not known_keys.issuperset(body):
        analysis.unread(tag, body, known_keys)
    return handler(analysis, body, scope, left)


def make_item(name: str, columns: tuple[Field, ...], row_type: int = 0) -> Item:
    """An item that has no relation; without a name its columns are visible and it is not."""
    return Item(name, columns, row_type=row_type, visible=bool(name))


def settled(columns: tuple[Field, ...] | None) -> tuple[Field, ...]:
    """A subquery's columns as seen from outside."""
    return tuple([Field(f.name, settle_text(f.value)) for f in columns or ()])


def aliased(analysis: Analysis, item: Item, node: Node | None) -> Item:
    """``item AS name (columns)``. The item is the caller's own: it is changed."""
    if node is None:
        return item
    if not _ALIAS.issuperset(node):
        analysis.unread("Alias", node, _ALIAS)
    item.name = name = node.get("aliasname", "")
    item.schema, item.visible = "", bool(name)
    if "colnames" not in node:
        return item
    new = strings(node["colnames"])
    columns = item.fields
    analysis.work.spend(len(columns) >> 3 if new else 0)
    if len(new) > len(columns):
        analysis.missing(
            "SP1113",
            f'table "{name}" has {len(columns)} columns available but {len(new)} columns specified',
        )
    if new:
        analysis.positional.update(source.relation for f in columns for source in f.value.sources)
        item.fields = tuple(
            [Field(new[n], f.value) if n < len(new) else f for n, f in enumerate(columns)]
        )
        item.positions = None
    return item


def outside(scope: Scope, left: list[Item]) -> Scope:
    """What a FROM item sees of the level it stands in: the CTEs, and ``left`` where lateral."""
    return Scope(scope.parent, list(left), scope.ctes)


def note_range_variable(
    analysis: Analysis, node: Node, relation: int, scope: Scope | None = None
) -> None:
    """``node``: a RangeVar; ``relation``: what it was resolved to, 0 for a WITH query. ``scope``:
    of its FROM; None for the target of a write.
    """
    if scope is not None and not scope.level:
        analysis.levels += 1
        scope.level = analysis.levels
    alias = node.get("alias", {})
    position = position_of(node)
    if "schemaname" in node or "catalogname" in node:
        path = tuple([node[key] for key in ("catalogname", "schemaname", "relname") if key in node])
    else:
        path = (node["relname"],) if "relname" in node else ()
    analysis.range_variables[position] = RangeVariable(
        position,
        relation,
        alias.get("aliasname", node.get("relname", "")),
        path,
        bool(alias),
        "colnames" in alias,
        not node.get("inh"),
        position in analysis.sampled,
        False,
        scope is None,
        scope.level if scope is not None else 0,
    )


@on("RangeVar", "catalogname schemaname relname inh relpersistence alias")
def _range_var(analysis: Analysis, node: Node, scope: Scope, left: list[Item]) -> list[Item]:
    name = node.get("relname", "")
    if "schemaname" not in node:
        cte = scope.cte(name)
        if cte is not None:
            note_range_variable(analysis, node, 0, scope)
            columns = cte_fields(analysis, cte)
            if columns is None and cte.referenced:
                invalid_recursion(analysis, cte)
            elif columns is None:
                analysis.unknown(
                    "SP1102",
                    f'WITH query "{name}" does not have a RETURNING clause',
                    position=position_of(node),
                )
            item = aliased(analysis, make_item(name, columns or (), RECORD), node.get("alias"))
            if cte.added and scope.ctes.get(name) is not cte:
                # of SEARCH and CYCLE, in queries below the one with the WITH
                # (addRangeTblEntryForCTE in parse_relation.c)
                last = len(item.fields)
                item = replace(item, unexpanded=frozenset(range(last - cte.added, last)))
            return [item]
    relation = analysis.named_relation(node)
    if relation is None:
        return [aliased(analysis, make_item(name, ()), node.get("alias"))]
    position = position_of(node)
    note_range_variable(analysis, node, relation.oid, scope)
    analysis.read_relation(relation)
    note_partition(analysis, relation, position)
    item = relation_item(analysis, relation, position)
    item.variable = position
    if scope.grouping is not None and (analysis.views or relation.oid in analysis.context.masked):
        item.fields = scope.grouping.tagged(relation, item.fields, item.variable)
    return [aliased(analysis, item, node.get("alias"))]


@on("RangeSubselect", "lateral subquery alias")
def _range_subselect(analysis: Analysis, node: Node, scope: Scope, left: list[Item]) -> list[Item]:
    inner = Scope(outside(scope, left if node.get("lateral") else []))
    columns = settled(analysis.query(node["subquery"], inner))
    return [aliased(analysis, make_item("", columns, RECORD), node.get("alias"))]


@on("RangeTableSample", "relation method args repeatable")
def _table_sample(analysis: Analysis, node: Node, scope: Scope, left: list[Item]) -> list[Item]:
    position = position_of(node)
    method = strings(node.get("method", []))
    if method[-1:] not in (("bernoulli",), ("system",)) or method[:-1] not in ((), ("pg_catalog",)):
        analysis.unknown(
            "SP1103", f'sampling method "{".".join(method)}" is not supported', position=position
        )
    arguments = [*node.get("args", []), *([node["repeatable"]] if "repeatable" in node else [])]
    analysis.expressions(arguments, outside(scope, left))
    analysis.sampled.add(position_of(node["relation"].get("RangeVar", {})))
    return from_item(analysis, node["relation"], scope, left)


@on("RangeFunction", "lateral ordinality is_rowsfrom functions alias coldeflist")
def _range_function(analysis: Analysis, node: Node, scope: Scope, left: list[Item]) -> list[Item]:
    inner = outside(scope, left)
    columns: list[Field] = []
    alias = node.get("alias", {})
    entries = [entry["List"]["items"] for entry in node.get("functions", [])]
    name, scalar = "", False
    calls = [split for items in entries for split in _unnest(items)]
    for function, definitions in calls:
        definitions = definitions or node.get("coldeflist", [])
        label, fields, single = _function_columns(analysis, function, definitions, inner)
        if single and len(calls) == 1 and alias.get("aliasname") and not definitions:
            fields = (
                (Field(alias["aliasname"], fields[0].value),) if fields[0].name == label else fields
            )
        name, scalar = name or label, single and len(calls) == 1
        columns.extend(fields)
    if node.get("ordinality"):
        values = [f.value for f in columns]
        columns.append(Field("ordinality", Value(union(values), type=INT8, raw=is_raw(values))))
        scalar = False
    item = make_item(name, tuple(columns))
    item.scalar = scalar
    return [aliased(analysis, item, node.get("alias"))]


def _unnest(items: list[Node]) -> list[tuple[Node, list[Node]]]:
    """One entry of ROWS FROM; ``unnest(a, b)`` stands for ``unnest(a), unnest(b)``."""
    function = items[0]
    definitions = items[1].get("List", {}).get("items", []) if len(items) > 1 else []
    body = function.get("FuncCall")
    if (
        body is not None
        and strings(body.get("funcname", [])) == ("unnest",)
        and len(body.get("args", [])) > 1
        and not definitions
        and not body.keys() & {"agg_order", "func_variadic", "agg_star", "agg_distinct"}
    ):
        return [({"FuncCall": {**body, "args": [argument]}}, []) for argument in body["args"]]
    return [(function, definitions)]


def _function_columns(
    analysis: Analysis, node: Node, definitions: list[Node], scope: Scope
) -> tuple[str, tuple[Field, ...], bool]:
    """Name, columns and whether there is a single scalar column, of one function in FROM."""
    tag, body = tag_of(node)
    if tag != "FuncCall":
        label, value = figure(analysis, node), analysis.expression(node, scope)
        value = replace(value, constant=False, literal=None, origin=None)
        return label, (Field(label, value),), True
    analysis.check(tag, body, EXPRESSIONS.table[tag][1])
    value, resolved = call(analysis, body, scope)
    rows = value.row if resolved.followed else None
    value = replace(value, constant=False, literal=None, origin=None)
    label = function_name(analysis, body)[-1]
    if definitions:
        return label, _defined(analysis, definitions, value), False
    outs = {(f.out_names, f.out_types) for f in resolved.candidates}
    if len(outs) == 1:
        names, types = outs.pop()
        if len(names) > 1 and rows is not None and not definitions:
            return label, rows, False
        if len(names) > 1:
            return (
                label,
                tuple(
                    Field(n, replace(value, type=concrete(t), row=None))
                    for n, t in zip(names, types, strict=True)
                ),
                False,
            )
        if len(names) == 1 and names[0]:
            return label, (Field(names[0], value),), True
    elif outs and any(names for names, _ in outs):
        analysis.unknown(
            "SP1102",
            f"cannot tell which {label}() this call resolves to",
            "Cast the arguments.",
            position_of(body),
        )
    relation = (
        analysis.catalog.relations.get(analysis.types.relation(value.type)) if value.type else None
    )
    if relation is not None and rows is not None:
        return label, rows, False
    if relation is not None:
        return (
            label,
            tuple(
                Field(c.name, replace(value, type=c.type_oid, row=None)) for c in relation.columns
            ),
            False,
        )
    return label, (Field(label, value),), True


def _defined(analysis: Analysis, definitions: list[Node], value: Value) -> tuple[Field, ...]:
    columns = []
    for item in definitions:
        body = item["ColumnDef"]
        analysis.check("ColumnDef", body, _COLUMN_DEF)
        columns.append(
            Field(
                body.get("colname", ""), replace(value, type=type_oid(analysis, body["typeName"]))
            )
        )
    return tuple(columns)


@on("JoinExpr", "jointype isNatural larg rarg usingClause join_using_alias quals alias rtindex")
def _join(analysis: Analysis, node: Node, scope: Scope, left: list[Item]) -> list[Item]:
    kind = node.get("jointype", "")
    left_items = from_item(analysis, node["larg"], scope, left)
    right_items = from_item(analysis, node["rarg"], scope, [*left, *left_items])
    first, second = left_items[-1], right_items[-1]
    if kind in ("JOIN_RIGHT", "JOIN_FULL"):
        left_items = [item.made_nullable() for item in left_items]
    if kind in ("JOIN_LEFT", "JOIN_FULL"):
        right_items = [item.made_nullable() for item in right_items]
    analysis.work.spend((len(first.fields) + len(second.fields)) >> 4)
    names = strings(node.get("usingClause", []))
    if node.get("isNatural"):
        names = tuple(f.name for f in first.fields if f.name in second.index)
        origins = [f.value.origin for f in (*first.fields, *second.fields)]
        analysis.starred.update([origin.relation for origin in origins if origin is not None])
    merged = _merge(analysis, kind, names, first, second)
    if "quals" in node:
        condition = analysis.expression(
            node["quals"], Scope(scope.parent, [*left_items, *right_items], scope.ctes)
        )
        note_condition_cast(analysis, condition)
    result = aliased(analysis, _joined(first, second, names, merged), node.get("alias"))
    children = (
        []
        if "alias" in node
        else [item.shown(item.visible, False) for item in (*left_items, *right_items)]
    )
    if "join_using_alias" in node:
        using = aliased(analysis, make_item("", merged), node["join_using_alias"])
        children.append(using.shown(True, False))
    return [*children, result]


def _joined(first: Item, second: Item, names: tuple[str, ...], merged: tuple[Field, ...]) -> Item:
    """Both sides as one item, with ``merged`` in the place of the columns that are called
    ``names``.
    """
    if not (names or first.unexpanded or second.unexpanded):
        return make_item("", (*first.fields, *second.fields))
    rest = [
        (f, number in item.unexpanded)
        for item in (first, second)
        for number, f in enumerate(item.fields)
        if f.name not in names
    ]
    joined = make_item("", (*merged, *[f for f, _ in rest]))
    joined.unexpanded = frozenset([n for n, (_, hidden) in enumerate(rest, len(merged)) if hidden])
    return joined


def _merge(
    analysis: Analysis, kind: str, names: tuple[str, ...], first: Item, second: Item
) -> tuple[Field, ...]:
    """USING: each merged column is computed from both sides, and both decide which rows
    there are.
    """
    columns = []
    analysis.work.spend(3 * len(names))
    for name in names:
        left, right = _side(analysis, first, name, "left"), _side(analysis, second, name, "right")
        if left is None or right is None:
            value = OPAQUE
        else:
            operator(analysis, EQUALS, left, right, -1)
            for side in (left, right):
                analysis.mention(analysis.read(side).sources)
            value = _merged(analysis, kind, left, right)
        columns.append(Field(name, value))
    return tuple(columns)


def _side(analysis: Analysis, item: Item, name: str, side: str) -> Value | None:
    try:
        value = item.column(name)
    except Ambiguous:
        analysis.missing(
            "SP1112", f'common column name "{name}" appears more than once in {side} table'
        )
        return None
    if value is None:
        analysis.missing(
            "SP1108", f'column "{name}" specified in USING clause does not exist in {side} table'
        )
    return value


def _merged(analysis: Analysis, kind: str, left: Value, right: Value) -> Value:
    """buildMergedJoinVar: the side that RowDescription will name is the one that needs no
    conversion. Raises RefusedError where a literal may decide which, and is a parameter here.
    """
    if analysis.context.template and kind != "JOIN_FULL" and None in (left.origin, right.origin):
        raise RefusedError(refuse("SP1102", "a joined column's type cannot become a parameter's"))
    type_ = left.type if left.type == right.type else common_type(analysis, (left, right))
    value = either(left, right, type_)
    left_fits, right_fits = left.type == type_, right.type == type_
    if kind == "JOIN_INNER":
        chosen = left if left_fits else right if right_fits else None
    elif kind == "JOIN_LEFT":
        chosen = left if left_fits else None
    elif kind == "JOIN_RIGHT":
        chosen = right if right_fits else None
    else:
        chosen = None
    if chosen is None:
        return value
    return replace(value, origin=chosen.origin, variable=chosen.variable)
