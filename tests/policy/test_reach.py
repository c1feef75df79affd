"""How far a policy reaches: what deny rules take away, for whom, and what columns and views do to
it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from sallyport.policy.bind import bind
from sallyport.policy.checks.reach import GrantedAction, reach_of
from sallyport.policy.file.load import parse_policy
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Column, Relation

TABLE = Relation(
    16500, "public", "t", "r", (Column("a", 1, 23), Column("b", 2, 25), Column("c", 3, 25))
)
VIEW = Relation(
    16501, "public", "v", "v", (Column("b", 1, 25),), view_definition="SELECT t.b FROM public.t"
)
COUNTING = Relation(
    16502, "public", "n", "v", (Column("count", 1, 20),), view_definition="SELECT 1 FROM public.t"
)


def reach(
    rules: str, target: str = "shop", invoker: bool = False
) -> dict[str, dict[str, GrantedAction]]:
    views = [replace(view, security_invoker=invoker) for view in (VIEW, COUNTING)]
    catalog = CatalogSnapshot.make(
        server_version=180000,
        epoch="e",
        database="d",
        role="r",
        default_search_path=("public",),
        schemas=frozenset({"public"}),
        relations=(TABLE, *views),
        types=(),
        functions=(),
    )
    policy = parse_policy("version: 1\nrules:\n" + rules, "p.yaml")
    relations = reach_of(bind(policy, catalog, target)).relations
    return {catalog.relations[oid].name: dict(actions) for oid, actions in relations.items()}


ALLOW = (
    "  - {name: a, subjects: {groups: [x]}, allow: [select, update, delete], relations:"
    " ['public.t']}\n"
)


def columns(rules: str) -> dict[str, object]:
    return {
        action: permit.columns and set(permit.columns)
        for action, permit in reach(rules).get("t", {}).items()
    }


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", {"select": None, "update": None, "delete": None}),
        ("  - {name: d, deny: [delete]}\n", {"select": None, "update": None}),
        ("  - {name: d, subjects: {groups: [x, y]}, deny: [delete]}\n",
        {"select": None, "update": None}),
        # not denied to everyone whom the first rule is for, or not always
        ("  - {name: d, subjects: {groups: [y]}, deny: [delete]}\n",
        {"select": None, "update": None, "delete": None}),
        ("  - {name: d, subjects: {groups: [x], ids: [i]}, deny: [delete]}\n",
        {"select": None, "update": None, "delete": None}),
        ("  - {name: d, when: 'target == \"shop\"', deny: [delete]}\n",
        {"select": None, "update": None, "delete": None}),
        ("  - {name: d, window: {from: 08:00, to: 09:00}, deny: [delete]}\n",
        {"select": None, "update": None, "delete": None}),
        ("  - {name: d, targets: [other], deny: [delete]}\n",
        {"select": None, "update": None, "delete": None}),
        ("  - {name: d, deny: [select], columns: ['public.t.b']}\n",
        {"select": {1, 3}, "update": None, "delete": None}),
        ("  - {name: d, deny: [all], columns: ['public.t.b']}\n",
        {"select": {1, 3}, "update": {1, 3}}),
        # another rule gives it back
        (
            ("  - {name: d, subjects: {groups: [x]}, deny: [delete]}\n  - {name: h, hold: [delete],"
             " relations: ['public.t']}\n"),
            {"select": None, "update": None, "delete": None},
        ),
    ],
)  # fmt: skip
def test_what_denies_take_away(rules: str, expected: dict[str, object]) -> None:
    assert columns(ALLOW + rules) == expected


def test_columns_of_several_rules_add_up() -> None:
    rules = (
        "  - {name: one, allow: [select, delete], columns: ['public.t.a']}\n  - {name: two, hold:"
        " [select], columns: ['*.t.c']}\n"
    )
    permits = reach(rules)["t"]
    assert permits == {
        "select": GrantedAction(frozenset({1, 3}), ('rule "one"', 'rule "two" (after approval)'))
    }


def test_rules_of_other_targets_give_nothing() -> None:
    assert reach("  - {name: a, targets: [other], allow: [all]}\n") == {}


@pytest.mark.parametrize("invoker", [False, True])
def test_behind_a_view(invoker: bool) -> None:
    relations = reach(
        "  - {name: a, allow: [select, update], relations: ['public.v']}\n", invoker=invoker
    )
    assert relations.keys() == ({"v", "t"} if invoker else {"v"})
    if invoker:
        assert {action: permit.columns for action, permit in relations["t"].items()} == {
            "select": {2},
            "update": {2},
        }


def test_a_view_that_reads_no_column_still_needs_one() -> None:
    relations = reach("  - {name: a, allow: [select], relations: ['public.n']}\n", invoker=True)
    assert relations["t"]["select"].columns == {1}
