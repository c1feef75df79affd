"""Policy meets catalog: masks follow inheritance, the strictest wins, equal keys decide alike,
patterns that miss are told.
"""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from sallyport.core.subject import Subject
from sallyport.policy.bind import bind
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.decision import REDACT, ColumnMask, Filter, MaskSpec
from sallyport.policy.file.load import parse_policy
from sallyport.policy.file.patterns import parse_pattern
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Column, Relation, Type
from tests.policy.shop import CATALOG, TEXT, col, oid

NOW = 1_790_000_000.0


def person(
    *groups: str, id_: str = "s", issuer: str = "https://idp", agent: str = "", **claims: object
) -> Subject:
    return Subject(id_, issuer, frozenset(groups), agent, claims=claims)


def policy_for(
    text: str, who: Subject | None = None, target: str = "shop", now: float = NOW
) -> SubjectPolicy:
    return bind(parse_policy("version: 1\n" + text, "p.yaml"), CATALOG, target).for_subject(
        who or person(), now
    )


def masked(text: str, who: Subject | None = None, target: str = "shop") -> dict[str, ColumnMask]:
    policy = policy_for("masks:\n" + text, who, target)
    return {CATALOG.column_name(column): mask for column, mask in policy.masks.items()}


def test_a_mask_on_the_parent_masks_every_descendant() -> None:
    masks = masked("  - {columns: [public.orders.note], with: redact}\n")
    assert masks.keys() == {
        "public.orders.note",
        "public.orders_2025.note",
        "public.orders_2026.note",
    }


def test_a_mask_on_a_partition_masks_the_parent_but_not_its_siblings() -> None:
    masks = masked("  - {columns: [public.orders_2026.note], with: redact}\n")
    assert masks.keys() == {"public.orders.note", "public.orders_2026.note"}


def test_inheritance_is_followed_by_name_not_by_number() -> None:
    masks = masked("  - {columns: [hr.people.email], with: redact}\n")
    assert masks.keys() == {"hr.people.email", "hr.managers.email"}


def test_patterns_match_real_names_case_sensitively_and_quoted() -> None:
    assert masked("  - {columns: ['public.*.email'], with: redact}\n").keys() == {
        "public.customers.email"
    }
    assert masked("  - {columns: ['public.\"Odd.Name\".Email'], with: redact}\n").keys() == {
        "public.Odd.Name.Email"
    }


def test_wildcard_schemas_do_not_mean_system_schemas() -> None:
    assert not any(
        name.startswith("pg_catalog") for name in masked("  - {columns: ['*.*.*'], with: redact}\n")
    )
    assert parse_pattern("pg_catalog.*", 2, "a.b").matches("pg_catalog", "pg_class")
    assert not parse_pattern("pg_*.*", 2, "a.b").matches("pg_catalog", "pg_class")


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("public.*", "orders", True),
        ("public.ord?rs", "orders", True),
        ("public.ord?rs", "ordrs", False),
        ("public.*_2026", "orders_2026", True),
        ("public.orders", "Orders", False),
        ("public.orders", "orders2", False),
        ("public.o.ders".replace(".d", "+d"), "orders", False),
        ("public.*", "a\nb", True),
    ],
)
def test_pattern_table(pattern: str, name: str, matches: bool) -> None:
    assert parse_pattern(pattern, 2, "a.b").matches("public", name) is matches


def test_several_masks_the_strictest_wins() -> None:
    text = """
  - {columns: [public.customers.ssn], with: {partial: {keep_last: 4}}, filter: allow}
  - {columns: [public.customers.ssn], with: hash, filter: equality}
  - {columns: [public.customers.name], with: email, filter: equality}
  - {columns: [public.customers.name], with: email, filter: allow}
"""
    masks = masked(text)
    assert (masks["public.customers.ssn"].spec, masks["public.customers.ssn"].filter) == (
        REDACT,
        Filter.EQUALITY,
    )
    assert masks["public.customers.name"].spec == MaskSpec("email")
    assert masks["public.customers.name"].filter is Filter.EQUALITY
    assert "line 4" in masks["public.customers.ssn"].origin
    assert "line 5" in masks["public.customers.ssn"].origin


