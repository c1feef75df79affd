"""The locks that reviewers are told of, compared with ``pg_locks`` of a real server in which the
statement ran.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.approvals.preview.locks import EXCLUSIVE, columns_of, locks_of
from tests.support.postgres import Server

SCHEMA = """
CREATE SCHEMA locks; SET search_path = locks;
CREATE TABLE parent (id int PRIMARY KEY, note text, n int DEFAULT 1);
CREATE TABLE child (id int PRIMARY KEY, parent int CONSTRAINT fk REFERENCES parent);
ALTER TABLE child ADD CONSTRAINT small CHECK (id < 1000) NOT VALID;
CREATE INDEX by_note ON parent (note);
CREATE VIEW seen AS SELECT id, note FROM parent;
CREATE VIEW seen_again AS SELECT id FROM seen;
CREATE MATERIALIZED VIEW stored AS SELECT id FROM parent;
CREATE UNIQUE INDEX stored_id ON stored (id);
CREATE SEQUENCE numbers;
CREATE TYPE mood AS ENUM ('good');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN positive AS int;
CREATE TABLE typed (p positive, m mood);
CREATE FUNCTION one() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION one();
CREATE FUNCTION reads() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM locks.parent';
CREATE POLICY p ON child;
CREATE TABLE parts (id int) PARTITION BY LIST (id);
CREATE TABLE part1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE part2 (id int);
"""

#: Without what cannot run in a transaction (CONCURRENTLY).
STATEMENTS = """
ALTER TABLE parent ADD COLUMN x int
ALTER TABLE parent ADD COLUMN x int REFERENCES child
ALTER TABLE parent DROP COLUMN note CASCADE
ALTER TABLE parent ALTER COLUMN n TYPE bigint
ALTER TABLE parent ALTER COLUMN n SET DEFAULT 3
ALTER TABLE parent ALTER COLUMN n SET NOT NULL
ALTER TABLE parent ALTER COLUMN n DROP NOT NULL
ALTER TABLE parent ALTER COLUMN n SET STATISTICS 100
ALTER TABLE parent ALTER COLUMN n SET (n_distinct = 5)
ALTER TABLE parent ALTER COLUMN note SET STORAGE external
ALTER TABLE parent ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY
ALTER TABLE parent ADD CHECK (n > 0)
ALTER TABLE parent ADD UNIQUE (n)
ALTER TABLE typed ADD COLUMN z int, ADD FOREIGN KEY (z) REFERENCES parent
ALTER TABLE child ADD FOREIGN KEY (id) REFERENCES parent NOT VALID
ALTER TABLE child VALIDATE CONSTRAINT small
ALTER TABLE child DROP CONSTRAINT fk
ALTER TABLE child ALTER CONSTRAINT fk DEFERRABLE
ALTER TABLE child DISABLE TRIGGER USER
ALTER TABLE child DISABLE TRIGGER t
ALTER TABLE child ENABLE ALWAYS TRIGGER t
ALTER TABLE child ENABLE ROW LEVEL SECURITY
ALTER TABLE parent CLUSTER ON by_note
ALTER TABLE parent SET WITHOUT CLUSTER
ALTER TABLE parent SET (fillfactor = 70)
ALTER TABLE parent SET (autovacuum_enabled = off, fillfactor = 80)
ALTER TABLE parent SET (user_catalog_table = true)
ALTER TABLE parent RESET (fillfactor)
ALTER TABLE typed SET UNLOGGED
ALTER TABLE parent REPLICA IDENTITY FULL
ALTER TABLE parent OWNER TO CURRENT_USER
ALTER TABLE parts ATTACH PARTITION part2 FOR VALUES IN (2)
ALTER TABLE parts DETACH PARTITION part1
ALTER TABLE parent RENAME TO other
ALTER TABLE parent RENAME COLUMN n TO m
ALTER TABLE child RENAME CONSTRAINT fk TO kf
ALTER INDEX by_note RENAME TO by_text
ALTER INDEX by_note SET (fillfactor = 60)
ALTER TABLE typed SET SCHEMA public
ALTER VIEW seen SET (security_barrier = true)
ALTER VIEW seen RENAME TO viewed
ALTER SEQUENCE numbers INCREMENT 2
ALTER DOMAIN positive ADD CHECK (VALUE > 0)
ALTER TYPE pair ADD ATTRIBUTE c int
ALTER FUNCTION reads() RENAME TO counts
CREATE INDEX ON parent (n)
CREATE TRIGGER t2 BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION one()
CREATE RULE r AS ON DELETE TO child DO INSTEAD NOTHING
CREATE POLICY p2 ON parent
CREATE STATISTICS s ON id, n FROM parent
CREATE TABLE another (id int REFERENCES parent)
CREATE TABLE another () INHERITS (parent)
CREATE TABLE another PARTITION OF parts FOR VALUES IN (3)
CREATE TABLE another AS SELECT * FROM parent
CREATE VIEW another AS SELECT * FROM parent
CREATE OR REPLACE VIEW seen AS SELECT id, note, n FROM parent
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'
COMMENT ON TABLE parent IS 'x'
COMMENT ON COLUMN parent.n IS 'x'
COMMENT ON FUNCTION reads() IS 'x'
DROP TABLE child
DROP TABLE parent CASCADE
DROP INDEX by_note
DROP VIEW seen_again
DROP MATERIALIZED VIEW stored
DROP SEQUENCE numbers
DROP TRIGGER t ON child
DROP POLICY p ON child
DROP FUNCTION reads()
DROP TYPE mood CASCADE
DROP SCHEMA locks CASCADE
REFRESH MATERIALIZED VIEW stored
REFRESH MATERIALIZED VIEW CONCURRENTLY stored
REINDEX TABLE parent
CLUSTER parent USING by_note
TRUNCATE child
GRANT SELECT ON parent TO PUBLIC
ANALYZE parent
""".strip().splitlines()
#: From weak to strong; what is weaker than these is felt by nobody who reads or writes.
ORDER = [
    "",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
]
_FELT = {name.replace(" ", "").lower() + "lock": name for name in ORDER if name}
_HELD = (
    "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND granted AND relation = ANY"
    " (%s::oid[])"
)
_OIDS = "SELECT oid::bigint FROM pg_class WHERE relnamespace = 'locks'::regnamespace"


@pytest.fixture(scope="module")
def relations(any_postgres: Server) -> Iterator[list[int]]:
    """OIDs of the relations that are there before."""
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)  # type: ignore[call-overload]
        try:
            yield [int(str(row[0])) for row in connection.execute(_OIDS)]
        finally:
            connection.execute("DROP SCHEMA locks CASCADE")


@pytest.mark.parametrize("sql", STATEMENTS)
def test_the_strongest_lock_is_the_one_that_is_said(
    any_postgres: Server, relations: list[int], sql: str
) -> None:
    with psycopg.connect(any_postgres.superuser_dsn, options="-c search_path=locks") as connection:
        connection.execute(sql)  # type: ignore[call-overload]
        modes = {str(row[0]).lower() for row in connection.execute(_HELD, [relations])}
        connection.rollback()
    held = max((_FELT.get(mode, "") for mode in modes), key=ORDER.index, default="")
    assert _strongest(locks_of(sql)) == held, locks_of(sql)


def _strongest(lines: list[str]) -> str:
    """The strongest mode that any of the lines begins with, or that follows a semicolon."""
    parts = [part.strip() for line in lines for part in line.split(";")]
    modes = [max((m for m in ORDER if part.startswith(m)), key=len) for part in parts]
    return max(modes, key=ORDER.index, default="")


@pytest.mark.parametrize(
    ("sql", "lock"),
    [
        ("CREATE INDEX CONCURRENTLY ON parent (n)", "SHARE UPDATE EXCLUSIVE"),
        ("DROP INDEX CONCURRENTLY by_note", "SHARE UPDATE EXCLUSIVE"),
        ("REINDEX TABLE CONCURRENTLY parent", "SHARE UPDATE EXCLUSIVE"),
        ("ALTER TABLE parts DETACH PARTITION part1 CONCURRENTLY", "ACCESS EXCLUSIVE"),
        ("VACUUM FULL parent", "ACCESS EXCLUSIVE"),
        ("VACUUM parent", "SHARE UPDATE EXCLUSIVE"),
    ],
)
def test_what_does_not_run_in_a_transaction(sql: str, lock: str) -> None:
    assert _strongest(locks_of(sql)) == lock


@pytest.mark.parametrize(
    "sql", ["nonsense", "ALTER TABLE t SET (unheard_of = 1)", "CREATE EXTENSION x"]
)
def test_what_is_not_known_is_the_strongest(sql: str) -> None:
    assert locks_of(sql) == [EXCLUSIVE]


def test_columns() -> None:
    assert columns_of('ALTER TABLE t DROP COLUMN a, ALTER "B" TYPE int') == ["a", "B"]
    assert columns_of("ALTER TABLE t RENAME COLUMN a TO b") == ["a"]
    assert columns_of("ALTER TABLE t DROP COLUMN a, ADD COLUMN b int") == []
    assert columns_of("DROP TABLE t") == []
