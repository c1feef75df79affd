"""References to columns: ``c``, ``t.c``, ``s.t.c``, ``t`` (the whole row), ``t.*``, ``(row).field``
(parse_expr.c, transformColumnRef).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from sallyport.sql.analysis import EXPRESSIONS, Analysis
from sallyport.sql.expressions.calls import judge, note_stored_form, result
from sallyport.sql.groupings import StarColumn
from sallyport.sql.lineage import UNKNOWN_TYPE, Field, Value, derived
from sallyport.sql.names.missing import (
    ambiguous_column,
    ambiguous_item,
    missing_column,
    missing_field,
    missing_fields,
    missing_item,
)
from sallyport.sql.names.scope import Ambiguous, AmbiguousItem, Item, Scope
from sallyport.sql.nodes import fields, position_of, string, strings, tag_of
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import note_argument_casts, note_implicit_cast
from sallyport.sql.values.types import INT4, TEXT

on = EXPRESSIONS.on
_INDICES = fields("is_slice lidx uidx")


@on("ColumnRef", "fields")
def _column(analysis: Analysis, node: Node, scope: Scope) -> Value:
    parts = node.get("fields", [])
    names = strings(parts)
    position: int = node.get("location", 0)
    if scope.parent is not None or len(scope.items) > 15:
        analysis.work.spend(scope.breadth() >> 4)
    if "" in names:
        if len(names) > 1 and "A_Star" in parts[-1]:
            return _whole_row(analysis, names[:-1], scope, position)
        return analysis.unknown("SP1102", "* is not supported here", position=position)
    try:
        value = scope.qualified(*names) if len(names) == 2 else None
        if value is None:
            value, is_row = find(analysis, names, scope, position)
            if value is not None and is_row:
                return analysis.read(value, position)
    except AmbiguousItem as error:
        return ambiguous_item(analysis, str(error), position)
    except Ambiguous:
        return ambiguous_column(analysis, names, position)
    if value is None:
        return missing_column(analysis, names, scope, position)
    origin = value.origin
    if origin is not None and origin.attnum < 0:  # of heap.c
        analysis.system_columns.add(origin)
    if analysis.ungrouped is not None:
        analysis.ungrouped.note(value, names, position)
    sources = value.sources
    if node is not analysis.bare:
        analysis.mention(sources, position)
    if value.raw and node is not analysis.returned:
        return analysis.read(value, position)
    if sources:  # as show
        analysis.seen |= sources
    return analysis.show(value, position) if value.denied else value


def named_column(analysis: Analysis, name: str, scope: Scope) -> Value:
    """A column in a list of columns, of an index or a constraint: nothing is computed with it."""
    try:
        value = scope.local_column(name)
    except Ambiguous:
        return ambiguous_column(analysis, (name,), -1)
    return (
        analysis.show(value) if value is not None else missing_column(analysis, (name,), scope, -1)
    )


def _whole_row(analysis: Analysis, names: tuple[str, ...], scope: Scope, position: int) -> Value:
    """``t.*`` where one value is wanted, as in f(t.*): the whole row."""
    try:
        item = item_named(analysis, names, scope)
    except AmbiguousItem as error:
        return ambiguous_item(analysis, str(error), position)
    if item is None:
        return missing_item(analysis, names[-1], scope, position)
    analysis.note_schema_reference(names, item, position)
    analysis.note_row_reference(len(names), item, position, star=True)
    return analysis.read(whole(analysis, item), position)


def find(
    analysis: Analysis, names: tuple[str, ...], scope: Scope, position: int
) -> tuple[Value | None, bool]:
    """What a reference stands for, and whether that is a whole row or computed from one. Raises
    Ambiguous.
    """
    if len(names) == 1:
        column = scope.column(names[0])
        if column is not None:
            return column[0], False
        item = scope.item(names[0])
        if item is None:
            return None, False
        analysis.note_row_reference(1, item, position)
        return whole(analysis, item), not item.scalar
    if len(names) > 4:
        return None, False
    item = scope.item(names[0]) if len(names) == 2 else item_named(analysis, names[:-1], scope)
    if item is None:
        return _parameter_field(analysis, names, scope, position), True
    if len(names) > 2:
        analysis.note_schema_reference(names[:-1], item, position)
    value = item.column(names[-1])
    if value is not None:
        return value, False
    analysis.note_row_reference(len(names) - 1, item, position)
    return attribute(analysis, whole(analysis, item), names[-1], position), True


def _parameter_field(
    analysis: Analysis, names: tuple[str, ...], scope: Scope, position: int
) -> Value | None:
    """``parameter.field`` and ``function.parameter.field`` in an SQL function
    (sql_fn_post_column_ref in functions.c).
    """
    if analysis.parameters is None:
        return None
    while scope.parent is not None:
        scope = scope.parent
    parameters = scope.items[0] if len(scope.items) == 1 else None
    if parameters is None or names[:-2] not in ((), (parameters.name,)):
        return None
    value = parameters.column(names[-2])
    return None if value is None else attribute(analysis, value, names[-1], position)


def whole(analysis: Analysis, item: Item) -> Value:
    """An item's whole row, which costs as much as it has fields."""
    analysis.work.spend(len(item.fields) >> 4)
    return item.whole()


