"""Comparisons with masked columns: those of a write's own target, for which no subselect can stand,
and those with constants that ``filter: equality`` lets see the value.
"""

from __future__ import annotations

from sallyport.judge.masked_relations import MaskedRelations
from sallyport.judge.subselects import INNER
from sallyport.masking.maskers import base_type
from sallyport.masking.sqlmasks import mask_expression, null_expression
from sallyport.policy.decision import EQUALITY
from sallyport.sql.catalog.snapshot import Column
from sallyport.sql.facts import Clause, Comparison, Influence, RangeVariable, StatementFacts
from sallyport.sql.rewrite.conditions import moved_condition
from sallyport.sql.rewrite.cuts import Cut
from sallyport.sql.rewrite.ranges import cannot_rewrite, name_end, reference_end
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.tokens import Tokens


def moved_comparisons(
    relations: MaskedRelations, tokens: Tokens, facts: StatementFacts, variable: RangeVariable
) -> list[tuple[int, Cut, str]]:
    """Comparisons that go with the rows of a range variable into WHERE of its subselect: position
    of the reference, the cut where the comparison was, and its text.
    """
    moved = []
    for comparison in facts.comparisons:
        mask = relations.applied.get(comparison.column)
        column = relations.catalog.column(comparison.column)
        if (
            comparison.variable != variable.position
            or mask is None
            or mask.filter not in EQUALITY
            or column is None
        ):
            continue
        type_ = _compared_type(relations, column, comparison)
        condition = moved_condition(tokens, comparison, f"{INNER}.{quoted(column.name)}", type_)
        if condition is not None:
            moved.append((comparison.reference, *condition))
    return moved


def compared_in_target(relations: MaskedRelations, facts: StatementFacts) -> list[Comparison]:
    """Comparisons of a write target's columns with constants, by ``filter: equality``."""
    targets = {comparison.position for comparison in facts.range_variables if comparison.target}
    masks = relations.applied
    return [
        comparison
        for comparison in facts.comparisons
        if comparison.variable in targets
        and comparison.column in masks
        and masks[comparison.column].filter in EQUALITY
    ]


def typed_comparison(relations: MaskedRelations, tokens: Tokens, comparison: Comparison) -> Cut:
    """The comparison with parameters of the column's type: declared as another one they would
    convert the column, which could fail by its value. Raises RefusedError (SP1206).
    """
    column, first = relations.catalog.column(comparison.column), tokens.at(comparison.reference)
    if column is None or first < 0:
        raise cannot_rewrite("The gateway cannot locate a comparison in the statement's text.")
    last = name_end(tokens, first, comparison.parts)
    name = tokens.sql[tokens.starts[first] : tokens.ends[last]].decode()
    condition = moved_condition(
        tokens, comparison, name, _compared_type(relations, column, comparison)
    )
    if condition is None:
        raise cannot_rewrite("A masked column is compared in a form that is not supported.")
    return condition[0]._replace(text=condition[1].encode())


def _compared_type(relations: MaskedRelations, column: Column, comparison: Comparison) -> str:
    """The name of the type that parameters compared with a column are of."""
    types = relations.catalog.types
    element = types.get(base_type(column.type_oid, types))
    type_ = element.array if element is not None and comparison.array else column.type_oid
    return null_expression(type_, types).partition("::")[2]


def chosen_by_masks(relations: MaskedRelations, facts: StatementFacts) -> list[Influence]:
    """References to a write target's own columns in WHERE, with ``write_filter: masked``, one for
    each position. Raises RefusedError (SP1206).
    """
    by_position: dict[int, Influence] = {}
    for influence in facts.influences:
        mask = relations.applied.get(influence.column)
        equality = mask is not None and mask.filter in EQUALITY and influence.equality
        if (
            mask is not None
            and mask.write_filter
            and influence.clause is Clause.WHERE
            and not equality
        ):
            first_influence = by_position.setdefault(influence.position, influence)
            if relations.applied[first_influence.column].spec != mask.spec:
                raise cannot_rewrite(
                    "WHERE compares a view's column that has another mask than the table's column.",
                    "Write to the table itself.",
                )
    return list(by_position.values())


def masked_reference(
    relations: MaskedRelations, tokens: Tokens, facts: StatementFacts, influence: Influence
) -> Cut:
    """The mask in the place of a reference to a write target's column; only where no other relation
    could get the row. Raises RefusedError (SP1206).
    """
    catalog = relations.catalog
    column = catalog.column(influence.column)
    mask = relations.applied[influence.column]
    if column is None or not all(range_variable.target for range_variable in facts.range_variables):
        raise cannot_rewrite(
            "WHERE compares a masked column of the written table in a statement with other tables.",
            "Select the rows by their key.",
        )
    first = tokens.at(influence.position)
    last = reference_end(tokens, first)
    text = tokens.sql[tokens.starts[first] : tokens.ends[last]]
    if first < 0 or not _is_name(tokens, last, column.name):
        raise cannot_rewrite("WHERE uses a masked column within a row.", "Name the column.")
    shown = mask_expression(
        mask.spec, text.decode(), column.type_oid, catalog.types, catalog.encoding
    )
    return Cut(tokens.starts[first], tokens.ends[last], f"({shown})".encode())


def _is_name(tokens: Tokens, number: int, name: str) -> bool:
    """Whether a token is the name, as an identifier that is folded to lower case or a
    quoted one.
    """
    return name.encode() == tokens.word(number) or quoted(name).encode() == tokens.text(number)
