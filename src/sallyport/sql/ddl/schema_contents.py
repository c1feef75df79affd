"""What DROP SCHEMA ... CASCADE drops: the views, tables, sequences, functions and types in it, and
what depends on its tables elsewhere.

Others in it (operators, collations, aggregates, ...) keep PostgreSQL from dropping the schema, as
it is sent as RESTRICT (:mod:`sallyport.sql.ddl.dependants`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.descendants import with_descendants
from sallyport.sql.catalog.snapshot import Function, Relation
from sallyport.sql.catalog.type_names import qualified_type
from sallyport.sql.ddl.dependants import MOST, VIEWS, Drops
from sallyport.sql.facts import DependantDrop
from sallyport.sql.names.missing import type_shown
from sallyport.sql.text.identifiers import quoted


def of_schemas(analysis: Analysis, names: frozenset[str]) -> tuple[DependantDrop, ...]:
    """Of schemas that are dropped together, in order; () where that is too much."""
    catalog = analysis.catalog
    inside = [relation for relation in catalog.relations.values() if relation.schema in names]
    if len(inside) > MOST:
        return ()
    tables = [relation for relation in inside if relation.kind in ("r", "p")]
    gone = {part.oid for table in tables for part in with_descendants(catalog, table.oid)}
    drops = Drops(analysis, set(gone))
    for table in tables:
        drops.references(table, lambda key: True)
        drops.views(table, None)
    for view in inside:
        if view.kind in VIEWS:
            drops.view(view)
    _relations(analysis, drops, inside, gone)
    for word, kind in (("function", "f"), ("procedure", "p")):
        _functions(analysis, drops, word, [f for f in _in(analysis, names) if f.kind == kind])
    _types(analysis, drops, inside, names)
    return drops.found()


def _relations(
    analysis: Analysis, drops: Drops, inside: Sequence[Relation], gone: set[int]
) -> None:
    """Tables, and sequences that belong to none of them."""
    tables = [relation for relation in inside if relation.kind in ("r", "p")]
    sequences = [
        relation
        for relation in inside
        if relation.kind == "S" and (relation.owner is None or relation.owner[0] not in gone)
    ]
    for word, relations in (("table", tables), ("sequence", sequences)):
        drops.together(
            word,
            (
                (
                    quoted(relation.schema, relation.name),
                    ""
                    if _goes_along(analysis, relation, gone)
                    else f"{word} {drops.shown(relation)}",
                )
                for relation in relations
            ),
        )


def _goes_along(analysis: Analysis, table: Relation, gone: set[int]) -> bool:
    """Whether it is a partition of what is dropped, which PostgreSQL does not tell."""
    parents = [analysis.catalog.relations.get(oid) for oid in table.parents if oid in gone]
    return any(parent is not None and parent.kind == "p" for parent in parents)


def _in(analysis: Analysis, names: frozenset[str]) -> list[Function]:
    functions = analysis.catalog.functions.values()
    return [function for function in functions if function.schema in names]


def _functions(analysis: Analysis, drops: Drops, word: str, functions: Sequence[Function]) -> None:
    """``word``: function or procedure, which PostgreSQL's notice calls a function, too. A procedure
    with OUT parameters stays: DROP PROCEDURE names them as well.
    """
    signatures = []
    for function in functions:
        if word == "procedure" and function.out_types:
            continue
        types = [analysis.types.get(oid) for oid in function.arg_types]
        # PostgreSQL refuses ""
        names = [quoted("") if type_ is None else qualified_type(type_) for type_ in types]
        shown = ",".join(type_shown(analysis, oid) for oid in function.arg_types)
        name = f"{quoted(function.schema, function.name)}({', '.join(names)})"
        signatures.append((name, f"function {drops.shown(function)}({shown})"))
    drops.together(word, signatures)


def _types(
    analysis: Analysis, drops: Drops, inside: Sequence[Relation], names: frozenset[str]
) -> None:
    """Composite types, then domains, which those may have as fields, then enums and ranges."""
    composites = [relation for relation in inside if relation.kind == "c"]
    drops.together(
        "type", [(quoted(c.schema, c.name), f"type {drops.shown(c)}") for c in composites]
    )
    types = [t for t in analysis.catalog.types.values() if t.schema in names]
    for word, kinds in (("domain", "d"), ("type", "er")):
        drops.together(
            word,
            [
                (quoted(t.schema, t.name), f"type {type_shown(analysis, t.oid)}")
                for t in types
                if t.kind in kinds
            ],
        )
