"""Messages of several statements in which the schema changes: message for message what PostgreSQL
itself would say.

Every text runs through a gateway and, on a copy of the database, past it; libpq's trace of both
connections is compared, and what is in the two databases at the end.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import psycopg
import pytest
from psycopg import pq

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import backend, frontend
from tests.server.raw import Raw
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server
from tests.support.psql import run_psql

SCHEMA = """
GRANT ALL ON SCHEMA public TO sallyport_agent;
SET ROLE sallyport_agent;
CREATE TABLE kept (id int PRIMARY KEY, note text);
INSERT INTO kept VALUES (1, 'one'), (2, 'two');
CREATE TABLE late (id int PRIMARY KEY, kept int REFERENCES kept DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE people (id int PRIMARY KEY, name text, ssn text);
INSERT INTO people VALUES (1, 'Ada', 'canary-ssn-1'), (2, 'Bo', 'canary-ssn-2');
CREATE SCHEMA other;
CREATE TABLE other.kept (id int PRIMARY KEY, remark text);
INSERT INTO other.kept VALUES (7, 'other');
CREATE SEQUENCE numbers;
"""
POLICY = """
version: 1
tags: {pii: ["*.*.ssn"]}
search_paths: ["public", "other, public", "other"]
rules:
  - name: the release job changes the schema
    subjects: {groups: [dba, claude-postgres]}
    allow: [read, write, ddl, lock, truncate]
    relations: ["public.*", "other.*", "s.*"]
  - name: and what is in no schema
    subjects: {groups: [dba, claude-postgres]}
    allow: [create_schema, comment, listen, notify]
  - name: nobody empties people
    deny: [truncate]
    relations: ["public.people"]
masks:
  - {tags: [pii], with: redact, except: {groups: [dba]}}
"""
#: In this order, all on one connection, each outside a transaction or, with a plus, in the one that
#: is open; what is between braces comes as COPY data.
TEXTS = (
    # everything works
    (
        "DROP TABLE IF EXISTS x; CREATE TABLE x (a int, b text); INSERT INTO x VALUES (1, 'one'),"
        " (2, 'two')"
    ),
    (
        "DROP TABLE IF EXISTS x; CREATE TABLE x (a int, b text); INSERT INTO x VALUES (1, 'a')"
        " RETURNING a, b; SELECT * FROM x"
    ),
    (
        "CREATE TABLE y (LIKE x); INSERT INTO y SELECT * FROM x; UPDATE y SET a = a + 1; DELETE"
        " FROM y WHERE a = 9; TABLE y; DROP TABLE y"
    ),
    (
        "ALTER TABLE x ADD COLUMN c int DEFAULT 5; SELECT c FROM x; ALTER TABLE x DROP COLUMN c;"
        " SELECT * FROM x;"
    ),
    (
        "ALTER TABLE x RENAME TO z; SELECT * FROM z; ALTER TABLE z RENAME COLUMN b TO d; SELECT d"
        " FROM z; ALTER TABLE z RENAME TO x"
    ),
    (
        "ALTER TABLE x DROP COLUMN IF EXISTS nothing; SELECT * FROM x; ALTER TABLE x ADD e int;"
        " ALTER TABLE x DROP COLUMN IF EXISTS e, DROP IF EXISTS f"
    ),
    ";; /* comment */ ALTER TABLE x RENAME d TO b; -- another\n ;SELECT b /* é */ FROM x;;",
    "CREATE VIEW v AS SELECT a FROM x; SELECT * FROM v; DROP VIEW v; SELECT 1",
    "CREATE INDEX ix ON x (a); COMMENT ON INDEX ix IS 'é'; DROP INDEX ix; DROP INDEX IF EXISTS ix",
    (
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE m (m mood); INSERT INTO m VALUES"
        " ('ok'); SELECT * FROM m; DROP TABLE m; DROP TYPE mood"
    ),
    (
        "CREATE SCHEMA s; CREATE TABLE s.t (id int); INSERT INTO s.t VALUES (1); SELECT count(*)"
        " FROM s.t; DROP TABLE s.t; DROP SCHEMA s"
    ),
    (
        "CREATE TABLE p (d int) PARTITION BY RANGE (d); CREATE TABLE p1 PARTITION OF p FOR VALUES"
        " FROM (0) TO (10); INSERT INTO p VALUES (5); SELECT tableoid::regclass::text, d FROM p;"
        " DROP TABLE p"
    ),
    # CASCADE where nothing depends on it
    (
        "DROP TABLE IF EXISTS y CASCADE; CREATE TABLE y (a int, b int, CONSTRAINT c CHECK (a > 0));"
        " DROP TABLE y /* é */ CASCADE ;"
    ),
    (
        "CREATE TABLE y (a int, b int, CONSTRAINT c CHECK (a > 0)); ALTER TABLE y DROP CONSTRAINT"
        " c, DROP COLUMN b CASCADE; INSERT INTO y VALUES (0)"
    ),
    (
        "CREATE VIEW w AS SELECT a FROM y; DROP VIEW w cascade; DROP TABLE IF EXISTS y, nowhere"
        " CASCADE; CREATE TYPE t AS (a int); DROP TYPE t CASCADE"
    ),
    (
        "CREATE TABLE y (a int UNIQUE); CREATE TABLE w (a int REFERENCES y (a)); DROP TABLE y, w"
        " CASCADE; SELECT 1"
    ),
    "CREATE SCHEMA s; DROP SCHEMA s CASCADE",
    # errors at each place
    "ALTER TABLE x ADD a int; CREATE TABLE e (a int); INSERT INTO e VALUES (1)",
    "CREATE TABLE e (a int); ALTER TABLE e ADD a int; INSERT INTO e VALUES (1)",
    "CREATE TABLE e (a int); INSERT INTO e VALUES (1); SELECT 1 / 0 AS broken FROM e; SELECT 2",
    "CREATE TABLE e (a int); INSERT INTO e VALUES (1); INSERT INTO e /* é */ VALUES ('abc')",
    "CREATE TABLE e (a int);\n\n SELECT 'éé'; SELECT 'abc'::int FROM e",
    (
        "CREATE TABLE e (a int UNIQUE); INSERT INTO e VALUES (1); INSERT INTO e VALUES (1); INSERT"
        " INTO e VALUES (2)"
    ),
    "CREATE TABLE e (a int CHECK (a > 0)); INSERT INTO e VALUES (-1)",
    "CREATE TABLE x (a int); INSERT INTO x VALUES (1)",
    "ALTER TABLE kept ADD COLUMN extra int NOT NULL; INSERT INTO kept VALUES (9)",
    "SELECT 1; CREATE TABLE e (a int); SELECT * FROM e; DROP TABLE e; SELECT 1 / 0",
    # deferred constraints
    "CREATE TABLE e (a int); INSERT INTO late VALUES (1, 99); SELECT 5",
    "CREATE TABLE e (a int); INSERT INTO later VALUES (1), (1)",
    "CREATE TABLE e (a int); INSERT INTO later VALUES (1), (1) RETURNING id",
    "CREATE TABLE e (a int); INSERT INTO later VALUES (1), (1); COMMIT; INSERT INTO e VALUES (1)",
    (
        "CREATE TABLE e (a int); INSERT INTO later VALUES (1), (1); SET CONSTRAINTS ALL IMMEDIATE;"
        " SELECT 1"
    ),
    (
        "CREATE TABLE e (a int); SET CONSTRAINTS ALL DEFERRED; INSERT INTO later VALUES (1); DROP"
        " TABLE e"
    ),
    (
        "DELETE FROM later; BEGIN; CREATE TABLE e (a int); INSERT INTO later VALUES (1), (1);"
        " SELECT 1; COMMIT"
    ),
    # transactions inside
    "BEGIN; CREATE TABLE b (a int); INSERT INTO b VALUES (1); COMMIT",
    (
        "BEGIN; INSERT INTO b VALUES (2); ALTER TABLE b ADD c int; SELECT * FROM b; ROLLBACK;"
        " SELECT * FROM b"
    ),
    "ALTER TABLE b ADD c int; BEGIN; INSERT INTO b VALUES (3, 3); COMMIT; SELECT * FROM b",
    "ALTER TABLE b ADD d int; BEGIN; INSERT INTO b VALUES (4, 4, 4)",
    "ALTER TABLE b ADD d int; INSERT INTO b VALUES (4, 4, 4); BEGIN",
    "ALTER TABLE b ADD d int; SELECT d FROM b; COMMIT; ALTER TABLE b ADD e int; SELECT e FROM b",
    "ALTER TABLE b ADD f int; SELECT f FROM b; ROLLBACK; SELECT * FROM b",
    (
        "ALTER TABLE b ADD f int; SELECT f FROM b; ABORT; ALTER TABLE b ADD f text; SELECT f FROM"
        " b; END"
    ),
    "ALTER TABLE b ADD g int; SELECT g FROM b; COMMIT; SELECT 1 / 0; SELECT 3",
    "ALTER TABLE b DROP g; SELECT * FROM b; COMMIT AND CHAIN; SELECT 1",
    "ALTER TABLE b DROP f; SELECT * FROM b; ROLLBACK AND CHAIN; SELECT 1",
    "ALTER TABLE b ADD h int; SELECT h FROM b; SAVEPOINT s; SELECT 1",
    "ALTER TABLE b ADD h int; SELECT h FROM b; RELEASE s; SELECT 1",
    "ALTER TABLE b ADD h int; SELECT h FROM b; ROLLBACK TO s; SELECT 1",
    (
        "BEGIN; ALTER TABLE b ADD h int; SAVEPOINT s; ALTER TABLE b ADD i int; SELECT i FROM b;"
        " ROLLBACK TO s; SELECT h FROM b; RELEASE s; COMMIT"
    ),
    (
        "BEGIN; ALTER TABLE b ADD i int; SELECT i FROM b; COMMIT AND CHAIN; SELECT i FROM b; ALTER"
        " TABLE b ADD j int; SELECT j FROM b; COMMIT"
    ),
    "ALTER TABLE b DROP j; SELECT * FROM b; BEGIN; BEGIN; SELECT 1; COMMIT; COMMIT; SELECT 2",
    "ALTER TABLE b ADD j int; SELECT j FROM b; BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1",
    "ALTER TABLE b ADD j int; SELECT j FROM b; BEGIN READ ONLY; SELECT 1; INSERT INTO b VALUES (1)",
    (
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; ALTER TABLE b ADD j int; SELECT j FROM b;"
        " SHOW transaction_isolation"
    ),
    (
        "ALTER TABLE b ADD k int; SELECT k FROM b; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;"
        " SELECT 1"
    ),
    "COMMIT; ALTER TABLE b ADD l int; SELECT l FROM b; COMMIT; COMMIT",
    "ROLLBACK; SAVEPOINT s; ALTER TABLE b ADD m int; SELECT m FROM b",
    "ALTER TABLE b ADD m int; SELECT m FROM b; START TRANSACTION; SELECT 1 / 0; ROLLBACK",
    # settings, cursors, prepared statements, notifications
    "SET LOCAL work_mem = '5MB'; ALTER TABLE b ADD n int; SELECT n FROM b; SHOW work_mem",
    (
        "SET application_name = 'one'; ALTER TABLE b ADD o int; SELECT o FROM b; SET"
        " application_name = 'two'; SHOW application_name"
    ),
    "SET application_name = 'three'; ALTER TABLE b ADD p int; SELECT p FROM b; SELECT 1 / 0",
    (
        "SET search_path = other; SELECT * FROM kept; CREATE TABLE f (id int); SELECT * FROM f; SET"
        " search_path = public; SELECT * FROM kept"
    ),
    (
        "SET LOCAL search_path = other, public; SELECT * FROM kept; CREATE TABLE g (id int); SELECT"
        " * FROM other.g; DROP TABLE other.g; DROP TABLE f"
    ),
    "SELECT * FROM kept",
    (
        "CREATE TABLE q (id int); INSERT INTO q VALUES (1), (2), (3); DECLARE c CURSOR FOR SELECT"
        " id FROM q ORDER BY id; FETCH 2 FROM c; MOVE 1 FROM c; CLOSE c; SELECT 1"
    ),
    (
        "DECLARE c CURSOR FOR SELECT id FROM q; ALTER TABLE kept ADD x int; SELECT x FROM kept;"
        " FETCH c; ALTER TABLE kept DROP x"
    ),
    (
        "DROP TABLE q; CREATE TABLE q (id int); PREPARE p AS SELECT id FROM q; INSERT INTO q VALUES"
        " (4); EXECUTE p; DEALLOCATE p"
    ),
    (
        "LISTEN here; CREATE TABLE n (id int); NOTIFY here, 'first'; SELECT * FROM n; COMMIT;"
        " NOTIFY here, 'second'; DROP TABLE n"
    ),
    "UNLISTEN here",
    (
        "CREATE TABLE n (id serial, t timestamptz DEFAULT now()); INSERT INTO n DEFAULT VALUES; "
        "SELECT count(*) FROM n WHERE t = transaction_timestamp(); DROP TABLE n"
    ),
    "LOCK TABLE kept; ALTER TABLE kept ADD x int; SELECT x FROM kept; ALTER TABLE kept DROP x",
    (
        "CREATE TABLE w (id int); EXPLAIN (COSTS off) SELECT * FROM w; ANALYZE w; TRUNCATE w;"
        " SELECT nextval('numbers'); DROP TABLE w"
    ),
    # COPY
    (
        "CREATE TABLE c (a int, b text); COPY c FROM STDIN; SELECT * FROM c ORDER BY"
        " a{1\tone\n2\ttwo\n}"
    ),
    "TRUNCATE c; ALTER TABLE c ADD d int; COPY c (a, d) FROM STDIN; COPY c TO STDOUT{3\t4\n}",
    "ALTER TABLE c ADD e int; COPY c FROM STDIN; SELECT 1{1\tbroken\n}",
    "ALTER TABLE c ADD e int; COPY c (e) FROM STDIN{9\n}",
    "ALTER TABLE c DROP e; COPY c TO STDOUT; COPY (SELECT a FROM c) TO STDOUT; DROP TABLE c",
    # what cannot run in a block
    "CREATE TABLE i (a int); SELECT * FROM i; CREATE INDEX CONCURRENTLY ii ON i (a)",
    (
        "CREATE TABLE i (a int); INSERT INTO i VALUES (1); COMMIT; CREATE INDEX CONCURRENTLY ii ON"
        " i (a); SELECT 1"
    ),
    "DROP TABLE i; SELECT * FROM kept; REINDEX TABLE CONCURRENTLY kept",
    "DROP TABLE i; CREATE TABLE i (b int); SELECT b FROM i; DISCARD ALL",
    # in a transaction that is open, and in one that has failed
    "BEGIN",
    "+ALTER TABLE i ADD c int; SELECT c FROM i; BEGIN",
    "+ALTER TABLE i ADD d int; SELECT d FROM i; SELECT 1 / 0; SELECT 2",
    "+CREATE TABLE j (a int); SELECT * FROM j",
    "+ROLLBACK; CREATE TABLE j (a int); SELECT * FROM j; DROP TABLE j",
    "BEGIN",
    "+ALTER TABLE i ADD z int",
    "+ROLLBACK; SELECT * FROM i",
    "BEGIN",
    "+CREATE TABLE k (a int)",
    "+COMMIT; SELECT * FROM k; SELECT 1",
    "BEGIN",
    "+SET LOCAL search_path = other",
    "+SELECT * FROM kept; COMMIT; SELECT * FROM kept; DROP TABLE k",
    "BEGIN",
    "+SAVEPOINT s",
    "+ALTER TABLE i ADD z int; SELECT z FROM i",
    "+ROLLBACK TO s; SELECT * FROM i; ALTER TABLE i ADD z text; SELECT z FROM i; ROLLBACK",
    "BEGIN",
    "+ALTER TABLE i ADD c int; SELECT c FROM i; COMMIT; ALTER TABLE i ADD d int; SELECT d FROM i",
    "SELECT * FROM i",
)


@dataclass
class World:
    gateway: Gateway
    server: Server

    def connect(self, who: str = "dana-dba", **more: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.gateway.dsn(self.gateway.token(who), **more), autocommit=True)


@pytest.fixture(scope="module")
def world(issuer: DevIssuer) -> Iterator[World]:
    server: Server = start_server()
    try:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
            db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            db.execute("GRANT CREATE ON DATABASE shop TO sallyport_agent")
            db.execute(SCHEMA)
        with psycopg.connect(server.superuser_dsn, dbname="postgres", autocommit=True) as db:
            db.execute("CREATE DATABASE direct TEMPLATE shop")
            db.execute("GRANT CREATE ON DATABASE direct TO sallyport_agent")
        running = Gateway(issuer, {"shop": server}, policy=POLICY).start()
        yield World(running, server)
        running.stop()
    finally:
        server.stop()


class Traced:
    """A connection, and what it has received since it was asked last."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.pgconn = self.connection.pgconn

    def run(self, text: str) -> list[str]:
        """What the server says to a text."""
        with tempfile.TemporaryFile("w+") as file:
            self.pgconn.trace(file.fileno())
            self.pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS | pq.Trace.REGRESS_MODE)
            self._run(text)
            self.pgconn.untrace()
            file.seek(0)
            return [line for line in file if line.startswith("B")]

    def _run(self, text: str) -> None:
        sql, _, data = text.removeprefix("+").partition("{")
        self.pgconn.send_query(sql.encode())
        while True:
            result = self.pgconn.get_result()
            if result is None:
                break
            if result.status == pq.ExecStatus.COPY_IN:
                self.pgconn.put_copy_data(data[:-1].encode())
                self.pgconn.put_copy_end()
            elif result.status == pq.ExecStatus.COPY_OUT:
                while self.pgconn.get_copy_data(0)[0] > 0:
                    pass
        assert self.pgconn.status == pq.ConnStatus.OK, text

    def close(self) -> None:
        self.connection.close()


