"""Cursors that a function opens: their rows pass for who has no masks, whatever the way of FETCH;
for everybody else they are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import DBA, PRIVACY, Gateway
from tests.support.postgres import Server

POLICY = """version: 1
functions: ["cursors.opens", "cursors.moves"]
rules:
  - {name: the owner does everything, subjects: {groups: [dba]}, allow: [all]}
  - {name: agents work, subjects: {groups: [claude-postgres]}, allow: [all]}
  - {name: privacy reads, subjects: {groups: [privacy]}, allow: [read, call],
     relations: ["cursors.*"]}
masks:
  - {columns: ["cursors.people.ssn"], with: redact, except: {groups: [dba, privacy]}}
"""
SCHEMA = """
create table cursors.people (id int primary key, ssn text);
insert into cursors.people values (1, '911-77-0001'), (2, '911-77-0002');
create function cursors.opens(name refcursor) returns refcursor language plpgsql as
  'begin open name for select id, ssn from cursors.people order by id; return name; end';
create function cursors.moves(name refcursor) returns refcursor language plpgsql as
  'begin open name for select id from cursors.people order by ssn; move 1 from name;
   return name; end';
"""
ROWS = [(1, "911-77-0001"), (2, "911-77-0002")]


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists cursors cascade; create schema cursors")
        admin.execute(f"grant all on schema cursors to {postgres.user}")
        admin.execute(f"set role {postgres.user}; {SCHEMA}; reset role")
        running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema cursors cascade")


def connect(gateway: Gateway, who: str) -> psycopg.Connection:
    return psycopg.connect(gateway.dsn(gateway.token(who)), cursor_factory=psycopg.RawCursor)


@pytest.mark.parametrize("who", [DBA, PRIVACY])
@pytest.mark.parametrize("name", ["c", "<unnamed portal 1>"])
@pytest.mark.parametrize("binary", [False, True])
def test_rows_of_a_function_s_cursor_pass(
    gateway: Gateway, who: str, name: str, binary: bool
) -> None:
    opened = name if name == "c" else None
    with connect(gateway, who) as session:
        assert session.execute("select cursors.opens($1)", [opened]).fetchone() == (name,)
        cursor = session.cursor(binary=binary)
        assert cursor.execute(f'fetch 1 from "{name}"').fetchall() == ROWS[:1]
        assert cursor.execute(f'fetch all in "{name}"').fetchall() == ROWS[1:]
        assert cursor.execute(f'move backward all in "{name}"').rowcount == 2
        assert cursor.execute(f'fetch all in "{name}"', prepare=True).fetchall() == ROWS
        session.execute(f'close "{name}"')
        with pytest.raises(errors.InvalidCursorName, match=r"cursor .* does not exist") as caught:
            session.execute(f'fetch all in "{name}"')
        assert caught.value.diag.message_detail is None  # PostgreSQL's own


def test_one_message_opens_and_fetches(gateway: Gateway) -> None:
    with connect(gateway, DBA) as session:
        session.autocommit = True
        cursor = session.execute(
            "begin; select cursors.opens('c'); fetch all in c; close c; commit"
        )
        results = [cursor.fetchall() for _ in cursor.results() if cursor.description]
        assert results == [[("c",)], ROWS]


def test_two_cursors_of_one_prepared_fetch(gateway: Gateway) -> None:
    """The name means another cursor later, and each has its own columns."""
    with connect(gateway, DBA) as session:
        session.execute("select cursors.opens('c')")
        assert session.execute("fetch all in c", prepare=True).fetchall() == ROWS
        session.execute("close c")
        session.execute("declare c cursor for select 7 as seven")
        assert session.execute("fetch all in c").fetchall() == [(7,)]


def test_a_masked_subject_gets_no_rows(gateway: Gateway) -> None:
    with connect(gateway, "claude-agent") as session:
        session.execute("select cursors.opens('c')")
        with pytest.raises(errors.InvalidCursorName, match=r"\[SP1303\]") as caught:
            session.execute("fetch all in c")
        diagnosis = caught.value.diag
        assert "a function has opened it" in str(diagnosis.message_detail)
        assert "your policy has masks" in str(diagnosis.message_detail)


def test_masks_that_come_later_close_the_cursor(gateway: Gateway) -> None:
    """A policy that gives the subject masks meanwhile withholds what is left of the cursor."""
    stricter = POLICY.replace(", except: {groups: [dba, privacy]}", "")
    with connect(gateway, DBA) as session:
        session.execute("select cursors.opens('c')")
        assert session.execute("fetch 1 from c").fetchall() == ROWS[:1]
        gateway.change_policy(stricter)
        try:
            with pytest.raises(errors.FeatureNotSupported, match=r"\[SP1206\]"):
                session.execute("fetch 1 from c")
        finally:
            session.rollback()
            gateway.change_policy(POLICY)


REUSED = [
    "begin;{declare};commit;begin",
    "begin;{declare};rollback;begin",
    "begin;savepoint a;{declare};rollback to a",
    "begin;savepoint a;{declare};release a;savepoint b;select 1;rollback",
    "begin;{held};rollback;begin",
    "begin;{held};savepoint a;select 1/0;commit;begin",
    "begin;savepoint a;{held};rollback to a",
]


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("way", REUSED)
def test_a_function_s_cursor_is_not_taken_for_an_earlier_one(
    gateway: Gateway, way: str, joined: bool
) -> None:
    """A cursor of the session's own, which showed no masked column, had the name before."""
    query = "cursor{} for select 0 as id, upper('none') as ssn from cursors.people"
    declare, held = (f"declare c {query.format(hold)}" for hold in ("", " with hold"))
    text = way.format(declare=declare, held=held)
    text += "; select cursors.opens('c'); fetch all in c"
    with connect(gateway, "claude-agent") as session:
        session.autocommit = True
        rows: list[tuple[object, ...]] = []
        refusals = []
        for sql in [text] if joined else text.split(";"):
            try:
                cursor = session.execute(sql.encode())
                rows += [r for _ in cursor.results() if cursor.description for r in cursor]
            except psycopg.Error as error:
                refusals.append(str(error.diag.message_primary))
        assert not set(ROWS).intersection(rows)
        assert not any(str(value).startswith("911") for row in rows for value in row)
        assert refusals