def test_the_origin_of_a_mask_is_what_matched_the_column() -> None:
    text = """version: 1
packs: [pii-default]
tags: {pay: ["hr.payroll.amount", "hr.people.salary"], other: ["hr.*.bonus"]}
masks:
  - {tags: [pay, other], columns: ["public.customers.n*"], with: redact}
"""
    bound = bind(parse_policy(text, "/etc/sallyport/policy.yaml"), CATALOG, "shop")
    masks = bound.for_subject(Subject("s", "i", frozenset()), 0.0).masks
    by_name = {CATALOG.column_name(id_): mask.origin for id_, mask in masks.items()}
    assert by_name["public.customers.email"] == "pack pii-default: pii.email"
    assert by_name["hr.payroll.amount"] == "policy.yaml line 5: pay"
    assert by_name["hr.managers.bonus"] == "policy.yaml line 5: other"
    name = "pack pii-default: pii.name; policy.yaml line 5: public.customers.n*"
    assert by_name["public.customers.name"] == name


def test_except_subjects_and_targets() -> None:
    rule = "  - {columns: [public.customers.ssn], with: redact, except: {groups: [privacy]}}\n"
    assert masked(rule)
    assert not masked(rule, person("privacy"))
    some = "  - {columns: [public.customers.ssn], with: redact, subjects: {groups: [agents]}}\n"
    assert masked(some, person("agents"))
    assert not masked(some, person("people"))
    there = "  - {columns: [public.customers.ssn], with: redact, targets: ['shop*']}\n"
    assert masked(there, target="shop2")
    assert not masked(there, target="other")


def test_an_exception_from_one_mask_does_not_lift_another() -> None:
    text = """
  - {columns: [public.customers.ssn], with: email, except: {groups: [privacy]}}
  - {columns: [public.customers.ssn], with: redact}
"""
    assert masked(text, person("privacy"))["public.customers.ssn"].spec == REDACT


def test_tags_are_on_the_mask() -> None:
    policy = policy_for("tags: {pii: ['*.*.email']}\nmasks:\n  - {tags: [pii], with: redact}\n")
    assert policy.masks[col("public.customers.email")].tags == ("pii",)


RULES = """
rules:
  - {name: agents, subjects: {groups: [agents]}, allow: [read], relations: ["public.*"]}
  - {name: staff, subjects: {groups: [staff]}, hold: [update], relations: ["public.*"]}
  - {name: all, deny: [truncate]}
"""


def test_may_connect_needs_a_rule_that_gives_something() -> None:
    assert policy_for(RULES, person("agents")).may_connect
    assert policy_for(RULES, person("staff")).may_connect
    assert not policy_for(RULES, person("others")).may_connect
    assert not policy_for("rules:\n  - {name: a, targets: [x], allow: [read]}\n").may_connect


def test_equal_keys_for_equal_rules_and_different_ones_otherwise() -> None:
    bound = bind(parse_policy("version: 1\n" + RULES, "p"), CATALOG, "shop")
    first = bound.for_subject(person("agents", id_="a"), NOW)
    assert first.key == bound.for_subject(person("agents", "irrelevant", id_="b"), NOW).key
    assert first.key != bound.for_subject(person("staff"), NOW).key
    hash(first.key)


def test_conditions_on_the_subject_and_on_time_are_part_of_the_key() -> None:
    text = "version: 1\nrules:\n  - {name: r, allow: [read], when: %s}\n"
    by_subject = bind(parse_policy(text % "subject.claims.level > 3", "p"), CATALOG, "shop")
    assert (
        by_subject.for_subject(person(level=1), NOW).key
        != by_subject.for_subject(person(level=5), NOW).key
    )
    by_time = bind(parse_policy(text % "now.getHours() < 12", "p"), CATALOG, "shop")
    who = person()
    assert by_time.for_subject(who, NOW).key != by_time.for_subject(who, NOW + 1).key
    neither = bind(parse_policy(text % "target == 'shop'", "p"), CATALOG, "shop")
    assert (
        neither.for_subject(person(level=1), NOW).key
        == neither.for_subject(person(level=5), NOW + 99).key
    )


def test_asking_again_is_remembered_but_not_across_time() -> None:
    text = "rules:\n  - {name: r, allow: [read], window: {from: 08:00, to: 18:00}}\n"
    bound = bind(parse_policy("version: 1\n" + text, "p"), CATALOG, "shop")
    who = person()
    noon = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC).timestamp()
    assert bound.for_subject(who, noon) is bound.for_subject(who, noon + 59)
    assert bound.for_subject(who, noon).may_connect
    assert bound.for_subject(who, noon + 30).valid_until == noon + 60
    assert policy_for(RULES).valid_until == float("inf")
    assert policy_for(
        text.replace("window", "subjects: {groups: [x]}, window")
    ).valid_until == float("inf")
    evening = noon + 6 * 3600
    assert not bound.for_subject(who, evening).may_connect
    assert bound.for_subject(who, evening - 1).may_connect


