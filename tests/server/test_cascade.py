"""DROP ... CASCADE where everything that depends on it is known and may be dropped."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import pq

from sallyport.demo.issuer import DevIssuer
from tests.server.test_record_values import CLEAR, files, recorded
from tests.support.gateway import Gateway
from tests.support.postgres import Server

POLICY = """version: 1
search_paths: ["fall, public"]
rules:
  - {name: changes, allow: [read, write, ddl], relations: ["fall.*", "gone.*"]}
  - {name: not this view, deny: [drop_view], relations: ["*.kept_view"]}
  - {name: not this table, deny: [alter_table], relations: ["fall.kept_table"]}
masks:
  - {columns: ["fall.masked.ssn"], with: redact}
"""
OBJECTS = """
create table base (a int primary key, b int unique, c int);
create view "One" as select a from base;
create view two as select * from "One";
create materialized view three as select c from base;
create table pointing (a int references base, b int constraint to_b references base (b));
create view beside as select a from pointing
"""
Session = psycopg.Connection
LEFT = """select string_agg(relname, ' ' order by relname),
  (select count(*)::int from pg_constraint where contype = 'f'
    and connamespace = 'fall'::regnamespace),
  (select count(*)::int from pg_attribute
    where attrelid = to_regclass('fall.base') and attnum > 0 and not attisdropped)
