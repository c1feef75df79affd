"""Functions, procedures, triggers, DO and CALL through a gateway: who may make and run them, what
works then, and that nobody else's statement runs them unread.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.psql import client_program

POLICY = """version: 1
functions: ["code.listed", "code.trusted_*"]
search_paths: ["code, public"]
rules:
  - {name: the owner does everything, subjects: {groups: [dba]}, allow: [all]}
  - {name: agents work, subjects: {groups: [claude-postgres]}, allow: [all]}
  - {name: privacy makes, subjects: {groups: [privacy]}, allow: [read, write, ddl, call],
     relations: ["code.*"]}
masks:
  - {columns: ["code.people.ssn"], with: redact, except: {groups: [dba, privacy]}}
"""
SCHEMA = """
create table code.people (id int primary key, name text, ssn text);
create table code.notes (id int primary key, label text);
insert into code.people values (1, 'Ada', '911-77-0001'), (2, 'Bob', '911-77-0002');
create function code.listed() returns int language plpgsql as 'begin return 7; end';
create procedure code.trusted_move(what text, value text) language plpgsql as
  'begin execute format(''set %s = %L'', what, value); end';
"""
CANARY = "911-77"
Session = psycopg.Connection


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, any_postgres: Server) -> Iterator[Gateway]:
    user = any_postgres.user
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists code cascade")
        admin.execute(f"create schema code; grant all on schema code to {user}")
        admin.execute(f"grant temp on database shop to {user}")
        admin.execute(f"set role {user}; {SCHEMA}; reset role")
        admin.execute(f"alter role {user} set search_path = code, public")
        running = Gateway(issuer, {"shop": any_postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema code cascade")
            admin.execute(f"alter role {user} reset search_path")


def connect(gateway: Gateway, who: str = "dana-dba") -> Session:
    return psycopg.connect(gateway.dsn(gateway.token(who)), autocommit=True)


@pytest.fixture(params=["simple", "extended"])
def owner(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Session]:
    cursor = psycopg.ClientCursor if request.param == "simple" else psycopg.RawCursor
    with connect(gateway) as session:
        session.cursor_factory = cursor
        yield session


def all_of(session: Session, *statements: str) -> None:
    for statement in statements:
        session.execute(statement)


def refusal(session: Session, sql: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        session.execute(sql)
    return caught.value


def test_functions_are_made_called_changed_and_dropped(owner: Session) -> None:
    all_of(
        owner,
        "create or replace function code.add(a int, b int default 1) returns int "
        "language plpgsql immutable as $$ begin return a + b; end $$",
        "create function pair(out a int, out b text) language sql begin atomic select 1, 'x'; end",
        "comment on function code.add(int, int) is 'adds'",
        "alter function add(int, int) cost 5 strict",
    )
    assert owner.execute("select code.add(1), add(2, 3)").fetchone() == (2, 5)
    assert owner.execute("select * from pair()").fetchone() == (1, "x")
    all_of(owner, "drop function code.add(int, int)", "drop function if exists pair()")
    assert refusal(owner, "select code.add(1)").sqlstate == "42883"


def test_procedures_and_blocks_run(owner: Session) -> None:
    all_of(
        owner,
        "create procedure code.next(inout n int) language plpgsql as $$ begin n := n + 1; end $$",
        "create procedure code.fill(n int) language plpgsql as "
        "$$ begin insert into code.notes values (n, 'p'); commit; end $$",
        "call code.fill(50)",
        "do $$ begin create table code.made (n int); insert into code.made values (3); end $$",
        "insert into made values (4)",
    )
    assert owner.execute("call next(1)").fetchone() == (2,)
    assert owner.execute("select count(*) from made").fetchone() == (2,)
    assert owner.execute("delete from notes where id = 50 returning label").fetchone() == ("p",)
    all_of(owner, "drop table code.made", "drop procedure code.next, code.fill")


def test_triggers_fire_and_are_switched(owner: Session) -> None:
    all_of(
        owner,
        "create function code.stamp() returns trigger language plpgsql as "
        "$$ begin new.label := new.label || '!'; return new; end $$",
        "create trigger stamp before insert on code.notes for each row "
        "when (new.id > 0) execute function code.stamp()",
        "comment on trigger stamp on code.notes is 'marks'",
        "insert into code.notes values (60, 'a')",
        "alter table code.notes disable trigger stamp",
        "insert into code.notes values (61, 'b')",
        "alter table code.notes enable trigger user",
    )
    rows = owner.execute("delete from notes where id >= 60 returning label").fetchall()
    assert sorted(rows) == [("a!",), ("b",)]
    all_of(owner, "drop trigger stamp on code.notes", "drop function code.stamp()")


def test_types_of_every_kind(owner: Session) -> None:
    all_of(
        owner,
        "create type code.mood as enum ('sad', 'ok')",
        "alter type code.mood add value 'happy'",
        'create type code.span as range (subtype = text, collation = "C")',
        "create type code.point2 as (x int, y int)",
        "alter type code.point2 add attribute z int",
        "create function code.positive(n int) returns bool language plpgsql immutable as "
        "$$ begin return n > 0; end $$",
        "create domain code.natural_n as int check (code.positive(value))",
        "create table code.typed (m mood, s span, p point2, n natural_n)",
        "insert into code.typed values ('happy', '[a,b)', '(1,2,3)', 5)",
    )
    assert owner.execute("select m::text, s::text, n from typed").fetchone() == (
        "happy",
        "[a,b)",
        5,
    )
    assert refusal(owner, "insert into typed (n) values (-1)").sqlstate == "23514"
    all_of(
        owner,
        "drop table code.typed",
        "drop domain natural_n",
        "drop function positive(int)",
        "drop type mood, span, point2",
    )


def test_a_function_sets_what_set_may_say(owner: Session) -> None:
    """While it runs, and what the session has stays."""
    all_of(
        owner,
        "create function code.where_it_is() returns text language plpgsql set search_path = '' "
        "set work_mem = '8MB' as $$ begin return current_setting('search_path') || "
        "current_setting('work_mem'); end $$",
        "create procedure code.ordered() language plpgsql set datestyle = 'German' "
        "as $$ begin perform 1; end $$",
    )
    before = owner.execute("select current_setting('work_mem')").fetchone()
    assert owner.execute("select where_it_is()").fetchone() == ('""8MB',)
    assert owner.execute("select current_setting('work_mem')").fetchone() == before
    all_of(
        owner,
        "alter function code.where_it_is() set search_path = code, public reset work_mem",
        "call ordered()",
        "alter procedure ordered() reset all",
    )
    assert owner.execute("select where_it_is()").fetchone() == ("code, public" + before[0],)
    for clause in ("role = postgres", "client_encoding = latin1", "sallyport.subject = x"):
        assert "[SP1301]" in str(refusal(owner, f"alter function where_it_is() set {clause}"))
    for path in ("x", "'x'"):
        assert "[SP1302]" in str(
            refusal(owner, f"alter function where_it_is() set search_path = {path}")
        )
    all_of(owner, "drop function where_it_is()", "drop procedure ordered()")


@pytest.mark.parametrize(
    "sql",
    [
        "create function code.f() returns int language sql security definer as 'select 1'",
        "create function code.f() returns int language sql leakproof as 'select 1'",
        "create function code.f() returns int language sql set search_path = x as 'select 1'",
        "create function code.f() returns int language c as 'a', 'b'",
        "create function code.f() returns int language internal as 'x'",
        "create function code.f(internal) returns int language sql support code.g as 'select 1'",
        "alter function code.listed() security definer",
        "alter function code.listed() set search_path = x",
        "alter function code.listed() set search_path = ''",
        "alter function code.listed() set work_mem = '1MB'",
        "alter function code.listed() reset all",
        "create function code.f() returns int language sql set work_mem from current as 'select 1'",
        "alter function code.listed() rename to trusted_x",
        "alter function code.listed() set schema public",
        "create event trigger e on ddl_command_end execute function code.listed()",
        "create aggregate code.a (int) (sfunc = int4pl, stype = int)",
        "create operator code.+++ (leftarg = int, rightarg = int, function = int4pl)",
        "create cast (int as code.people) with inout",
        "create function code.listed(int) returns int language sql as 'select 1'",
        "create or replace function code.trusted_x() returns int language sql as 'select 1'",
        "create function pg_temp.f() returns int language sql as 'select 1'",
        "do language plpython3u 'x'",
    ],
)
def test_what_stays_refused(gateway: Gateway, sql: str) -> None:
    with connect(gateway) as owner:
        assert "[SP1" in str(refusal(owner, sql))


@pytest.mark.parametrize(
    "sql",
    [
        "do $$ begin raise notice '%', (select max(ssn) from code.people); end $$",
        "create function code.f() returns text language sql as 'select max(ssn) from code.people'",
        "create procedure code.f() language plpgsql as 'begin end'",
        "create trigger t after insert on code.notes execute function code.f()",
        "alter table code.notes disable trigger user",
        "call code.fill(1)",
    ],
)
def test_subjects_with_masks_are_told_why(gateway: Gateway, sql: str) -> None:
    with connect(gateway) as owner, connect(gateway, "claude-agent") as agent:
        owner.execute(
            "create or replace procedure code.fill(n int) language plpgsql as 'begin end'"
        )
        error = refusal(agent, sql)
        owner.execute("drop procedure code.fill")
    assert error.sqlstate == "42501"
    what = "cannot determine what function code.fill does"
    assert "masks" in (error.diag.message_detail or "") or what in str(error)


def test_who_may_not_run_do_runs_only_what_policy_lists(gateway: Gateway) -> None:
    with connect(gateway, "paul-privacy") as maker:
        maker.execute(
            "create or replace function code.mine() returns text language plpgsql as "
            "$$ begin return (select max(rolname) from pg_authid); end $$"
        )
        assert "SP1103" in str(refusal(maker, "select code.mine()"))
        assert "SP1001" in str(refusal(maker, "do $$ begin end $$"))
        assert maker.execute("select code.listed()").fetchone() == (7,)
        maker.execute("drop function code.mine()")


MADE = """
create function code.leak() returns text language plpgsql as $$
  begin raise notice '%', (select string_agg(ssn, ',') from code.people);
    return (select max(ssn) from code.people); end $$;