def test_windows_over_midnight_belong_to_the_day_they_begin() -> None:
    text = "rules:\n  - {name: r, allow: [read], window: {days: [fri], from: 22:00, to: 06:00}}\n"
    at = {
        (20, 21): False,  # Friday evening
        (20, 23): True,
        (21, 5): True,  # Saturday morning
        (21, 6): False,
        (21, 23): False,
        (20, 5): False,  # Friday morning
    }
    for (day, hour), expected in at.items():
        now = datetime.datetime(2026, 11, day, hour, tzinfo=datetime.UTC).timestamp()
        assert policy_for(text, now=now).may_connect is expected, (day, hour)


def test_subject_parts_must_all_match() -> None:
    text = (
        "rules:\n  - {name: r, allow: [read], subjects: {groups: [a, b], ids: [s], issuer:"
        " https://idp, agent: [bot], claims: {team: [x, y], on: true}}}\n"
    )
    full = {"agent": "bot", "team": "x", "on": True}
    assert policy_for(text, person("a", **full)).may_connect
    assert policy_for(text, person("b", **{**full, "team": ["q", "y"]})).may_connect
    for wrong in (
        {"agent": "other"},
        {"team": "z"},
        {"on": 1},
        {"on": "true"},
        {"id_": "t"},
        {"issuer": "https://x"},
    ):
        assert not policy_for(text, person("a", **{**full, **wrong})).may_connect, wrong
    assert not policy_for(text, person("c", **full)).may_connect


def test_functions_are_trusted_by_name_and_never_system_ones() -> None:
    policy = policy_for("functions: ['app.*', '*.slugify']\n")
    functions = {f"{f.schema}.{f.name}": f for f in CATALOG.functions.values()}
    assert policy.trusts_function(functions["app.send_mail"])
    assert policy.trusts_name("other", "slugify")
    assert not policy.trusts_name("other", "send_mail")
    assert not policy_for("functions: ['*.*']\n").trusts_function(functions["pg_catalog.lower"])


def test_limits_of_all_matching_entries() -> None:
    text = """limits:
  - {rows: 100, statement_timeout: 30s}
  - {subjects: {groups: [agents]}, rows: 50, bytes: 1000}
  - {targets: [other], rows: 1}
"""
    limits = policy_for(text, person("agents")).limits
    assert (limits.rows, limits.bytes, limits.statement_timeout) == (50, 1000, 30.0)
    assert policy_for(text).limits.rows == 100


def test_patterns_that_match_nothing_are_told_with_their_line() -> None:
    text = """version: 1
packs: [pii-default]
tags: {pii: ['*.*.nothing']}
rules:
  - {name: r, allow: [read], relations: ['public.orders', 'public.oders']}
  - {name: elsewhere, targets: [x], allow: [read], relations: ['a.b']}
masks:
  - {columns: ['public.customers.emial'], with: redact}
  - {tags: [pii], with: redact}
functions: ['app.nothing']
"""
    warnings = bind(parse_policy(text, "p"), CATALOG, "shop").warnings
    assert warnings == (
        'rule "r" (line 5): public.oders matches nothing in target shop',
        (
            "mask (line 8): public.customers.emial matches nothing in target shop. Did you mean"
            " 'public.customers.email'?"
        ),
        "mask (line 9): no column of target shop has the tag 'pii'",
        "functions: app.nothing matches nothing in target shop",
    )


def test_permissions_of_masks_are_combined_by_and() -> None:
    every = "filter: {equality: joins}, write_filter: masked, write: allow, copies: masked"
    text = f"""
  - {{columns: [public.customers.ssn, public.customers.name], with: redact, {every}}}
  - {{columns: [public.customers.name], with: redact, filter: masked, write: allow}}
"""
    columns = masked(text)
    ssn, name = columns["public.customers.ssn"], columns["public.customers.name"]
    assert ssn.filter is Filter.EQUALITY_JOINS
    assert (ssn.write_filter, ssn.write, ssn.copies) == (True, True, True)
    assert name.filter is Filter.MASKED
    assert (name.write_filter, name.write, name.copies) == (False, True, False)


