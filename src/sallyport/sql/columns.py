"""References to columns: ``c``, ``t.c``, ``s.t.c``, ``t`` (the whole row), ``t.*``, ``(row).field`` (parse_expr.c, transformColumnRef)."""

from __future__ import annotations

from sallyport.sql.analysis import EXPRESSIONS, Analysis
from sallyport.sql.calls import judge, result
from sallyport.sql.conversions import converts, converts_arguments
from sallyport.sql.facts import Clause
from sallyport.sql.lineage import Field, Value, derived
from sallyport.sql.missing import ambiguous_column, missing_column, missing_field, missing_item
from sallyport.sql.nodes import fields, position, string, tag_of
from sallyport.sql.parse import Node
from sallyport.sql.scope import Ambiguous, Item, Scope
from sallyport.sql.types import INT4, TEXT

on = EXPRESSIONS.on
_INDICES = fields("is_slice lidx uidx")


@on("ColumnRef", "fields")
def _column(a: Analysis, node: Node, scope: Scope) -> Value:
    parts = node.get("fields", [])
    names = tuple([string(part) for part in parts])
    at = position(node)
    a.work.spend(scope.breadth() >> 4)
    if len(names) > 1 and "A_Star" in parts[-1]:
        return _whole_row(a, names[:-1], scope, at)
    if not all(names):
        return a.unknown("SP1102", "understand * in this place", position=at)
    try:
        found = _find(a, names, scope, at)
    except Ambiguous:
        return ambiguous_column(a, names, at)
    if found is None:
        return missing_column(a, names, scope, at)
    return a.read(found, at)


def _whole_row(a: Analysis, names: tuple[str, ...], scope: Scope, at: int) -> Value:
    """``t.*`` where one value is wanted, as in f(t.*): the whole row."""
    try:
        item = item_named(a, names, scope)
    except Ambiguous:
        item = None
    if item is None:
        return missing_item(a, names[-1], scope, at)
    return a.read(whole(a, item), at)


def _find(a: Analysis, names: tuple[str, ...], scope: Scope, at: int) -> Value | None:
    if len(names) == 1:
        found = scope.column(names[0])
        if found is not None:
            return found[0]
        item = scope.item(names[0])
        return whole(a, item) if item is not None else None
    if len(names) > 4:
        return None
    item = item_named(a, names[:-1], scope)
    if item is None:
        return None
    value = item.column(names[-1])
    return value if value is not None else attribute(a, whole(a, item), names[-1], at)


def whole(a: Analysis, item: Item) -> Value:
    """An item's whole row, which costs as much as it has fields."""
    a.work.spend(len(item.fields) >> 4)
    return item.whole()


def item_named(a: Analysis, names: tuple[str, ...], scope: Scope) -> Item | None:
    """The FROM item behind ``t``, ``s.t`` or ``d.s.t``. Raises Ambiguous."""
    if len(names) == 3:
        if names[0] != a.catalog.database:
            return None
        names = names[1:]
    if len(names) == 1:
        return scope.item(names[0])
    relation = a.catalog.relation_by_name.get((names[0], names[1]))
    return scope.item(names[1], relation.oid) if relation is not None else None


def attribute(a: Analysis, value: Value, name: str, at: int) -> Value | None:
    """``value.name``: a field of a row, or the function ``name`` called with it (ParseFuncOrColumn); None when there is neither."""
    field = field_of(a, value, name)
    if field is not None:
        return field
    found = a.names.function((name,), (value.type,))
    if not found.found:
        return None
    judge(a, found, f"function {name}", (value,), at)
    converts_arguments(a, found.candidates, (value,), at)
    return result(found, (value,))


def field_of(a: Analysis, value: Value, name: str) -> Value | None:
    """A field of a row: exactly its own column where the row's shape is known, else everything the row is made of."""
    if value.row is not None:
        found = [field.value for field in value.row if field.name == name]
        return found[0] if len(found) == 1 else None
    relation = a.catalog.relations.get(a.types.relation(value.type)) if value.type else None
    if relation is None:
        return None
    column = next((c for c in relation.columns if c.name == name), None)
    return None if column is None else derived((value,), column.type_oid)