def state(dsn: str) -> list[tuple[str, list[object]]]:
    """Every table with its columns and rows."""
    with psycopg.connect(dsn) as db:
        names = db.execute(
            "SELECT relname, oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v', 'p') "
            "AND relnamespace::regnamespace::text IN ('public', 'other', 's') ORDER BY 2"
        ).fetchall()
        found = []
        for _, name in names:
            cursor = db.execute(f"SELECT * FROM {name} ORDER BY 1".encode())
            found.append(
                (name, [[column.name for column in cursor.description or ()], cursor.fetchall()])
            )
        return found


def direct(world: World) -> str:
    return world.server.agent_dsn.replace("/shop", "/direct")


def differences(world: World, texts: tuple[str, ...]) -> list[str]:
    """Texts whose answers are not the same, with both."""
    through = Traced(world.gateway.dsn(world.gateway.token("dana-dba")))
    past = Traced(direct(world))
    found = []
    for text in texts:
        if not text.startswith("+") and past.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            assert through.run("ROLLBACK") == past.run("ROLLBACK"), text
        one, other = through.run(text), past.run(text)
        if one != other:
            found.append(
                f"{text}\n  through the gateway:\n{''.join(one)}  directly:\n{''.join(other)}"
            )
    through.close()
    past.close()
    return found


