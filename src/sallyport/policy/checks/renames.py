"""What changes of names do to masks and rules: both go by name, so whatever gets another one must
not slip out of them.

``check_names`` asks for every subject, not only for the one who makes the change: a name is changed
for all. SP1202: a column that somebody sees masked would stand where it is not. SP1205: a relation
would leave a deny or hold rule, or come under an allow rule, because of its new name; or a view
would be one that the policy trusts by name. Whoever wants the change writes the new name into the
policy first; a pattern that matches nothing yet is a warning, not an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from sallyport.core.errors import Refusal, refuse
from sallyport.policy.actions import MAKING_FUNCTIONS
from sallyport.policy.bind import bind
from sallyport.policy.bound import BoundPolicy, SubjectPolicy
from sallyport.policy.checks.needs import chain
from sallyport.policy.decide import BoundRule
from sallyport.policy.decision import Filter, Outcome
from sallyport.policy.mask_kinds import is_value_independent
from sallyport.policy.model import Mask, SubjectMatch, applies_to_target
from sallyport.policy.target_warnings import is_trusted_view
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Relation
from sallyport.sql.facts import StatementFacts

_FIRST = (
    "Ask for the new name to be added to the policy first (it may match nothing yet), then send"
    " this again."
)


def check_names(facts: StatementFacts, policy: SubjectPolicy) -> Refusal | None:
    """The first reason why a change of names may not be made, or None."""
    for level in chain(facts):
        if not (
            level.relations_after or level.new_inheritance or level.exposures or level.named_objects
        ):
            continue
        if policy.for_everybody is None:
            return refuse(
                "SP1205", "the policy as a whole is not at hand to judge a change of names"
            )
        refusal = (
            _trusted(level, policy.for_everybody)
            or _listed(level, policy.for_everybody)
            or _exposed(level, policy.for_everybody)
            or _joined(level, policy.for_everybody)
            or _renamed(level, policy.for_everybody)
        )
        if refusal is not None:
            return refusal
    return None


def is_hidden(bound_policy: BoundPolicy, source: ColumnId, into: tuple[str, str, str]) -> bool:
    """Whether a column called ``into`` may hold what is computed from ``source``: for everyone who
    sees that masked it shows nothing.
    """
    return all(
        any(
            _names(bound_policy, new, into) and _is_as_strict(new, old, rewritten=True)
            for new in _masks(bound_policy)
        )
        for old in _over(bound_policy, source)
    )


def _masks(bound_policy: BoundPolicy) -> Iterator[Mask]:
    return (
        bound_mask.mask
        for bound_mask in bound_policy.masks
        if applies_to_target(bound_mask.mask.targets, bound_policy.target)
    )


def _over(bound_policy: BoundPolicy, column: ColumnId) -> Iterator[Mask]:
    """The masks that somebody has on a column."""
    masks = (bound_mask.mask for bound_mask in bound_policy.masks if column in bound_mask.columns)
    return (mask for mask in masks if applies_to_target(mask.targets, bound_policy.target))


def _names(bound_policy: BoundPolicy, mask: Mask, names: tuple[str, str, str]) -> bool:
    """Whether a mask means a column of this name, be there one or not."""
    patterns = [
        *mask.columns,
        *(p for tag in mask.tags for p in bound_policy.policy.tags.get(tag, ())),
    ]
    return any(pattern.matches(*names) for pattern in patterns)


def _is_as_strict(new: Mask, old: Mask, *, rewritten: bool) -> bool:
    """Whether whoever has ``old`` sees no more through ``new``. ``rewritten``: the value is not the
    same, so what part of it shows matters.
    """
    if new.subjects not in (SubjectMatch(), old.subjects) or new.exempt not in (None, old.exempt):
        return False
    if rewritten:  # a mask that shows nothing shows nothing to conditions either; writing it tells
        hides = new.filter.is_as_strict_as(Filter.MASKED) and not new.write
        return hides and is_value_independent(new.spec)
    if not new.filter.is_as_strict_as(old.filter):
        return False
    if any(
        getattr(new, key) and not getattr(old, key) for key in ("write_filter", "write", "copies")
    ):
        return False
    return is_value_independent(new.spec) or new.spec == old.spec


def _trusted(facts: StatementFacts, bound_policy: BoundPolicy) -> Refusal | None:
    """``views: trusted`` is for the bodies that somebody read: no statement may put another one
    under the name.
    """
    made = [(n.schema, n.name) for n in facts.named_objects if n.action == "create_view" and n.name]
    for relation in facts.relations_after:
        before = bound_policy.catalog.relations.get(relation.oid)
        if before is None or not is_trusted_view(before, bound_policy.policy.trusted_views):
            made += [(relation.schema, relation.name)] if relation.kind == "v" else []
    for schema, name in made:
        if any(pattern.matches(schema, name) for pattern in bound_policy.policy.trusted_views):
            return refuse(
                "SP1205",
                f"view {schema}.{name} would have a name that the policy trusts",
                "The policy's key 'views' trusts the view that has this name now, for everyone.",
                "Choose a name that the policy does not trust, or ask for this one to be removed "
                "from 'views' first.",
            )
    return None


def _listed(facts: StatementFacts, bound_policy: BoundPolicy) -> Refusal | None:
    """``functions`` is for bodies that somebody read, likewise, with the settings under which they
    run.
    """
    for named in facts.named_objects:
        if (named.action in MAKING_FUNCTIONS or facts.code_settings) and any(
            pattern.matches(named.schema, named.name) for pattern in bound_policy.policy.functions
        ):
            return refuse(
                "SP1205",
                f"function {named.schema}.{named.name} would have a name that the policy trusts",
                "The policy's key 'functions' trusts what has this name now, for everyone.",
                "Choose a name that the policy does not trust, or ask for this one to be removed "
                "from 'functions' first.",
            )
    # RENAME has the old name and then the new one
    for new in [n.schema for n in facts.named_objects if n.action == "alter_schema"][1:]:
        if any(pattern.concerns(new, "") for pattern in bound_policy.policy.functions):
            return refuse(
                "SP1205",
                f"functions in schema {new} would have names that the policy trusts",
                "The policy's key 'functions' trusts what has such a name now, for everyone, and a"
                " function that another transaction is making in the schema would come under it.",
                "Choose a name for the schema that 'functions' does not match.",
            )
    return None


def _exposed(facts: StatementFacts, bound_policy: BoundPolicy) -> Refusal | None:
    """A view under a name that is known may be read by statements that were judged by another
    definition.
    """
    for exposure in facts.exposures:
        for source in sorted(exposure.sources):
            into = (exposure.schema, exposure.relation, exposure.name)
            hidden = (
                is_hidden(bound_policy, source, into)
                if exposure.name
                else not any(_over(bound_policy, source))
            )
            if not hidden:
                column, view = (
                    bound_policy.catalog.column_name(source),
                    f"{exposure.schema}.{exposure.relation}",
                )
                return refuse(
                    "SP1202",
                    f"masked column {column} would be readable through {view}, which may have "
                    "named another relation",
                    f"Statements that were judged before may still be about to read {view}.",
                    "Create the view under a name that no relation has or had, without OR REPLACE.",
                )
    return None


# inheritance


def _joined(facts: StatementFacts, bound_policy: BoundPolicy) -> Refusal | None:
    """Rows that come under a parent: whoever may read that, may read them, and an UPDATE may move
    them beside each other.
    """
    catalog = bound_policy.catalog
    for child_oid, parent_oid in facts.new_inheritance:
        child, parent = catalog.relations[child_oid], catalog.relations[parent_oid]
        names = {column.name: column for column in parent.columns}
        for column in child.columns:
            above = names.get(column.name)
            if above is None:
                continue
            has = list(_over(bound_policy, ColumnId(parent.oid, above.attnum)))
            for old in _over(bound_policy, ColumnId(child.oid, column.attnum)):
                if not any(_is_as_strict(new, old, rewritten=False) for new in has):
                    name = f"{child.qualified}.{column.name}"
                    return _unmasked(name, f"{parent.qualified}.{column.name}", old)
        for rule in _rules(bound_policy):
            if rule.rule.gives and _gives_more(rule, child, parent):
                return _changed_rule(rule, child.qualified, parent.qualified)
    return None


def _gives_more(rule: BoundRule, child: Relation, parent: Relation) -> bool:
    if (
        rule.relations is not None
        and parent.oid in rule.relations
        and child.oid not in rule.relations
    ):
        return True
    if rule.columns is None:
        return False
    names = {column.name: column.attnum for column in child.columns}
    columns = [c for c in parent.columns if ColumnId(parent.oid, c.attnum) in rule.columns]
    return any(
        c.name in names and ColumnId(child.oid, names[c.name]) not in rule.columns for c in columns
    )


# names


def _renamed(facts: StatementFacts, bound_policy: BoundPolicy) -> Refusal | None:
    """The policy bound to the catalog as it will be, compared with how it is bound now."""
    if not facts.relations_after:
        return None
    relations = dict(bound_policy.catalog.relations) | {
        relation.oid: relation for relation in facts.relations_after
    }
    future = replace(bound_policy.catalog, relations=MappingProxyType(relations))
    bound = bind(bound_policy.policy, future, bound_policy.target, bound_policy)
    return (
        _masks_lost(bound_policy, bound, future)
        or _rules_moved(bound_policy, bound, relations)
        or _no_longer_untrusted(bound_policy, bound, relations)
    )


def _no_longer_untrusted(
    before: BoundPolicy, after: BoundPolicy, relations: Mapping[int, Relation]
) -> Refusal | None:
    for column in _gone(before.untrusted, after.untrusted, relations):
        old, new = before.catalog.column_name(column), after.catalog.column_name(column)
        return refuse(
            "SP1205",
            f"as {new}, the column {old} would no longer be untrusted",
            "Columns are untrusted by name: reading it under another one would contain nobody.",
            _FIRST,
        )
    return None


def _masks_lost(before: BoundPolicy, after: BoundPolicy, future: CatalogSnapshot) -> Refusal | None:
    for number, old in enumerate(before.masks):
        if not applies_to_target(old.mask.targets, before.target):
            continue
        for column in sorted(old.columns - after.masks[number].columns):
            if future.column(column) is None:
                continue  # it goes, with what is in it
            has = list(_over(after, column))
            if not any(_is_as_strict(new, old.mask, rewritten=False) for new in has):
                return _unmasked(
                    before.catalog.column_name(column), future.column_name(column), old.mask
                )
    return None


def _rules(bound_policy: BoundPolicy) -> Iterator[BoundRule]:
    return (
        rule
        for rule in bound_policy.rules
        if applies_to_target(rule.rule.targets, bound_policy.target)
    )


def _rules_moved(
    before: BoundPolicy, after: BoundPolicy, relations: Mapping[int, Relation]
) -> Refusal | None:
    for old, new in zip(_rules(before), _rules(after), strict=True):
        moved: set[int] = set()
        if old.rule.effect is not Outcome.ALLOW:  # what it restricts must stay restricted
            moved |= (old.reach_relations or frozenset()) - (new.reach_relations or frozenset())
            moved |= {c.relation for c in _gone(old.reach_columns, new.reach_columns, relations)}
        if old.rule.gives:  # what it gives must not grow
            moved |= (new.relations or frozenset()) - (old.relations or frozenset())
            moved |= {
                c.relation for c in (new.columns or frozenset()) - (old.columns or frozenset())
            }
        for oid in sorted(moved):
            was = before.catalog.relations.get(oid)
            if was is not None:
                return _changed_rule(new, was.qualified, relations[oid].qualified)
    return None


def _gone(
    old: frozenset[ColumnId] | None,
    new: frozenset[ColumnId] | None,
    relations: Mapping[int, Relation],
) -> Iterator[ColumnId]:
    for id_ in (old or frozenset()) - (new or frozenset()):
        relation = relations.get(id_.relation)
        if relation is not None and any(c.attnum == id_.attnum for c in relation.columns):
            yield id_


# refusals


def _unmasked(old: str, new: str, mask: Mask) -> Refusal:
    if old == new:
        return refuse(
            "SP1202",
            f"column {old} would lose the mask that it inherits",
            f"It is masked ({mask.place}) because of a parent, child or partition of its table; "
            "no mask names it.",
            "Ask for its name to be added to the policy first, then send this again.",
        )
    return refuse(
        "SP1202",
        f"masked column {old} would become {new}, which is not masked as strictly",
        f"{old} is masked ({mask.place}). Masks go by name, for everyone, and no mask that is as "
        f"strict covers {new}.",
        _FIRST,
    )


def _changed_rule(rule: BoundRule, old: str, new: str) -> Refusal:
    effect, name = rule.rule.effect.value, rule.rule.name
    gives = (
        "would no longer apply"
        if rule.rule.effect is Outcome.DENY
        else "would apply in another way"
    )
    return refuse(
        "SP1205",
        f'if {old} became {new}, rule "{name}" ({effect}) {gives}',
        "Rules go by name, for everyone. A new name must not change what they allow, hold or deny.",
        _FIRST,
    )
