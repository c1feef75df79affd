"""What a subject may know of a target's schema before it asks for data: the relations that some
rule opens to it, their columns, which of those are masked and what the rules say. Pure, bounded.

It tells what rules name. Conditions, packs and what a statement does beyond naming a relation are
decided when the statement comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.decide import BoundRule
from sallyport.policy.decision import Filter, Outcome
from sallyport.policy.file.patterns import is_system_schema
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Column, ColumnId, Relation

_KINDS: Final = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
_ACTIONS: Final = ("select", "insert", "update", "delete")
_SEEN: Final = {
    Filter.MASKED: "conditions and expressions see the mask",
    Filter.DENY: "not usable in conditions and expressions",
    Filter.EQUALITY: "comparable by = with constants",
    Filter.EQUALITY_JOINS: "comparable by =, also in joins",
    Filter.ALLOW: "conditions see the value",
}
#: Relations that are described with their columns, those of which only the name is told, and
#: columns of one.
_MOST_FULL: Final = 15
_MOST_NAMES: Final = 200
_MOST_COLUMNS: Final = 150


def described(policy: SubjectPolicy, words: str = "") -> dict[str, Any]:
    """``words``: relations that have any of them in their name or a column's come, best first; "":
    all do. Everything in it is JSON.
    """
    catalog = policy.standing.catalog
    relations = [relation for relation in _open(policy) if _actions(policy, relation)]
    asked = words.lower().split()[:20]
    if asked:
        scored = [(_score(relation, asked), relation) for relation in relations]
        relations = [r for score, r in sorted(scored, key=lambda item: -item[0]) if score]
    is_full = asked or len(relations) <= _MOST_FULL
    shown = relations[:_MOST_FULL] if is_full else []
    names = [f"{r.schema}.{r.name}" for r in relations[len(shown) :]]
    answer: dict[str, Any] = {
        "policy": policy.standing.policy_version,
        "relations": [_relation(policy, catalog, relation) for relation in shown],
    }
    if names:
        answer["more"] = names[:_MOST_NAMES]
    if len(names) > _MOST_NAMES:
        answer["unlisted"] = len(names) - _MOST_NAMES
    return answer


def _open(policy: SubjectPolicy) -> Iterator[Relation]:
    relations = policy.standing.catalog.relations.values()
    for relation in sorted(relations, key=lambda r: (r.schema, r.name)):
        if relation.kind in _KINDS and not is_system_schema(relation.schema):
            yield relation


def _score(relation: Relation, words: Iterable[str]) -> int:
    name = f"{relation.schema}.{relation.name}".lower()
    columns = [column.name.lower() for column in relation.columns]
    return sum(
        3 * (word in name) + any(word in column for column in columns) + 3 * (word == relation.name)
        for word in words
    )


def _relation(
    policy: SubjectPolicy, catalog: CatalogSnapshot, relation: Relation
) -> dict[str, Any]:
    columns = [
        _column(policy, catalog, relation, column) for column in relation.columns[:_MOST_COLUMNS]
    ]
    answer: dict[str, Any] = {
        "name": f"{relation.schema}.{relation.name}",
        "kind": _KINDS[relation.kind],
        **_actions(policy, relation),
        "columns": columns,
    }
    if len(relation.columns) > _MOST_COLUMNS:
        answer["more_columns"] = len(relation.columns) - _MOST_COLUMNS
    names = {column.attnum: column.name for column in relation.columns}
    for constraint in relation.constraints:
        own = ", ".join(names.get(number, "?") for number in constraint.columns)
        if constraint.primary:
            answer["primary_key"] = own
        parent = catalog.relations.get(constraint.referenced)
        if constraint.kind == "f" and parent is not None and _actions(policy, parent):
            answer.setdefault("references", []).append(f"({own}) {parent.schema}.{parent.name}")
    return answer


def _column(
    policy: SubjectPolicy, catalog: CatalogSnapshot, relation: Relation, column: Column
) -> str:
    """In one line: a model reads many."""
    type_ = catalog.types.get(column.type_oid)
    text = f"{column.name} {type_.name if type_ is not None else '?'}"
    if column.not_null:
        text += " not null"
    mask = policy.masks.get(ColumnId(relation.oid, column.attnum))
    if mask is not None:
        text += f" (masked: {mask.spec.kind}; {_SEEN[mask.filter]})"
    return text


def _actions(policy: SubjectPolicy, relation: Relation) -> dict[str, Any]:
    """{"allowed": [...], "waits_for_approval": [...]}; {} where no rule opens the relation."""
    rules = [rule for rule in policy.standing.rules if rule.may_concern(relation.oid)]
    allowed: list[str] = []
    held: list[str] = []
    for action in _ACTIONS:
        mine = [bound for bound in rules if action in bound.rule.actions]
        if any(bound.rule.effect is Outcome.DENY for bound in mine if _certain(bound)):
            continue
        if not any(bound.rule.gives for bound in mine):
            continue
        is_held = any(bound.rule.effect is Outcome.HOLD for bound in mine)
        (held if is_held else allowed).append(action)
    answer: dict[str, Any] = {}
    if allowed:
        answer["allowed"] = allowed
    if held:
        answer["waits_for_approval"] = held
    return answer


def _certain(bound: BoundRule) -> bool:
    """Whether the rule restricts the whole relation, whatever the statement."""
    return bound.rule.when is None and bound.columns is None