from pg_class where relnamespace = 'fall'::regnamespace and relkind in ('r', 'v', 'm')"""


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, any_postgres: Server) -> Iterator[Gateway]:
    user = any_postgres.user
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists fall cascade")
        admin.execute(f"create schema fall; grant all on schema fall to {user}")
        admin.execute(f"grant create on database shop to {user}")
        admin.execute(f"alter role {user} set search_path = fall, public")
        running = Gateway(issuer, {"shop": any_postgres}, policy=POLICY, extra=CLEAR).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema fall cascade")
            admin.execute(f"revoke create on database shop from {user}")
            admin.execute(f"alter role {user} reset search_path")


@pytest.fixture
def admin(any_postgres: Server) -> Iterator[psycopg.Connection]:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def db(gateway: Gateway, any_postgres: Server, admin: psycopg.Connection) -> Iterator[Session]:
    with psycopg.connect(gateway.dsn(), autocommit=True) as connection:
        yield connection
    admin.execute("set client_min_messages = error")
    admin.execute("drop schema fall cascade; create schema fall")
    admin.execute(f"grant all on schema fall to {any_postgres.user}")


@pytest.mark.parametrize("in_block", [False, True])
@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("DROP TABLE base CASCADE", ("beside pointing", 0, 0)),
        ("SELECT 1; DROP TABLE IF EXISTS base CASCADE; SELECT 2", ("beside pointing", 0, 0)),
        ("DROP TABLE pointing, base CASCADE", (None, 0, 0)),
        ('DROP VIEW "One" CASCADE', ("base beside pointing three", 2, 3)),
        ("ALTER TABLE base DROP COLUMN a CASCADE", ("base beside pointing three", 1, 2)),
        ("ALTER TABLE base DROP COLUMN c CASCADE", ("One base beside pointing two", 2, 2)),
        (
            "ALTER TABLE base DROP CONSTRAINT base_pkey CASCADE",
            ("One base beside pointing three two", 1, 3),
        ),
        (
            "CREATE VIEW new AS SELECT a FROM base; DROP TABLE base CASCADE",
            ("beside pointing", 0, 0),
        ),
    ],
)
def test_what_may_be_dropped_is(
    db: psycopg.Connection, what: str, left: tuple[object, ...], in_block: bool
) -> None:
    notices: list[str] = []
    db.add_notice_handler(lambda diag: notices.append(diag.message_primary or ""))
    db.execute(OBJECTS)
    if in_block:
        db.execute("BEGIN")
    cursor = db.execute(what.encode())
    results = [cursor.statusmessage]
    while cursor.nextset():
        results.append(cursor.statusmessage)
    assert len(results) == what.count(";") + 1
    assert [notice for notice in notices if notice.startswith("drop cascades to ")]
    if in_block:
        db.execute("COMMIT")
    assert db.execute(LEFT).fetchone() == left


@pytest.mark.parametrize("in_block", [False, True])
@pytest.mark.parametrize(
    "made",
    [
        "create view kept_view as select a from base",
        "create view first as select a from base; create view kept_view as select a from first",
        "create table kept_table (a int constraint to_a references base)",
    ],
)
def test_what_is_not_allowed_drops_nothing(db: Session, made: str, in_block: bool) -> None:
    db.execute("create table base (a int primary key); create view two as select a from base")
    db.execute(made.encode())
    before = db.execute(LEFT).fetchone()
    if in_block:
        db.execute("BEGIN")
    with pytest.raises(psycopg.Error, match="SP1002"):
        db.execute(b"DROP TABLE base CASCADE")
    if in_block:
        assert db.info.transaction_status == pq.TransactionStatus.INERROR
        db.execute("ROLLBACK")
    assert db.execute(LEFT).fetchone() == before


@pytest.mark.parametrize(
    "made",
    [
        "create table below () inherits (base)",
        "create function follows() returns bigint begin atomic select count(*) from base; end",
        "create table typed (b base)",
    ],
)
def test_what_is_not_known_drops_nothing(
    gateway: Gateway, db: psycopg.Connection, admin: psycopg.Connection, made: str
) -> None:
    db.execute("create table base (a int primary key); create view two as select a from base")
    admin.execute("set search_path = fall")
    admin.execute(made.encode())
    before = db.execute(LEFT).fetchone()
    with pytest.raises(psycopg.Error, match=r"SP1102.*CASCADE would drop other"):
        db.execute(b"DROP TABLE base CASCADE")
    assert db.execute(LEFT).fetchone() == before


@pytest.mark.parametrize("prepare", [False, True])
def test_every_drop_is_recorded(gateway: Gateway, prepare: bool) -> None:
    before = files(gateway)
    with psycopg.connect(gateway.dsn(), autocommit=True) as session:
        session.execute("create table base (a int); create view above as select a from base")
        session.execute(b"DROP TABLE base CASCADE", prepare=prepare)
    record = recorded(gateway, before)
    assert 'DROP VIEW "fall"."above" RESTRICT' in record and "DROP TABLE base CASCADE" in record


@pytest.mark.parametrize("in_block", [False, True])
@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("DROP TABLE base CASCADE", ("beside pointing", 0, 0)),
        ("DROP TABLE IF EXISTS pointing, base CASCADE", (None, 0, 0)),
        ('DROP VIEW "One" CASCADE', ("base beside pointing three", 2, 3)),
        ("ALTER TABLE base DROP COLUMN a CASCADE", ("base beside pointing three", 1, 2)),
        (
            "ALTER TABLE base DROP CONSTRAINT base_pkey CASCADE",
            ("One base beside pointing three two", 1, 3),
        ),
    ],
)
def test_by_the_extended_protocol_it_is_the_same(
    db: Session, what: str, left: tuple[object, ...], in_block: bool
) -> None:
    notices: list[str] = []
    db.add_notice_handler(lambda diag: notices.append(diag.message_primary or ""))
    db.execute(OBJECTS)
    if in_block:
        db.execute("BEGIN")
    cursor = db.execute(what.encode(), prepare=True)
    assert cursor.statusmessage == " ".join(what.split()[:2])
    assert [notice for notice in notices if notice.startswith("drop cascades to ")]
    if in_block:
        db.execute("COMMIT")
    assert db.execute(LEFT).fetchone() == left


def test_in_a_pipeline_names_mean_what_was_left_by_those_before(db: Session) -> None:
    with db.pipeline():
        db.execute(b"CREATE TABLE base (a int)")
        db.execute(b"CREATE VIEW over AS SELECT a FROM base")
        db.execute(b"DROP TABLE base CASCADE")
        db.execute(b"CREATE TABLE base (b int)")
        left = db.execute("SELECT * FROM base")
        assert left.fetchall() == []
        assert [column.name for column in left.description or ()] == ["b"]
    assert db.execute(LEFT).fetchone() == ("base", 0, 1)


def test_an_error_behind_it_undoes_what_was_dropped(db: Session) -> None:
    db.execute(OBJECTS)
    before = db.execute(LEFT).fetchone()
    with pytest.raises(psycopg.errors.DivisionByZero), db.pipeline():
        db.execute(b"DROP TABLE base CASCADE")
        db.execute("SELECT 1 / %s", [0])
    assert db.execute(LEFT).fetchone() == before


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize(
    "made",
    [
        "create view kept_view as select a from base",
        "create view first as select a from base; create view kept_view as select a from first",
        "create table kept_table (a int constraint to_a references base)",
    ],
)
def test_the_extended_protocol_drops_nothing_that_may_not_be(
    db: Session, made: str, prepare: bool
) -> None:
    db.execute("create table base (a int primary key); create view two as select a from base")
    db.execute(made.encode())
    before = db.execute(LEFT).fetchone()
    with pytest.raises(psycopg.Error, match="SP1002"):
        db.execute(b"DROP TABLE base CASCADE", prepare=prepare)
    assert db.execute(LEFT).fetchone() == before


def test_what_is_not_known_fails_as_a_whole_by_the_extended_protocol(
    db: Session, admin: psycopg.Connection
) -> None:
    db.execute("create table base (a int primary key); create view two as select a from base")
    admin.execute("create table fall.typed (b fall.base)")
    before = db.execute(LEFT).fetchone()
    with pytest.raises(psycopg.Error, match=r"SP1102.*CASCADE would drop other"):
        db.execute(b"DROP TABLE base CASCADE", prepare=True)
    assert db.execute(LEFT).fetchone() == before
    assert db.execute("select * from two").fetchall() == []


def test_code_that_runs_in_between_lets_nothing_be_dropped_first(
    gateway: Gateway, db: Session, admin: psycopg.Connection
) -> None:
    """An event trigger could make something of the name that is dropped next."""
    db.execute("create table base (a int); create view two as select a from base")
    admin.execute(
        "create function public.looks() returns event_trigger language plpgsql"
        " as 'begin perform 1; end'"
    )
    admin.execute("create event trigger looks on sql_drop execute function public.looks()")
    try:
        with psycopg.connect(gateway.dsn(), autocommit=True) as session:
            session.execute("create table read_again (a int)")  # the catalog, with the trigger
            before = session.execute(LEFT).fetchone()
            with pytest.raises(psycopg.Error, match=r"SP1102.*CASCADE would drop other"):
                session.execute(b"DROP TABLE base CASCADE", prepare=True)
            assert session.execute(LEFT).fetchone() == before
    finally:
        admin.execute("drop event trigger looks; drop function public.looks()")


_CODE = """
create type gone.mood as enum ('good');
create function gone.follows(a int[], m gone.mood) returns int language sql as 'select 1';
create procedure gone.does(a int) language sql as 'select 1'
"""
_SCHEMA = """
create table gone.base (id serial primary key, m gone.mood, n int generated always as identity);
create table gone.pointing (a int references gone.base, b int unique);
alter table gone.base add column back int constraint round references gone.pointing (b);
create table gone.parted (a int) partition by range (a);
create table gone.part partition of gone.parted for values from (1) to (2);
create table gone.below () inherits (gone.base);
create view gone."One" as select id from gone.base;
create view gone.two as select * from gone."One";
create materialized view gone.three as select * from gone.two;
create sequence gone.counter; create domain gone.small as int check (value < 9);
create type gone.pair as (a int, s gone.small);
create table outside (a int references gone.base);
create view reading as select id from gone.base
"""
_OTHERS = "select count(*)::int from pg_constraint where conrelid = 'fall.outside'::regclass"


def _fill(session: Session, admin: psycopg.Connection, user: str) -> None:
    """``admin`` makes what only some may make through the gateway."""
    session.execute("create schema gone")
    admin.execute(f"set role {user}; {_CODE}; reset role".encode())
    session.execute(_SCHEMA.encode())


def _dropped(session: Session, prepare: bool) -> set[str]:
    """What the notice of DROP SCHEMA ... CASCADE says."""
    told: set[str] = set()

    def read(diag: psycopg.errors.Diagnostic) -> None:
        told.update((diag.message_detail or diag.message_primary or "").splitlines())

    session.add_notice_handler(read)
    session.execute(b"drop schema gone cascade", prepare=prepare)
    session.remove_notice_handler(read)
    return told


@pytest.mark.parametrize("prepare", [False, True])
def test_a_schema_goes_with_what_is_in_it(
    db: Session, admin: psycopg.Connection, any_postgres: Server, prepare: bool
) -> None:
    _fill(db, admin, any_postgres.user)
    admin.execute("set search_path = fall, public")
    admin.execute("begin")
    expected = _dropped(admin, prepare)
    admin.execute("rollback")
    assert len(expected) > 10
    assert _dropped(db, prepare) == expected
    assert db.execute("select 1 from pg_namespace where nspname = 'gone'").fetchall() == []
    assert db.execute(_OTHERS).fetchone() == (0,)
    db.execute("drop table outside")


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("create view gone.kept_view as select id from gone.base", "SP1002"),
        ("create view elsewhere.kept_view as select id from gone.base", "SP1001|SP1002"),
        ("create operator gone.<+> (function = int4pl, leftarg = int, rightarg = int)", "SP1102"),
        ("create table elsewhere.typed (m gone.mood)", "SP1102"),
        ("create table elsewhere.below () inherits (gone.base)", "SP1102"),
    ],
)
def test_a_schema_stays_with_what_may_not_go(
    db: Session,
    admin: psycopg.Connection,
    any_postgres: Server,
    made: str,
    reason: str,
    prepare: bool,
) -> None:
    admin.execute(f"create schema elsewhere; grant all on schema elsewhere to {any_postgres.user}")
    try:
        _fill(db, admin, any_postgres.user)
        admin.execute(f"set role {any_postgres.user}; {made}; reset role".encode())
        db.execute("create table read_again (a int)")
        with pytest.raises(psycopg.Error, match=reason):
            db.execute(b"drop schema gone cascade", prepare=prepare)
        assert db.execute("select id from gone.two").fetchall() == []
        assert db.execute(_OTHERS).fetchone() == (1,)
    finally:
        admin.execute("set client_min_messages = error")
        admin.execute("drop schema if exists elsewhere, gone cascade")
