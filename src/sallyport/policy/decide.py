"""Facts + rules -> :class:`~sallyport.policy.decision.Decision`. Pure.

Most restrictive wins: any deny rule that matches; then anything that no rule allows; then hold
rules; then allow. Every access needs a rule that covers it (allow, or hold, which is permission
after approval). Accesses through a view's definition need none of their own: the view was allowed;
deny and hold rules see them all the same. A condition that cannot be evaluated restricts: deny and
hold rules match, nothing is allowed by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sallyport.core.errors import refuse
from sallyport.core.subject import Subject
from sallyport.policy.actions import (
    DDL,
    GROUPS,
    NO_RELATION,
    READ,
    SESSION,
    TEMP,
    is_ddl,
)
from sallyport.policy.checks.needs import RequiredPermission, needs_of
from sallyport.policy.checks.statement_variables import statement_variables
from sallyport.policy.containment import RELEASE_HINT, Containment
from sallyport.policy.decision import Decision, Outcome, RuleTrace
from sallyport.policy.file.conditions import subject_variables, time_variable
from sallyport.policy.file.patterns import is_system_schema
from sallyport.policy.model import FULL_RESULTS, RESULTS, Rule, applies_to_target, misses
from sallyport.sql.catalog.relations import classify_relation, source_columns
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.sql.facts import StatementFacts

#: Looking a member up in its class takes as long as several calls of a function (CPython 3.11).
_ALLOW, _HOLD, _DENY = Outcome.ALLOW, Outcome.HOLD, Outcome.DENY
_LISTED = 5  # how many things a message lists
_REMEMBERED_RELATIONS = 10_000


@dataclass(frozen=True, slots=True)
class BoundRule:
    """A rule with its patterns resolved. None: the rule does not restrict relations (columns).

    ``relations`` and ``columns`` are what the rule gives. ``reach_relations`` and ``reach_columns``
    are what it restricts: these, and what shares their rows by inheritance or partitioning, below
    and above. ``column_relations``: those of the latter columns.
    """

    rule: Rule
    relations: frozenset[int] | None
    columns: frozenset[ColumnId] | None
    reach_relations: frozenset[int] | None = None
    reach_columns: frozenset[ColumnId] | None = None
    column_relations: frozenset[int] | None = None

    def may_concern(self, relation: int) -> bool:
        """False only where the rule surely says nothing of this relation (OID)."""
        if self.relations is None and self.columns is None:
            return True
        return (self.reach_relations is not None and relation in self.reach_relations) or (
            self.column_relations is not None and relation in self.column_relations
        )


#: A rule, and a need that it restricts.
_Restriction = tuple[BoundRule, RequiredPermission]


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """Everything a decision for one subject needs. ``rules`` are in force; ``closed`` are outside
    their time window. ``contained``: the subject and agent read untrusted text. ``results``: what
    is recorded of rows where no rule says it.
    """

    policy_version: str
    target: str
    catalog: CatalogSnapshot
    subject: Subject
    now: float
    rules: tuple[BoundRule, ...]
    closed: tuple[BoundRule, ...] = ()
    # rules of the policy that are not for this subject or target
    skipped: tuple[BoundRule, ...] = ()
    contained: Containment | None = None
    results: str = FULL_RESULTS
    possible: list[str] = field(default_factory=list, repr=False, compare=False)
    _by_relation: dict[int, tuple[BoundRule, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def rules_for(self, need: RequiredPermission) -> tuple[BoundRule, ...]:
        """Those of ``rules`` that may concern it, in order. What is allowed of PostgreSQL's own
        relations does not go by names.
        """
        relation = self.catalog.relations.get(need.relation)
        if (
            relation is None
            or is_system_schema(relation.schema)
            or (need.object_name is not None and need.object_name[0])
        ):
            return self.rules
        rules = self._by_relation.get(relation.oid)
        if rules is None:
            rules = tuple([rule for rule in self.rules if rule.may_concern(relation.oid)])
            if len(self._by_relation) > _REMEMBERED_RELATIONS:
                self._by_relation.clear()
            self._by_relation[relation.oid] = rules
        return rules


def traces(standing: DecisionContext, facts: StatementFacts) -> tuple[RuleTrace, ...]:
    """What each rule of the policy says of a statement and why, for explanations: first those that
    were considered.
    """
    return _Decider(standing, facts).traces()


def decide(standing: DecisionContext, facts: StatementFacts) -> Decision:
    """Decide one statement. Never raises for odd facts: what no rule covers is denied."""
    return _Decider(standing, facts).decision()


@dataclass(slots=True)
class _Decider:
    standing: DecisionContext
    facts: StatementFacts
    needs: tuple[RequiredPermission, ...] = ()
    # the rules that may concern each need
    concerning: list[tuple[BoundRule, ...]] = field(default_factory=list)
    _variables: Mapping[str, Any] | None = None
    _conditions: dict[tuple[int, bool], bool | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.needs = needs_of(self.facts)
        self.concerning = [self.standing.rules_for(need) for need in self.needs]

    def decision(self) -> Decision:
        denying, holding = self._restricting()
        if denying:
            return self._denied(*denying[0])
        pairs = zip(self.needs, self.concerning, strict=True)
        uncovered = [need for need, rules in pairs if not self._covered(need, rules)]
        if uncovered:
            return self._nothing_allows(uncovered)
        results = self._recorded_results()
        if holding:
            return replace(self._held(holding), results=results)
        return Decision(_ALLOW, self._deciding_rule(), results=results)

    # -- matching

    def _condition(self, bound: BoundRule) -> bool | None:
        """True when the rule has no condition or it holds; None when it cannot be evaluated."""
        return self._evaluated(bound, restricts=bound.rule.effect is not _ALLOW)

    def _gives(self, bound: BoundRule) -> bool:
        """Whether the rule may give something, at once or after approval."""
        return bound.rule.gives and self._evaluated(bound, restricts=False) is True

    def _evaluated(self, bound: BoundRule, *, restricts: bool) -> bool | None:
        condition = bound.rule.when
        if condition is None:
            return True
        key = id(bound), restricts
        if key not in self._conditions:
            if self._variables is None:
                self._variables = self._condition_variables()
            evaluate = condition.restricts if restricts else condition.evaluate
            self._conditions[key] = evaluate(self._variables)
        return self._conditions[key]

    def _condition_variables(self) -> dict[str, Any]:
        standing = self.standing
        targets = () if standing.contained is None else (standing.contained.target,)
        return {
            "subject": subject_variables(standing.subject, targets),
            "statement": statement_variables(standing.catalog, self.facts, self.needs),
            "target": standing.target,
            "now": time_variable(standing.now),
        }

    def _restricting(self) -> tuple[list[_Restriction], list[_Restriction]]:
        """The deny rules that match, and the hold rules, each with a need that it restricts."""
        denying: list[_Restriction] = []
        holding: list[_Restriction] = []
        for bound in self._rules():
            effect = bound.rule.effect
            if effect is _ALLOW:
                continue
            need = self._restricts(bound)
            if need is not None and self._condition(bound) is not False:
                (denying if effect is _DENY else holding).append((bound, need))
        return denying, holding

    def _rules(self) -> Iterable[BoundRule]:
        """The rules in force that may concern some need, in order."""
        if len(self.needs) == 1:
            return self.concerning[0]
        concerned = {id(rule) for rules in self.concerning for rule in rules}
        return [rule for rule in self.standing.rules if id(rule) in concerned]

    def _restricts(self, bound: BoundRule) -> RequiredPermission | None:
        catalog = self.standing.catalog
        return next((need for need in self.needs if restricts(bound, need, catalog)), None)

    def _covered(self, need: RequiredPermission, rules: tuple[BoundRule, ...]) -> bool:
        if need.indirect:
            return True
        if need.action in SESSION:
            return any(b.rule.gives for b in rules)
        giving = [b for b in rules if self._gives(b)]
        return covered(need, giving, self.standing.catalog)

    def _deciding_rule(self) -> str:
        for need, rules in zip(self.needs, self.concerning, strict=True):
            for bound in rules:
                if bound.rule.effect is _ALLOW and self._covered(need, (bound,)):
                    return bound.rule.name
        return ""

    def _recorded_results(self) -> str:
        """The least that rules, in doubt as well, or else the policy say of what it concerns."""
        catalog, of_policy = self.standing.catalog, self.standing.results
        if not any([b.rule.results for rules in self.concerning for b in rules]):
            return of_policy
        said: set[str] = set()
        for need, rules in zip(self.needs, self.concerning, strict=True):
            recording = [b for b in rules if b.rule.results and restricts(b, need, catalog)]
            speaking = tuple([b for b in recording if self._condition(b) is not False])
            said.update([b.rule.results for b in speaking])
            if need.action not in SESSION and not self._covered(need, speaking):
                said.add(of_policy)
        return max(said, key=RESULTS.index, default=of_policy)

    # -- results

    def _denied(self, bound: BoundRule, need: RequiredPermission) -> Decision:
        rule, what = bound.rule, need.text(self.standing.catalog)
        contained = self._containment(bound)
        refusal = refuse(
            "SP1005" if contained else "SP1002",
            f"{what} is denied" + (f": {rule.message}" if rule.message else ""),
            f'Rule "{rule.name}" denies {what}{_because(self._condition(bound))}.{contained}',
            RELEASE_HINT if contained else "",
        )
        return Decision(_DENY, rule.name, refusal)

    def _held(self, holding: list[_Restriction]) -> Decision:
        """By every rule that matched: each of them says who must agree."""
        bound, need = holding[0]
        rule, what = bound.rule, need.text(self.standing.catalog)
        lines = []
        for holder, its_need in holding:
            reviewers = holder.rule.reviewers
            people = (
                f"{reviewers.quorum} of {', '.join(sorted(reviewers.groups))}"
                if reviewers
                else "a reviewer"
            )
            held = its_need.text(self.standing.catalog)
            lines.append(
                f'Rule "{holder.rule.name}" holds {held} until {people} approves'
                f"{_because(self._condition(holder))}.{self._containment(holder)}"
            )
        refusal = refuse(
            "SP1003",
            f"{what} waits for approval" + (f": {rule.message}" if rule.message else ""),
            " ".join(lines),
            what_is_possible(self.standing),
        )
        names = tuple(dict.fromkeys(holder.rule.name for holder, _ in holding))
        return Decision(_HOLD, rule.name, refusal, names)

    def _containment(self, bound: BoundRule) -> str:
        """Why the subject is contained, where the rule asks that; behind a space, or ""."""
        contained, condition = self.standing.contained, bound.rule.when
        if contained is None or condition is None or not condition.reads_containment:
            return ""
        return f" {contained.reason()}"

    def _nothing_allows(self, uncovered: list[RequiredPermission]) -> Decision:
        standing = self.standing
        what = uncovered[0].text(standing.catalog)
        shut = next(
            (b for b in standing.closed if self._covered(uncovered[0], (*standing.rules, b))), None
        )
        if shut is not None:
            windows = "; ".join(str(w) for w in shut.rule.windows)
            refusal = refuse(
                "SP1004",
                f"{what} is not allowed at this time",
                f'Rule "{shut.rule.name}" allows it only in this window: {windows}.',
                "Try again inside the window.",
            )
            return Decision(_DENY, "", refusal)
        listed = _listed([self._uncovered_text(need) for need in uncovered])
        refusal = refuse(
            "SP1001",
            f"{what} is not allowed",
            f"No rule of policy {standing.policy_version} for target {standing.target} allows"
            f" {listed}.",
            self._about_relations(uncovered[0]) or what_is_possible(standing),
        )
        return Decision(_DENY, "", refusal)

    def _about_relations(self, need: RequiredPermission) -> str:
        """A HINT where a rule names the action, but for relations, of which it concerns none."""
        if need.relation or need.action not in NO_RELATION:
            return ""
        for bound in self.standing.rules:
            rule = bound.rule
            if need.action in rule.actions and self._gives(bound):
                return (
                    f'Rule "{rule.name}" allows {need.action} only on relations, and '
                    f"{need.action} never has one. "
                    "Ask for a rule without relations, columns and tags."
                )
        return ""

    def _uncovered_text(self, need: RequiredPermission) -> str:
        """With the columns, when some column of the relation would have been allowed."""
        catalog, text = self.standing.catalog, need.text(self.standing.catalog)
        rules = self.standing.rules_for(need)
        missing = [
            c for c in sorted(need.columns) if not self._covered(_column_need(need, c), rules)
        ]
        if not missing or len(missing) == len(need.columns):
            return text
        names = [catalog.column_name(c).rpartition(".")[2] for c in missing]
        return f"{text} (column {', '.join(names[:_LISTED])})"

    def traces(self) -> tuple[RuleTrace, ...]:
        out = []
        for bound in self.standing.rules:
            rule = bound.rule
            if rule.effect is _ALLOW:
                matched = next(
                    (
                        n
                        for n in self.needs
                        if not n.indirect and gives(bound, n, self.standing.catalog)
                    ),
                    None,
                )
            else:
                matched = self._restricts(bound)
            value = self._condition(bound) if matched is not None else True
            hit = matched is not None and (
                value is True or (value is None and rule.effect is not _ALLOW)
            )
            out.append(RuleTrace(rule.name, rule.effect.value, hit, self._why(matched, value)))
        for bound in self.standing.closed:
            windows = "; ".join(str(w) for w in bound.rule.windows)
            out.append(
                RuleTrace(
                    bound.rule.name,
                    bound.rule.effect.value,
                    False,
                    f"outside its time window ({windows})",
                )
            )
        for bound in self.standing.skipped:
            here = applies_to_target(bound.rule.targets, self.standing.target)
            why = misses(bound.rule, self.standing.subject) if here else "is for other targets"
            out.append(RuleTrace(bound.rule.name, bound.rule.effect.value, False, why))
        return tuple(out)

    def _why(self, matched: RequiredPermission | None, value: bool | None) -> str:
        if matched is None:
            return (
                f"does not concern {_listed([n.text(self.standing.catalog) for n in self.needs])}"
            )
        what = matched.text(self.standing.catalog)
        if value is False:
            return f"concerns {what}, but its condition is false"
        return f"concerns {what}" + (
            ", and its condition cannot be evaluated" if value is None else ""
        )


def _column_need(need: RequiredPermission, column: ColumnId) -> RequiredPermission:
    return RequiredPermission(need.action, need.relation, frozenset({column}))


def _because(value: bool | None) -> str:
    return " (its condition could not be evaluated for this statement)" if value is None else ""


def restricts(bound: BoundRule, need: RequiredPermission, catalog: CatalogSnapshot) -> bool:
    """Whether a deny or hold rule concerns this need. In doubt it does."""
    actions = bound.rule.actions
    named = need.action in actions or not need.action_aliases.isdisjoint(actions)
    everything = need.action == TEMP and actions >= GROUPS["all"]
    if not named and not everything and not (is_ddl(need.action) and actions >= DDL):
        return False
    if bound.reach_relations is None and bound.reach_columns is None:
        return True
    if need.object_name is not None and need.object_name[0]:
        return _concerns(bound.rule, *need.object_name)
    if not need.relation:
        # What names no existing relation (CREATE TABLE, DO) may still concern one; the rest cannot.
        return need.action not in READ | SESSION | NO_RELATION
    if bound.reach_relations is not None and need.relation not in bound.reach_relations:
        return False
    if bound.reach_columns is None:
        return True
    if need.columns or need.action in READ:
        return bool(need.columns & bound.reach_columns)
    return any(column.relation == need.relation for column in bound.reach_columns)


def _concerns(rule: Rule, schema: str, name: str) -> bool:
    """Whether a deny or hold rule is about something by its name. Tags are about columns of any
    name.
    """
    return bool(rule.tags) or any(
        p.concerns(schema, name) for p in (*rule.relations, *rule.columns)
    )


def gives(bound: BoundRule, need: RequiredPermission, catalog: CatalogSnapshot) -> bool:
    """Whether an allow or hold rule concerns this need (columns may be missing: see
    :func:`covered`).
    """
    if need.action not in bound.rule.actions and need.action_aliases.isdisjoint(bound.rule.actions):
        return False
    open_ended = bound.relations is None and bound.columns is None
    if need.object_name is not None and need.object_name[0]:
        schema, name = need.object_name
        if is_system_schema(schema) or bound.columns is not None:
            return False
        patterns = bound.rule.relations
        return open_ended or any(
            p.matches(schema, name) if name else p.covers_schema(schema) for p in patterns
        )
    if not need.relation:
        return open_ended or need.action in READ
    relation = catalog.relations.get(need.relation)
    if relation is None:
        return False
    if is_system_schema(relation.schema):
        return bound.rule.effect is _ALLOW and need.action in READ and _readable(need, catalog)
    if bound.relations is not None and need.relation not in bound.relations:
        return False
    return bound.columns is None or any(
        column.relation == need.relation for column in bound.columns
    )


def _readable(need: RequiredPermission, catalog: CatalogSnapshot) -> bool:
    """System relations are readable as :mod:`sallyport.sql.catalog.relations` says, whatever
    relations a rule names.
    """
    relation = catalog.relations[need.relation]
    class_ = classify_relation(relation)
    if not class_.readable or class_.columns is None:
        return (
            class_.readable
        )  # for the special ones the extractor knows which columns, and says so as an unknown
    names = {c.name for c in relation.columns if ColumnId(relation.oid, c.attnum) in need.columns}
    return len(names) == len(need.columns) and names <= class_.columns | source_columns(relation)


def covered(need: RequiredPermission, rules: list[BoundRule], catalog: CatalogSnapshot) -> bool:
    """Whether the rules together give everything the need asks for."""
    giving = [bound for bound in rules if gives(bound, need, catalog)]
    if not giving:
        return False
    relation = catalog.relations.get(need.relation)
    if (
        relation is None
        or is_system_schema(relation.schema)
        or any(b.columns is None for b in giving)
    ):
        return True
    if not need.columns:
        return need.action in READ  # count(*): as in PostgreSQL, permission on any column is enough
    return need.columns <= frozenset[ColumnId]().union(
        *(b.columns for b in giving if b.columns is not None)
    )


def what_is_possible(standing: DecisionContext) -> str:
    """A HINT: what the subject may do on this target, in the policy's own words. Worded once."""
    if not standing.possible:
        standing.possible.append(_what_is_possible(standing))
    return standing.possible[0]


def _what_is_possible(standing: DecisionContext) -> str:
    freely = [_offer(b.rule) for b in standing.rules if b.rule.effect is _ALLOW]
    held = [_offer(b.rule) for b in standing.rules if b.rule.effect is _HOLD and b.rule.gives]
    parts = []
    if freely:
        parts.append(f"On {standing.target} you may: {_listed(freely, '; ')}.")
    if held:
        parts.append(f"After approval you may: {_listed(held, '; ')}.")
    return (
        " ".join(parts)
        or f"No rule allows you anything on {standing.target}. Ask the owner of the policy."
    )


def _offer(rule: Rule) -> str:
    where = [p.text for p in (*rule.relations, *rule.columns)] + [
        f"columns tagged {t}" for t in rule.tags
    ]
    condition = f" when {rule.when.source}" if rule.when else ""
    return ", ".join(rule.named) + (f" on {_listed(where)}" if where else "") + condition


def _listed(texts: list[str], separator: str = ", ") -> str:
    unique = list(dict.fromkeys(texts))
    more = len(unique) - _LISTED
    return separator.join(unique[:_LISTED]) + (f" and {more} more" if more > 0 else "")
