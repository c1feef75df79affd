"""The tables in functions.tsv and relations.tsv against the servers themselves, and by example."""

from __future__ import annotations

import psycopg
import pytest

from sallyport.sql import functions, relations
from sallyport.sql.catalog import CatalogSnapshot, Function
from sallyport.sql.extract import analyze
from sallyport.sql.functions import (
    FIRST_USER_OID,
    classify,
    classify_cast,
    classify_operator,
    may_fail_with,
    type_names,
)
from sallyport.sql.relations import SYSTEM_SCHEMAS, classify_relation
from tests.sql.hostile_values import POLYMORPHIC, VALUES, sql_type, table_of
from tests.sql.rendering import CONTEXT
from tests.support.postgres import Server
from tests.targets.query import catalog_of


@pytest.fixture(scope="session")
def catalog(any_postgres: Server) -> CatalogSnapshot:
    return catalog_of(any_postgres.superuser_dsn)


def _signature(function: Function) -> str:
    names = type_names()
    return f"{function.name}({', '.join(names.get(oid, str(oid)) for oid in function.arg_types)})"


def _built_in(catalog: CatalogSnapshot) -> list[Function]:
    return [f for f in catalog.functions.values() if f.schema in SYSTEM_SCHEMAS and f.oid < FIRST_USER_OID]


def test_every_built_in_function_is_classified(catalog: CatalogSnapshot) -> None:
    unknown = [_signature(f) for f in _built_in(catalog) if classify(f) == functions._NOT_LISTED]
    assert len(_built_in(catalog)) > 3000
    assert unknown == []


def test_every_built_in_operator_is_classified(catalog: CatalogSnapshot) -> None:
    classes = {op: classify_operator(op, catalog) for op in catalog.operators if op.oid < FIRST_USER_OID}
    assert len(classes) > 700
    assert [op.name for op, found in classes.items() if found.reason == functions._NOT_LISTED.reason] == []
    assert [op.name for op, found in classes.items() if not found.safe] == []


def test_every_built_in_cast_is_classified(catalog: CatalogSnapshot) -> None:
    names = type_names()
    unsafe = [
        (names.get(cast.source), names.get(cast.target))
        for cast in catalog.casts
        if max(cast.source, cast.target, cast.function) < FIRST_USER_OID
        and not classify_cast(cast.source, cast.target, catalog).safe
    ]
    assert unsafe == []


def test_every_system_relation_is_classified(catalog: CatalogSnapshot) -> None:
    system = [r for r in catalog.relations.values() if r.schema in SYSTEM_SCHEMAS]
    assert len(system) > 190
    assert [r.qualified for r in system if classify_relation(r) == relations._NOT_LISTED] == []


def test_a_new_column_of_a_partly_readable_relation_is_noticed(catalog: CatalogSnapshot) -> None:
    for relation in catalog.relations.values():
        found = classify_relation(relation)
        if relation.schema in SYSTEM_SCHEMAS and found.columns is not None:
            withheld = {column.name for column in relation.columns} - found.columns
            assert all(name in found.reason for name in withheld), (relation.qualified, withheld)


def _calls(function: Function) -> list[str]:
    """A SELECT per stand-in for its polymorphic arguments, over every combination of hostile values."""
    arguments = [type_names()[oid] for oid in function.arg_types]
    sets = POLYMORPHIC if any(name in POLYMORPHIC[0] for name in arguments) else POLYMORPHIC[:1]
    calls = []
    for stand_ins in sets:
        types = [stand_ins.get(name, name) for name in arguments]
        if any(name not in VALUES for name in types):  # record, enum
            return []
        places = [f"x{i}" for i in range(len(types))]
        if function.variadic and types[-1].startswith("_"):
            places[-1] = "VARIADIC " + places[-1]
        call = f'pg_catalog."{function.name}"({", ".join(places)})'
        if function.kind == "w":
            call += " OVER ()"
        elif function.kind == "a" and function.name in ("rank", "dense_rank", "percent_rank", "cume_dist"):
            return []  # hypothetical-set: same code as the window functions
        elif function.name == "mode":
            call = "pg_catalog.mode() WITHIN GROUP (ORDER BY x0)"
        elif function.name == "count" and not types:
            call = "pg_catalog.count(*)"
        source = ", ".join(f"{table_of(name)} AS t{i}(x{i})" for i, name in enumerate(types))
        calls.append(f"SELECT {call}" + (f" FROM {source}" if source else ""))
    return calls


def _complaints(dsn: str, statements: list[str]) -> list[tuple[str, str]]:
    """Which statements raise or make a notice. Nothing is fetched: bytes of "char" need not be UTF-8.

    The wheel's server is built without libxml, where not even an XML literal works: those are left out there.
    """
    found: list[tuple[str, str]] = []
    current = ""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: found.append((current, str(notice.message_primary))))
        try:
            connection.execute("SELECT '<a/>'::xml")
        except psycopg.errors.FeatureNotSupported:
            statements = [statement for statement in statements if "xml" not in statement]
        for current in statements:
            try:
                connection.execute(current.encode())
            except psycopg.Error as error:
                found.append((current, str(error)))
    return found