def test_message_for_message(world: World) -> None:
    assert len(TEXTS) >= 70
    found = differences(world, TEXTS)
    assert not found, "\n".join(found)
    past = state(world.server.superuser_dsn.replace("/shop", "/direct"))
    assert state(world.server.superuser_dsn) == past
    assert len(past) > 8


#: What somebody who sees masks sends to read what they hide: later statements mean what earlier
#: ones have made.
ATTACKS = (
    "CREATE VIEW fresh AS SELECT id, ssn AS s FROM people; SELECT s FROM fresh",
    (
        "ALTER TABLE kept RENAME TO gone; CREATE VIEW kept AS SELECT id, ssn AS note FROM people;"
        " SELECT note FROM kept"
    ),
    (
        "DROP TABLE late; CREATE VIEW late AS SELECT id, ssn AS kept FROM people; SELECT kept FROM"
        " late"
    ),
    (
        "CREATE VIEW later2 AS SELECT ssn AS s FROM people; ALTER VIEW later2 RENAME TO harmless;"
        " SELECT s FROM harmless"
    ),
    "ALTER TABLE kept RENAME TO people2; ALTER TABLE people RENAME TO kept; SELECT * FROM kept",
    "ALTER TABLE people RENAME COLUMN ssn TO open; SELECT open FROM people",
    (
        "ALTER TABLE people RENAME COLUMN ssn TO a; ALTER TABLE people RENAME COLUMN name TO ssn;"
        " SELECT a FROM people"
    ),
    "CREATE TABLE stolen (s text); INSERT INTO stolen SELECT ssn FROM people; SELECT s FROM stolen",
    (
        "SET search_path = other, public; CREATE VIEW late AS SELECT id, ssn AS kept FROM people;"
        " SELECT kept FROM late"
    ),
    (
        "SET search_path = other, public; SELECT 1; CREATE VIEW other.later AS SELECT ssn AS id"
        " FROM people; SELECT id FROM later"
    ),
    (
        "PREPARE p AS SELECT note FROM kept; ALTER TABLE kept RENAME TO k2; CREATE VIEW kept AS"
        " SELECT ssn AS note FROM people; EXECUTE p"
    ),
    (
        "CREATE VIEW f2 AS SELECT ssn AS s FROM people; COPY (SELECT s FROM f2) TO STDOUT; DROP"
        " VIEW f2"
    ),
    (
        "CREATE VIEW f3 AS SELECT ssn AS s FROM people; DECLARE c CURSOR FOR SELECT s FROM f3;"
        " FETCH ALL FROM c"
    ),
    "CREATE VIEW f4 AS SELECT ssn AS s FROM people; SELECT s::int FROM f4",
    (
        "CREATE VIEW f5 AS SELECT ssn AS s FROM people; SELECT 1; COMMIT; SELECT s FROM f5; BEGIN;"
        " SELECT s || 'x' FROM f5"
    ),
    (
        "BEGIN; CREATE VIEW f6 AS SELECT name AS s FROM people; SELECT s FROM f6; ROLLBACK; CREATE"
        " VIEW f6 AS SELECT ssn AS s FROM people; SELECT s FROM f6"
    ),
    "CREATE SCHEMA s; ALTER TABLE people SET SCHEMA s; SELECT ssn FROM s.people",
    "CREATE MATERIALIZED VIEW mat AS SELECT ssn AS s FROM people; SELECT s FROM mat",
    (
        "ALTER TABLE kept ADD v text; UPDATE kept SET v = (SELECT max(ssn) FROM people); SELECT v"
        " FROM kept"
    ),
    (
        "CREATE UNIQUE INDEX u ON people (ssn); INSERT INTO people VALUES (9, 'x', 'canary-ssn-1');"
        " SELECT 1"
    ),
    (
        "CREATE TABLE child () INHERITS (people); INSERT INTO child VALUES (3, 'c', 'canary-mine');"
        " SELECT ssn FROM child"
    ),
    (
        "CREATE TABLE like_people (LIKE people); INSERT INTO like_people SELECT * FROM people;"
        " SELECT ssn FROM like_people"
    ),
)