@pytest.mark.parametrize(
    "statement", ["update cursors.people set id = id + 100", "delete from cursors.people"]
)
@pytest.mark.parametrize("prepared", [False, True])
def test_its_row_is_not_written(gateway: Gateway, statement: str, prepared: bool) -> None:
    """Which row that is may tell what the function read."""
    with connect(gateway, "claude-agent") as session:
        session.execute("select cursors.moves('c')")
        sql = f"{statement} where current of c"
        if prepared:
            session.execute("declare c2 cursor for select id from cursors.people")
            sql = sql.replace("of c", "of c2")
            session.execute(f"prepare p as {sql}".encode())
            session.execute("close c2")
            session.execute("select cursors.moves('c2')")
            sql = "execute p"
        with pytest.raises(errors.InvalidCursorName, match=r"\[SP1303\]"):
            session.execute(sql.encode())
        session.rollback()


def test_own_cursors_live_as_long_as_they_do(gateway: Gateway) -> None:
    with connect(gateway, "claude-agent") as session:
        session.execute("declare c cursor for select id from cursors.people order by id")
        session.execute("savepoint a")
        assert session.execute("fetch 1 from c").fetchall() == [(1,)]
        session.execute("rollback to a")
        assert session.execute("fetch 1 from c").fetchall() == [(2,)]
        session.execute("declare h cursor with hold for select id from cursors.people order by id")
        session.commit()
        assert session.execute("fetch 1 from h").fetchall() == [(1,)]
        session.rollback()
        assert session.execute("fetch 1 from h").fetchall() == [(2,)]
        session.execute("close h")
        session.execute("declare w cursor for select id from cursors.people where id = 2")
        session.execute("fetch 1 from w")
        session.execute("update cursors.people set id = id where current of w")
        session.rollback()