def test_total_functions_never_raise(any_postgres: Server, catalog: CatalogSnapshot) -> None:
    total = [f for f in _built_in(catalog) if classify(f).safe and not classify(f).may_fail]
    statements = [statement for f in total for statement in _calls(f)]
    assert len(statements) > 700
    assert _complaints(any_postgres.superuser_dsn, statements) == []


def test_the_hostile_values_do_make_others_raise(any_postgres: Server, catalog: CatalogSnapshot) -> None:
    """Without this, the test above could pass by asking nothing."""
    names = {"chr", "int4pl", "int8mul", "int4div", "sqrt", "repeat", "exp", "json_array_length", "int4range"}
    failing = [f for f in _built_in(catalog) if f.name in names and len(_calls(f)) == 1]
    for function in failing:
        assert classify(function).may_fail, function.name
        assert _complaints(any_postgres.superuser_dsn, _calls(function)), function.name
    assert {f.name for f in failing} == names


def test_total_casts_never_raise(any_postgres: Server, catalog: CatalogSnapshot) -> None:
    oids = {name: oid for oid, name in type_names().items()}
    statements = []
    for source in VALUES:
        for target in VALUES:
            found = classify_cast(oids[source], oids[target], catalog)
            if found.safe and not found.may_fail:
                statements.append(f"SELECT x::{sql_type(target)} FROM {table_of(source)} v(x)")
    assert len(statements) > 250
    assert _complaints(any_postgres.superuser_dsn, statements) == []


def test_casts_by_example(catalog: CatalogSnapshot) -> None:
    oids = {name: oid for oid, name in type_names().items()}
    table = {
        ("text", "int4"): (True, True),
        ("int4", "int8"): (True, False),
        ("int8", "int4"): (True, True),
        ("int4", "text"): (True, False),
        ("text", "varchar"): (True, False),
        ("uuid", "text"): (True, False),
        ("text", "uuid"): (True, True),
        ("text", "regclass"): (True, True),
        ("_int4", "_text"): (True, False),
        ("_text", "_int4"): (True, True),
        ("timestamptz", "date"): (True, False),
        ("jsonb", "int4"): (True, True),
        ("unknown", "int4"): (True, True),
        ("int4", "uuid"): (False, True),
        ("_int4", "oidvector"): (False, True),
    }
    for (source, target), expected in table.items():
        found = classify_cast(oids[source], oids[target], catalog)
        assert (found.safe, found.may_fail) == expected, (source, target, found)


def _names(text: str) -> list[str]:
    return text.split()


UNSAFE = _names(
    """
    query_to_xml table_to_xml cursor_to_xml schema_to_xml database_to_xml table_to_xmlschema ts_stat
    pg_read_file pg_read_binary_file pg_ls_dir pg_ls_waldir pg_stat_file lo_get lo_put lo_import
    lo_export lo_from_bytea loread set_config setval setseed pg_notify pg_logical_emit_message
    pg_sleep pg_sleep_for pg_sleep_until pg_advisory_lock pg_try_advisory_xact_lock
    pg_cancel_backend pg_terminate_backend pg_reload_conf pg_stat_get_activity
    pg_stat_get_backend_activity pg_prepared_statement pg_cursor pg_lock_status pg_show_all_settings
    pg_show_all_file_settings pg_hba_file_rules current_setting pg_logical_slot_get_changes
    pg_create_logical_replication_slot pg_switch_wal pg_export_snapshot pg_get_functiondef
    pg_mcv_list_items pg_stat_reset currtid2 pg_sequence_last_value fmgr_internal_validator int4in
    int4out textin record_out pg_replication_origin_create pg_promote pg_rotate_logfile
    binary_upgrade_create_empty_extension
    """
)
SAFE = _names(
    """
    lower upper md5 now version current_database current_schema pg_get_viewdef pg_get_indexdef
    pg_get_constraintdef pg_get_expr pg_get_userbyid pg_table_is_visible format_type obj_description
    col_description has_table_privilege pg_encoding_to_char pg_relation_size pg_total_relation_size
    array_agg json_agg jsonb_build_object row_to_json string_agg count sum avg generate_series
    unnest regexp_replace to_char date_trunc extract row_number lag nextval currval gen_random_uuid
    pg_is_in_recovery txid_current pg_backend_pid pg_get_keywords pg_get_serial_sequence
    array_to_string quote_ident
    """
)


@pytest.mark.parametrize("name", UNSAFE)
def test_refused(catalog: CatalogSnapshot, name: str) -> None:
    found = [f for f in catalog.functions_by_name[name] if f.schema == "pg_catalog"]
    assert found
    assert not any(classify(f).safe for f in found)


def test_allowed(catalog: CatalogSnapshot) -> None:
    for name in SAFE:
        found = [f for f in catalog.functions_by_name[name] if f.schema == "pg_catalog"]
        assert found, name
        assert all(classify(f).safe for f in found), name


def test_overloads_differ(catalog: CatalogSnapshot) -> None:
    by_signature = {_signature(f): classify(f) for f in catalog.functions_by_name["ts_rewrite"]}
    assert not by_signature["ts_rewrite(tsquery, text)"].safe
    assert by_signature["ts_rewrite(tsquery, tsquery, tsquery)"].safe