@pytest.mark.parametrize("text", ATTACKS, ids=[text[:60] for text in ATTACKS])
def test_later_statements_are_judged_by_what_earlier_ones_made(world: World, text: str) -> None:
    with Raw(world.gateway, 30.0) as raw:
        raw.login()
        answers = raw.send(frontend.query(text)).until("Z")
        assert b"canary" not in b"".join(answers)
        assert any(answer[:1] in b"CE" for answer in answers)
        if answers[-1] != backend.ready_for_query(b"I"):
            raw.send(frontend.query("ROLLBACK")).until("Z")
        raw.send(frontend.query("SELECT ssn FROM people"))
        assert b"canary" not in b"".join(raw.until("Z"))
    with psycopg.connect(world.server.superuser_dsn) as db:
        assert db.execute(
            "SELECT count(*) FROM people WHERE ssn LIKE 'canary-ssn-%'"
        ).fetchone() == (2,)


def test_a_refusal_rolls_back_and_leaves_a_session(world: World) -> None:
    with world.connect("claude-agent") as db:
        script = (
            b"CREATE TABLE r1 (a int); INSERT INTO r1 VALUES (1); TRUNCATE people; CREATE TABLE r2"
            b" (a int)"
        )
        with pytest.raises(psycopg.Error, match="SP1002"):
            db.execute(script)
        assert db.info.transaction_status == pq.TransactionStatus.IDLE
        with pytest.raises(psycopg.Error, match="SP1106"):
            db.execute("SELECT * FROM r1")
        with pytest.raises(psycopg.Error, match="SP1002"):
            db.execute(b"BEGIN; " + script)
        assert db.info.transaction_status == pq.TransactionStatus.INERROR
        db.execute("ROLLBACK")
        db.execute(b"CREATE TABLE r1 (a int); INSERT INTO r1 VALUES (1); DROP TABLE r1")