def test_notices_and_trusted_views() -> None:
    view, table = (
        CATALOG.relations[oid("public.customer_names")],
        CATALOG.relations[oid("public.customers")],
    )
    policy = policy_for("notices: false\nviews: {'public.*': trusted}\n")
    assert not policy.notices
    assert policy.trusts_view(view)
    assert not policy.trusts_view(table)
    assert not policy.trusts_view(replace(view, schema="pg_catalog"))
    assert policy_for("rules: []\n").notices
    assert not policy_for("views: {'public.customers': trusted}\n").trusts_view(view)


def test_a_trusted_view_that_is_none_is_a_warning() -> None:
    text = "version: 1\nviews: {'public.customer_names': trusted, 'public.customers': trusted}\n"
    warnings = bind(parse_policy(text, "p"), CATALOG, "shop").warnings
    assert warnings == ("views: public.customers matches no view in target shop",)


def test_a_masked_partition_key_is_a_warning() -> None:
    parent = replace(CATALOG.relations[oid("public.orders")], partition_key=(2,))
    catalog = replace(CATALOG, relations={**CATALOG.relations, parent.oid: parent})
    entry = "{{columns: [public.orders_2026.{}], with: redact, filter: masked{}}}"

    def warnings(column: str, more: str = "") -> tuple[str, ...]:
        text = f"version: 1\nmasks:\n  - {entry.format(column, more)}\n"
        return bind(parse_policy(text, "p"), catalog, "shop").warnings

    assert warnings("customer_id") == (
        (
            "mask (line 3): public.orders.customer_id is in the partition key of public.orders."
            " Subjects with this mask cannot read the table's rows, because the order of the"
            " partitions tells values"
        ),
    )
    assert warnings("note") == ()
    assert warnings("customer_id", ", targets: [elsewhere]") == ()


def test_what_is_classified_and_masked_for_whom() -> None:
    text = """version: 1
tags: {pay: ["hr.payroll.amount", "hr.people.salary"], note: ["public.orders.note"]}
masks:
  - {tags: [pay], with: redact, filter: equality, subjects: {groups: [b, a], agent: claude},
     except: {ids: [root]}}
  - {columns: ["hr.people.salary"], with: null, except: {groups: [privacy]}}
"""
    bound = bind(parse_policy(text, "p"), CATALOG, "shop")
    masked = {(column, mask): rest for column, mask, *rest in bound.masked_columns()}
    assert masked["hr.people.salary", "redact"] == [
        "equality", ("pay",), (), "group a or b and agent claude", "subject root",
    ]  # fmt: skip
    assert masked["hr.people.salary", "null"] == [
        "masked",
        ("pay",),
        ("privacy",),
        "everybody",
        "group privacy",
    ]
    assert ("public.orders.note", ("note",)) in bound.unmasked_columns()
    assert not {column for column, _ in bound.unmasked_columns()} & {column for column, _ in masked}


def test_rows_in_rows_are_looked_at_once() -> None:
    """Ten columns of a type of ten columns, and so on: as many values as there are would take all
    memory, when the catalog is read, for everybody.
    """
    deep = 12
    types = [Type(TEXT, "pg_catalog", "text", "b")]
    relations = list(CATALOG.relations.values())
    inside = TEXT
    for number in range(deep):
        oid_, type_oid = 30_000 + number, 40_000 + number
        columns = tuple(Column(f"a{i}", i, inside) for i in range(1, 11))
        relations.append(Relation(oid_, "public", f"level_{number}", "r", columns))
        types.append(Type(type_oid, "public", f"level_{number}", "c", relation=oid_))
        inside = type_oid
    catalog = CatalogSnapshot.make(
        server_version=180000,
        epoch="deep",
        database="shop",
        role="agent",
        default_search_path=("public",),
        schemas=frozenset({"public", "hr", "app", "pg_catalog"}),
        relations=tuple(relations),
        types=tuple(types),
        functions=(),
    )
    text = "version: 1\nmasks:\n  - {columns: [public.level_0.a3], with: redact}\n"
    policy = bind(parse_policy(text, "p.yaml"), catalog, "shop").for_subject(person(), NOW)
    holders = {column.relation - 30_000 for column in policy.masks}
    assert holders == set(range(deep))
    assert len(policy.masks) == 1 + 10 * (deep - 1)
