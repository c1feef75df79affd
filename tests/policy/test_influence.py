"""Raw values must not steer writes; mentions, settings and functions beside the rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sallyport.core.errors import CODES
from sallyport.core.subject import Subject
from sallyport.policy.bind import bind
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.checks.changed_settings import check_change, check_settings
from sallyport.policy.checks.influence import (
    character_position,
    check_flows,
    check_functions,
    check_functions_read,
    check_influence,
    check_mentions,
    check_refresh,
    check_unknowns,
    check_writes,
)
from sallyport.policy.decision import REDACT, ColumnMask, Filter, MaskSpec
from sallyport.policy.file.load import parse_policy
from sallyport.sql.catalog.snapshot import ColumnId
from sallyport.sql.facts import (
    Access,
    Clause,
    Flow,
    FunctionUse,
    Influence,
    SettingChange,
    StatementFacts,
    Unknown,
)
from tests.policy.shop import CATALOG, col

EMAIL, SSN, NAME = (
    col("public.customers.email"),
    col("public.customers.ssn"),
    col("public.customers.name"),
)


def masks(filter_: Filter, spec: MaskSpec = REDACT) -> dict[ColumnId, ColumnMask]:
    return {EMAIL: ColumnMask(spec, filter_, origin="line 9: pii.email")}


def influence(clause: Clause, equality: bool = False, position: int = -1) -> StatementFacts:
    return StatementFacts(
        "select", 0, 0, influences=(Influence(EMAIL, clause, equality, position),)
    )


@pytest.mark.parametrize(
    ("filter_", "clause", "equality", "code"),
    [
        (Filter.DENY, Clause.WHERE, True, "SP1201"),
        (Filter.DENY, Clause.RETURNING, False, "SP1201"),
        (Filter.EQUALITY, Clause.WHERE, True, None),
        (Filter.EQUALITY, Clause.WHERE, False, "SP1201"),
        (Filter.EQUALITY, Clause.SET, False, "SP1201"),
        (Filter.EQUALITY, Clause.UNIQUE, True, None),
        (Filter.EQUALITY, Clause.CHECK, False, "SP1201"),
        (Filter.ALLOW, Clause.WHERE, False, None),
        (Filter.ALLOW, Clause.CHECK, False, None),
        (Filter.DENY, Clause.CHECK, False, "SP1201"),
    ],
)
def test_influence_table(filter_: Filter, clause: Clause, equality: bool, code: str | None) -> None:
    refusal = check_influence(influence(clause, equality), masks(filter_), CATALOG, "")
    assert (refusal.code.id if refusal else None) == code


@pytest.mark.parametrize("clause", list(Clause))
def test_no_clause_passes_by_default(clause: Clause) -> None:
    assert check_influence(influence(clause, True), masks(Filter.DENY), CATALOG, "") is not None


def test_columns_without_mask_may_do_anything() -> None:
    statement = StatementFacts("select", 0, 0, influences=(Influence(NAME, Clause.CHECK),))
    assert check_influence(statement, masks(Filter.DENY), CATALOG, "") is None


def test_inner_statements_count() -> None:
    outer = StatementFacts("explain", 0, 0, inner=influence(Clause.WHERE))
    assert check_influence(outer, masks(Filter.DENY), CATALOG, "") is not None


def test_the_refusal_names_column_clause_place_and_way_out() -> None:
    sql = "DELETE FROM customers WHERE 'é' < name AND email > 'a'"
    at = sql.encode().index(b"email")
    refusal = check_influence(
        influence(Clause.WHERE, position=at), masks(Filter.EQUALITY), CATALOG, sql
    )
    assert refusal is not None
    assert (
        refusal.text
        == "[SP1201] masked column public.customers.email would influence the result in WHERE"
    )
    assert "line 9: pii.email" in refusal.detail
    assert "by = or IN" in refusal.hint
    assert refusal.position == sql.index("email") + 1
    assert (
        check_influence(
            influence(Clause.WHERE, position=at), masks(Filter.EQUALITY), CATALOG, sql.encode()
        )
        == refusal
    )


def test_a_column_of_a_view_gets_a_hint_about_the_view() -> None:
    """The statement does not name it, so it cannot leave it out."""
    sql = "DELETE FROM customers_of_the_year WHERE id = 1"
    refusal = check_influence(influence(Clause.WHERE), masks(Filter.MASKED), CATALOG, sql)
    assert refusal is not None
    assert refusal.hint.startswith("Write to the table itself")


@pytest.mark.parametrize(
    ("filter_", "code"), [(Filter.DENY, "SP1201"), (Filter.EQUALITY, None), (Filter.ALLOW, None)]
)
def test_with_filter_deny_a_column_is_only_selected_as_it_is(
    filter_: Filter, code: str | None
) -> None:
    sql = "EXPLAIN SELECT upper(email) FROM customers"
    at = sql.index("email")
    inner = StatementFacts("select", 0, 0, mentioned=((NAME, 3), (EMAIL, at)))
    refusal = check_mentions(
        StatementFacts("explain", 0, 0, inner=inner), masks(filter_), CATALOG, sql
    )
    assert (refusal.code.id if refusal else None) == code
    if refusal is not None:
        assert refusal.position == at + 1
        assert (
            refusal.message == "masked column public.customers.email can only be selected as it is"
        )


@pytest.mark.parametrize("filter_", list(Filter))
def test_a_function_does_not_read_masked_columns(filter_: Filter) -> None:
    inner = StatementFacts("select", 0, 0, read_in_functions=frozenset({NAME, EMAIL}))
    outer = StatementFacts("explain", 0, 0, inner=inner)
    refusal = check_functions_read(outer, masks(filter_), CATALOG, "")
    assert refusal is not None
    assert refusal.code.id == "SP1103"
    assert "public.customers.email" in refusal.message
    assert check_functions_read(outer, {}, CATALOG, "") is None


@pytest.mark.parametrize(("offset", "position"), [(-1, 0), (0, 1), (2, 2), (99, 3)])
def test_positions_are_characters_from_one(offset: int, position: int) -> None:
    assert character_position("éa", offset) == position


TOTAL = col("public.orders.total")


@pytest.mark.parametrize(
    ("filter_", "copies", "target", "target_mask", "allowed"),
    [
        (Filter.MASKED, False, None, None, False),  # CREATE TABLE AS
        (Filter.MASKED, False, TOTAL, None, False),
        (Filter.MASKED, False, EMAIL, None, False),  # SET email = lower(email) would store the mask
        (Filter.MASKED, False, TOTAL, REDACT, False),
        (Filter.MASKED, True, None, None, True),
        (Filter.MASKED, True, TOTAL, None, True),
        (Filter.EQUALITY, True, TOTAL, None, True),
        (Filter.EQUALITY_JOINS, True, TOTAL, None, True),
        (Filter.DENY, True, TOTAL, None, True),  # in a whole row it is the mask's value as well
        (Filter.ALLOW, True, TOTAL, None, False),  # there it is the value itself
        (Filter.ALLOW, True, None, None, False),
        (Filter.MASKED, True, NAME, None, False),  # another column of the same rows
        (Filter.MASKED, True, EMAIL, None, False),
        (Filter.MASKED, True, TOTAL, REDACT, False),  # what the target's mask hides would be lost
        (Filter.MASKED, True, TOTAL, MaskSpec("null"), False),
    ],
)
def test_flow_table(
    filter_: Filter,
    copies: bool,
    target: ColumnId | None,
    target_mask: MaskSpec | None,
    allowed: bool,
) -> None:
    masks = {
        EMAIL: ColumnMask(MaskSpec("email"), filter_, origin="line 9: pii.email", copies=copies)
    }
    if target_mask is not None and target is not None:
        masks[target] = ColumnMask(target_mask)
    statement = StatementFacts("update", 0, 0, flows=(Flow(target, frozenset({EMAIL})),))
    refusal = check_flows(statement, masks, CATALOG)
    assert (refusal is None) is allowed
    if refusal is not None:
        assert refusal.code.id == "SP1202"
        assert "public.customers.email" in refusal.message


def test_every_source_of_a_flow_must_allow_copies() -> None:
    masks = {EMAIL: ColumnMask(REDACT, copies=True), SSN: ColumnMask(REDACT)}
    for sources, allowed in (({EMAIL}, True), ({NAME, EMAIL}, True), ({EMAIL, SSN}, False)):
        statement = StatementFacts("insert", 0, 0, flows=(Flow(TOTAL, frozenset(sources)),))
        assert (check_flows(statement, masks, CATALOG) is None) is allowed


@pytest.mark.parametrize(
    ("mask", "action", "column", "code"),
    [
        (ColumnMask(REDACT), "update", EMAIL, "SP1201"),
        (ColumnMask(REDACT, Filter.DENY), "update", EMAIL, "SP1201"),
        (ColumnMask(REDACT, Filter.EQUALITY), "update", EMAIL, "SP1201"),
        (ColumnMask(REDACT, Filter.EQUALITY, write=True), "update", EMAIL, None),
        (ColumnMask(REDACT, Filter.ALLOW), "update", EMAIL, None),
        (ColumnMask(REDACT, write=True), "update", EMAIL, None),
        (ColumnMask(REDACT), "update", NAME, None),
        (ColumnMask(REDACT), "insert", EMAIL, None),  # a new row has no value that could be guessed
        (ColumnMask(REDACT), "select", EMAIL, None),
    ],
)
def test_changing_a_masked_column_is_a_guess(
    mask: ColumnMask, action: str, column: ColumnId, code: str | None
) -> None:
    access = Access(EMAIL.relation, action, columns=frozenset({column}))
    for statement in (
        StatementFacts("update", 0, 0, accesses=(access,)),
        StatementFacts("explain", 0, 0, inner=StatementFacts("update", 0, 0, accesses=(access,))),
    ):
        refusal = check_writes(statement, {EMAIL: mask}, CATALOG)
        assert (refusal.code.id if refusal else None) == code


@pytest.mark.parametrize(
    ("filter_", "write_filter", "clause", "code"),
    [
        (Filter.MASKED, False, Clause.WHERE, "SP1201"),
        (Filter.MASKED, True, Clause.WHERE, None),
        (Filter.EQUALITY, True, Clause.WHERE, None),
        (Filter.DENY, True, Clause.WHERE, "SP1201"),
        (Filter.MASKED, True, Clause.SET, "SP1201"),
        (Filter.MASKED, True, Clause.MERGE_CONDITION, "SP1201"),
        (Filter.MASKED, True, Clause.ON_CONFLICT, "SP1201"),
        (Filter.MASKED, True, Clause.RETURNING, "SP1201"),
        (Filter.MASKED, True, Clause.UNIQUE, "SP1201"),
    ],
)
def test_write_filter_is_about_where_alone(
    filter_: Filter, write_filter: bool, clause: Clause, code: str | None
) -> None:
    masks = {EMAIL: ColumnMask(REDACT, filter_, write_filter=write_filter)}
    refusal = check_influence(influence(clause), masks, CATALOG, "")
    assert (refusal.code.id if refusal else None) == code


@pytest.mark.parametrize("filter_", list(Filter))
def test_a_materialized_view_is_not_refreshed_over_masked_columns(filter_: Filter) -> None:
    masks = {EMAIL: ColumnMask(REDACT, filter_)}
    for kind, mentioned, code in (
        ("refresh_materialized_view", ((NAME, -1), (EMAIL, -1)), "SP1201"),
        ("refresh_materialized_view", ((NAME, -1),), None),
        ("select", ((EMAIL, 3),), None),
    ):
        refusal = check_refresh(StatementFacts(kind, 0, 0, mentioned=mentioned), masks, CATALOG)
        assert (refusal.code.id if refusal else None) == code


def test_flows_of_columns_without_mask_and_of_inner_statements() -> None:
    free = StatementFacts("update", 0, 0, flows=(Flow(NAME, frozenset({NAME})),))
    assert check_flows(free, masks(Filter.DENY), CATALOG) is None
    inner = StatementFacts("insert", 0, 0, flows=(Flow(NAME, frozenset({NAME, EMAIL})),))
    assert (
        check_flows(StatementFacts("explain", 0, 0, inner=inner), masks(Filter.ALLOW), CATALOG)
        is not None
    )


def test_a_masked_column_of_a_view_does_not_hide_what_is_written_through_it() -> None:
    through = col("public.customer_names.name")
    masks = {EMAIL: ColumnMask(REDACT), through: ColumnMask(REDACT)}
    statement = StatementFacts("update", 0, 0, flows=(Flow(through, frozenset({EMAIL})),))
    assert check_flows(statement, masks, CATALOG) is not None


def test_unknowns_the_first_decides_and_all_are_listed_up_to_a_bound() -> None:
    assert check_unknowns(StatementFacts("select", 0, 0)) is None
    many = tuple(
        Unknown(
            "SP1103" if i else "SP1104", f"cannot determine thing {i}", "Do without." * (i == 0), 2
        )
        for i in range(7)
    )
    refusal = check_unknowns(
        StatementFacts("explain", 0, 0, inner=StatementFacts("select", 0, 0, unknowns=many)), "éab"
    )
    assert refusal is not None
    assert refusal.code is CODES["SP1104"]
    assert refusal.message == "cannot determine thing 0"
    assert "cannot determine thing 5 (and 1 more)" in refusal.detail
    assert "thing 0" not in refusal.detail
    assert "thing 6" not in refusal.detail
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
        # the default, which is "$user", public: there is no schema agent
        ("search_path", "public", None),
        ("search_path", '"$user", public, "$user"', None),
        ("search_path", "pg_temp, public", "SP1302"),
        ("search_path", "soon, public", "SP1302"),
        ("search_path", "pg_catalog, public", "SP1302"),
        ("search_path", "", None),
        ("search_path", '""', None),
        ("search_path", "pg_catalog", None),
        ("search_path", "pg_catalog, pg_temp", "SP1302"),
        ("search_path", '"', "SP1302"),  # not a list of names
        ("search_path", ",", "SP1302"),
        ("search_path", None, None),
        ("", None, None),  # RESET ALL
        ("session_replication_role", "replica", "SP1301"),
        ("row_security", "off", None),
        ("statement_timeout", "0", None),
        ("DateStyle", "German", None),
        ("role", "postgres", "SP1301"),
        ("no_such_setting", "1", "SP1305"),
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


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ("5s", True),
        ("30000", True),
        ("30s", True),
        ("999us", True),  # PostgreSQL rounds to 1ms
        ("31s", False),
        ("0", False),
        ("-1", False),
        ("400us", False),  # to 0, which is no limit
        ("1e3", False),
        ("0x10", False),
        ("1h", False),
        (" 5 s ", True),
        ("9" * 30, False),
        ("٥", False),
    ],
)
def test_a_session_may_have_less_time_than_policy_gives(value: str, passes: bool) -> None:
    policy = subject_policy("limits: {statement_timeout: 30s}\n")
    refusal = check_change(SettingChange("Statement_Timeout", value), policy)
    assert (refusal is None) == passes
    assert refusal is None or refusal.code.id == "SP1301"


def test_date_styles_and_masks() -> None:
    """A mask of a column that holds no dates leaves DateStyle to the session; one whose type is not
    known does not.
    """
    policy = subject_policy("masks: [{columns: ['*.*.email'], with: redact}]\n")
    assert policy.masks
    assert check_change(SettingChange("DateStyle", "SQL, DMY"), policy) is None
    without_mask = replace(
        policy, standing=replace(policy.standing, catalog=replace(CATALOG, relations={}))
    )
    assert check_change(SettingChange("DateStyle", "SQL, DMY"), without_mask) is not None
    assert check_change(SettingChange("DateStyle", "ISO, DMY"), without_mask) is None


def test_a_schema_called_like_the_role_counts() -> None:
    policy = subject_policy("rules: []\n")
    schemas = CATALOG.schemas | {CATALOG.role}
    own = replace(
        policy, standing=replace(policy.standing, catalog=replace(CATALOG, schemas=schemas))
    )
    for value, code in (("public", "SP1302"), ('"$user", public', None), ("agent, public", None)):
        statement = StatementFacts("set", 0, 0, settings=(SettingChange("search_path", value),))
        refusal = check_settings(statement, own)
        assert (refusal.code.id if refusal else None) == code


def test_further_unknowns_are_further_reasons() -> None:
    unknowns = (Unknown("SP1102", "cannot tell a"), Unknown("SP1102", "b is not supported"))
    refusal = check_unknowns(StatementFacts("select", 0, 0, unknowns=unknowns))
    assert refusal is not None
    assert refusal.message == "cannot tell a"
    assert refusal.detail.endswith(" Further reasons: b is not supported.")