@pytest.mark.parametrize("what", ["DROP TABLE base CASCADE", "DROP SCHEMA s CASCADE"])
@pytest.mark.parametrize("who", ["dana-dba", "claude-agent"])
def test_cascade_drops_nothing_that_does_not_stand_there(world: World, what: str, who: str) -> None:
    with world.connect(who) as db:
        db.execute(
            "CREATE TABLE base (a int); CREATE VIEW above AS SELECT a FROM base; CREATE SCHEMA s;"
            " CREATE TABLE s.t ()"
        )
        db.execute("CREATE TABLE below () INHERITS (base); CREATE TABLE under () INHERITS (s.t)")
        for prepare in (False, True):  # of what inherits nobody follows what it needs
            with pytest.raises(psycopg.Error, match=r"SP1102.*CASCADE would drop other") as caught:
                db.execute(what.encode(), prepare=prepare)
            diag = caught.value.diag
            assert (diag.sqlstate, diag.statement_position) == ("42501", None)
            assert ("depends on" in (diag.message_detail or "")) == (who == "dana-dba")
            assert "Use DROP" not in (diag.message_hint or "")
        db.execute("SELECT a FROM above")
        db.execute("DROP TABLE below; DROP VIEW above; DROP TABLE base CASCADE")
        db.execute("DROP TABLE under; DROP TABLE s.t; DROP SCHEMA s CASCADE")
        db.execute("CREATE TABLE base (a int)", prepare=True)
        db.execute("DROP TABLE IF EXISTS base CASCADE", prepare=True)


