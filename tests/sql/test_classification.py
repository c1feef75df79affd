"""The tables in functions.tsv and relations.tsv against the servers themselves, and by example."""

from __future__ import annotations

import psycopg
import pytest

from sallyport.sql.catalog import functions, relations
from sallyport.sql.catalog.functions import (
    FIRST_USER_OID,
    classify,
    classify_cast,
    classify_operator,
    type_names,
)
from sallyport.sql.catalog.relations import SYSTEM_SCHEMAS, classify_relation
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Function
from sallyport.sql.extract import analyze
from sallyport.sql.utility.settings import exists
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
    return [
        f
        for f in catalog.functions.values()
        if f.schema in SYSTEM_SCHEMAS and f.oid < FIRST_USER_OID
    ]


def test_every_built_in_function_is_classified(catalog: CatalogSnapshot) -> None:
    unknown = [_signature(f) for f in _built_in(catalog) if classify(f) == functions._NOT_LISTED]
    assert len(_built_in(catalog)) > 3000
    assert unknown == []


def test_every_built_in_operator_is_classified(catalog: CatalogSnapshot) -> None:
    classes = {
        op: classify_operator(op, catalog) for op in catalog.operators if op.oid < FIRST_USER_OID
    }
    assert len(classes) > 700
    assert [
        op.name
        for op, judgement in classes.items()
        if judgement.reason == functions._NOT_LISTED.reason
    ] == []
    assert [op.name for op, judgement in classes.items() if not judgement.safe] == []


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
        judgement = classify_relation(relation)
        if relation.schema in SYSTEM_SCHEMAS and judgement.columns is not None:
            withheld = {column.name for column in relation.columns} - judgement.columns
            assert all(name in judgement.reason for name in withheld), (
                relation.qualified,
                withheld,
            )


def test_casts_by_example(catalog: CatalogSnapshot) -> None:
    oids = {name: oid for oid, name in type_names().items()}
    table = {
        ("text", "int4"): True,
        ("int4", "int8"): True,
        ("int4", "text"): True,
        ("uuid", "text"): True,
        ("text", "regclass"): True,
        ("_int4", "_text"): True,
        ("_text", "_int4"): True,
        ("timestamptz", "date"): True,
        ("unknown", "int4"): True,
        ("int4", "uuid"): False,
        ("_int4", "oidvector"): False,
    }
    for (source, target), expected in table.items():
        cast = classify_cast(oids[source], oids[target], catalog)
        assert cast.safe is expected, (source, target, cast)


def _names(text: str) -> list[str]:
    return text.split()


UNSAFE = _names("""
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
    """)
SAFE = _names("""
    lower upper md5 now version current_database current_schema pg_get_viewdef pg_get_indexdef
    pg_get_constraintdef pg_get_expr pg_get_userbyid pg_table_is_visible format_type obj_description
    col_description has_table_privilege pg_encoding_to_char pg_relation_size pg_total_relation_size
    array_agg json_agg jsonb_build_object row_to_json string_agg count sum avg generate_series
    unnest regexp_replace to_char date_trunc extract row_number lag nextval currval gen_random_uuid
    pg_is_in_recovery txid_current pg_backend_pid pg_get_keywords pg_get_serial_sequence
    array_to_string quote_ident
    """)


@pytest.mark.parametrize("name", UNSAFE)
def test_refused(catalog: CatalogSnapshot, name: str) -> None:
    overloads = [f for f in catalog.functions_by_name[name] if f.schema == "pg_catalog"]
    assert overloads
    assert not any(classify(f).safe for f in overloads)


def test_allowed(catalog: CatalogSnapshot) -> None:
    for name in SAFE:
        overloads = [f for f in catalog.functions_by_name[name] if f.schema == "pg_catalog"]
        assert overloads, name
        assert all(classify(f).safe for f in overloads), name


def test_overloads_differ(catalog: CatalogSnapshot) -> None:
    by_signature = {_signature(f): classify(f) for f in catalog.functions_by_name["ts_rewrite"]}
    assert not by_signature["ts_rewrite(tsquery, text)"].safe
    assert by_signature["ts_rewrite(tsquery, tsquery, tsquery)"].safe


def test_specials(catalog: CatalogSnapshot) -> None:
    kinds = {
        n: {classify(f) for f in catalog.functions_by_name[n]}
        for n in ("set_config", "current_setting")
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


def test_relations_by_example(catalog: CatalogSnapshot) -> None:
    def look(name: str) -> relations.RelationClass:
        return classify_relation(catalog.relation_by_name["pg_catalog", name])

    for name in _names("""
    pg_authid pg_shadow pg_statistic pg_stats pg_stats_ext pg_statistic_ext_data
    pg_user_mapping pg_largeobject pg_file_settings pg_hba_file_rules
    """):
        assert not look(name).readable, name
    for name in _names("""
    pg_class pg_type pg_namespace pg_index pg_constraint pg_attrdef pg_database pg_tables pg_views
    pg_enum pg_description pg_inherits pg_trigger pg_policy pg_publication pg_statistic_ext
    pg_prepared_statements pg_cursors pg_extension pg_settings pg_locks pg_stat_activity
    pg_attribute pg_roles
    pg_foreign_server pg_subscription pg_user_mappings pg_stat_gssapi pg_stat_ssl
    pg_replication_slots pg_largeobject_metadata pg_db_role_setting pg_stat_replication
    pg_stat_subscription pg_shseclabel
    """):
        assert look(name).readable, name
        assert look(name).columns is None, name
    for name in _names(
        "pg_subscription pg_user_mappings pg_seclabels pg_stat_activity pg_stat_ssl"
        " pg_replication_slots pg_stat_replication pg_stat_subscription pg_shseclabel"
    ):
        inside = classify_relation(catalog.relation_by_name["pg_catalog", name], substituted=False)
        assert not inside.readable, name  # where nothing stands in its place
    inside = classify_relation(
        catalog.relation_by_name["pg_catalog", "pg_db_role_setting"], substituted=False
    )
    assert inside.columns == {"setdatabase", "setrole"}
    for name, hidden, shown in [
        ("pg_proc", "prosrc", "proname"),
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
        ("select pg_cancel_backend(1)", "Ctrl-C"),
    ],
)
def test_refused_functions_come_with_what_to_do_instead(
    sql: str, word: str, catalog: CatalogSnapshot
) -> None:
    (facts,) = analyze(sql.encode(), catalog, CONTEXT)
    assert word in facts.unknowns[0].hint


def test_every_setting_of_the_server_exists(any_postgres: Server) -> None:
    with psycopg.connect(any_postgres.superuser_dsn) as db:
        rows = db.execute("SELECT lower(name) FROM pg_catalog.pg_settings").fetchall()
    # those of extensions that the server has loaded, and the four that pg_settings leaves out
    hidden = ("role", "session_authorization", "is_superuser", "seed")
    assert [name for name in (*(name for (name,) in rows), *hidden) if not exists(name)] == []
    assert not exists("statment_timeout")
