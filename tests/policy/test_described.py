"""What a subject is told of a schema: no more than rules open, masks named, bounds kept."""

from __future__ import annotations

import json
from typing import Any

from sallyport.core.subject import Subject
from sallyport.policy.bind import bind
from sallyport.policy.described import described
from sallyport.policy.file.load import parse_policy
from tests.policy.shop import snapshot

POLICY = """
version: 1
rules:
  - {name: read, subjects: {groups: [a]}, allow: [read], relations: ["public.*"]}
  - {name: write, subjects: {groups: [a]}, allow: [insert, update], relations: ["public.orders"]}
  - {name: wait, subjects: {groups: [a]}, hold: [delete, update], relations: ["public.orders"]}
  - {name: never, deny: [select], relations: ["public.customer_names"]}
  - name: no large ones
    deny: [insert]
    relations: ["public.orders"]
    when: "size(statement.relations) > 3"
  - {name: hr, subjects: {groups: [b]}, allow: [read], relations: ["hr.*"]}
masks:
  - {columns: ["public.customers.ssn"], with: redact, filter: deny}
  - {columns: ["*.*.email"], with: email, except: {groups: [b]}}
"""


def told(group: str, words: str = "", policy: str = POLICY) -> dict[str, Any]:
    subject = Subject("s", "https://idp.example", frozenset({group}))
    bound = bind(parse_policy(policy, "policy.yaml"), snapshot(), "shop")
    return described(bound.for_subject(subject, 0.0), words)


def relations(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {relation["name"]: relation for relation in answer["relations"]}


def test_only_what_rules_open_is_told() -> None:
    mine = relations(told("a"))
    assert set(mine) == {
        "public.customers", "public.orders", "public.orders_2025", "public.orders_2026",
        "public.Odd.Name",
    }  # fmt: skip
    assert set(relations(told("b"))) == {"hr.people", "hr.managers", "hr.payroll"}
    assert told("nobody")["relations"] == []
    assert "hr" not in json.dumps(told("a")) and "customer_names" not in json.dumps(told("a"))


def test_what_is_allowed_and_what_waits() -> None:
    orders = relations(told("a"))["public.orders"]
    assert orders["allowed"] == ["select", "insert"]
    assert orders["waits_for_approval"] == ["update", "delete"]
    customers = relations(told("a"))["public.customers"]
    assert customers["allowed"] == ["select"] and "waits_for_approval" not in customers


def test_masks_are_those_of_the_subject() -> None:
    columns = relations(told("a"))["public.customers"]["columns"]
    assert [text.partition(" ")[2].partition("(")[2] for text in columns] == [
        "",
        "",
        "masked: email; conditions and expressions see the mask)",
        "masked: redact; not usable in conditions and expressions)",
    ]
    people = relations(told("b"))["hr.people"]["columns"]
    assert not any("masked" in text for text in people)


def test_words_choose_and_rank() -> None:
    assert list(relations(told("a", "SSN"))) == ["public.customers"]
    assert next(iter(relations(told("a", "orders total")))) == "public.orders"
    assert told("a", "%' -- zzz")["relations"] == []
