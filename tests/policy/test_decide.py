"""The golden table, and what a refusal says."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest

from sallyport.core.subject import Subject
from sallyport.policy.bind import bind
from sallyport.policy.bound import BoundPolicy
from sallyport.policy.decide import traces
from sallyport.policy.decision import Decision
from sallyport.policy.file.load import load_policy, parse_policy
from sallyport.sql.facts import (
    Access,
    Clause,
    Dependence,
    Influence,
    OutputColumn,
    StatementFacts,
)
from tests.policy.shop import CATALOG, col, oid

HERE = Path(__file__).parent
POLICY = load_policy(HERE / "decisions.policy.yaml")
BOUND = bind(POLICY, CATALOG, "shop")
WEDNESDAY = datetime.datetime(2026, 11, 18, 12, tzinfo=datetime.UTC).timestamp()
SUNDAY = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC).timestamp()


def rows() -> list[tuple[int, list[str]]]:
    lines = (HERE / "decisions.table").read_text().splitlines()
    table = [
        (i, [c.strip() for c in line.split("|")])
        for i, line in enumerate(lines, 1)
        if line and line[0] != "#"
    ]
    assert all(len(cells) == 4 for _, cells in table)
    return table


def subject(text: str) -> tuple[Subject, float]:
    words = text.split()
    claims: dict[str, object] = {}
    groups: set[str] = set()
    agent, now = "", WEDNESDAY
    for word in words:
        if word == "sunday":
            now = SUNDAY
        elif word[0] == "@":
            agent = word[1:]
        elif "=" in word:
            name, _, value = word.partition("=")
            claims[name] = int(value) if value.isdigit() else value
        else:
            groups |= set(word.split(","))
    return Subject("s", "https://idp", frozenset(groups), agent, claims=claims), now


def facts(text: str) -> StatementFacts:
    outer, _, inner = text.partition(">")
    head, _, rest = outer.partition(":")
    kind, _, where = head.strip().partition(" ")
    accesses = [
        access(match) for match in re.finditer(r"(\w+) ([\w.]+)(\([^)]*\))?( through-view)?", rest)
    ]
    return StatementFacts(
        kind=kind,
        start=0,
        end=0,
        accesses=tuple(accesses),
        has_where={"where": True, "no-where": False, "": None}[where.strip()],
        inner=facts(inner) if inner else None,
    )


def access(match: re.Match[str]) -> Access:
    action, relation, columns, indirect = match.groups()
    names = re.findall(r"\w+", columns or "")
    return Access(
        oid(relation), action, bool(indirect), frozenset(col(f"{relation}.{n}") for n in names)
    )


def decide(who: str, statement: StatementFacts, bound: BoundPolicy = BOUND) -> Decision:
    person, now = subject(who)
    return bound.for_subject(person, now).decide(statement)


@pytest.mark.parametrize(
    ("line", "cells"), rows(), ids=lambda v: str(v) if isinstance(v, int) else ""
)
def test_golden_table(line: int, cells: list[str]) -> None:
    who, statement, verdict, rule_or_code = cells
    decision = decide(who, facts(statement))
    decided = decision.rule or (decision.refusal.code.id if decision.refusal else "")
    assert (decision.outcome.value, decided) == (verdict, rule_or_code), (
        f"decisions.table:{line}: {decision.refusal}"
    )
    assert (decision.refusal is None) == (verdict == "allow")


def test_nothing_allows_says_what_is_missing_and_what_is_possible() -> None:
    refusal = decide(
        "agents", facts("select: select public.orders(id), select hr.people(id, salary)")
    ).refusal
    assert refusal is not None
    assert refusal.text == "[SP1001] select on hr.people is not allowed"
    assert "allows select on hr.people (column salary)." in refusal.detail
    assert f"No rule of policy {POLICY.version} for target shop" in refusal.detail
    assert (
        "On shop you may: read on public.*; select on hr.people.id, hr.people.email" in refusal.hint
    )
    assert "After approval you may: update, delete on public.customers." in refusal.hint


def test_deny_names_rule_and_message() -> None:
    refusal = decide("dba", facts("select: select hr.payroll(id)")).refusal
    assert refusal is not None
    assert (refusal.code.id, refusal.sqlstate) == ("SP1002", "42501")
    assert refusal.message == "select on hr.payroll is denied: Ask HR."
    assert refusal.detail == 'Rule "payroll is nobody\'s business" denies select on hr.payroll.'
    assert refusal.hint == "", "what rules allow is no way round a denial"


def test_hold_names_reviewers() -> None:
    refusal = decide("agents", facts("update where: update public.customers(name)")).refusal
    assert refusal is not None
    assert refusal.code.id == "SP1003"
    assert "until 2 of dba approves" in refusal.detail


def test_closed_window_is_named() -> None:
    refusal = decide("hr sunday", facts("select: select hr.people(salary)")).refusal
    assert refusal is not None
    assert "mon, tue, wed, thu, fri 08:00-18:00 Europe/Berlin" in refusal.detail


def test_unevaluable_condition_is_said() -> None:
    refusal = decide("fragile", facts("select: select public.customers(id)")).refusal
    assert refusal is not None
    assert "could not be evaluated" in refusal.detail


def test_trace_has_every_rule_and_why() -> None:
    policy = BOUND.for_subject(subject("agents")[0], WEDNESDAY)
    statement = facts("update where: update public.customers(name)")
    trace = {t.rule: t for t in traces(policy.standing, statement)}
    assert trace.keys() == {r.name for r in POLICY.rules}
    assert trace["changes to customers wait"].matched
    assert trace["changes to customers wait"].why == "concerns update on public.customers"
    assert not trace["agents write orders"].matched
    assert "its condition is false" in trace["no-unbounded-write: UPDATE and DELETE need WHERE"].why
    assert "none of the groups dba" in trace["dba changes the schema"].why


RETURNING = parse_policy(
    """version: 1