def test_positions_of_refusals_are_those_in_the_whole_text(world: World) -> None:
    script = "CREATE TABLE r3 (é int); SELECT 1; SELECT nothing FROM r3"
    with world.connect() as db, pytest.raises(psycopg.Error, match="SP1108") as caught:
        db.execute(script.encode())
    assert caught.value.diag.statement_position == str(script.index("nothing") + 1)


def test_psycopg_runs_scripts(world: World) -> None:
    """As its own suite does: DROP, CREATE and fill in one execute, and results one after
    the other.
    """
    with world.connect() as db:
        for _ in range(2):
            cursor = db.execute(
                "drop table if exists script; create table script (id serial primary key, data"
                " text);insert into script (data) values ('a'), ('b') returning id; select data"
                " from script order by id"
            )
            results = [cursor.statusmessage]
            rows: list[object] = []
            while True:
                if cursor.description:
                    rows.append(cursor.fetchall())
                if not cursor.nextset():
                    break
                results.append(cursor.statusmessage)
            assert results == ["DROP TABLE", "CREATE TABLE", "INSERT 0 2", "SELECT 2"]
            assert rows == [[(1,), (2,)], [("a",), ("b",)]]
    with world.connect() as db:
        db.autocommit = False
        db.execute("create table script2 (id int); insert into script2 values (1)")
        db.rollback()
        with pytest.raises(psycopg.errors.UndefinedTable):
            db.execute("select * from script2")