def item_named(analysis: Analysis, names: tuple[str, ...], scope: Scope) -> Item | None:
    """The FROM item behind ``t``, ``s.t`` or ``d.s.t``. Raises Ambiguous."""
    if len(names) == 3:
        if names[0] != analysis.catalog.database:
            return None
        names = names[1:]
    if len(names) == 1:
        return scope.item(names[0])
    relation = analysis.catalog.relation_by_name.get((names[0], names[1]))
    return scope.item(names[1], relation.oid) if relation is not None else None


def attribute(analysis: Analysis, value: Value, name: str, position: int) -> Value | None:
    """``value.name``: a field of a row, or the function ``name`` called with it
    (ParseFuncOrColumn); None when there is neither.
    """
    field = field_of(analysis, value, name)
    if field is not None:
        return field
    resolved = analysis.names.function((name,), (value.type,))
    if not resolved.exists:
        return None
    judge(analysis, resolved, f"function {name}", position)
    note_stored_form(analysis, name, (value,), position)
    note_argument_casts(analysis, resolved.candidates, (value,), position)
    return result(resolved, (value,))


def field_of(analysis: Analysis, value: Value, name: str) -> Value | None:
    """A field of a row: exactly its own column where the row's shape is known, else everything the
    row is made of.
    """
    if value.row is not None:
        fields = [field.value for field in value.row if field.name == name]
        if len(fields) != 1:
            return None
        return replace(fields[0], raw=True) if value.raw else fields[0]
    relation = (
        analysis.catalog.relations.get(analysis.types.relation(value.type)) if value.type else None
    )
    if relation is None:
        return None
    column = next((c for c in relation.columns if c.name == name), None)
    return None if column is None else derived((value,), column.type_oid)


def row_fields(analysis: Analysis, value: Value) -> tuple[Field, ...] | None:
    """The fields of ``(value).*``."""
    if value.row is not None:
        return value.row
    relation = (
        analysis.catalog.relations.get(analysis.types.relation(value.type)) if value.type else None
    )
    if relation is None:
        return None
    return tuple(Field(c.name, derived((value,), c.type_oid)) for c in relation.columns)


@on("A_Indirection", "arg indirection")
def _indirection(analysis: Analysis, node: Node, scope: Scope) -> Value:
    position = position_of(node["arg"].get(tag_of(node["arg"])[0], {}))
    value = _as_declared(analysis, analysis.expression(node["arg"], scope))
    for step in node.get("indirection", []):
        tag, body = tag_of(step)
        if tag == "A_Indices":
            value = subscript(analysis, value, body, scope)
        elif tag == "String":
            part = field_of(analysis, value, string(step))
            if part is not None:
                analysis.mention(part.sources, position)
            else:
                part = attribute(analysis, value, string(step), position)
            if part is None:
                return missing_field(
                    analysis, string(step), value, position, _base_name(node["arg"])
                )
            value = analysis.read(part, position)
        else:
            return analysis.unknown("SP1102", ".* is not supported here", position=position)
    return value


def _as_declared(analysis: Analysis, value: Value) -> Value:
    """A parameter with the type that Parse or PREPARE declares, whose fields are read; not where it
    may stand for others in the text, which have types of their own.
    """
    is_own = analysis.parameters is None and not analysis.work.meant
    if not value.parameter or value.type or not is_own:
        return value
    declared = (0, *analysis.declared)[value.parameter : value.parameter + 1]
    return replace(value, type=declared[0]) if declared not in ((), (UNKNOWN_TYPE,)) else value


