"""What is made and renamed: rules match the new name, and no change of names takes anything out of
masks and rules. A golden table.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sallyport.core.subject import Subject
from sallyport.policy.bind import bind
from sallyport.policy.bound import BoundPolicy
from sallyport.policy.file.load import parse_policy
from sallyport.policy.outcome import outcome_of
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Relation
from sallyport.sql.extract import Context, analyze
from tests.policy.shop import CATALOG

POLICY = """
version: 1
tags: {pay: ["hr.people.salary", "hr.*.bonus"]}
rules:
  - {name: owners do everything, subjects: {groups: [owners]}, allow: [all]}
  - {name: masked people too, subjects: {groups: [masked]}, allow: [all]}
  - {name: the release job, subjects: {groups: [release]}, allow: [ddl, read],
     relations: ["public.*"]}
  - name: views
    subjects: {groups: [views]}
    allow: [select, create_view, alter_view]
    relations: ["public.*"]
  - {name: renames, subjects: {groups: [renames]}, allow: [rename], relations: ["public.*"]}
  - {name: careful, subjects: {groups: [careful]}, allow: [ddl], relations: ["public.*"]}
  - {name: renames are talked about, subjects: {groups: [careful]}, hold: [rename],
     reviewers: {groups: [dba]}}
  - {name: nothing moves, subjects: {groups: [careful]}, deny: [set_schema]}
  - {name: locked tables stay, deny: [ddl], relations: ["public.locked*"]}
  - name: drops wait
    subjects: {groups: [release]}
    hold: [drop_table]
    relations: ["public.orders*"]
    reviewers: {groups: [dba]}
  - {name: payroll is counted, subjects: {groups: [audit]}, deny: [delete],
     relations: ["hr.payroll"]}
  - {name: everyone reads the shop, subjects: {groups: [agents]}, allow: [read],
     relations: ["public.*"]}
views: {"public.trusted_*": trusted}
functions: ["counted.sum_*"]
masks:
  - columns: ["public.customers.ssn", "public.customers.ssn2", "public.people.ssn"]
    with: redact
    except: {groups: [owners]}
  - {columns: ["public.customers.email", "public.people.email"], with: email,
     except: {groups: [owners]}}
  - {columns: ["public.orders.note"], with: redact, subjects: {groups: [agents]}}
  - {tags: [pay], with: redact}
"""
HERE = Path(__file__).parent


def rows() -> list[tuple[str, str, str]]:
    lines = [
        line
        for line in (HERE / "names.table").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return [(who, sql, answer) for who, sql, answer in cells]


def catalog() -> CatalogSnapshot:
    """The shop's, where the view has a definition, inheritance does not hide who has the mask, and
    a schema is empty.
    """
    view = CATALOG.relation_by_name["public", "customer_names"]
    defined = replace(view, view_definition="SELECT id, name FROM public.customers")
    relations: dict[int, Relation] = {**CATALOG.relations, view.oid: defined}
    named = {**CATALOG.relation_by_name, ("public", "customer_names"): defined}
    schemas = CATALOG.schemas | {"spare"}
    return replace(CATALOG, relations=relations, relation_by_name=named, schemas=schemas)


@pytest.fixture(scope="module")
def bound() -> BoundPolicy:
    return bind(parse_policy(POLICY, "policy.yaml"), catalog(), "shop")


@pytest.mark.parametrize(
    ("who", "sql", "answer"), rows(), ids=[f"{who}: {sql}"[:70] for who, sql, _ in rows()]
)
def test_names(bound: BoundPolicy, who: str, sql: str, answer: str) -> None:
    subject = Subject("s", "https://idp", frozenset({who}), "")
    policy = bound.for_subject(subject, 0.0)
    context = Context(search_path=("public",), trusted_functions=policy.trusts_function)
    (facts,) = analyze(sql.encode(), bound.catalog, context)
    decision, refusal = outcome_of(policy, facts, sql)
    rule = decision.rule if refusal is not None and refusal is decision.refusal else ""
    assert (rule or (refusal.code.id if refusal is not None else "ok")) == answer, refusal


@pytest.fixture(scope="module")
def held() -> BoundPolicy:
    """The same policy, under which everything that is allowed waits."""
    everything = "  - {name: it waits, hold: [all], reviewers: {groups: [dba]}}\n"
    text = POLICY.replace("views: {", everything + "views: {", 1)
    return bind(parse_policy(text, "policy.yaml"), catalog(), "shop")


@pytest.mark.parametrize(
    ("who", "sql", "answer"),
    [row for row in rows() if row[2].startswith("SP12")],
    ids=[f"{who}: {sql}"[:70] for who, sql, answer in rows() if answer.startswith("SP12")],
)
def test_what_masks_forbid_nobody_can_approve(
    held: BoundPolicy, who: str, sql: str, answer: str
) -> None:
    test_names(held, who, sql, answer)


def test_what_masks_do_not_forbid_waits(held: BoundPolicy) -> None:
    test_names(held, "owners", "CREATE TABLE public.t AS SELECT ssn FROM customers", "it waits")


def test_a_name_that_was_used_before_may_stand_for_another_relation(bound: BoundPolicy) -> None:
    """A statement that was judged when it meant the old one may run now."""
    before = bound.catalog
    gone = {
        oid: relation
        for oid, relation in before.relations.items()
        if relation.name != "customer_names"
    }
    now = replace(before, relations=gone, relation_by_name={}, epoch="later").following(before)
    assert now.retired == {"customer_names"}
    again = replace(now, relation_by_name={(r.schema, r.name): r for r in gone.values()})
    policy = bind(bound.policy, again, "shop").for_subject(
        Subject("s", "https://idp", frozenset({"masked"}), ""), 0.0
    )
    for name, answer in (("customer_names", "SP1202"), ("something_new", None)):
        sql = f"CREATE VIEW public.{name} AS SELECT ssn AS name FROM public.customers"
        (facts,) = analyze(sql.encode(), again, Context(search_path=("public",)))
        refusal = outcome_of(policy, facts, sql)[1]
        assert (refusal.code.id if refusal is not None else None) == answer