def test_psql_runs_several_statements_in_one_message(world: World) -> None:
    dsn = world.gateway.dsn(world.gateway.token("dana-dba"))
    text = (
        "DROP TABLE IF EXISTS psql1; CREATE TABLE psql1 (a int); INSERT INTO psql1 VALUES (7);"
        " SELECT a FROM psql1"
    )
    done = run_psql(dsn, "", "--command", text)
    assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr
    done = run_psql(
        dsn,
        "",
        "--command",
        "ALTER TABLE psql1 ADD b int; SELECT b FROM psql1; SELECT b::text::int / 0 FROM psql1;"
        " SELECT nothing",
    )
    assert done.returncode == 1 and "SP1106" not in done.stdout
    script = (
        "\\set ON_ERROR_STOP 1\nALTER TABLE psql1 ADD b int\\; INSERT INTO psql1 VALUES (8, 9)\\;"
        " SELECT b FROM psql1 WHERE a = 8;\nSELECT 5;"
    )
    done = run_psql(dsn, script)
    assert (done.stdout, done.returncode) == ("9\n5\n", 0), done.stderr


def test_what_comes_behind_waits(world: World) -> None:
    """Messages that a client pipelines behind such a text run after it, in order."""
    with Raw(world.gateway, 30.0) as raw:
        raw.login()
        first = "CREATE TABLE w1 (a int); INSERT INTO w1 VALUES (1); SELECT a FROM w1"
        second = "INSERT INTO w1 VALUES (2); ALTER TABLE w1 ADD b int; SELECT b FROM w1"
        extended = (
            frontend.parse("", "SELECT a FROM w1") + frontend.bind("", "") + frontend.execute("")
        )
        raw.send(
            frontend.query(first),
            frontend.query(second),
            extended,
            frontend.sync(),
            frontend.query("DROP TABLE w1"),
        )
        kinds = ["".join(answer[:1].decode() for answer in raw.until("Z")) for _ in range(4)]
        assert kinds == ["CCTDCZ", "CCTDDCZ", "12DDCZ", "CZ"]


@pytest.mark.parametrize("end", [frontend.copy_done(), frontend.copy_fail("no more")])
def test_copy_data_that_comes_before_it_is_asked_for(world: World, end: bytes) -> None:
    """Sent in one go, as PostgreSQL lets clients do, for two COPYs of one message."""
    text = (
        "CREATE TABLE early (a text); COPY early FROM STDIN; COPY early FROM STDIN; SELECT a FROM"
        " early"
    )
    copied = frontend.copy_data(b"one\n")
    with Raw(world.gateway, 10.0) as raw:
        raw.login()
        raw.send(
            frontend.query(text),
            copied + frontend.copy_done() + copied + end,
            frontend.query("SELECT 'behind'"),
            frontend.query("DROP TABLE IF EXISTS early"),
        )
        kinds = ["".join(answer[:1].decode() for answer in raw.until("Z")) for _ in range(3)]
        worked = end == frontend.copy_done()
        assert kinds == (["CGCGCTDDCZ", "TDCZ", "CZ"] if worked else ["CGCGEZ", "TDCZ", "NCZ"])


