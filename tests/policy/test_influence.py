"""Masked columns must not steer results, errors or writes; settings and functions beside the rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sallyport.core.errors import CODES
from sallyport.core.subject import Subject
from sallyport.policy.bind import SubjectPolicy, bind
from sallyport.policy.decision import REDACT, ColumnMask, Filter, MaskSpec
from sallyport.policy.influence import (
    character_position,
    check_flows,
    check_functions,
    check_influence,
    check_settings,
    check_unknowns,
)
from sallyport.policy.load import parse_policy
from sallyport.sql.facts import Clause, Flow, FunctionUse, Influence, SettingChange, StatementFacts, Unknown
from tests.policy.shop import CATALOG, col

EMAIL, SSN, NAME = col("public.customers.email"), col("public.customers.ssn"), col("public.customers.name")


def masks(filter_: Filter, spec: MaskSpec = REDACT) -> dict[object, ColumnMask]:
    return {EMAIL: ColumnMask(spec, filter_, origin="line 9: pii.email")}


def influence(clause: Clause, equality: bool = False, position: int = -1) -> StatementFacts:
    return StatementFacts("select", 0, 0, influences=(Influence(EMAIL, clause, equality, position),))


@pytest.mark.parametrize(
    ("filter_", "clause", "equality", "code"),
    [
        (Filter.DENY, Clause.WHERE, True, "SP1201"),
        (Filter.DENY, Clause.ORDER_BY, False, "SP1201"),
        (Filter.EQUALITY, Clause.WHERE, True, None),
        (Filter.EQUALITY, Clause.WHERE, False, "SP1201"),
        (Filter.EQUALITY, Clause.JOIN, False, "SP1201"),
        (Filter.EQUALITY, Clause.GROUP_BY, False, "SP1201"),
        (Filter.EQUALITY, Clause.STATISTICS, True, "SP1201"),
        (Filter.EQUALITY, Clause.MAY_FAIL, True, "SP1204"),
        (Filter.ALLOW, Clause.WHERE, False, None),
        (Filter.ALLOW, Clause.STATISTICS, False, None),
        (Filter.ALLOW, Clause.MAY_FAIL, False, "SP1204"),
        (Filter.DENY, Clause.MAY_FAIL, False, "SP1204"),
    ],
)
def test_influence_table(filter_: Filter, clause: Clause, equality: bool, code: str | None) -> None:
    refusal = check_influence(influence(clause, equality), masks(filter_), CATALOG, "")
    assert (refusal.code.id if refusal else None) == code


@pytest.mark.parametrize("clause", list(Clause))
def test_no_clause_passes_by_default(clause: Clause) -> None:
    assert check_influence(influence(clause, True), masks(Filter.DENY), CATALOG, "") is not None


def test_columns_without_mask_may_do_anything() -> None:
    statement = StatementFacts("select", 0, 0, influences=(Influence(NAME, Clause.MAY_FAIL),))
    assert check_influence(statement, masks(Filter.DENY), CATALOG, "") is None


def test_inner_statements_count() -> None:
    outer = StatementFacts("explain", 0, 0, inner=influence(Clause.WHERE))
    assert check_influence(outer, masks(Filter.DENY), CATALOG, "") is not None


def test_the_refusal_names_column_clause_place_and_way_out() -> None:
    sql = "SELECT 'é' FROM customers WHERE email > 'a'"
    at = sql.encode().index(b"email")
    refusal = check_influence(influence(Clause.WHERE, position=at), masks(Filter.EQUALITY), CATALOG, sql)
    assert refusal is not None
    assert (
        refusal.text
        == "[SP1201] the masked column public.customers.email would influence the result in WHERE"
    )
    assert "line 9: pii.email" in refusal.detail
    assert "by = or IN" in refusal.hint
    assert refusal.position == sql.index("email") + 1
    assert (
        check_influence(influence(Clause.WHERE, position=at), masks(Filter.EQUALITY), CATALOG, sql.encode())
        == refusal
    )


@pytest.mark.parametrize(("offset", "position"), [(-1, 0), (0, 1), (2, 2), (99, 3)])
def test_positions_are_characters_from_one(offset: int, position: int) -> None:
    assert character_position("éa", offset) == position


@pytest.mark.parametrize(
    ("source_spec", "target", "target_spec", "target_filter", "allowed"),
    [
        (REDACT, None, None, None, False),  # CREATE TABLE AS
        (REDACT, NAME, None, None, False),  # another column, not masked
        (REDACT, EMAIL, None, None, True),  # SET email = lower(email), redacted
        (
            MaskSpec("partial", keep_last=4),
            EMAIL,
            None,
            None,
            False,
        ),  # SET ssn = reverse(ssn) shows the other end
        (MaskSpec("hash", key="default"), EMAIL, None, None, False),
        (MaskSpec("email"), SSN, REDACT, Filter.DENY, True),
        (MaskSpec("email"), SSN, MaskSpec("null"), Filter.DENY, True),
        (MaskSpec("email"), SSN, MaskSpec("constant", value="x"), Filter.EQUALITY, False),
        (MaskSpec("email"), SSN, MaskSpec("email"), Filter.DENY, False),
    ],
)
def test_flow_table(
    source_spec: MaskSpec,
    target: object,
    target_spec: MaskSpec | None,
    target_filter: Filter | None,
    allowed: bool,
) -> None:
    known = masks(Filter.DENY, source_spec)
    if target_spec is not None and target_filter is not None:
        known[SSN] = ColumnMask(target_spec, target_filter)
    statement = StatementFacts("update", 0, 0, flows=(Flow(target, frozenset({EMAIL})),))  # type: ignore[arg-type]
    refusal = check_flows(statement, known, CATALOG)  # type: ignore[arg-type]
    assert (refusal is None) is allowed
    if refusal is not None:
        assert refusal.code.id == "SP1202"
        assert "public.customers.email" in refusal.message


def test_flows_of_columns_without_mask_and_of_inner_statements() -> None:
    free = StatementFacts("update", 0, 0, flows=(Flow(NAME, frozenset({NAME})),))
    assert check_flows(free, masks(Filter.DENY), CATALOG) is None
    inner = StatementFacts("insert", 0, 0, flows=(Flow(NAME, frozenset({NAME, EMAIL})),))
    assert check_flows(StatementFacts("explain", 0, 0, inner=inner), masks(Filter.ALLOW), CATALOG) is not None


def test_a_masked_column_of_a_view_does_not_hide_what_is_written_through_it() -> None:
    through = col("public.customer_names.name")
    known = {EMAIL: ColumnMask(REDACT), through: ColumnMask(REDACT)}
    statement = StatementFacts("update", 0, 0, flows=(Flow(through, frozenset({EMAIL})),))
    assert check_flows(statement, known, CATALOG) is not None


def test_unknowns_the_first_decides_and_all_are_listed_up_to_a_bound() -> None:
    assert check_unknowns(StatementFacts("select", 0, 0)) is None
    many = tuple(
        Unknown("SP1103" if i else "SP1104", f"know thing {i}", "Do without." * (i == 0), 2) for i in range(7)
    )
    refusal = check_unknowns(
        StatementFacts("explain", 0, 0, inner=StatementFacts("select", 0, 0, unknowns=many)), "éab"
    )
    assert refusal is not None
    assert refusal.code is CODES["SP1104"]
    assert refusal.message == "the gateway does not know thing 0"
    assert "know thing 4 (and 2 more)" in refusal.detail
    assert "know thing 5" not in refusal.detail
    assert refusal.hint == "Do without."
    assert refusal.position == 2


def subject_policy(text: str = "") -> SubjectPolicy:
    policy = parse_policy("version: 1\n" + text, "p")
    return bind(policy, CATALOG, "shop").for_subject(Subject("s", "i", frozenset()), 0.0)


def test_functions_need_a_line_in_policy() -> None:
    statement = StatementFacts(
        "select", 0, 0, functions=(FunctionUse("app", "slugify"), FunctionUse("app", "send_mail"))
    )
    refusal = check_functions(statement, subject_policy("functions: [app.slugify]\n"), "")
    assert refusal is not None
    assert refusal.code.id == "SP1103"
    assert "app.send_mail" in refusal.message
    assert check_functions(statement, subject_policy("functions: ['app.*']\n"), "") is None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("application_name", "x", None),
        ("search_path", "hr, public", None),
        ("search_path", '"hr",PUBLIC', None),
        ("search_path", "public, hr", "SP1302"),
        ("search_path", "public", None),  # the default, which is "$user", public: there is no schema agent
        ("search_path", '"$user", public, "$user"', None),
        ("search_path", "pg_temp, public", "SP1302"),
        ("search_path", "soon, public", "SP1302"),
        ("search_path", "pg_catalog, public", "SP1302"),
        ("search_path", "", "SP1302"),
        ("search_path", None, None),
        ("", None, None),  # RESET ALL
        ("session_replication_role", "replica", "SP1301"),
        ("row_security", "off", "SP1301"),
        ("role", "postgres", "SP1301"),
        ("no_such_setting", "1", "SP1301"),
        ("my.variable", "1", "SP1301"),
        ("client_encoding", "SJIS", "SP1301"),
        ("client_encoding", "UTF8", None),
    ],
)
def test_settings_table(name: str, value: str | None, code: str | None) -> None:
    policy = subject_policy("search_paths: ['hr, public']\n")
    statement = StatementFacts("set", 0, 0, settings=(SettingChange(name, value),))
    refusal = check_settings(statement, policy)
    assert (refusal.code.id if refusal else None) == code


def test_a_schema_called_like_the_role_counts() -> None:
    policy = subject_policy("rules: []\n")
    schemas = CATALOG.schemas | {CATALOG.role}
    own = replace(policy, standing=replace(policy.standing, catalog=replace(CATALOG, schemas=schemas)))
    for value, code in (("public", "SP1302"), ('"$user", public', None), ("agent, public", None)):
        statement = StatementFacts("set", 0, 0, settings=(SettingChange("search_path", value),))
        refusal = check_settings(statement, own)
        assert (refusal.code.id if refusal else None) == code


def test_several_unknowns_are_one_sentence_each() -> None:
    unknowns = (Unknown("SP1106", "know a relation employees"), Unknown("SP1108", "know a column email"))
    refusal = check_unknowns(StatementFacts("select", 0, 0, unknowns=unknowns))
    assert refusal is not None
    assert refusal.detail.endswith("It does not know a relation employees; it does not know a column email.")
