"""No value of a masked column reaches a file of the gateway, however a client sends it; values of
other columns stay readable.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.audit.archive import RecordingError
from sallyport.audit.events import End, Event, Statement
from sallyport.audit.reader import RecordingReader
from sallyport.audit.verify import read_events
from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for

SCHEMA = """
CREATE SCHEMA v;
GRANT USAGE ON SCHEMA v TO sallyport_agent;
CREATE TABLE v.people (id int PRIMARY KEY, town text, ssn text UNIQUE, mail text, steps int,
  paid numeric);
INSERT INTO v.people VALUES (1, 'Oslo', '111', 'ada@one.example', 7, 1);
CREATE TABLE v.towns (town text, size int);
CREATE FUNCTION v.of_mail(text) RETURNS text LANGUAGE sql STABLE
  AS 'SELECT max(town) FROM v.people WHERE mail ^@ $1';
CREATE FUNCTION v.shout(text) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN upper($1); END';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA v TO sallyport_agent;
"""
POLICY = """
version: 1
rules:
  - name: agents work with people
    subjects: {groups: [claude-postgres]}
    allow: [read, write, explain, copy-in, copy-out]
    relations: ["v.*"]
functions: ["v.shout"]
masks:
  - {columns: ["v.people.ssn"], with: {partial: {keep_last: 4}}, filter: equality, write: allow}
  - {columns: ["v.people.mail"], with: email, filter: masked, write: allow}
  - {columns: ["v.people.steps"], with: redact, filter: equality, write: allow}