create function code.leak_int(int) returns int language plpgsql immutable as $$
  begin raise notice '%', code.leak(); return $1; end $$;
create function code.is_fine(int) returns bool language plpgsql immutable as $$
  begin raise notice '%', code.leak(); return true; end $$;
create function code.fire() returns trigger language plpgsql as $$
  begin raise notice '%', code.leak(); return coalesce(new, old); end $$;
create domain code.checked as int check (code.is_fine(value));
create table code.fired (id int, a int);
create trigger t after insert or update or delete on code.fired
  for each row execute function code.fire();
create table code.cut (id int);
create trigger t before truncate on code.cut execute function code.fire();
create table code.has_default (id int, a text default code.leak());
create table code.has_check (id int check (code.is_fine(id)));
create table code.has_domain (id code.checked);
create table code.has_generated (id int, g int generated always as (code.leak_int(id)) stored);
create table code.has_index (id int);
create index on code.has_index (code.leak_int(id));
create table code.parts (id int) partition by range (id);
create table code.part_1 partition of code.parts for values from (0) to (100);
create trigger t after insert on code.part_1 for each row execute function code.fire();
create table code.parent (id int primary key);
create table code.child (id int references code.parent on delete cascade on update set null);
create trigger t after delete or update on code.child for each row execute function code.fire();
insert into code.parent values (1), (2); insert into code.child values (1), (2);
insert into code.has_index values (1);
create view code.over as select id, a from code.fired;
create view code.instead as select id from code.notes;
create trigger t instead of insert on code.instead for each row execute function code.fire();
create view code.calls as select code.leak() as a;
create function code.worse(int) returns int language sql as 'select code.leak_int($1)';
create type code.thing as (a int)
"""
ATTACKS = [
    "select code.leak()",
    "select * from code.leak()",
    "select code.worse(1)",
    "select code.leak_int(1)",
    "select a from code.calls",
    "insert into code.fired values (1, 1)",
    "update code.fired set a = 2",
    "delete from code.fired",
    "merge into code.fired f using code.notes n on f.id = n.id when not matched then "
    "insert values (1, 1)",
    "truncate code.cut",
    "insert into code.has_default (id) values (1)",
    "insert into code.has_check values (1)",
    "insert into code.has_domain values (1)",
    "insert into code.has_generated values (1)",
    "insert into code.has_index values (1)",
    "insert into code.parts values (1)",
    "delete from code.parent where id = 1",
    "update code.parent set id = 9 where id = 2",
    "insert into code.over values (1, 1)",
    "insert into code.instead values (1)",
    "select 1::code.checked",
    "select cast('1' as code.checked)",
    "copy code.fired from stdin",
    "explain analyze select code.leak()",
    "prepare p as select code.leak()",
    "declare c cursor with hold for select code.leak()",
    "create table code.copied as select code.leak() as a",
    "create index on code.notes (code.leak_int(id))",
    "alter table code.notes add column z int default code.leak_int(1)",
    "reindex table code.has_index",
    "alter table code.has_index alter id type bigint",
]


@pytest.fixture(scope="module")
def made(gateway: Gateway) -> Iterator[None]:
    with connect(gateway) as owner:
        owner.execute(MADE)
        yield
    with psycopg.connect(gateway.targets["shop"].superuser_dsn, autocommit=True) as admin:
        admin.execute(
            "drop schema code cascade; create schema code; "
            f"grant all on schema code to {gateway.targets['shop'].user}"
        )
        admin.execute(f"set role {gateway.targets['shop'].user}; {SCHEMA}")


@pytest.mark.parametrize("sql", ATTACKS)
@pytest.mark.parametrize("way", ["simple", "extended", "pipeline"])
def test_masked_subjects_run_nothing_that_was_so_made(
    gateway: Gateway, made: None, sql: str, way: str
) -> None:
    told: list[str] = []
    with connect(gateway, "claude-agent") as agent:
        agent.add_notice_handler(lambda d: told.append(f"{d.message_primary} {d.message_detail}"))
        agent.cursor_factory = psycopg.ClientCursor if way == "simple" else psycopg.RawCursor
        with pytest.raises(psycopg.Error) as caught:
            if way == "pipeline":
                with agent.pipeline():
                    agent.execute("select id from code.notes")
                    cursor = agent.execute(sql)
                    told.append(repr(cursor.fetchall() if cursor.description else ""))
            elif sql.startswith("copy"):
                with agent.cursor().copy(sql) as copy:
                    copy.write("1\t1\n")
            else:
                cursor = agent.execute(sql)
                told.append(repr(cursor.fetchall() if cursor.description else ""))
    told += [str(caught.value), str(caught.value.diag.message_detail)]
    assert "[SP1" in str(caught.value), caught.value
    assert CANARY not in "".join(told)


MOVES = [
    ("search_path", "public"),
    ("sallyport.subject", "somebody-else"),
    ("sallyport.groups", "{dba}"),
    ("standard_conforming_strings", "off"),
    ("client_encoding", "LATIN1"),
]


@pytest.mark.parametrize(("name", "value"), MOVES)
@pytest.mark.parametrize("way", ["simple", "extended", "pipeline", "block", "trusted", "one text"])
def test_moving_what_is_pinned_ends_the_session(
    gateway: Gateway, way: str, name: str, value: str
) -> None:
    call = f"call code.trusted_move('{name}', '{value}')"
    block = f"do $$ begin perform set_config('{name}', '{value}', false); end $$"
    session = connect(gateway, "claude-agent" if way == "trusted" else "dana-dba")
    if way == "extended":
        session.cursor_factory = psycopg.RawCursor
    with pytest.raises(psycopg.Error, match=r"changed|closed|not valid"):
        _move(session, way, block if way != "trusted" else call)
    with pytest.raises(psycopg.OperationalError):
        session.execute("select 1")
        session.execute("select 1")


def _move(session: Session, way: str, block: str) -> None:
    if way == "pipeline":
        with session.pipeline():
            session.execute(block)
            session.execute("select count(*) from code.notes").fetchall()
    if way == "block":
        session.execute("begin")
    session.execute(block + ("; select 1" if way == "one text" else ""))
    session.execute("select count(*) from code.notes")


#: What pg_dump --no-owner --no-privileges writes, but for its comments.
DUMP = """SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA restored;
CREATE TYPE restored.state AS ENUM (
    'new',
    'done'
);
CREATE FUNCTION restored.is_short(text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    AS $_$ begin return length($1) < 5; end $_$;
CREATE DOMAIN restored.short AS text
\tCONSTRAINT short_check CHECK (restored.is_short(VALUE));
CREATE FUNCTION restored.note() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ begin insert into restored.log(what) values (new.name); return new; end $$;
CREATE PROCEDURE restored.clear()
    LANGUAGE sql
    AS $$ delete from restored.log $$;
CREATE TABLE restored.item (
    id integer NOT NULL,
    name restored.short,
    state restored.state DEFAULT 'new'::restored.state
);
CREATE SEQUENCE restored.item_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE restored.item_id_seq OWNED BY restored.item.id;
CREATE TABLE restored.log (
    what text
);
ALTER TABLE ONLY restored.item ALTER COLUMN id
    SET DEFAULT nextval('restored.item_id_seq'::regclass);
COPY restored.item (id, name, state) FROM stdin;
1\tone\tnew
2\ttwo\tdone
\\.


SELECT pg_catalog.setval('restored.item_id_seq', 2, true);
ALTER TABLE ONLY restored.item
    ADD CONSTRAINT item_pkey PRIMARY KEY (id);
CREATE TRIGGER noted AFTER INSERT ON restored.item
    FOR EACH ROW EXECUTE FUNCTION restored.note();
COMMENT ON FUNCTION restored.note() IS 'notes';
"""


def test_a_script_of_pg_dump_restores(gateway: Gateway) -> None:
    server = gateway.targets["shop"]
    with psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists restored cascade")
        admin.execute(f"grant create on database shop to {server.user}")
        try:
            dsn = gateway.dsn(gateway.token("dana-dba"))
            told = subprocess.run(
                [client_program("psql"), "-X", "-v", "ON_ERROR_STOP=1", "-f", "-", dsn],
                input=DUMP,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert (told.returncode, told.stderr) == (0, "")
            with connect(gateway) as owner:
                owner.execute("insert into restored.item (name) values ('six')")
                rows = owner.execute(
                    "select id, state::text, what from restored.item, restored.log"
                    " where name = what"
                ).fetchall()
                assert rows == [(3, "new", "six")]
                owner.execute("call restored.clear()")
                assert owner.execute("select * from restored.log").fetchall() == []
        finally:
            admin.execute("drop schema if exists restored cascade")
