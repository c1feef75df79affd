"""How far a policy reaches on one target: whatever its allow and hold rules could ever give to
*anybody*.

Promises: nothing that some subject may do at some time is left out (conditions, windows, reviewers
and who is asking are taken as they suit best); taken away is only what a deny rule denies always
and to everyone whom the giving rule is for. Behind a view with ``security_invoker`` the reader's
own role reads, so what such a view reads or writes is reached too. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sallyport.core.errors import RefusedError
from sallyport.policy.actions import DDL
from sallyport.policy.bound import BoundPolicy
from sallyport.policy.checks.needs import RequiredPermission
from sallyport.policy.decide import BoundRule, restricts
from sallyport.policy.decision import Outcome
from sallyport.policy.file.patterns import is_system_schema
from sallyport.policy.model import SubjectMatch, applies_to_target
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Function, Relation
from sallyport.sql.extract import Context, analyze
from sallyport.sql.facts import StatementFacts
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.values.types import ARRAYS, ELEMENTS, TEXT, TEXT_ARRAY

#: Actions whose permission may be for some columns only, and those that concern whole rows.
COLUMN_ACTIONS = ("select", "insert", "update")
ROW_ACTIONS = ("delete", "truncate", "lock")


@dataclass(frozen=True, slots=True)
class GrantedAction:
    """An action on a relation that somebody may be allowed. ``columns``: attribute numbers, None
    for the whole relation.

    ``because``: the rules that give it, in words.
    """

    columns: frozenset[int] | None
    because: tuple[str, ...]

    def joined(self, permit: GrantedAction) -> GrantedAction:
        """What both give together."""
        both = (
            None
            if self.columns is None or permit.columns is None
            else self.columns | permit.columns
        )
        return GrantedAction(both, tuple(dict.fromkeys((*self.because, *permit.because))))


@dataclass(frozen=True, slots=True)
class Reach:
    """``relations``: OID to action to permit. ``functions``: OIDs that policy trusts. ``followed``:
    of functions in SQL that are judged by their body, those whose body, and what it calls, reads
    only what can be read. ``ddl``: actions on the schema that some rule gives.

    ``masked``: columns that come back masked for somebody, with the entries of the policy that say
    so.
    """

    relations: Mapping[int, Mapping[str, GrantedAction]] = field(default_factory=dict)
    functions: frozenset[int] = frozenset()
    followed: frozenset[int] = frozenset()
    ddl: frozenset[str] = frozenset()
    masked: Mapping[ColumnId, tuple[str, ...]] = field(default_factory=dict)


def reach_of(bound: BoundPolicy, rules: Sequence[BoundRule] | None = None) -> Reach:
    """What the policy's rules can give to any subject on the target it is bound to. ``rules``:
    those for one subject; then to that one.
    """
    return _Reaching(bound, rules).reach()


class _Reaching:
    def __init__(self, bound: BoundPolicy, rules: Sequence[BoundRule] | None) -> None:
        self.bound, self.catalog = bound, bound.catalog
        self.is_for_one = rules is not None  # whom every one of the rules is for
        candidates = bound.rules if rules is None else rules
        mine = [r for r in candidates if applies_to_target(r.rule.targets, bound.target)]
        self.givers = [r for r in mine if r.rule.gives]
        self.deniers = [
            r
            for r in mine
            if r.rule.effect is Outcome.DENY and r.rule.when is None and not r.rule.windows
        ]
        self.found: dict[int, dict[str, GrantedAction]] = {}

    def reach(self) -> Reach:
        for relation in self.catalog.relations.values():
            if relation.kind in "rpvmfS" and not is_system_schema(relation.schema):
                for giver in self.givers:
                    self._give(giver, relation)
        for oid in list(self.found):
            self._follow(self.catalog.relations[oid])
        masked: dict[ColumnId, tuple[str, ...]] = {}
        for bound_mask in self.bound.masks:
            if applies_to_target(bound_mask.mask.targets, self.bound.target):
                for column in bound_mask.columns:
                    masked[column] = (*masked.get(column, ()), bound_mask.origins[column])
        return Reach(self.found, self._functions(), self._followed(), self._ddl(), masked)

    def _covers(self, denier: BoundRule, giver: BoundRule) -> bool:
        return self.is_for_one or _covers(denier.rule.subjects, giver.rule.subjects)

    # -- relations

    def _give(self, giver: BoundRule, relation: Relation) -> None:
        if giver.relations is not None and relation.oid not in giver.relations:
            return
        for action in (*COLUMN_ACTIONS, *ROW_ACTIONS):
            if action not in giver.rule.actions:
                continue
            deniers = [d for d in self.deniers if self._covers(d, giver)]
            columns = self._columns(giver, relation, action, deniers)
            if columns is None or columns:
                self._add(relation.oid, action, GrantedAction(columns, (_named(giver),)))

    def _columns(
        self, giver: BoundRule, relation: Relation, action: str, deniers: list[BoundRule]
    ) -> frozenset[int] | None:
        """Attribute numbers that the rule gives, None for all that there are or will be; empty for
        none.
        """
        nothing = frozenset[int]()
        if action in ROW_ACTIONS:
            need = RequiredPermission(action, relation.oid)
            is_whole_relation = giver.columns is None and not any(
                restricts(d, need, self.catalog) for d in deniers
            )
            return None if is_whole_relation else nothing
        named = [c.attnum for c in relation.columns]
        columns = [
            n for n in named if giver.columns is None or ColumnId(relation.oid, n) in giver.columns
        ]
        kept = [n for n in columns if not self._denied(action, ColumnId(relation.oid, n), deniers)]
        if giver.columns is None and len(kept) == len(named):
            return None
        return frozenset(kept)

    def _denied(self, action: str, column: ColumnId, deniers: list[BoundRule]) -> bool:
        need = RequiredPermission(action, column.relation, frozenset((column,)))
        return any(restricts(denier, need, self.catalog) for denier in deniers)

    def _add(self, relation: int, action: str, permit: GrantedAction) -> bool:
        """Whether this made the reach wider."""
        previous = self.found.setdefault(relation, {}).get(action)
        joined = permit if previous is None else previous.joined(permit)
        self.found[relation][action] = joined
        return previous is None or previous.columns != joined.columns

    # -- views that read with the rights of whoever asks

    def _follow(self, view: Relation) -> None:
        if view.kind != "v" or not view.security_invoker:
            return
        because = (f"behind {view.qualified}, a view with security_invoker",)
        for facts in analyze(view.view_definition.encode(), self.catalog, Context(search_path=())):
            if "select" in self.found[view.oid]:
                for access in facts.accesses:
                    if not access.indirect:
                        attnums = frozenset(c.attnum for c in access.columns) or self._any(
                            access.relation
                        )
                        self._reach_under(
                            access.relation, "select", GrantedAction(attnums, because)
                        )
            self._writes_under(view, facts, because)

    def _any(self, oid: int) -> frozenset[int] | None:
        """For count(*), which reads no column: PostgreSQL wants permission for one, whichever."""
        relation = self.catalog.relations.get(oid)
        return (
            frozenset((relation.columns[0].attnum,))
            if relation is not None and relation.columns
            else None
        )

    def _writes_under(
        self, view: Relation, facts: StatementFacts, because: tuple[str, ...]
    ) -> None:
        direct = {a.relation for a in facts.accesses if not a.indirect}
        for action in ("insert", "update", "delete"):
            permit = self.found[view.oid].get(action)
            if permit is None:
                continue
            if action == "delete":
                for oid in direct:
                    self._reach_under(oid, action, GrantedAction(None, because))
                continue
            for column, output in zip(view.columns, facts.columns or (), strict=False):
                if permit.columns is None or column.attnum in permit.columns:
                    for source in output.sources:
                        if source.relation in direct:
                            under = GrantedAction(frozenset((source.attnum,)), because)
                            self._reach_under(source.relation, action, under)

    def _reach_under(self, oid: int, action: str, permit: GrantedAction) -> None:
        relation = self.catalog.relations.get(oid)
        if relation is None or is_system_schema(relation.schema):
            return
        if self._add(oid, action, permit):
            self._follow(relation)

    # -- functions and schema changes

    def _functions(self) -> frozenset[int]:
        if not self.givers:
            return frozenset()
        calls = any("call" in g.rule.actions for g in self.givers)
        return frozenset(
            f.oid
            for f in self.catalog.functions.values()
            if not is_system_schema(f.schema)
            and (f.kind != "p" or calls)
            and any(p.matches(f.schema, f.name) for p in self.bound.policy.functions)
        )

    def _trusts(self, function: Function) -> bool:
        return not is_system_schema(function.schema) and any(
            p.matches(function.schema, function.name) for p in self.bound.policy.functions
        )

    def _followed(self) -> frozenset[int]:
        """Functions that PostgreSQL asks the role's permission for: those of views too, which run
        with the reader's rights.
        """
        if not any("select" in giver.rule.actions for giver in self.givers):
            return frozenset()
        calls = [call_of(f, self.catalog) for f in self.catalog.functions.values() if f.body]
        views = [r for oid in self.found if (r := self.catalog.relations[oid]).kind == "v"]
        calls += [f"SELECT * FROM {quoted(r.schema, r.name)}" for r in views]
        functions: set[int] = set()
        for path in dict.fromkeys(
            (self.catalog.default_search_path, (), *self.bound.policy.search_paths)
        ):
            context = Context(
                self.catalog.usable_path(path), self.catalog.role, trusted_functions=self._trusts
            )
            for text in calls:
                facts = self._facts(text, context)
                if facts is not None and self._reaches(facts):
                    functions |= facts.followed
        return frozenset(functions)

    def _facts(self, text: str, context: Context) -> StatementFacts | None:
        try:
            return analyze(text.encode(), self.catalog, context)[0]
        except RefusedError:
            return None

    def _reaches(self, facts: StatementFacts) -> bool:
        """Whether somebody may run this: nothing in it is unknown, and all that it reads itself can
        be read.
        """
        if facts.unknowns:
            return False
        for access in facts.accesses:
            relation = self.catalog.relations[access.relation]
            if access.indirect or is_system_schema(relation.schema):
                continue
            permit = self.found.get(access.relation, {}).get(access.action)
            if permit is None:
                return False
            if (
                permit.columns is not None
                and not {c.attnum for c in access.columns} <= permit.columns
            ):
                return False
        return True

    def _ddl(self) -> frozenset[str]:
        return frozenset(action for giver in self.givers for action in self._ddl_of(giver))

    def _ddl_of(self, giver: BoundRule) -> Iterator[str]:
        always = [
            d
            for d in self.deniers
            if d.reach_relations is None and d.reach_columns is None and self._covers(d, giver)
        ]
        for action in giver.rule.actions & DDL:
            if not any(action in denier.rule.actions for denier in always):
                yield action


def call_of(function: Function, catalog: CatalogSnapshot) -> str:
    """A statement that calls this very function, with NULL for every argument."""
    types = [catalog.types.get(_example(oid)) for oid in function.arg_types]
    arguments = [f"NULL::{quoted(t.schema, t.name)}" if t is not None else "NULL" for t in types]
    if function.variadic:
        arguments[-1] = "VARIADIC " + arguments[-1]
    return f"SELECT * FROM {quoted(function.schema, function.name)}({', '.join(arguments)})"


def _example(type_: int) -> int:
    """A type that a polymorphic parameter may be of."""
    if type_ in ARRAYS:
        return TEXT_ARRAY
    return TEXT if type_ in ELEMENTS else type_


def _named(giver: BoundRule) -> str:
    rule = giver.rule
    word = f'rule "{rule.name}"' + (" (after approval)" if rule.effect is Outcome.HOLD else "")
    return word + (" (under a condition)" if rule.when is not None else "")


def _covers(denied: SubjectMatch, match: SubjectMatch) -> bool:
    """Whether everyone who matches ``match`` surely matches ``denied``."""
    for part in ("groups", "ids", "issuers", "agents", "actors"):
        required, has = getattr(denied, part), getattr(match, part)
        if required and (not has or not has <= required):
            return False
    return not denied.claims or set(denied.claims) <= set(match.claims)