def row_fields(a: Analysis, value: Value) -> tuple[Field, ...] | None:
    """The fields of ``(value).*``."""
    if value.row is not None:
        return value.row
    relation = a.catalog.relations.get(a.types.relation(value.type)) if value.type else None
    if relation is None:
        return None
    return tuple(Field(c.name, derived((value,), c.type_oid)) for c in relation.columns)


@on("A_Indirection", "arg indirection")
def _indirection(a: Analysis, node: Node, scope: Scope) -> Value:
    at = position(node["arg"].get(tag_of(node["arg"])[0], {}))
    value = a.expression(node["arg"], scope)
    for step in node.get("indirection", []):
        tag, body = tag_of(step)
        if tag == "A_Indices":
            value = subscript(a, value, body, scope)
        elif tag == "String":
            found = attribute(a, value, string(step), at)
            if found is None:
                return missing_field(a, string(step), value, at, _base_name(node["arg"]))
            value = a.read(found, at)
        else:
            return a.unknown("SP1102", "understand .* in this place", position=at)
    return value


def _base_name(node: Node) -> str:
    tag, body = tag_of(node)
    return string(body["fields"][-1]) if tag == "ColumnRef" else ""


def subscript(a: Analysis, value: Value, body: Node, scope: Scope) -> Value:
    """``value[lower:upper]``; jsonb subscripts too. Of a container that is NULL the subscripts are never computed
    (ExecInitSubscriptingRef).
    """
    a.check("A_Indices", body, _INDICES)
    before = a.risks
    bounds = [a.expression(body[key], scope) for key in ("lidx", "uidx") if key in body]
    # of NULL no element is asked for: the subscripts are not computed
    a.guarded(before, [value, *bounds], Clause.GUARD)
    type_ = value.type
    for bound in bounds:
        for wanted in (INT4, TEXT):  # of arrays, and of jsonb
            converts(a, bound, wanted, -1, assignment=True)
    if not body.get("is_slice"):
        type_ = a.types.element(type_) or (type_ if type_ == 3802 else 0)
    return derived((value, *bounds), type_)


def star(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...] | None:
    """The fields that ``*``, ``t.*`` or ``(row).*`` stand for; None when ``node`` is an ordinary expression."""
    tag, body = tag_of(node)
    if tag == "ColumnRef":
        parts = body.get("fields", [])
        if not parts or "A_Star" not in parts[-1]:
            return None
        return _column_star(a, tuple([string(part) for part in parts[:-1]]), scope, position(body))
    if tag == "A_Indirection":
        steps = body.get("indirection", [])
        if not steps or "A_Star" not in steps[-1]:
            return None
        return _indirection_star(a, body, scope)
    return None


def _column_star(a: Analysis, names: tuple[str, ...], scope: Scope, at: int) -> tuple[Field, ...]:
    if not names:
        visible = [f for item in scope.items if item.columns_visible for f in item.fields]
        return tuple([Field(f.name, a.read(f.value, at)) for f in visible])
    try:
        item = item_named(a, names, scope)
    except Ambiguous:
        item = None
    if item is None:
        missing_item(a, names[-1], scope, at)
        return ()
    return tuple([Field(f.name, a.read(f.value, at)) for f in item.fields])


def _indirection_star(a: Analysis, body: Node, scope: Scope) -> tuple[Field, ...]:
    inner = (
        {"A_Indirection": {**body, "indirection": body["indirection"][:-1]}}
        if len(body["indirection"]) > 1
        else body["arg"]
    )
    value = a.expression(inner, scope)
    found = row_fields(a, value)
    if found is None:
        a.unknown("SP1102", "know the fields of this row", "Name the fields you need.", position(body))
        return ()
    return tuple([Field(f.name, a.read(f.value)) for f in found])