rules:
  - {name: writers, allow: [update, insert], relations: ["public.orders"]}
  - {name: names, allow: [select], relations: ["public.customer_names"]}
""",
    "returning.yaml",
)


def test_returning_and_where_need_select_as_in_postgresql() -> None:
    bound = bind(RETURNING, CATALOG, "shop")
    plain = StatementFacts(
        "update", 0, 0, accesses=(Access(oid("public.orders"), "update"),), has_where=True
    )
    assert decide("x", plain, bound).outcome.value == "allow"
    total = frozenset({col("public.orders.total")})
    returning = StatementFacts(
        "update",
        0,
        0,
        columns=(OutputColumn("total", total, Dependence.IDENTITY),),
        accesses=plain.accesses,
        has_where=True,
    )
    refusal = decide("x", returning, bound).refusal
    assert refusal is not None
    assert refusal.message == "select on public.orders is not allowed"
    where = StatementFacts(
        "update",
        0,
        0,
        accesses=plain.accesses,
        influences=(Influence(col("public.orders.total"), Clause.WHERE),),
        has_where=True,
    )
    assert decide("x", where, bound).outcome.value == "deny"


def test_columns_behind_a_view_need_no_rule_of_their_own() -> None:
    bound = bind(RETURNING, CATALOG, "shop")
    sources = frozenset({col("public.customer_names.name"), col("public.customers.name")})
    view = StatementFacts(
        "select",
        0,
        0,
        columns=(OutputColumn("name", sources, Dependence.IDENTITY),),
        accesses=(
            Access(
                oid("public.customer_names"),
                "select",
                False,
                frozenset({col("public.customer_names.name")}),
            ),
        ),
    )
    assert decide("x", view, bound).outcome.value == "allow"


def test_a_relation_that_the_catalog_does_not_know_is_not_covered() -> None:
    statement = StatementFacts("select", 0, 0, accesses=(Access(99999, "select"),))
    assert decide("dba", statement).outcome.value == "deny"


def recording(of_policy: str) -> BoundPolicy:
    text = f"""version: 1
rules:
  - name: orders in full
    allow: [read]
    relations: ["public.orders"]
    record: {{results: full}}
  - {{name: customers, allow: [read], relations: ["public.customers"]}}
  - name: names in full
    allow: [read]
    columns: ["public.customers.name"]
    record: {{results: full}}
  - name: a view in full
    allow: [read]
    relations: ["public.customer_names"]
    record: {{results: full}}
  - {{name: payroll, allow: [read], relations: ["hr.payroll"], record: {{results: counts}}}}
  - {{name: changes, allow: [update], relations: ["public.orders"]}}
record: {{results: {of_policy}}}
"""
    return bind(parse_policy(text, "recording.yaml"), CATALOG, "shop")


@pytest.mark.parametrize(
    ("of_policy", "statement", "results"),
    [
        ("counts", "select: select public.orders(id)", "full"),
        ("counts", "select: select public.customers(id)", "counts"),
        ("counts", "select: select public.customers(id), select public.orders(id)", "counts"),
        ("sample", "select: select public.orders(id), select public.customers(id)", "sample"),
        ("full", "select: select public.orders(id), select public.customers(id)", "full"),
        ("full", "select: select public.orders(id), select hr.payroll(id)", "counts"),
        ("counts", "select: select public.customers(name)", "full"),
        ("counts", "select: select public.customers(name, ssn)", "counts"),
        (
            "counts",
            "select: select public.customer_names(id), select public.customers(id) through-view",
            "full",
        ),
        (
            "full",
            "select: select public.customer_names(id), select hr.payroll(id) through-view",
            "counts",
        ),
        ("counts", "update where: update public.orders(note), select public.orders(id)", "counts"),
        ("counts", "prepare > select: select public.orders(id)", "full"),
        ("counts", "prepare > select: select public.customers(id)", "counts"),
        ("counts", "show", "counts"),
    ],
)
def test_what_no_rule_says_is_recorded_as_the_policy_says(
    of_policy: str, statement: str, results: str
) -> None:
    decision = decide("x", facts(statement), recording(of_policy))
    assert (decision.outcome.value, decision.results) == ("allow", results)