def test_specials(catalog: CatalogSnapshot) -> None:
    kinds = {
        n: {classify(f) for f in catalog.functions_by_name[n]} for n in ("set_config", "current_setting")
    }
    assert {c.special for c in kinds["set_config"]} == {"set_config"}
    assert all(c.changes_settings and not c.safe for c in kinds["set_config"])
    assert {c.special for c in kinds["current_setting"]} == {"current_setting"}
    locks = {classify(f) for f in catalog.functions_by_name["pg_advisory_lock"]}
    assert {(c.safe, c.special) for c in locks} == {(False, "constants")}
    assert all(
        classify(f).safe for f in catalog.functions_by_name["pg_advisory_unlock_all"]
    )  # asyncpg's reset
    assert all(classify(f).writes for f in catalog.functions_by_name["nextval"])


def test_what_users_add_is_never_safe(catalog: CatalogSnapshot) -> None:
    lower = next(f for f in catalog.functions_by_name["lower"] if f.arg_types == (25,))
    made = {name: getattr(lower, name) for name in lower.__slots__}
    assert classify(lower).safe
    assert not classify(Function(**made | {"oid": FIRST_USER_OID})).safe
    assert not classify(Function(**made | {"oid": 0})).safe
    assert not classify(Function(**made | {"schema": "public"})).safe
    assert not classify(Function(**made | {"arg_types": (25, 25)})).safe
    assert not classify(Function(**made | {"security_definer": True})).safe


@pytest.mark.parametrize(
    ("signature", "constants", "may_fail"),
    [
        ("like(text, text)", [None, "a%"], False),
        ("like(text, text)", [None, "a\\"], True),
        ("like(text, text)", [None, "a\\\\"], False),
        ("like(text, text)", ["a%", None], True),
        ("encode(bytea, text)", [None, "hex"], False),
        ("encode(bytea, text)", [None, "rot13"], True),
        ("substring(text, int4, int4)", [None, None, "3"], False),
        ("substring(text, int4, int4)", [None, None, "-3"], True),
        ("split_part(text, text, int4)", [None, "@", "1"], False),
        ("split_part(text, text, int4)", [None, "@", "0"], True),
        ("int4div(int4, int4)", [None, "7"], False),
        ("int4div(int4, int4)", [None, "0"], True),
        ("int4div(int4, int4)", [None, "-1"], True),
        ("extract(text, date)", ["year", None], False),
        ("extract(text, date)", ["hour", None], True),
        ("extract(text, timestamptz)", [None, None], True),
        ("int4pl(int4, int4)", [None, "1"], True),
        ("lower(text)", [None], False),
        ("pg_sleep(float8)", ["1"], True),
    ],
)
def test_constants_can_make_a_call_total(
    catalog: CatalogSnapshot, signature: str, constants: list[str | None], may_fail: bool
) -> None:
    function = next(f for f in _built_in(catalog) if _signature(f) == signature)
    assert may_fail_with(function, constants) is may_fail


def test_relations_by_example(catalog: CatalogSnapshot) -> None:
    def look(name: str) -> relations.RelationClass:
        return classify_relation(catalog.relation_by_name["pg_catalog", name])

    for name in _names(
        """
    pg_authid pg_shadow pg_statistic pg_stats pg_stats_ext pg_statistic_ext_data pg_stat_activity
    pg_locks pg_prepared_statements pg_cursors pg_user_mapping pg_user_mappings pg_subscription
    pg_largeobject pg_file_settings pg_hba_file_rules pg_db_role_setting pg_replication_slots
    """
    ):
        assert not look(name).readable, name
    for name in _names(
        """
    pg_class pg_type pg_namespace pg_index pg_constraint pg_attrdef pg_database pg_tables pg_views
    pg_enum pg_description pg_inherits pg_trigger pg_policy pg_publication pg_statistic_ext
    pg_extension
    """
    ):
        assert look(name).readable, name
        assert look(name).columns is None, name
    for name, hidden, shown in [
        ("pg_proc", "prosrc", "proname"),
        ("pg_roles", "rolconfig", "rolpassword"),
        ("pg_attribute", "attmissingval", "attname"),
        ("pg_foreign_server", "srvoptions", "srvname"),
        ("pg_settings", "setting", "short_desc"),
    ]:
        columns = look(name).columns
        assert columns is not None
        assert hidden not in columns
        assert shown in columns
    assert not classify_relation(catalog.relation_by_name["public", "customers"]).readable


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select pg_sleep(1)", "statement_timeout"),
        ("select pg_sleep_for('1 s')", "lock_timeout"),
        ("select pg_read_file('x')", "COPY"),
        ("select query_to_xml('select 1', true, true, '')", "statement of its own"),
        ("select lo_get(1)", "plain expression"),
    ],
)
def test_refused_functions_come_with_what_to_do_instead(
    sql: str, word: str, catalog: CatalogSnapshot
) -> None:
    (facts,) = analyze(sql.encode(), catalog, CONTEXT)
    assert word in facts.unknowns[0].hint