def test_behind_an_unsynced_pipeline_there_is_no_place_for_it(world: World) -> None:
    with Raw(world.gateway, 30.0) as raw:
        raw.login()
        raw.send(
            frontend.parse("", "SELECT 1"),
            frontend.query("CREATE TABLE u1 (a int); SELECT a FROM u1"),
        )
        answers = raw.until("Z")
        assert b"[SP1106]" in b"".join(answers)


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_cancel_ends_the_whole_message(world: World, is_cancelled: bool) -> None:
    with (
        psycopg.connect(world.server.superuser_dsn) as holder,
        world.connect() as db,
        psycopg.connect(world.server.superuser_dsn, autocommit=True) as watcher,
    ):
        holder.execute("LOCK TABLE later")
        failed: list[psycopg.Error] = []

        def run() -> None:
            try:
                db.execute(
                    "CREATE TABLE cancelled (a int); SELECT 1; INSERT INTO later VALUES (1000);"
                    " INSERT INTO cancelled VALUES (1)"
                )
            except psycopg.Error as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE"
            " '%INSERT INTO later%'"
        )
        deadline = time.monotonic() + 20
        while watcher.execute(waiting).fetchone() != (1,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if is_cancelled:
            db.cancel_safe(timeout=60)
        else:
            holder.rollback()
        thread.join(20)
        assert not thread.is_alive()
        holder.rollback()
        assert [error.sqlstate for error in failed] == (["57014"] if is_cancelled else [])
        assert db.info.transaction_status == pq.TransactionStatus.IDLE
        found = watcher.execute("SELECT to_regclass('cancelled')::text").fetchone()
        assert found == ((None,) if is_cancelled else ("cancelled",))
        if not is_cancelled:
            db.execute("DROP TABLE cancelled; DELETE FROM later WHERE id = 1000; SELECT 1")


def test_a_client_that_goes_away_leaves_nothing(world: World) -> None:
    with (
        psycopg.connect(world.server.superuser_dsn) as holder,
        psycopg.connect(world.server.superuser_dsn, autocommit=True) as watcher,
    ):
        holder.execute("LOCK TABLE later")
        with Raw(world.gateway, 30.0) as raw:
            raw.login()
            raw.send(
                frontend.query(
                    "CREATE TABLE left_over (a int); INSERT INTO later VALUES (1001); SELECT 1"
                )
            )
            raw.message()
        deadline = time.monotonic() + 20
        open_ = (
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sallyport_agent' AND state <>"
            " 'idle'"
        )
        while watcher.execute(open_).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
            holder.rollback()
        assert watcher.execute("SELECT to_regclass('left_over')::text").fetchone() == (None,)


def test_long_scripts(world: World) -> None:
    """A fixture: a table and a thousand rows, each in a statement of its own."""
    rows = "".join(f"INSERT INTO fixture VALUES ({n}, 'row {n}');\n" for n in range(1000))
    with world.connect() as db:
        db.execute(
            f"CREATE TABLE fixture (id int PRIMARY KEY, note text);\n{rows}CREATE INDEX ON fixture"
            " (note);".encode()
        )
        assert db.execute("SELECT count(*), max(id) FROM fixture").fetchone() == (1000, 999)
        db.execute("DROP TABLE fixture")


#: What random texts are made of. Tables r0 to r2 may or may not be there, with or without column c.
PIECES = (
    "CREATE TABLE r{n} (a int, b text)",
    "CREATE TABLE IF NOT EXISTS r{n} (a int UNIQUE DEFERRABLE INITIALLY DEFERRED, b text)",
    "DROP TABLE IF EXISTS r{n}",
    "DROP TABLE IF EXISTS r{n} CASCADE",
    "ALTER TABLE r{n} ADD COLUMN IF NOT EXISTS c int DEFAULT 7",
    "ALTER TABLE r{n} DROP COLUMN c",
    "ALTER TABLE r{n} RENAME TO r{m}",
    "CREATE INDEX IF NOT EXISTS ri{n} ON kept (note)",
    "SET search_path = other, public",
    "SET LOCAL search_path = public",
    "RESET search_path",
    "SELECT * FROM kept ORDER BY 1",
    "SELECT id, 'é' FROM kept ORDER BY 1",
    "INSERT INTO later VALUES ({n}), ({m})",
    "DELETE FROM later",
    "SELECT 1 / {n} AS x",
    "SELECT {n}",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "COMMIT AND CHAIN",
    "SET application_name = 'a{n}'",
    "SHOW search_path",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "DECLARE c CURSOR FOR SELECT id FROM public.kept",
    "FETCH 1 FROM c",
    "SELECT * FROM r{n} ORDER BY 1",
    "INSERT INTO r{n} (a) VALUES ({m})",
)


def random_text(random: Random) -> str:
    pieces = random.choices(PIECES, k=random.randint(2, 7))
    return "; ".join(piece.format(n=random.randrange(3), m=random.randrange(3)) for piece in pieces)


def normal(answers: list[str]) -> list[str]:
    """Without what errors say: the gateway refuses some things before PostgreSQL would, in its own
    words. Settings in any order.
    """
    shown = ["ErrorResponse\n" if "ErrorResponse" in one else one for one in answers]
    settings = sorted(one for one in shown if "ParameterStatus" in one)
    return [one for one in shown if "ParameterStatus" not in one] + settings


def test_random_texts(world: World) -> None:
    seed = int(os.environ.get("SALLYPORT_SEED", "12"))
    random = Random(seed)
    through = Traced(world.gateway.dsn(world.gateway.token("dana-dba")))
    past = Traced(direct(world))
    for _ in range(int(os.environ.get("SALLYPORT_TEXTS", "60"))):
        text = random_text(random)
        one, other = normal(through.run(text)), normal(past.run(text))
        assert one == other, f"seed {seed}: {text}\n{''.join(one)}\n{''.join(other)}"
        assert through.pgconn.transaction_status == past.pgconn.transaction_status
    through.run("ROLLBACK"), past.run("ROLLBACK")
    through.close()
    past.close()
