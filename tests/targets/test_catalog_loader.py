"""The snapshot against a database that holds one of everything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import fields
from random import Random

import psycopg
import pytest

from sallyport.sql.catalog.functions import classify_cast
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Column, Relation
from sallyport.sql.names.search_path import split_search_path
from sallyport.targets.catalog_loader import (
    CatalogError,
    LoadedCatalog,
    load_catalog,
    load_inside,
    refreshed_catalog,
)
from sallyport.targets.catalog_rows import Row
from tests.targets.binding import are_bound_alike
from tests.targets.query import catalog_of, simple_query

EVERYTHING = """
CREATE SCHEMA "Odd ""Name";
CREATE TABLE "Odd ""Name"."T,x" ("a""b" int);
CREATE FUNCTION is_even(n int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN n % 2 = 0;
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION split(IN whole text, OUT head text, OUT tail text) LANGUAGE sql AS $$SELECT 'a', 'b'$$;
CREATE FUNCTION rows_of(n int DEFAULT 1) RETURNS TABLE (i int, label text) LANGUAGE sql SECURITY DEFINER
  AS $$SELECT 1, 'x'$$;
CREATE FUNCTION many(VARIADIC parts text[]) RETURNS int LANGUAGE sql STRICT STABLE AS $$SELECT 1$$;
CREATE PROCEDURE act(n int) LANGUAGE sql AS $$SELECT 1$$;
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE OPERATOR @@@ (RIGHTARG = int, FUNCTION = is_even);
CREATE DOMAIN even AS int CHECK (is_even(VALUE));
CREATE DOMAIN quarter AS int CHECK (VALUE BETWEEN 1 AND 4);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (l int, r text);
CREATE TABLE base (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int NOT NULL DEFAULT 7, m mood,
  twice int GENERATED ALWAYS AS (n * 2) STORED, gone int, p pair, tags text[]);
ALTER TABLE base DROP COLUMN gone;
CREATE TABLE child (extra text) INHERITS (base);
CREATE TABLE checked (n int CHECK (is_even(n)), o int CHECK (@@@ o), d int DEFAULT length('x'));
CREATE INDEX ON base (is_even(n));
CREATE TABLE loud (n int);
CREATE TRIGGER loud BEFORE INSERT ON loud FOR EACH ROW EXECUTE FUNCTION shout();
CREATE TABLE guarded (n int);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded USING (is_even(n));
CREATE TABLE ruled (n int);
CREATE RULE r AS ON DELETE TO ruled DO INSTEAD NOTHING;
CREATE TABLE parted (n int) PARTITION BY RANGE (n);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (2);
CREATE VIEW seen AS SELECT n AS shown, is_even(n) FROM base WHERE n > 1;
CREATE MATERIALIZED VIEW kept AS SELECT n FROM base;
CREATE UNLOGGED TABLE fleeting (n int);
CREATE SEQUENCE counter;
CREATE EXTENSION hstore;
"""


@pytest.fixture(scope="module")
def full(room: str) -> Iterator[str]:
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute(EVERYTHING)
        if connection.info.server_version >= 150000:
            connection.execute(
                "CREATE VIEW invoked WITH (security_invoker = on) AS SELECT 1 AS one"
            )
        for number, value in enumerate(("", "=true", "=1", "=off", "=0")):
            text = (
                f"CREATE VIEW barrier_{number} WITH (security_barrier{value}, check_option = local)"
                " AS SELECT n FROM fleeting"
            )
            connection.execute(text.encode())
        connection.execute("CREATE TEMP TABLE mine (n int)")
        connection.execute("SET search_path = public")
        yield room


@pytest.fixture(scope="module")
def catalog(full: str) -> CatalogSnapshot:
    return catalog_of(full)


def _relation(catalog: CatalogSnapshot, name: str) -> Relation:
    return catalog.relation_by_name["public", name]


def _column(relation: Relation, name: str) -> Column:
    return next(column for column in relation.columns if column.name == name)


def test_server_and_names(catalog: CatalogSnapshot) -> None:
    assert 140000 <= catalog.server_version < 190000
    assert catalog.database == "targets_room"
    assert catalog.default_search_path == ("$user", "public")
    assert {"public", "pg_catalog", "information_schema", 'Odd "Name'} <= catalog.schemas
    assert not any(name.startswith(("pg_temp", "pg_toast")) for name in catalog.schemas)
    odd = catalog.relation_by_name['Odd "Name', "T,x"]
    assert [column.name for column in odd.columns] == ['a"b']


def test_columns(catalog: CatalogSnapshot) -> None:
    base = _relation(catalog, "base")
    assert [(c.name, c.attnum) for c in base.columns] == [
        ("id", 1), ("n", 2), ("m", 3), ("twice", 4), ("p", 6), ("tags", 7),
    ]  # fmt: skip
    assert _column(base, "id").has_default
    assert _column(base, "n") == Column("n", 2, 23, not_null=True, has_default=True, default="7")
    assert _column(base, "twice").generated == "s"
    assert _column(base, "twice").default == "(n * 2)"
    assert catalog.types[_column(base, "m").type_oid].kind == "e"


def test_kinds_and_flags(catalog: CatalogSnapshot) -> None:
    kinds = {"base": "r", "parted": "p", "seen": "v", "kept": "m", "counter": "S", "pair": "c"}
    assert {name: _relation(catalog, name).kind for name in kinds} == kinds
    assert _relation(catalog, "fleeting").persistence == "u"
    assert _relation(catalog, "loud").has_triggers
    assert _relation(catalog, "ruled").has_rules
    assert _relation(catalog, "guarded").row_security
    base = _relation(catalog, "base")
    assert (base.has_triggers, base.has_rules, base.row_security) == (False, False, False)
    assert not _relation(catalog, "seen").has_rules
    assert ("pg_temp_3", "mine") not in catalog.relation_by_name
    assert not any(relation.name == "mine" for relation in catalog.relations.values())


def test_view_text_is_fully_qualified(catalog: CatalogSnapshot) -> None:
    text = _relation(catalog, "seen").view_definition
    assert "FROM public.base" in text
    assert "public.is_even(" in text
    assert catalog.relation_by_name["pg_catalog", "pg_tables"].view_definition == ""


def test_security_invoker(catalog: CatalogSnapshot) -> None:
    assert not _relation(catalog, "seen").security_invoker
    if catalog.server_version >= 150000:
        assert _relation(catalog, "invoked").security_invoker


def test_security_barrier(catalog: CatalogSnapshot) -> None:
    barriers = [_relation(catalog, f"barrier_{number}").security_barrier for number in range(5)]
    assert barriers == [True, True, True, False, False]
    assert not _relation(catalog, "seen").security_barrier


def test_inheritance_and_partitions(catalog: CatalogSnapshot) -> None:
    for parent, child in [("base", "child"), ("parted", "parted_1")]:
        up, down = _relation(catalog, parent), _relation(catalog, child)
        assert up.children == (down.oid,)
        assert down.parents == (up.oid,)


def test_hidden_functions(catalog: CatalogSnapshot) -> None:
    (is_even,) = catalog.functions_by_name["is_even"]
    (shout,) = catalog.functions_by_name["shout"]
    hidden = {
        name: _relation(catalog, name).hidden_functions
        for name in ("base", "checked", "loud", "guarded", "ruled", "seen")
    }
    assert hidden == {
        "base": (is_even.oid,),
        "checked": (is_even.oid,),
        "loud": (shout.oid,),
        "guarded": (is_even.oid,),
        "ruled": (),
        "seen": (),
    }


def test_types(catalog: CatalogSnapshot) -> None:
    mood = catalog.type_by_name["public", "mood"]
    assert catalog.types[mood.array].element == mood.oid
    assert catalog.types[mood.array].name == "_mood"
    assert catalog.type_by_name["pg_catalog", "name"].element == 0  # has elements, is no array
    assert catalog.type_by_name["public", "pair"].relation == _relation(catalog, "pair").oid
    assert _relation(catalog, "base").row_type in catalog.types
    (is_even,) = catalog.functions_by_name["is_even"]
    even, quarter = (catalog.type_by_name["public", name] for name in ("even", "quarter"))
    assert (even.base, even.check_functions, quarter.check_functions) == (23, (is_even.oid,), ())
    assert not classify_cast(23, even.oid, catalog).safe
    assert classify_cast(23, quarter.oid, catalog).safe


def test_functions(catalog: CatalogSnapshot) -> None:
    def one(name: str) -> tuple[object, ...]:
        (f,) = (f for f in catalog.functions_by_name[name] if f.schema == "public")
        return (
            f.kind,
            f.arg_types,
            f.returns_set,
            f.n_defaults,
            f.variadic,
            f.strict,
            f.security_definer,
        )

    assert one("split") == ("f", (25,), False, 0, False, False, False)
    assert one("rows_of") == ("f", (23,), True, 1, False, False, True)
    assert one("many") == ("f", (1009,), False, 0, True, True, False)
    assert one("act")[0] == "p"
    (split,) = catalog.functions_by_name["split"]
    (rows_of,) = catalog.functions_by_name["rows_of"]
    assert (split.out_names, split.out_types) == (("head", "tail"), (25, 25))
    assert (rows_of.out_names, rows_of.out_types) == (("i", "label"), (23, 25))
    assert rows_of.language == "sql"
    assert {f.kind for f in catalog.functions_by_name["count"]} == {"a"}
    assert {f.kind for f in catalog.functions_by_name["row_number"]} == {"w"}


def test_operators_and_casts(catalog: CatalogSnapshot) -> None:
    (op,) = catalog.operators_by_name["==="]
    assert (op.schema, op.left, op.right, op.result) == ("public", 23, 23, 16)
    (prefix,) = (o for o in catalog.operators_by_name["@@@"] if o.schema == "public")
    assert prefix.left == 0
    assert any((c.source, c.target, c.method) == (23, 20, "f") for c in catalog.casts)


def test_extension_members(catalog: CatalogSnapshot) -> None:
    assert catalog.type_by_name["public", "hstore"].extension == "hstore"
    assert {f.extension for f in catalog.functions_by_name["hstore_to_json"]} == {"hstore"}
    assert {o.extension for o in catalog.operators_by_name["?"] if o.schema == "public"} == {
        "hstore"
    }
    assert _relation(catalog, "base").extension == ""


def test_the_epoch_is_the_content(full: str, catalog: CatalogSnapshot) -> None:
    assert catalog_of(full).epoch == catalog.epoch
    assert len(catalog.epoch) == 32
    with psycopg.connect(full, autocommit=True) as connection:
        connection.execute("CREATE TABLE passing ()")
        assert catalog_of(full).epoch != catalog.epoch
        connection.execute("DROP TABLE passing")
        assert catalog_of(full).epoch == catalog.epoch


CHANGES = [
    "CREATE TABLE f1 (a int)",
    "ALTER TABLE f1 ADD COLUMN b int",
    "ALTER TABLE f1 RENAME COLUMN b TO c",
    "ALTER TABLE f1 ALTER COLUMN c TYPE bigint",
    "ALTER TABLE f1 ALTER COLUMN c SET NOT NULL",
    "ALTER TABLE f1 ALTER COLUMN c SET DEFAULT 1",
    "ALTER TABLE f1 ALTER COLUMN c SET DEFAULT 2",
    "ALTER TABLE f1 DROP COLUMN c",
    "ALTER TABLE f1 RENAME TO f2",
    "CREATE VIEW v1 AS SELECT a FROM f2",
    "CREATE OR REPLACE VIEW v1 AS SELECT a + 1 AS a FROM f2",
    "ALTER VIEW v1 RENAME COLUMN a TO b",
    "CREATE FUNCTION g1(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION g1(int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "ALTER FUNCTION g1 SECURITY DEFINER",
    "CREATE OPERATOR ==== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
    "CREATE CAST (mood AS int) WITH INOUT",
    "CREATE SCHEMA s1",
    "ALTER TABLE f2 SET SCHEMA s1",
    "ALTER SCHEMA s1 RENAME TO s2",
    "CREATE TABLE s2.f3 () INHERITS (s2.f2)",
    "ALTER TABLE s2.f3 NO INHERIT s2.f2",
    "CREATE TRIGGER t BEFORE INSERT ON s2.f2 FOR EACH ROW EXECUTE FUNCTION shout()",
    "DROP TRIGGER t ON s2.f2",
    "CREATE RULE r AS ON DELETE TO s2.f2 DO INSTEAD NOTHING",
    "ALTER TABLE s2.f2 ADD CHECK (is_even(a))",
    "ALTER TABLE s2.f2 ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON s2.f2 USING (true)",
    "CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl()",
    "ALTER EVENT TRIGGER on_ddl DISABLE",
    "DROP EVENT TRIGGER on_ddl",
    "CREATE INDEX i1 ON s2.f2 (a)",
    "ALTER INDEX s2.i1 RENAME TO i2",
    "ALTER POLICY p ON s2.f2 USING (is_even(a))",
    "CREATE DOMAIN d1 AS int",
    "ALTER DOMAIN d1 ADD CHECK (is_even(VALUE))",
    "ALTER EXTENSION hstore ADD SCHEMA s2",
    "ALTER EXTENSION hstore DROP SCHEMA s2",
    "ALTER FUNCTION pg_catalog.lower(text) COST 2",
    "ALTER FUNCTION pg_catalog.lower(text) COST 1",
    "ALTER DATABASE targets_room SET search_path = s2",
    "ALTER DATABASE targets_room RESET search_path",
    "DROP SCHEMA s2 CASCADE",
]  # fmt: skip
TEXT_CHANGES = [
    # names that stand in the text of views
    "CREATE VIEW moods AS SELECT n FROM base WHERE m = 'good'",
    "ALTER TYPE mood RENAME VALUE 'good' TO 'fine'",
    "ALTER TYPE mood RENAME VALUE 'fine' TO 'good'",
    "CREATE SCHEMA s3",
    "CREATE OPERATOR s3.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
    "CREATE VIEW same AS SELECT n FROM base WHERE n OPERATOR(s3.===) 1",
    "CREATE SCHEMA s4",
    "ALTER OPERATOR s3.=== (int, int) SET SCHEMA s4",
    "CREATE COLLATION sorted FROM \"C\"",
    "CREATE VIEW sorting AS SELECT n FROM base WHERE tags[1] COLLATE sorted > 'a'",
    "ALTER COLLATION sorted RENAME TO ordered",
    "CREATE TABLE g1 (a int, b bool GENERATED ALWAYS AS (is_even(a)) STORED)",
    "ALTER FUNCTION is_even(int) RENAME TO is_odd",
    "ALTER FUNCTION is_odd(int) RENAME TO is_even",
    "DROP TABLE g1",
    "DROP SCHEMA s3, s4 CASCADE",
]  # fmt: skip
MORE_CHANGES = [
    # what goes together is told from sums of OIDs
    "CREATE TABLE h1 (id serial PRIMARY KEY, a text UNIQUE, b int REFERENCES h1 CHECK (b > 0))",
    "CREATE TABLE h2 () INHERITS (h1)",
    "DROP TABLE h2",
    "DROP TABLE h1",
    "CREATE TYPE h3 AS ENUM ('x')",
    "DROP TYPE h3",
    "CREATE TABLE h4 (a int); CREATE TABLE h5 (a int, b h4); CREATE VIEW h6 AS SELECT a FROM h5",
    "DROP TABLE h4, h5 CASCADE; CREATE TABLE h7 (a int)",
    "DROP TABLE h7",
    # what reads settings
    "CREATE FUNCTION reads() RETURNS text LANGUAGE sql AS $$SELECT current_setting('app.a', true)$$",
    "CREATE OR REPLACE FUNCTION reads() RETURNS text LANGUAGE sql AS $$SELECT current_setting('app.b', true)$$",
    "CREATE POLICY reading ON guarded USING (n = current_setting('app.c', true)::int)",
    "ALTER POLICY reading ON guarded USING (n = current_setting('app.d', true)::int)",
    "DROP POLICY reading ON guarded",
    "ALTER TABLE loud ADD COLUMN a text DEFAULT current_setting('app.e', true)",
    "ALTER TABLE loud ADD CHECK (a <> current_setting('app.f', true))",
    "ALTER TABLE loud DROP COLUMN a",
    "CREATE DOMAIN read_domain AS text CHECK (VALUE <> current_setting('app.g', true))",
    "DROP DOMAIN read_domain",
    "CREATE VIEW read_view AS SELECT n FROM loud WHERE n = current_setting('app.h', true)::int",
    "DROP VIEW read_view",
    "CREATE TRIGGER reading BEFORE INSERT ON loud FOR EACH ROW"
    " WHEN (current_setting('app.i', true) = '') EXECUTE FUNCTION shout()",
    "DROP TRIGGER reading ON loud",
    "DROP FUNCTION reads",
]  # fmt: skip
NO_CHANGES = [
    "CREATE TEMP TABLE private (a int)",
    "DROP TABLE private",
    "INSERT INTO base (n) VALUES (1)",
    "ANALYZE base",
    "VACUUM base",
    "SELECT nextval('counter')",
]


@pytest.mark.timeout(600)  # it reads hundreds of catalogs
@pytest.mark.parametrize(
    "changes", [CHANGES, TEXT_CHANGES, MORE_CHANGES], ids=["objects", "texts", "more"]
)
def test_what_changed_is_read_as_a_whole_reading_would(full: str, changes: list[str]) -> None:
    async def watch() -> None:
        before = await load_catalog(query)
        for statement in changes:
            connection.execute(statement)
            after, whole = await refreshed_catalog(query, before), await load_catalog(query)
            assert _differences(after.snapshot, whole.snapshot) == [], statement
            assert after.snapshot.epoch == whole.snapshot.epoch, statement
            assert after.known_rows.owners == whole.known_rows.owners, statement
            assert are_bound_alike(before.snapshot, after.snapshot, whole.snapshot), statement
            before = after
        for statement in NO_CHANGES:
            connection.execute(statement)
            after = await refreshed_catalog(query, before)
            assert after.snapshot.epoch == before.snapshot.epoch, statement
            before = after

    with simple_query(full) as query, psycopg.connect(full, autocommit=True) as connection:
        asyncio.run(watch())


@pytest.mark.timeout(600)
def test_many_changes_between_two_readings(full: str) -> None:
    """Some in transactions that were open while the catalog was read, some rolled back."""

    async def watch() -> None:
        random = Random(7)
        before = await load_catalog(query)
        for number in range(12):
            one, two = random.sample(connections, 2)
            for connection, work in (
                (one, random.sample(_STEPS, 3)),
                (two, random.sample(_STEPS, 2)),
            ):
                with suppress(psycopg.Error):
                    connection.execute("SET lock_timeout = 50")
                    for sql in work:
                        connection.execute(sql.replace("{n}", str(random.randrange(4))).encode())
                if random.random() < 0.6:
                    connection.execute(random.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
            after = await refreshed_catalog(query, before)
            whole = await load_catalog(query)
            assert _differences(after.snapshot, whole.snapshot) == [], number
            assert after.snapshot.epoch == whole.snapshot.epoch
            assert are_bound_alike(before.snapshot, after.snapshot, whole.snapshot), number
            before = after

    with ExitStack() as stack:
        query = stack.enter_context(simple_query(full))
        connections = [stack.enter_context(psycopg.connect(full)) for _ in range(3)]
        asyncio.run(watch())
        for connection in connections:
            connection.rollback()
            connection.execute("DROP SCHEMA IF EXISTS steps CASCADE")
            connection.commit()


_STEPS = [
    "CREATE TABLE IF NOT EXISTS steps_{n} (id int PRIMARY KEY, a text DEFAULT 'x', b int)",
    "CREATE OR REPLACE VIEW steps_view_{n} AS SELECT id, a FROM steps_{n} WHERE b > 1",
    "ALTER TABLE steps_{n} ADD COLUMN IF NOT EXISTS c int",
    "ALTER TABLE steps_{n} RENAME COLUMN a TO aa",
    "ALTER TABLE steps_{n} RENAME COLUMN aa TO a",
    "ALTER TABLE steps_{n} ADD CHECK (b > 0)",
    "ALTER TABLE steps_{n} ADD CONSTRAINT k FOREIGN KEY (b) REFERENCES base (id)",
    "ALTER TABLE steps_{n} DROP CONSTRAINT k",
    "CREATE INDEX steps_i_{n} ON steps_{n} (b)",
    "DROP INDEX steps_i_{n}",
    "ALTER TABLE steps_{n} ALTER COLUMN b SET DEFAULT 3",
    "ALTER TABLE steps_{n} ALTER COLUMN b DROP DEFAULT",
    "ALTER TABLE steps_{n} INHERIT base",
    "DROP TABLE steps_{n} CASCADE",
    "CREATE TYPE steps_t_{n} AS ENUM ('x')",
    "DROP TYPE steps_t_{n}",
    (
        "CREATE FUNCTION steps_f_{n}() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*)"
        " FROM base; END"
    ),
    "ALTER FUNCTION is_even RENAME TO is_even_{n}",
    "ALTER FUNCTION is_even_{n} RENAME TO is_even",
    "ALTER TYPE mood RENAME TO mood_{n}",
    "ALTER TYPE mood_{n} RENAME TO mood",
    "CREATE TABLE IF NOT EXISTS steps_u_{n} (id serial PRIMARY KEY, t text UNIQUE)",
    "DROP TABLE steps_u_{n}",
    (
        "ALTER TABLE guarded ADD CONSTRAINT read_{n} CHECK (n <> current_setting('app.s{n}',"
        " true)::int)"
    ),
    "ALTER TABLE guarded DROP CONSTRAINT read_{n}",
    "CREATE SEQUENCE steps_s_{n} OWNED BY base.n",
    "ALTER SEQUENCE steps_s_{n} OWNED BY NONE",
    "DROP SEQUENCE steps_s_{n}",
    "GRANT SELECT ON base TO PUBLIC",
    "REVOKE SELECT ON base FROM PUBLIC",
]


def _differences(ours: CatalogSnapshot, whole: CatalogSnapshot) -> list[str]:
    """Names of what is not the same, with an example."""
    out = []
    for field in fields(CatalogSnapshot):
        mine, theirs = getattr(ours, field.name), getattr(whole, field.name)
        if field.name in ("lookups", "delta") or mine == theirs:
            continue
        if isinstance(mine, dict):
            keys = [k for k in {**mine, **theirs} if mine.get(k) != theirs.get(k)]
            out += [f"{field.name}[{k}]: {mine.get(k)} != {theirs.get(k)}" for k in keys[:2]]
        else:
            out.append(f"{field.name}: {mine!r:.200} != {theirs!r:.200}")
    return out


def test_a_transaction_that_sees_an_older_catalog_is_told_apart(full: str) -> None:
    """PostgreSQL looks names up in the catalog as it is, whatever REPEATABLE READ shows of it."""

    async def look() -> None:
        before = await load_catalog(query)
        for start in ("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ"):
            await query(f"{start}; SELECT 1")
            inside = await load_inside(query, before)
            assert inside.epoch == before.snapshot.epoch
            connection.execute("ALTER TABLE base ADD COLUMN later int")
            connection.execute("ALTER TABLE base DROP COLUMN later")
            before = await _refreshed_elsewhere(full, before)
            if start == "BEGIN":
                assert (await load_inside(query, before)).epoch == before.snapshot.epoch
            else:
                with pytest.raises(CatalogError, match="snapshot"):
                    await load_inside(query, before)
            await query("ROLLBACK")

    with simple_query(full) as query, psycopg.connect(full, autocommit=True) as connection:
        asyncio.run(look())


async def _refreshed_elsewhere(dsn: str, before: LoadedCatalog) -> LoadedCatalog:
    with simple_query(dsn) as query:
        return await refreshed_catalog(query, before)


def test_the_connection_is_left_as_it_was(full: str) -> None:
    async def look() -> list[list[Row]]:
        await query("SET search_path = 'Odd \"Name', pg_catalog")
        await load_catalog(query)
        return [await query("SHOW search_path"), await query("SHOW transaction_read_only")]

    with simple_query(full) as query:
        path, read_only = asyncio.run(look())
    assert split_search_path(path[0][0] or "") == ('Odd "Name', "pg_catalog")
    assert read_only == [["off"]]


def test_a_failing_query_leaves_no_open_transaction(full: str) -> None:
    async def broken(sql: str) -> list[Row]:
        return await query("SELECT 1/0" if "pg_inherits" in sql else sql)

    async def look() -> list[Row]:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await load_catalog(broken)
        return await query("SHOW transaction_read_only")

    with simple_query(full) as query:
        assert asyncio.run(look()) == [["off"]]


def test_other_servers_are_refused() -> None:
    async def old(sql: str) -> list[Row]:
        return [["public"]] if "search_path" in sql else [["130012", "shop", "agent"]]

    with pytest.raises(CatalogError, match="130012; supported are PostgreSQL 14 to 18"):
        asyncio.run(load_catalog(old))