def _base_name(node: Node) -> str:
    tag, body = tag_of(node)
    return string(body["fields"][-1]) if tag == "ColumnRef" else ""


def subscript(analysis: Analysis, value: Value, body: Node, scope: Scope) -> Value:
    """``value[lower:upper]``; jsonb subscripts too."""
    analysis.check("A_Indices", body, _INDICES)
    bounds = [analysis.expression(body[key], scope) for key in ("lidx", "uidx") if key in body]
    type_ = value.type
    for bound in bounds:
        for subscript_type in (INT4, TEXT):  # of arrays, and of jsonb
            note_implicit_cast(analysis, bound, subscript_type, -1, assignment=True)
    if not body.get("is_slice"):
        type_ = analysis.types.element(type_) or (type_ if type_ == 3802 else 0)
    return derived((value, *bounds), type_)


def star(
    analysis: Analysis, node: Node, scope: Scope, returned: bool = False
) -> tuple[Field, ...] | None:
    """The fields that ``*``, ``t.*`` or ``(row).*`` stand for; None when ``node`` is an ordinary
    expression.

    ``returned``: they come back from a write as they are.
    """
    tag, body = tag_of(node)
    if tag == "ColumnRef":
        parts = body.get("fields")
        if not parts or "A_Star" not in parts[-1]:
            return None
        names = strings(parts[:-1])
        return _column_star(
            analysis, names, scope, position_of(body), analysis.show if returned else analysis.read
        )
    if tag == "A_Indirection":
        steps = body.get("indirection", [])
        if not steps or "A_Star" not in steps[-1]:
            return None
        return _indirection_star(analysis, body, scope)
    return None


def _column_star(
    analysis: Analysis,
    names: tuple[str, ...],
    scope: Scope,
    position: int,
    note: Callable[[Value, int], Value],
) -> tuple[Field, ...]:
    if not names:
        return _noted(
            analysis, [i for i in scope.items if i.columns_visible], note, position, scope
        )
    try:
        item = item_named(analysis, names, scope)
    except AmbiguousItem as error:
        ambiguous_item(analysis, str(error), position)
        return ()
    if item is None:
        missing_item(analysis, names[-1], scope, position)
        return ()
    analysis.note_schema_reference(names, item, position)
    return _noted(analysis, (item,), note, position, scope)


def _noted(
    analysis: Analysis,
    items: Sequence[Item],
    note: Callable[[Value, int], Value],
    position: int,
    scope: Scope,
) -> tuple[Field, ...]:
    columns = [field for item in items for field in item.expanded]
    analysis.starred.update(
        [f.value.origin.relation for f in columns if f.value.origin is not None]
    )
    if analysis.ungrouped is not None:
        expanded = [(f, _star_column(item, f, scope)) for item in items for f in item.expanded]
        analysis.ungrouped.note_star(expanded, position)
    return tuple([Field(f.name, note(f.value, position)) for f in columns])


def _star_column(item: Item, field: Field, scope: Scope) -> StarColumn:
    owner = item if item.name and item.visible else None
    if owner is None:
        try:
            scope.local_column(field.name)
        except Ambiguous:  # two sides of a join have it
            sides = (i for i in scope.items if i.name and i.visible)
            owner = next((i for i in sides if any(f.value is field.value for f in i.fields)), None)
    source = (field.value.origin, field.value.variable)
    if owner is None:
        return StarColumn(*source, (field.name,), -1)
    return StarColumn(*source, (owner.name, field.name), owner.variable)


def _indirection_star(analysis: Analysis, body: Node, scope: Scope) -> tuple[Field, ...]:
    inner = (
        {"A_Indirection": {**body, "indirection": body["indirection"][:-1]}}
        if len(body["indirection"]) > 1
        else body["arg"]
    )
    value = _as_declared(analysis, analysis.expression(inner, scope))
    if "ColumnRef" in inner:
        # a range variable's own row: its columns have the names that its alias gives them
        # (ExpandRowReference in parse_target.c)
        analysis.row_references.pop(position_of(inner["ColumnRef"]), None)
    fields = row_fields(analysis, value)
    if fields is None:
        missing_fields(analysis, value, position_of(body))
        return ()
    return tuple([Field(f.name, analysis.read(f.value)) for f in fields])
