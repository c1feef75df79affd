"""Whatever the policy: deny and hold rules only ever restrict, allow rules never lift a deny, masks
never loosen.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sallyport.core.subject import Subject
from sallyport.policy.actions import ACTIONS, expand
from sallyport.policy.bind import bind
from sallyport.policy.bound import stricter_mask
from sallyport.policy.decision import REDACT, ColumnMask, Filter, MaskSpec, Outcome
from sallyport.policy.file.conditions import compile_condition
from sallyport.policy.file.patterns import parse_pattern
from sallyport.policy.model import Policy, Rule
from sallyport.sql.catalog.snapshot import ColumnId
from sallyport.sql.facts import Access, StatementFacts
from tests.policy.shop import CATALOG
from tests.support.sampling import examples

SUBJECT = Subject("s", "https://idp", frozenset({"g"}))
RANK = {Outcome.ALLOW: 0, Outcome.HOLD: 1, Outcome.DENY: 2}
RELATIONS = ("public.orders", "public.orders_2025", "public.customers", "hr.*", "public.*", "*.*")
COLUMNS = ("public.orders.total", "*.*.id", "*.*.email")
CONDITIONS = ("true", "false", "statement.has_where == true", "subject.claims.none == 1")

rules = st.builds(
    lambda effect, named, relations, columns, when: Rule(
        name="r",
        effect=effect,
        actions=expand(named),
        named=tuple(named),
        relations=tuple(parse_pattern(r, 2, "a.b") for r in relations),
        columns=tuple(parse_pattern(c, 3, "a.b.c") for c in columns),
        when=compile_condition(when) if when else None,
    ),
    st.sampled_from(Outcome),
    st.lists(
        st.sampled_from(["read", "write", "ddl", "all", "select", "update"]), min_size=1, max_size=2
    ),
    st.lists(st.sampled_from(RELATIONS), max_size=2),
    st.lists(st.sampled_from(COLUMNS), max_size=2),
    st.sampled_from(["", "", *CONDITIONS]),
)


@st.composite
def accesses(draw: st.DrawFn) -> Access:
    relation = draw(st.sampled_from([r for r in CATALOG.relations.values() if r.columns]))
    columns = draw(
        st.frozensets(st.sampled_from([ColumnId(relation.oid, c.attnum) for c in relation.columns]))
    )
    action = draw(st.sampled_from(["select", "update", "delete", "lock", "alter_table"]))
    return Access(relation.oid, action, draw(st.booleans()), columns)


statements = st.builds(
    lambda kind, accesses, where: StatementFacts(
        kind, 0, 0, accesses=tuple(accesses), has_where=where
    ),
    st.sampled_from(["select", "update", "explain", "begin", "create_table", "do", "unheard_of"]),
    st.lists(accesses(), max_size=3),
    st.sampled_from([None, True, False]),
)


def outcome(rule_list: list[Rule], statement: StatementFacts) -> Outcome:
    named = tuple(replace(rule, name=f"r{i}") for i, rule in enumerate(rule_list))
    policy = bind(Policy("v", rules=named), CATALOG, "shop").for_subject(SUBJECT, 0.0)
    return policy.decide(statement).outcome


@settings(max_examples=examples(150))
@given(st.lists(rules, max_size=4), rules, statements)
def test_a_deny_rule_never_allows_more(
    rule_list: list[Rule], rule: Rule, statement: StatementFacts
) -> None:
    deny = replace(rule, effect=Outcome.DENY)
    assert RANK[outcome([*rule_list, deny], statement)] >= RANK[outcome(rule_list, statement)]


@settings(max_examples=examples(150))
@given(st.lists(rules, max_size=4), rules, statements)
def test_an_allow_rule_never_lifts_a_deny_or_a_hold(
    rule_list: list[Rule], rule: Rule, statement: StatementFacts
) -> None:
    allow = replace(rule, effect=Outcome.ALLOW)
    before, after = outcome(rule_list, statement), outcome([*rule_list, allow], statement)
    assert RANK[after] <= RANK[before]
    denying = [r for r in rule_list if r.effect is Outcome.DENY]
    if outcome([*denying, EVERYTHING], statement) is Outcome.DENY:
        assert after is Outcome.DENY
    if before is Outcome.HOLD:
        assert after is Outcome.HOLD


@settings(max_examples=examples(100))
@given(st.lists(rules, max_size=4), statements)
def test_the_order_of_rules_does_not_matter(
    rule_list: list[Rule], statement: StatementFacts
) -> None:
    assert outcome(rule_list, statement) is outcome(rule_list[::-1], statement)


@settings(max_examples=examples(100))
@given(st.lists(rules, max_size=4), statements, accesses())
def test_touching_more_is_never_allowed_more(
    rule_list: list[Rule], statement: StatementFacts, more: Access
) -> None:
    unconditional = [replace(rule, when=None) for rule in rule_list]
    # reading nothing is covered by any read rule, so compare statements that touch something
    # already
    first = Access(more.relation, "select", False, frozenset())
    small = msgspec.structs.replace(statement, kind="select", accesses=(first, *statement.accesses))
    large = msgspec.structs.replace(small, accesses=(*small.accesses, more))
    assert RANK[outcome(unconditional, large)] >= RANK[outcome(unconditional, small)]


EVERYTHING = Rule("everything", Outcome.ALLOW, ACTIONS, ("all",))

masks = st.builds(
    ColumnMask,
    st.sampled_from(
        [REDACT, MaskSpec("null"), MaskSpec("email"), MaskSpec("partial", keep_last=4)]
    ),
    st.sampled_from(Filter),
    write_filter=st.booleans(),
    write=st.booleans(),
    copies=st.booleans(),
)


@given(masks, masks, masks)
def test_combining_masks_is_commutative_associative_and_never_looser(
    a: ColumnMask, b: ColumnMask, c: ColumnMask
) -> None:
    def core(mask: ColumnMask) -> tuple[MaskSpec, Filter, tuple[bool, bool, bool]]:
        return mask.spec, mask.filter, permissions(mask)

    def permissions(mask: ColumnMask) -> tuple[bool, bool, bool]:
        return mask.write_filter, mask.write, mask.copies

    order = [Filter.DENY, Filter.MASKED, Filter.EQUALITY, Filter.EQUALITY_JOINS, Filter.ALLOW]
    both = stricter_mask(a, b)
    assert core(both) == core(stricter_mask(b, a))
    assert core(stricter_mask(both, c)) == core(stricter_mask(a, stricter_mask(b, c)))
    assert order.index(both.filter) == min(order.index(a.filter), order.index(b.filter))
    assert permissions(both) == tuple(
        x and y for x, y in zip(permissions(a), permissions(b), strict=True)
    )
    assert both.spec == a.spec == b.spec or both.spec == REDACT