"""
RECORD = "record: {statements: %s}\n"
#: What must not be in the files could not be found in what is encrypted.
CLEAR = {"recording": {"encryption": {"enabled": False}}}
C = "CANARY-77001"
N = "8877066055"
Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def server(postgres: Server) -> Iterator[Server]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute(SCHEMA)
        yield postgres
        db.execute("DROP SCHEMA v CASCADE")


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, server: Server) -> Iterator[Gateway]:
    running = Gateway(issuer, {"shop": server}, policy=POLICY, extra=CLEAR).start()
    yield running
    running.stop()


def files(gateway: Gateway) -> set[Path]:
    return set((gateway.home / "var").rglob("ses_*.sprec"))


def recorded(gateway: Gateway, before: set[Path]) -> str:
    """Everything that the recording of the one session since ``before`` says, once it has ended."""
    events: list[Event] = []

    def ended() -> bool:
        try:
            events[:] = [event for file in files(gateway) - before for event in read_events(file)]
        except RecordingError:  # its header is being written
            return False
        return bool(events) and isinstance(events[-1], End)

    wait_for(ended)
    return "\n".join(map(str, events))


def check_no_file_has_it(gateway: Gateway, record: str, *values: str) -> None:
    """``record``: what was read of the recording, whose blocks on the disk are compressed."""
    for value in values:
        where = record.find(value)
        assert where < 0, record[max(0, where - 300) : where + 100]
    for file in (gateway.home / "var").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for value in values:
            where = content.find(value.encode())
            assert where < 0, (file, content[max(0, where - 200) : where + 100])
    for value in values:
        assert value not in gateway.output()


def run(
    gateway: Gateway,
    *statements: tuple[Any, ...],
    prepare: bool | None = None,
    binary: bool = False,
) -> str:
    """The record of a session that runs these; each may fail."""
    before = files(gateway)
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for sql, *values in statements:
            for _ in range(3):  # the third time through the lane
                cursor = db.cursor(binary=binary)
                try:
                    if sql.startswith(b"COPY"):
                        with cursor.copy(sql) as copy:
                            list(copy)
                    else:
                        cursor.execute(sql, *values, prepare=prepare)
                except psycopg.Error:
                    pass
    return recorded(gateway, before)


SIMPLE = [
    f"SELECT id FROM v.people WHERE ssn = '{C}' AND town = 'Oslo'",
    f"SELECT id, mail FROM v.people WHERE mail LIKE '{C}%'",
    f"SELECT id FROM v.people WHERE ssn IN ('a', '{C}', 'b')",
    f"SELECT id FROM v.people WHERE steps = {N}",
    (
        f"SELECT id FROM v.people WHERE steps = -{N} OR ssn = E'{C}' OR ssn = $x${C}$x$ OR ssn ="
        f" U&'{C}'"
    ),
    f"SELECT id FROM v.people WHERE ssn = ANY ('{{{C}}}')",
    f"SELECT id FROM v.people WHERE ssn = '{C}'::text /* {C} */ -- {C}",
    f"SELECT id FROM v.people WHERE lower(ssn) = lower('{C}')",
    f"SELECT v.shout(ssn || '{C}') FROM v.people",
    f"SELECT coalesce(ssn, '{C}') FROM v.people",
    f"SELECT p.id FROM v.people p JOIN (VALUES ('{C}')) w (s) ON p.ssn = w.s WHERE w.s = '{C}'",
    (
        f"INSERT INTO v.people VALUES (2, 'Oslo', '{C}', '{C}@x.example', 3, 1), (3, 'Rome',"
        f" '{C}1', '{C}', {N}, 2)"
    ),
    (
        f"INSERT INTO v.people VALUES (1, 'Oslo', '{C}') ON CONFLICT (id) DO UPDATE SET mail ="
        f" '{C}', ssn = '{C}' || 'x'"
    ),
    f"UPDATE v.people SET ssn = '{C}', town = 'Bergen' WHERE id = 1 RETURNING id, ssn",
    f"INSERT INTO v.people (id, ssn) SELECT 9, '{C}'",
    f"DELETE FROM v.people WHERE ssn = '{C}' AND id > 5",
    f"EXPLAIN SELECT id FROM v.people WHERE ssn = '{C}'",
    f"SELECT id FROM v.people WHERE ssn = {C.replace('-', '')} AND steps = {N}",
    f"SELECT nothing FROM v.people WHERE ssn = '{C}'",
    f"SELECT id FROM v.people WHERE ssn = '{C}' GROUP GROUP",
    f"SELECT id FROM v.people WHERE ssn = '{C}",
    f'SELECT id FROM v.people WHERE ssn = "{C}"',
    f"SELECT id FROM v.people WHERE steps = '{C}'",
    f"SELECT 1; SELECT id FROM v.people WHERE ssn = '{C}'; SELECT 2",
    f"PREPARE p AS SELECT id FROM v.people WHERE ssn = $1 AND id <> $2; EXECUTE p('{C}', 5)",
    f"PREPARE q AS SELECT id FROM v.people WHERE ssn = '{C}'",
    f"EXPLAIN EXECUTE p('{C}', 5)",
    f"BEGIN; DECLARE c CURSOR FOR SELECT id FROM v.people WHERE ssn = '{C}'; FETCH c; COMMIT",
    f"COPY (SELECT id FROM v.people WHERE ssn = '{C}') TO STDOUT",
    f"DO $$ BEGIN PERFORM 1 FROM v.people WHERE ssn = '{C}'; END $$",
    f"CREATE VIEW v.w AS SELECT id FROM v.people WHERE ssn = '{C}'",
    f"ALTER TABLE v.people ALTER ssn SET DEFAULT '{C}'",
    f"CREATE INDEX ON v.people (id) WHERE ssn = '{C}'",
    (
        f"PREPARE told AS SELECT id FROM v.people WHERE ssn = '{C}'; SELECT statement FROM"
        " pg_prepared_statements"
    ),
    (
        f"PREPARE told AS SELECT id FROM v.people WHERE ssn = '{C}'; SELECT upper(p::text) FROM"
        " pg_prepared_statements p"
    ),
    (
        f"BEGIN; DECLARE c CURSOR FOR SELECT id FROM v.people WHERE ssn = '{C}'; TABLE pg_cursors;"
        " COMMIT"
    ),
    # beside what a clear column is compared with
    f"SELECT town FROM v.people GROUP BY town HAVING town = max(town) FILTER (WHERE mail ^@ '{C}')",
    f"SELECT town = first_value(town) OVER (ORDER BY mail ^@ '{C}') FROM v.people",
    f"SELECT town = lag(town) OVER (PARTITION BY mail ^@ '{C}' ORDER BY id) FROM v.people",
    f"SELECT town = (array_agg(town ORDER BY mail ^@ '{C}'))[1] FROM v.people GROUP BY town",
    f"SELECT town = string_agg(town, ',' ORDER BY mail ^@ '{C}') FROM v.people GROUP BY town",
    f"SELECT town = json_arrayagg(town ORDER BY mail ^@ '{C}')::text FROM v.people GROUP BY town",
    (
        f"SELECT town = json_objectagg(town: town) FILTER (WHERE mail ^@ '{C}')::text FROM v.people"
        " GROUP BY town"
    ),
    f"SELECT id FROM v.people WHERE town = v.of_mail('{C}')",
    f"SELECT id FROM v.people WHERE id = (ROW(1, 'a', '{C}', 'x', 1, 1)::v.people).id",
    f"SELECT id FROM v.people WHERE town = CASE WHEN mail ^@ '{C}' THEN town END",
]


ROWS = [
    f"SELECT coalesce(nullif(ssn, ssn), '{C}') AS s FROM v.people",
    f"SELECT id, concat(mail, '{C}') FROM v.people",
    f"SELECT *, lower(ssn) || '{C}' FROM v.people",
    f"SELECT s || lower(mail) FROM v.people, (SELECT '{C}' AS s) w",
    f"PREPARE p (text) AS SELECT concat(ssn, $1) FROM v.people; EXECUTE p('{C}')",
    f"BEGIN; DECLARE c CURSOR FOR SELECT concat(ssn, '{C}') FROM v.people; FETCH ALL c; COMMIT",
    f"SELECT '{C}' FROM v.people",
    f"SELECT '{C}', town FROM v.people WHERE ssn <> '{C}'",
    f"SELECT town, upper('{C}') AS s FROM v.people",
    f"SELECT coalesce(nullif(town, town), '{C}') FROM v.people WHERE mail <> '{C}'",
    f"SELECT town || '{C}' FROM v.people WHERE lower(ssn) <> '{C}'",
    f"SELECT CASE WHEN id > 0 THEN '{C}' END FROM v.people WHERE ssn <> '{C}'",
    f"SELECT DISTINCT (SELECT '{C}' WHERE p.ssn <> '{C}') FROM v.people p",
    f"SELECT v.shout('{C}') FROM v.people WHERE ssn <> '{C}'",
    f"WITH w AS (SELECT '{C}' AS s) SELECT s FROM w, v.people WHERE ssn <> s",
    f"SELECT '{C}' UNION ALL SELECT town FROM v.people WHERE ssn <> '{C}'",
    f"VALUES ('{C}', (SELECT max(ssn) FROM v.people))",
    f"UPDATE v.people SET ssn = '{C}' WHERE id = 1 RETURNING '{C}'",
    f"PREPARE r (text) AS SELECT $1, town FROM v.people WHERE ssn <> $1; EXECUTE r('{C}')",
]


@pytest.mark.parametrize("sql", ROWS)
def test_rows_that_repeat_a_hidden_literal_are_not_recorded(gateway: Gateway, sql: str) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        cursor = db.execute(sql.encode())
        rows = cursor.fetchall() if cursor.description else []
        while cursor.nextset():
            rows += cursor.fetchall() if cursor.description else []
    assert C in str(rows)
    check_no_file_has_it(gateway, run(gateway, (sql.encode(),)), C)


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_rows_that_repeat_a_hidden_parameter_are_not_recorded(
    gateway: Gateway, prepare: bool, binary: bool
) -> None:
    sql = (
        b"SELECT %b::text, town, id FROM v.people WHERE ssn <> %b"
        if binary
        else (b"SELECT %s::text, town, id FROM v.people WHERE ssn <> %s")
    )
    record = run(gateway, (sql, (C, C)), prepare=prepare, binary=binary)
    check_no_file_has_it(gateway, record, C)
    assert "Oslo" in record


def test_other_columns_of_such_rows_are_recorded(gateway: Gateway) -> None:
    sql = f"SELECT 'x', town, id + 4000000, town || '{C}' FROM v.people WHERE ssn <> '{C}'"
    record = run(gateway, (sql.encode(),))
    assert "Oslo" in record and "are recorded as NULL" in record
    check_no_file_has_it(gateway, record, C)
    sql = "SELECT id + 4000000, count(*) FROM v.people WHERE town = 'Oslo' GROUP BY id"
    record = run(gateway, (sql.encode(),))
    assert "4000001" in record


def test_copied_rows_that_repeat_a_hidden_literal_are_not_recorded(gateway: Gateway) -> None:
    sql = f"COPY (SELECT concat(ssn, '{C}') FROM v.people) TO STDOUT"
    record = run(gateway, (sql.encode(),))
    assert "COPY 1" in record
    check_no_file_has_it(gateway, record, C)


def test_rows_that_repeat_no_literal_are_recorded(gateway: Gateway) -> None:
    sql = "SELECT upper(mail) AS m, lower(ssn) FROM v.people WHERE ssn <> '{}' ORDER BY id".format
    assert "A***@ONE.EXAMPLE" in run(gateway, (sql(C).encode(),))


@pytest.mark.parametrize("sql", SIMPLE)
def test_texts_do_not_show_values_of_masked_columns(gateway: Gateway, sql: str) -> None:
    record = run(gateway, (sql.encode(),))
    seen = ("people", "bytes that cannot be read", "DO '[redacted]'", "EXECUTE p('[redacted]'")
    assert any(text in record for text in seen)
    check_no_file_has_it(gateway, record, C, C.replace("-", ""), N)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM v.people WHERE ssn = %s AND id < %s",
        "SELECT id FROM v.people WHERE mail LIKE %s AND id < %s",
        "UPDATE v.people SET ssn = %s WHERE id = %s",
        "INSERT INTO v.people (ssn, id) VALUES (%s, %s) ON CONFLICT (id) DO NOTHING",
        "SELECT v.shout(ssn || %s) FROM v.people WHERE id < %s",
        "SELECT id FROM v.people WHERE lower(ssn) = lower(%s) LIMIT %s",
    ],
)
def test_bind_values_do_not_show_them(
    gateway: Gateway, sql: str, prepare: bool, binary: bool
) -> None:
    placeholder = sql.replace("%s", "%b") if binary else sql
    record = run(gateway, (placeholder.encode(), (C, 86423579)), prepare=prepare)
    check_no_file_has_it(gateway, record, C)
    assert "86423579" in record or str((86423579).to_bytes(4, "big"))[2:-1] in record


@pytest.mark.parametrize("prepare", [None, True])
def test_the_text_that_ran_in_its_place_is_recorded(gateway: Gateway, prepare: bool | None) -> None:
    before = files(gateway)
    sql, literal = b"SELECT id FROM v.people WHERE lower(mail) = ", f"'{C}'".encode()
    statement = (sql + literal,) if prepare is None else (sql + b"%s", (C,))
    record = run(gateway, statement, (b"SELECT id, mail FROM v.people",), prepare=prepare)
    check_no_file_has_it(gateway, record, C)
    (file,) = files(gateway) - before
    events = [event for event in read_events(file) if isinstance(event, Statement)]
    sent = [event.sent for event in events if "lower" in event.sql]
    assert len(sent) == 3 and set(sent) == {sent[0]}, "the third goes through the lane"
    assert sent[0].startswith("SELECT id FROM (SELECT ") and "mail" in sent[0]
    assert not any(event.sent for event in events if "lower" not in event.sql)


def test_values_of_other_columns_stay(gateway: Gateway) -> None:
    record = run(
        gateway,
        (
            (
                b"SELECT id, ssn FROM v.people WHERE id = 4711 AND town IN ('Oslo', 'Rome-2') AND"
                b" mail = 'x' LIMIT 23"
            ),
        ),
        (b"INSERT INTO v.people (id, town, ssn) VALUES (4712, 'Bergen', 'abcd-4713')",),
        (b"SELECT id FROM v.people WHERE ssn = '999-88-4714'",),
        (b"SELECT 'plain-4715', town FROM v.towns WHERE town <> 'Paris' AND size > 4716",),
    )
    for value in (
        "4711",
        "Oslo",
        "Rome-2",
        "LIMIT 23",
        "4712",
        "Bergen",
        "plain-4715",
        "Paris",
        "4716",
    ):
        assert value in record, value
    assert "abcd" not in record and "'*****4713'" in record
    assert "999-88" not in record and "'*******4714'" in record


@pytest.mark.parametrize("format", ["text", "csv"])
def test_copied_data_is_counted_and_not_recorded(gateway: Gateway, format: str) -> None:
    before = files(gateway)
    separator = "\t" if format == "text" else ","
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        with db.cursor().copy(
            f"COPY v.people (id, ssn) FROM STDIN (FORMAT {format})".encode()
        ) as copy:
            copy.write(f"901{separator}{C}-{format}\n")
        with db.cursor().copy(b"COPY v.towns FROM STDIN") as copy:
            copy.write("Stavanger-9\t12\n")
        db.execute("DELETE FROM v.people WHERE id = 901")
    record = recorded(gateway, before)
    check_no_file_has_it(gateway, record, C)
    assert "COPY 1" in record


def test_a_policy_can_keep_all_or_nothing(issuer: DevIssuer, server: Server) -> None:
    sql = b"SELECT id FROM v.people WHERE ssn = 'CANARY-ALL' AND id = 4717"
    for value, kept in (("full", ("CANARY-ALL", "4717")), ("fingerprints", ())):
        policy = POLICY + RECORD % value
        running = Gateway(issuer, {"shop": server}, policy=policy, extra=CLEAR).start()
        try:
            record = run(running, (sql,))
        finally:
            running.stop()
        assert "people" in record
        for text in ("CANARY-ALL", "4717"):
            assert (text in record) == (text in kept)


def test_a_text_that_ran_instead_is_recorded_once(gateway: Gateway) -> None:
    """By the general way and by the lane; of what may change something, too."""
    before = files(gateway)
    read = "SELECT upper(mail) FROM v.people WHERE id = %s"
    change = "SELECT v.shout(mail) FROM v.people WHERE id = %s"  # of which nobody read the code
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for sql in (read, change):
            for number in range(4):
                db.execute(sql.replace("%s", str(number)).encode())
                db.execute(sql, (number,), prepare=True)
    recorded(gateway, before)
    (file,) = files(gateway) - before
    statements = [event for event in read_events(file) if isinstance(event, Statement)]
    assert len(statements) == 16
    texts = [statement.sent for statement in statements]
    assert all("pg_catalog" in text for text in texts)
    assert sum(not statement.sent_digest for statement in statements) == len(set(texts))
    with RecordingReader(file) as reader:
        content = b"".join(block.raw or b"" for block in reader.blocks())
    assert all(content.count(text.encode()) == 1 for text in set(texts))
