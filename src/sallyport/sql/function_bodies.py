"""Calls of SQL functions that users made, where the body is one SELECT that can be followed.

A function with LANGUAGE sql that runs with the caller's rights and settings is read like a subquery with parameters: what its body
reads, filters by and may fail over counts for the statement that calls it. What it reads is read by the caller, as PostgreSQL sees
it too (there is no view whose permission would stand for it). Everything else, and any body with something in it that is not
understood, is not followed: :func:`followed` gives None, and the call is judged by the function's name.

Bodies in BEGIN ATOMIC or RETURN form are bound to their objects, so their text is qualified. The text of other bodies means what the
caller's search_path says when it runs: it is read with the statement's own path, which no function that is followed can change.
Bodies are walked once per snapshot and path, with a stand-in for each parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sallyport.core.errors import RefusedError
from sallyport.sql.analysis import Analysis, Context, Work
from sallyport.sql.calls import cast_to
from sallyport.sql.catalog import ColumnId, Function
from sallyport.sql.facts import Access, Clause, Dependence, Influence, StatementFacts
from sallyport.sql.functions import FIRST_USER_OID
from sallyport.sql.lineage import Field, Sources, Value, union
from sallyport.sql.parse import MAX_LENGTH, Node, parse
from sallyport.sql.resolve import Resolved
from sallyport.sql.scope import Item, Scope, index_fields
from sallyport.sql.types import RECORD

_MAX_DEPTH = 16
#: The "relation" of stand-ins for parameters; no pg_class.oid is negative.
_PARAMETERS = -1


class _Body(NamedTuple):
    columns: tuple[Field, ...]
    accesses: tuple[Access, ...]
    influences: tuple[Influence, ...]
    touched: Sources
    risky: bool


def followed(a: Analysis, found: Resolved, values: Sequence[Value], before: int, at: int) -> Value | None:
    """The value of a call with positional arguments, its effects noted; None when the function cannot be followed.

    ``before``: the analysis's risks before the arguments were walked.
    """
    if len(found.candidates) != 1 or found.users != found.candidates:
        return None
    function = found.candidates[0]
    if not _may_follow(a, function) or len(values) != len(function.arg_types):
        return None
    if a.context.trusted_functions(function):
        return None
    body = _body(a, function)
    if body is None:
        return None
    arguments = [cast_to(a, v, type_, at) for v, type_ in zip(values, function.arg_types, strict=True)]
    given = [v.sources | w.sources for v, w in zip(arguments, values, strict=True)]
    _note(a, body, given, at)
    everything = union(arguments) | union(values)
    if a.risks > before:
        # PostgreSQL may put the arguments into the body, and compute them where and when the body uses them
        a.influence(everything | _filled(body.touched, given), Clause.GUARD, False, at)
    if function.strict:
        a.influence(everything, Clause.GUARD, False, at)
    if function.returns_set:
        a.influence(everything, Clause.ROW_COUNT, False, at)
    opaque = any(v.dependence is Dependence.OPAQUE for v in (*arguments, *values))
    dependence = Dependence.OPAQUE if opaque else Dependence.DERIVED
    a.risks += body.risky
    return _value(a, function, body, given, everything, dependence)


def _may_follow(a: Analysis, function: Function) -> bool:
    """An empty path is that of definitions in the catalog, which are judged for every use by the names in them."""
    return bool(
        a.context.search_path
        and function.body
        and function.language == "sql"
        and function.kind == "f"
        and function.oid >= FIRST_USER_OID
        and not (function.security_definer or function.variadic or function.extension)
        and function.oid not in a.following
        and len(a.following) < _MAX_DEPTH
        and all(_is_concrete(a, type_) for type_ in function.arg_types)
        and (_is_concrete(a, function.return_type) or (function.return_type == RECORD and function.out_names))
    )


def _is_concrete(a: Analysis, type_: int) -> bool:
    known = a.types.get(type_)
    return known is not None and known.kind != "p"


def _note(a: Analysis, body: _Body, given: list[Sources], at: int) -> None:
    for access in body.accesses:
        if access.indirect:
            a.access_indirectly(access)
        else:
            a.access(access.relation, access.action, access.columns)
    for influence in body.influences:
        sources = _filled(frozenset((influence.column,)), given)
        equality = influence.equality and influence.column.relation != _PARAMETERS
        a.influence(sources, influence.clause, equality, at)
    a.seen.update(_filled(body.touched, given))


def _filled(sources: Sources, given: list[Sources]) -> Sources:
    """``sources`` with those of the arguments in the place of their stand-ins."""
    plain = frozenset(column for column in sources if column.relation != _PARAMETERS)
    return plain.union(*(given[c.attnum - 1] for c in sources if c.relation == _PARAMETERS))


def _value(
    a: Analysis,
    function: Function,
    body: _Body,
    given: list[Sources],
    arguments: Sources,
    dependence: Dependence,
) -> Value:
    columns = tuple(
        Field(
            f.name,
            Value(
                _filled(f.value.sources, given) | arguments, dependence, type=f.value.type, risky=body.risky
            ),
        )
        for f in body.columns
    )
    whole = Value(union(f.value for f in columns) | arguments, dependence, type=function.return_type)
    return whole._replace(row=columns) if len(columns) > 1 else whole


def _body(a: Analysis, function: Function) -> _Body | None:
    cache = a.names.bodies
    if function.oid not in cache:
        cache[function.oid] = _walk(a, function)
    found: _Body | None = cache[function.oid]
    return found


def _walk(a: Analysis, function: Function) -> _Body | None:
    node = _tree(function)
    if node is None or _is_ambiguous(node, function):
        return None
    names = a.names.qualified() if function.body_bound else a.names
    path = () if function.body_bound else a.context.search_path
    inner = Analysis(names, Context(path, a.context.role, MAX_LENGTH), Work())
    inner.following = (*a.following, function.oid)
    inner.parameters = tuple(
        Value(frozenset((ColumnId(_PARAMETERS, number),)), Dependence.DERIVED, type=type_)
        for number, type_ in enumerate(function.arg_types, 1)
    )
    columns = inner.query(node, Scope(_parameter_scope(inner.parameters, function)))
    if columns is None:
        return None
    columns = _returned(inner, function, columns)
    facts = inner.facts(-1, -1)
    if columns is None or not _only_reads(facts) or facts.setting_parameters:
        return None
    return _Body(
        columns, facts.accesses, facts.influences, facts.touched, bool(inner.risks or facts.accesses)
    )


def _only_reads(facts: StatementFacts) -> bool:
    return not (
        facts.unknowns
        or facts.functions
        or facts.flows
        or facts.settings
        or facts.effects
        or any(access.action != "select" for access in facts.accesses)
    )


def _tree(function: Function) -> Node | None:
    """The one SELECT of a body, or None."""
    text = function.body.strip()
    if function.body_bound:
        if text.startswith("RETURN "):
            text = "SELECT " + text.removeprefix("RETURN ")
        elif text.startswith("BEGIN ATOMIC") and text.endswith("END"):
            text = text.removeprefix("BEGIN ATOMIC").removesuffix("END")
        else:
            return None
    try:
        statements = parse(text.encode(), MAX_LENGTH)
    except RefusedError:
        return None
    if len(statements) != 1 or "SelectStmt" not in statements[0].node:
        return None
    return statements[0].node


def _is_ambiguous(node: Node, function: Function) -> bool:
    """Whether something in the body is named like a parameter or the function: which one a name means is PostgreSQL's to say."""
    names = {name for name in function.arg_names if name}
    return bool(names) and not (names | {function.name}).isdisjoint(_named(node))


