"""What stands in place of system views: same columns and types, and nothing that a subject must not
see.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.sql.catalog.functions import classify
from sallyport.sql.catalog.relations import classify_relation
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Relation
from sallyport.sql.catalog.system_views import (
    COUNTER_FUNCTIONS,
    hidden_relations,
    is_substituted,
    substitute,
)
from sallyport.sql.utility.settings import show_allowed, shown_names
from tests.support.postgres import Server
from tests.targets.query import catalog_of

SETUP = """
create table secret (id int primary key, note text);
create table open (id int primary key, note text);
insert into secret select n, repeat(md5(n::text), 200) from generate_series(1, 50) n;
alter table secret alter note set storage external;
insert into open select n, 'x' from generate_series(1, 50) n;
update secret set id = id where id < 10;
select * from secret; select * from open;
"""
Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def connection(any_postgres: Server) -> Iterator[Connection]:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as owner:
        owner.execute("drop database if exists system_views with (force)")
        owner.execute("create database system_views")
        dsn = any_postgres.superuser_dsn.rpartition("/")[0] + "/system_views"
        with psycopg.connect(dsn, autocommit=True) as inside:
            inside.execute(SETUP)
        # what the other did is counted by now
        with psycopg.connect(dsn, autocommit=True) as inside:
            yield inside
        owner.execute("drop database system_views with (force)")


@pytest.fixture(scope="module")
def snapshot(connection: Connection) -> CatalogSnapshot:
    info = connection.info
    return catalog_of(
        f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"
    )


def relation(snapshot: CatalogSnapshot, name: str) -> Relation:
    return snapshot.relation_by_name["pg_catalog", name]


def oid(connection: Connection, name: str) -> int:
    row = connection.execute("select %s::regclass::oid::int", (name,)).fetchone()
    assert row is not None and isinstance(row[0], int)
    return row[0]


def views(snapshot: CatalogSnapshot) -> list[Relation]:
    return [r for r in snapshot.relations.values() if is_substituted(r)]


def rows(
    connection: Connection, text: str
) -> tuple[list[tuple[str, int, int | None]], list[tuple[object, ...]]]:
    cursor = connection.execute(f"select * from ({text}) v".encode())
    described = [(d.name, d.type_code, d.internal_size) for d in cursor.description or ()]
    return described, cursor.fetchall()


def test_names_and_types_are_the_relations_own(
    connection: Connection, snapshot: CatalogSnapshot
) -> None:
    masked = [oid(connection, "secret")]
    assert len(views(snapshot)) >= 25
    for view in views(snapshot):
        expected, _ = rows(connection, f'select * from pg_catalog."{view.name}" limit 0')
        for relations in ([], masked):
            text = substitute(view, None, relations)
            if text is not None:
                connection.execute("set search_path = ''")
                assert rows(connection, text)[0] == expected, view.name
                connection.execute("reset search_path")
            some = [column.name for column in view.columns][1::3]
            text = substitute(view, list(reversed(some)), relations)
            if text is not None:
                assert [name for name, *_ in rows(connection, text)[0]] == some


def test_every_column_is_allowed_by_name(snapshot: CatalogSnapshot) -> None:
    with pytest.raises(ValueError, match="nosuch"):
        substitute(relation(snapshot, "pg_settings"), ["name", "nosuch"], [])


@pytest.mark.parametrize(
    "view",
    [
        "pg_stat_all_tables",
        "pg_stat_user_tables",
        "pg_statio_all_tables",
        "pg_stat_user_indexes",
        "pg_statio_user_indexes",
        "pg_stat_xact_user_tables",
        "pg_stat_sys_tables",
        "pg_stat_sys_indexes",
    ],
)
def test_counters_of_relations_with_masks(
    connection: Connection, snapshot: CatalogSnapshot, view: str
) -> None:
    secret = oid(connection, "secret")
    toast = connection.execute(
        "select reltoastrelid::int from pg_class where oid = %s", (secret,)
    ).fetchone()
    assert toast is not None
    text = substitute(relation(snapshot, view), None, [secret])
    assert text is not None
    described, masked = rows(connection, text)
    _, plain = rows(connection, f"select * from pg_catalog.{view}")
    names = [name for name, *_ in described]
    relid = names.index("relid")
    assert {row[relid] for row in masked} == {row[relid] for row in plain}
    hidden = [row for row in masked if row[relid] in (secret, toast[0])]
    assert hidden
    counters = [
        n
        for n, name in enumerate(names)
        if name.startswith(
            ("n_", "seq_", "idx_", "heap_", "toast_", "tidx_", "last_seq", "last_idx", "total_")
        )
    ]
    assert counters
    assert all(row[n] is None for row in hidden for n in counters)
    if "user" in view and "xact" not in view:
        shown = [row for row in masked if row[relid] == oid(connection, "open")]
        assert any(row[n] is not None for row in shown for n in counters)
    assert substitute(relation(snapshot, view), None, []) is None


def test_the_relations_whose_counters_are_hidden(connection: Connection) -> None:
    secret = oid(connection, "secret")
    row = connection.execute(
        f"select array(select unnest({hidden_relations([secret])})::int)".encode()
    ).fetchone()
    expected = connection.execute(
        "with t(o) as (select unnest(array[oid, reltoastrelid]) from pg_class where oid = %s or oid"
        " = 'pg_statistic'::regclass or oid = 'pg_statistic_ext_data'::regclass) select o::int from"
        " t union select indexrelid::int from pg_index where indrelid in (select o from t)",
        (secret,),
    ).fetchall()
    assert row is not None and isinstance(row[0], list)
    assert set(row[0]) == {o for (o,) in expected}
    assert len(set(row[0])) == 12


def test_counter_functions_take_a_relation(snapshot: CatalogSnapshot) -> None:
    names = {
        f.name
        for f in snapshot.functions.values()
        if f.name in COUNTER_FUNCTIONS and f.arg_types == (26,)
    }
    assert len(names) > 20
    if snapshot.server_version >= 180000:  # blocks of the own transaction are of 14 and 15 alone
        assert {name for name in COUNTER_FUNCTIONS if "xact_blocks" not in name} <= names


def test_settings_are_those_that_show_shows(
    connection: Connection, snapshot: CatalogSnapshot
) -> None:
    connection.execute("set app.token = 'x'")
    text = substitute(relation(snapshot, "pg_settings"), ["name", "setting", "sourcefile"], [])
    assert text is not None
    _, settings = rows(connection, text)
    assert all(
        isinstance(name, str) and show_allowed(name) and file is None for name, _, file in settings
    )
    every = {name for (name,) in connection.execute("select name from pg_settings").fetchall()}
    assert {name for name, *_ in settings} == every.intersection(shown_names())
    assert len(settings) > 200
    for name in ("DateStyle", "TimeZone", "shared_buffers", "autovacuum_naptime", "server_version"):
        assert any(row[0] == name for row in settings)


@pytest.mark.parametrize("view", ["pg_locks", "pg_stat_activity", "pg_stat_gssapi", "pg_stat_ssl"])
def test_only_the_own_session(connection: Connection, snapshot: CatalogSnapshot, view: str) -> None:
    text = substitute(relation(snapshot, view), None, [])
    assert text is not None
    described, sessions = rows(connection, text)
    pid = [name for name, *_ in described].index("pid")
    assert sessions
    assert {row[pid] for row in sessions} == {connection.info.backend_pid}
    if view == "pg_stat_activity":
        assert sessions[0][[name for name, *_ in described].index("query")] is None


def test_counters_of_databases(connection: Connection, snapshot: CatalogSnapshot) -> None:
    view = relation(snapshot, "pg_stat_database")
    for relations, blocks in (([], True), ([oid(connection, "secret")], False)):
        text = substitute(
            view, ["datname", "numbackends", "xact_commit", "blks_hit", "tup_returned"], relations
        )
        assert text is not None
        counters = {row[0]: row[1:] for row in rows(connection, text)[1]}
        assert counters["postgres"] == (None, None, None, None)
        backends, commits, hit, returned = counters["system_views"]
        assert backends is None and isinstance(commits, int)
        assert (hit is not None, returned is not None) == (blocks, blocks)


def test_missing_values_of_attributes(connection: Connection, snapshot: CatalogSnapshot) -> None:
    connection.execute("alter table open add column later text default 'kept as data'")
    view = relation(snapshot, "pg_attribute")
    text = substitute(view, None, [])
    assert text is not None
    described, attributes = rows(connection, text)
    column = [name for name, *_ in described].index("attmissingval")
    assert all(row[column] is None for row in attributes)
    assert substitute(view, ["attrelid", "attname"], []) is None


def test_other_relations_stay(snapshot: CatalogSnapshot) -> None:
    for name in ("pg_class", "pg_stat_wal_receiver"):
        assert substitute(relation(snapshot, name), None, [1]) is None


def test_numbers_of_sequences_are_not_shown(
    snapshot: CatalogSnapshot, connection: Connection
) -> None:
    connection.execute("CREATE SEQUENCE numbered; SELECT nextval('numbered')")
    text = substitute(relation(snapshot, "pg_sequences"), None, [])
    assert text is not None
    described, sequences = rows(connection, text)
    column = [name for name, *_ in described].index("last_value")
    assert sequences
    assert all(row[column] is None for row in sequences)


def test_settings_of_roles_are_listed_without_their_values(
    snapshot: CatalogSnapshot, connection: Connection
) -> None:
    connection.execute("ALTER DATABASE system_views SET app.jwt_secret = 'kept'")
    view = relation(snapshot, "pg_db_role_setting")
    text = substitute(view, None, [])
    assert text is not None
    described, settings = rows(connection, text)
    column = [name for name, *_ in described].index("setconfig")
    assert settings
    assert all(row[column] is None for row in settings)
    assert substitute(view, ["setdatabase", "setrole"], []) is None


@pytest.mark.parametrize(
    "name", ["pg_stat_replication", "pg_stat_subscription", "pg_shseclabel", "pg_seclabels"]
)
def test_views_of_administrators_have_no_rows(
    snapshot: CatalogSnapshot, connection: Connection, name: str
) -> None:
    text = substitute(relation(snapshot, name), None, [])
    assert text is not None
    assert "WHERE false" in text
    described, listed = rows(connection, text)
    assert listed == []
    assert len(described) == len(relation(snapshot, name).columns)


def test_what_has_a_substitute_is_substituted(snapshot: CatalogSnapshot) -> None:
    classified = [
        view
        for view in snapshot.relations.values()
        if view.schema == "pg_catalog" and classify_relation(view).substitute
    ]
    assert classified
    for view in classified:
        assert is_substituted(view), view.name


def test_what_is_readable_through_a_substitute(snapshot: CatalogSnapshot) -> None:
    for view in views(snapshot):
        classified = classify_relation(view)
        assert classified.substitute
        assert classified.readable
        assert classified.columns is None
    for name in (
        "pg_stat_statements",
        "pg_stats",
        "pg_authid",
        "pg_stat_wal_receiver",
        "pg_file_settings",
    ):
        relation = snapshot.relation_by_name.get(("pg_catalog", name))
        assert relation is None or not classify_relation(relation).readable
    for function in snapshot.functions.values():
        if function.name in COUNTER_FUNCTIONS or function.name == "pg_stat_get_last_vacuum_time":
            assert classify(function).safe, function.name
        elif function.name.startswith(("pg_stat_get_db_", "pg_stat_get_backend", "pg_stat_reset")):
            assert not classify(function).safe, function.name
