"""Calls of SQL functions that users made, where the body is one SELECT that can be followed.

A function with LANGUAGE sql is read like a subquery with parameters: what its body reads counts for
the statement that calls it. What it reads is read by the caller, as PostgreSQL sees it too (there
is no view whose permission would stand for it). That holds for SECURITY DEFINER as well: PostgreSQL
then asks for the owner's permission, policy still for the caller's, and masks apply; to let a
function give more than that, policy names it. Everything else, any body that does more than read,
and any with something in it that is not understood, is not followed: :func:`followed` gives None,
and the call is judged by the function's name, with the reason in :attr:`Analysis.not_followed`.

Bodies in BEGIN ATOMIC or RETURN form are bound to their objects, so their text is qualified. The
text of other bodies means what the search_path says when it runs: that of the function's SET
clause, else the session's. Facts say so (``resolves_names_at_run_time``), because what is open or
prepared must be judged again when the path moves. With its owner's rights a function may see other
schemas on the same path, so such text is followed only where its SET clause leaves nothing but
pg_catalog on it.

Bodies are walked once per snapshot, path and types of arguments, with a stand-in for each
parameter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec.structs import replace

from sallyport.core.errors import RefusedError
from sallyport.sql.analysis import Analysis, Context, Work
from sallyport.sql.catalog.functions import FIRST_USER_OID
from sallyport.sql.catalog.snapshot import ColumnId, Function
from sallyport.sql.expressions.calls import cast_to
from sallyport.sql.expressions.function_arguments import converted, matched
from sallyport.sql.facts import Access, Dependence, FunctionUse, Influence, StatementFacts
from sallyport.sql.lineage import Field, Sources, Value, derived, is_raw, union, worse
from sallyport.sql.names.resolve import NameResolver, Resolved
from sallyport.sql.names.scope import Item, Scope
from sallyport.sql.text.parse import MAX_LENGTH, Node, parse
from sallyport.sql.values.types import RECORD

_MAX_DEPTH = 16
#: Bodies kept per path; polymorphic ones are kept once per types of their arguments.
_MAX_KEPT = 4096
#: The "relation" of stand-ins for parameters; no pg_class.oid is negative.
_PARAMETERS = -1
#: A path of these alone means the same for everybody: the gateway refuses temporary objects.
_FIXED = frozenset({"", "pg_catalog", "pg_temp"})


class _Body(NamedTuple):
    columns: tuple[Field, ...]
    accesses: tuple[Access, ...]
    calls: tuple[FunctionUse, ...]
    influences: tuple[Influence, ...]
    mentioned_columns: Sources
    followed: frozenset[int]
    resolves_names_at_run_time: bool


def followed(
    analysis: Analysis, resolved: Resolved, node: Node, values: list[Value], position: int
) -> Value | None:
    """The value of the call ``node``, its effects noted; None when it cannot be followed.
    ``values``: of its arguments.
    """
    if len(resolved.candidates) != 1 or resolved.users != resolved.candidates:
        return None
    function = resolved.candidates[0]
    if function.oid in analysis.names.opaque or not _is_sql(function):
        return None
    answer = _body(analysis, function, node, values, position)
    if isinstance(answer, str):
        analysis.not_followed[function.oid] = answer
        return None
    body, function, arguments, bound_sources = answer
    _note(analysis, body, bound_sources, position)
    analysis.followed |= body.followed
    analysis.resolves_names_at_run_time = (
        analysis.resolves_names_at_run_time or body.resolves_names_at_run_time
    )
    everything = union(arguments) | union(values)
    opaque = any(v.dependence is Dependence.OPAQUE for v in (*arguments, *values))
    raw = is_raw((*arguments, *values))
    return _value(
        function,
        body,
        bound_sources,
        Value(everything, Dependence.OPAQUE if opaque else Dependence.DERIVED, raw=raw),
    )


def _is_sql(function: Function) -> bool:
    return function.language == "sql" and function.kind == "f" and function.oid >= FIRST_USER_OID


_Answer = tuple[_Body, Function, list[Value], list[Sources]]


def _body(
    analysis: Analysis, function: Function, node: Node, values: list[Value], position: int
) -> _Answer | str:
    """What the call comes to, the function with the types of this call, and its arguments; or why
    it is not followed.
    """
    names = _names(analysis, function)
    if isinstance(names, str):
        return names
    call = matched(analysis, function, node, values)
    if isinstance(call, str):
        return call
    function = call.function
    if not all(
        _is_concrete(analysis, type_) for type_ in (*function.arg_types, *function.out_types)
    ):
        return "its arguments have pseudo-types"
    if not _is_concrete(analysis, function.return_type) and not (
        function.return_type == RECORD and function.out_names
    ):
        return "the columns of its result are not declared"
    body = _walked(analysis, function, names)
    if isinstance(body, str):
        return body
    for use in body.calls:
        called = analysis.catalog.functions.get(use.oid)
        if called is None or not analysis.context.trusted_functions(called):
            return f"its body calls {use.schema}.{use.name}"
    for use in body.calls:
        analysis.call(analysis.catalog.functions[use.oid], position)
    arguments = converted(analysis, call, position)
    bound_sources = [
        value.sources | union(written)
        for value, written in zip(arguments, call.arguments, strict=True)
    ]
    return body, function, arguments, bound_sources


def _names(analysis: Analysis, function: Function) -> NameResolver | str:
    """Under which names the body is read."""
    if not function.body or function.has_settings:
        return "it is defined with SET, or its body cannot be read"
    if function.oid in analysis.following:
        return "it calls itself"
    if len(analysis.following) + len(analysis.views) >= _MAX_DEPTH:
        return "functions call each other too deeply"
    fixed = function.path is not None and set(function.path) <= _FIXED
    if fixed or (function.security_definer and function.body_bound):
        # what it calls looks up names on the same path, with the owner's rights or with none that
        # differ
        return analysis.names.owners()
    session = analysis.names.session
    if function.security_definer:
        return "it resolves names with its owner's privileges"
    if function.path is not None:
        if session is None:
            return "it resolves names with another owner's privileges"
        pinned = session.pinned(analysis.catalog.usable_path(function.path))
        return pinned.qualified() if function.body_bound else pinned
    if function.body_bound:
        return analysis.names.qualified()
    return session if session is not None else "it resolves names with another owner's privileges"


def _is_concrete(analysis: Analysis, type_: int) -> bool:
    type_entry = analysis.types.get(type_)
    return type_entry is not None and type_entry.kind != "p"


def _note(analysis: Analysis, body: _Body, bound_sources: list[Sources], position: int) -> None:
    for access in body.accesses:
        analysis.repeat_access(access)
    for influence in body.influences:
        sources = _filled(frozenset((influence.column,)), bound_sources)
        equality = influence.equality and influence.column.relation != _PARAMETERS
        analysis.influence(sources, influence.clause, equality, position)
    analysis.seen.update(_filled(body.mentioned_columns, bound_sources))
    analysis.read_in_functions.update(
        column for column in body.mentioned_columns if column.relation != _PARAMETERS
    )


def _filled(sources: Sources, bound_sources: list[Sources]) -> Sources:
    """``sources`` with those of the arguments in the place of their stand-ins."""
    plain = frozenset(column for column in sources if column.relation != _PARAMETERS)
    return plain.union(*(bound_sources[c.attnum - 1] for c in sources if c.relation == _PARAMETERS))


def _value(
    function: Function, body: _Body, bound_sources: list[Sources], arguments: Value
) -> Value:
    """``arguments``: all of them as one value."""

    def filled(value: Value) -> Value:
        dependence = worse(arguments.dependence, value.dependence)
        return Value(
            _filled(value.sources, bound_sources) | arguments.sources,
            Dependence.OPAQUE if dependence is Dependence.OPAQUE else Dependence.DERIVED,
            type=value.type,
            raw=arguments.raw,
        )

    columns = tuple(Field(f.name, filled(f.value)) for f in body.columns)
    row_value = derived([arguments, *(f.value for f in columns)], function.return_type)
    return replace(row_value, row=columns) if len(columns) > 1 else row_value


def _walked(analysis: Analysis, function: Function, names: NameResolver) -> _Body | str:
    """The body as it was walked, or why it is not followed; from what is kept where possible."""
    key = (function.oid, function.arg_types)
    kept = names.bodies
    if key not in kept:
        analysis.work.spend(100)
        body = _walk(analysis, function, names)
        if len(kept) >= _MAX_KEPT:
            kept.clear()
        kept[key] = body
    answer: _Body | str = kept[key]
    return answer


def _gather_all(function: Function) -> bool:
    """What a body calls is gathered first, and judged for every call of the function."""
    return True


def _walk(analysis: Analysis, function: Function, names: NameResolver) -> _Body | str:
    node = _tree(function)
    if isinstance(node, str):
        return node
    if _is_ambiguous(node, function):
        return "a name in its body is also one of its arguments"
    inner = Analysis(
        names, Context(names.asked, analysis.context.role, MAX_LENGTH, _gather_all), Work()
    )
    inner.following, inner.views = (*analysis.following, function.oid), analysis.views
    inner.parameters = tuple(
        Value(frozenset((ColumnId(_PARAMETERS, number),)), Dependence.DERIVED, type=type_)
        for number, type_ in enumerate(function.arg_types, 1)
    )
    columns = inner.query(node, Scope(_parameter_scope(inner.parameters, function)))
    columns = _returned(inner, function, columns) if columns is not None else None
    facts = inner.facts(-1, -1)
    no = _more_than_reads(facts)
    if no:
        return no
    if columns is None:
        return "its body does not return what it declares"
    late = inner.resolves_names_at_run_time or not function.body_bound
    return _Body(
        columns,
        facts.accesses,
        facts.functions,
        facts.influences,
        facts.mentioned_columns,
        facts.followed | {function.oid}
        if not function.security_definer
        else frozenset({function.oid}),
        late and function.path is None and not function.security_definer,
    )


def _more_than_reads(facts: StatementFacts) -> str:
    """Why a body is not followed, or ""."""
    if facts.flows or any(access.action != "select" for access in facts.accesses):
        return "its body does more than read"
    if facts.unknowns:
        first = facts.unknowns[0]
        return f"in its body, {first.what}"
    if facts.settings or facts.effects or facts.setting_parameters or facts.bound_settings:
        return "its body does more than read"
    return ""


def _tree(function: Function) -> Node | str:
    """The one SELECT of a body, or why there is none."""
    text = function.body.strip()
    if function.body_bound:
        if text.startswith("RETURN "):
            text = "SELECT " + text.removeprefix("RETURN ")
        elif text.startswith("BEGIN ATOMIC") and text.endswith("END"):
            text = text.removeprefix("BEGIN ATOMIC").removesuffix("END")
        else:
            return "its body cannot be parsed"
    try:
        statements = parse(text.encode(), MAX_LENGTH)
    except RefusedError:
        return "its body cannot be parsed"
    if len(statements) != 1 or "SelectStmt" not in statements[0].node:
        return "its body is not one SELECT"
    return statements[0].node


def _is_ambiguous(node: Node, function: Function) -> bool:
    """Whether something in the body is named like a parameter or the function: which one a name
    means is PostgreSQL's to say.
    """
    names = {name for name in function.arg_names if name}
    return bool(names) and not (names | {function.name}).isdisjoint(_named(node))


def _named(node: Any) -> set[str]:
    """What FROM items and WITH queries may answer to."""
    names_in_text: set[str] = set()
    level = [node]
    while level:
        item = level.pop()
        if isinstance(item, list):
            level.extend(item)
        elif isinstance(item, dict):
            for key, value in item.items():
                if key in ("relname", "aliasname", "ctename") and isinstance(value, str):
                    names_in_text.add(value)
                level.append(value)
            if "RangeFunction" in item:  # answers to its function's name
                names_in_text |= _strings(item["RangeFunction"].get("functions"))
    return names_in_text


def _strings(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_strings, node))
    if isinstance(node, dict):
        own = {node["sval"]} if isinstance(node.get("sval"), str) else set()
        return own.union(*map(_strings, node.values()))
    return set()


def _parameter_scope(values: tuple[Value, ...], function: Function) -> Scope:
    """Parameters answer to ``name`` and ``function.name``, after every column
    (sql_fn_post_column_ref in functions.c).
    """
    named = tuple(Field(n, v) for n, v in zip(function.arg_names, values, strict=False) if n)
    if not named:
        return Scope()
    return Scope(items=[Item(function.name, named)])


def _returned(
    inner: Analysis, function: Function, columns: tuple[Field, ...]
) -> tuple[Field, ...] | None:
    """The columns converted to what the function is declared to return (check_sql_fn_retval); None
    where they do not fit.
    """
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
        Field(name, replace(cast_to(inner, column.value, type_, -1), type=type_))
        for name, type_, column in zip(names, types, columns, strict=True)
    )