def _named(node: Any) -> set[str]:
    """What FROM items and WITH queries may answer to."""
    found: set[str] = set()
    level = [node]
    while level:
        item = level.pop()
        if isinstance(item, list):
            level.extend(item)
        elif isinstance(item, dict):
            for key, value in item.items():
                if key in ("relname", "aliasname", "ctename") and isinstance(value, str):
                    found.add(value)
                level.append(value)
            if "RangeFunction" in item:  # answers to its function's name
                found |= _strings(item["RangeFunction"].get("functions"))
    return found


def _strings(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_strings, node))
    if isinstance(node, dict):
        own = {node["sval"]} if isinstance(node.get("sval"), str) else set()
        return own.union(*map(_strings, node.values()))
    return set()


def _parameter_scope(values: tuple[Value, ...], function: Function) -> Scope:
    """Parameters answer to ``name`` and ``function.name``, after every column (sql_fn_post_column_ref in functions.c)."""
    named = tuple(Field(n, v) for n, v in zip(function.arg_names, values, strict=False) if n)
    if not named:
        return Scope()
    return Scope(items=[Item(function.name, named, index_fields(named))])


def _returned(inner: Analysis, function: Function, columns: tuple[Field, ...]) -> tuple[Field, ...] | None:
    """The columns converted to what the function is declared to return (check_sql_fn_retval); None where they do not fit."""
    relation = inner.catalog.relations.get(inner.types.relation(function.return_type))
    if len(function.out_types) > 1:
        names, types = function.out_names, function.out_types
    elif relation is not None:
        names = tuple(c.name for c in relation.columns)
        types = tuple(c.type_oid for c in relation.columns)
    else:
        names, types = ((function.out_names or (function.name,))[0],), (function.return_type,)
    if len(columns) != len(types):
        # one column that is the whole row
        if len(columns) == 1 and columns[0].value.type == function.return_type != RECORD:
            return columns
        return None
    if not all(_is_concrete(inner, type_) for type_ in types):
        return None
    return tuple(
        Field(name, cast_to(inner, column.value, type_, -1)._replace(type=type_))
        for name, type_, column in zip(names, types, columns, strict=True)
    )
