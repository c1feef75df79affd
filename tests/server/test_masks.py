"""What each key of a mask does, as docs/policy.md says it, before a real server: judged by what
comes back and by what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

SCHEMA = """
CREATE SCHEMA m;
GRANT USAGE ON SCHEMA m TO sallyport_agent;
CREATE TABLE m.people (
  id int PRIMARY KEY, mail text, born date, note text, ssn text, code text UNIQUE,
  paid numeric(8,2), steps int);
INSERT INTO m.people VALUES
  (1, 'ada@one.example', '1970-03-05', 'first note', '111-22-3333', 'c1', 10.5, 2),
  (2, 'bob@two.example', '1970-09-09', 'second note', '444-55-6666', 'c2', 20.5, 4),
  (3, 'abe@one.example', '1982-01-02', NULL, '777-88-9999', 'c3', 30.5, 6);
CREATE TABLE m.towns (id int, town text);
INSERT INTO m.towns VALUES (1, 'Oslo'), (2, 'Oslo'), (3, 'Rome');
CREATE TABLE m.copy (id int, note text, mail text);
CREATE TABLE m.hidden (id int PRIMARY KEY);
INSERT INTO m.hidden VALUES (1);
CREATE TABLE m.parts (id int, kind text) PARTITION BY LIST (kind);
CREATE TABLE m.parts_a PARTITION OF m.parts FOR VALUES IN ('a');
CREATE VIEW m.born_early AS SELECT id, upper(mail) AS loud, born FROM m.people
  WHERE born < '1970-06-01';
CREATE VIEW m.opaque AS SELECT p.id, p.note FROM m.people p JOIN m.hidden USING (id)
  WHERE p.note LIKE 'first%';
CREATE VIEW m.trusted AS SELECT p.id, p.note FROM m.people p JOIN m.hidden USING (id)
  WHERE p.note LIKE 'first%';
CREATE FUNCTION m.first_note() RETURNS text LANGUAGE sql STABLE
  AS 'SELECT note FROM m.people WHERE id = 1';
CREATE FUNCTION m.hints() RETURNS text LANGUAGE plpgsql STABLE AS
  'BEGIN RETURN current_setting(''pg_hint_plan.enable_hint'', true); END';
CREATE FUNCTION m.shout(text) RETURNS text LANGUAGE plpgsql STABLE
  AS 'BEGIN RETURN upper($1) || ''!''; END';
GRANT SELECT, INSERT, UPDATE, DELETE ON m.people, m.towns, m.copy, m.parts TO sallyport_agent;
GRANT SELECT ON m.born_early, m.opaque, m.trusted TO sallyport_agent;
"""
POLICY = """
version: 1
rules:
  - name: agents work with people
    subjects: {groups: [claude-postgres]}
    allow: [read, write]
    relations: ["m.*"]
functions: ["m.shout", "m.hints"]
views: {"m.trusted": trusted}
masks:
  - {columns: ["m.people.mail"], with: email, filter: equality}
  - {columns: ["m.people.steps"], with: redact, filter: equality, write: allow}
  - {columns: ["m.people.born"], with: {date: {precision: year}}, filter: masked,
       write_filter: masked}
  - {columns: ["m.people.note"], with: redact, filter: masked, write: allow, copies: masked}
  - {columns: ["m.people.ssn"], with: {partial: {keep_last: 4}}, filter: deny}
  - {columns: ["m.people.code", "m.parts.kind"], with: redact, filter: masked}
  - {columns: ["m.towns.town"], with: redact, filter: allow}
"""
VALUES = ("ada@one", "bob@two", "first note", "second note", "111-22", "444-55", "Oslo", "Rome")
Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute(SCHEMA)
        running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
        yield running
        running.stop()
        db.execute("DROP SCHEMA m CASCADE")


@pytest.fixture
def agent(gateway: Gateway) -> Iterator[Session]:
    """In a transaction that is rolled back."""
    with psycopg.connect(gateway.dsn()) as db:
        db.execute("SELECT 1")
        yield db
        db.rollback()


def outcome(db: Session, sql: str) -> str:
    """The code of a refusal, or the SQLSTATE of an error, or "" when it ran; what came before it in
    the transaction stays.
    """
    try:
        with db.transaction():
            db.execute(sql.encode())
    except psycopg.Error as error:
        text = error.diag.message_primary or ""
        assert not any(value in str(error) for value in VALUES if value not in sql)
        return text[1:7] if text.startswith("[SP") else (error.sqlstate or "?")
    return ""


def numbers(db: Session, condition: str, *values: object) -> list[int]:
    sql = f"SELECT id FROM m.people WHERE {condition} ORDER BY id"
    return [number for (number,) in db.execute(sql.encode(), values or None)]


# -- filter


@pytest.mark.parametrize(
    ("condition", "chosen"),
    [
        ("mail = 'ada@one.example'", [1]),
        ("mail IN ('ada@one.example', 'bob@two.example')", [1, 2]),
        ("mail = ANY ('{ada@one.example}') AND id < 9", [1]),
        ("mail = 'a***@one.example'", []),
        ("mail LIKE 'ada%'", []),
        ("mail LIKE 'a***@one%'", [1, 3]),
        ("mail = 'ada@one.example' OR id = 2", [2]),
        ("NOT (mail = 'ada@one.example')", [1, 2, 3]),
        ("lower(mail) = 'ada@one.example'", []),
    ],
)
def test_equality_sees_the_value_in_a_condition_of_its_own(
    agent: Session, condition: str, chosen: list[int]
) -> None:
    assert numbers(agent, condition) == chosen


def test_equality_with_parameters(agent: Session) -> None:
    for _ in range(2):
        assert numbers(agent, "mail = %s", "bob@two.example") == [2]
        assert numbers(agent, "mail = ANY (%s)", ["bob@two.example", "x"]) == [2]
        assert numbers(agent, "born = %s", "1970-01-01") == [1, 2]


INT2, INT4, INT8, TEXT, FLOAT8, NUMERIC, INT8_ARRAY, NUMERIC_ARRAY = (
    21,
    23,
    20,
    25,
    701,
    1700,
    1016,
    1231,
)


@pytest.mark.parametrize(
    ("condition", "type_", "value", "answer"),
    [
        ("steps = $1", 0, b"4", "2"),
        ("steps = $1", INT2, b"4", "2"),
        ("steps = $1", INT4, b"4", "2"),
        ("steps = $1", INT8, b"4", "2"),
        ("steps = $1", INT8, b"5000000004", ""),
        ("$1 = steps", INT8, b"4", "2"),
        ("steps IN ($1, 6)", INT8, b"4", "23"),
        ("steps = $1::int8", 0, b"5000000004", ""),
        ("steps = $1", NUMERIC, b"2.4", "SP1206"),
        ("steps = $1", FLOAT8, b"2.4", "SP1206"),
        ("steps = ANY ($1)", 0, b"{4,6}", "23"),
        ("steps = ANY ($1)", INT8_ARRAY, b"{4,5000000004}", "2"),
        ("steps = ANY ($1)", NUMERIC_ARRAY, b"{4}", "SP1206"),
        ("steps = $1 AND id < $1", 0, b"4", "2"),
        ("steps = $1 AND id < $1", INT8, b"4", "SP1206"),
        ("mail = $1", TEXT, b"bob@two.example", "2"),
        ("id = $1", NUMERIC, b"2.0", "2"),
    ],
)
@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_types_of_parameters_that_equality_compares(
    agent: Session, condition: str, type_: int, value: bytes, answer: str, write: bool
) -> None:
    """What is found is what the database finds, or the type is refused: never is the column
    converted, nor the parameter rounded.
    """
    sql = f"SELECT id FROM m.people WHERE {condition} ORDER BY id"
    if write:
        sql = (
            f"WITH w AS (UPDATE m.people SET paid = 0 WHERE {condition} RETURNING id) SELECT id"
            " FROM w ORDER BY id"
        )
    result = agent.pgconn.exec_params(sql.encode(), [value], [type_])
    said = result.error_message.decode()
    shown_text = "".join(
        (result.get_value(row, 0) or b"").decode() for row in range(result.ntuples)
    )
    assert (said.partition("[")[2][:6] if said else shown_text) == answer, said


def test_prepare_declares_types_as_parse_does(agent: Session) -> None:
    for number, (type_, argument, answer) in enumerate(
        [
            ("int8", "5000000004", []),
            ("int8", "4", [2]),
            ("unknown", "4", [2]),
            ("numeric", "2.4", None),
        ]
    ):
        prepare = f"PREPARE p{number} ({type_}) AS SELECT id FROM m.people WHERE steps = $1"
        if answer is None:
            assert outcome(agent, prepare) == "SP1206"
        else:
            agent.execute(prepare.encode())
            assert [
                value for (value,) in agent.execute(f"EXECUTE p{number} ({argument})".encode())
            ] == answer


def test_joins_and_groups_see_masks(agent: Session) -> None:
    pairs = "SELECT a.id, b.id FROM m.people a JOIN m.people b ON a.mail = b.mail AND a.id < b.id"
    assert agent.execute(pairs.encode()).fetchall() == [(1, 3)]
    years = "SELECT born, count(*), count(DISTINCT mail) FROM m.people GROUP BY born ORDER BY born"
    assert [(str(born), *rest) for born, *rest in agent.execute(years.encode())] == [
        ("1970-01-01", 2, 2),
        ("1982-01-01", 1, 1),
    ]
    assert agent.execute("SELECT count(note), max(note) FROM m.people").fetchone() == (
        3,
        "[redacted]",
    )


def test_deny_shows_the_column_and_nothing_else(agent: Session) -> None:
    shown = [("*******3333",), ("*******6666",), ("*******9999",)]
    assert agent.execute("SELECT ssn FROM m.people ORDER BY id").fetchall() == shown
    joined = "SELECT p.ssn FROM m.people p JOIN m.people q USING (id) ORDER BY p.id"
    assert agent.execute(joined.encode()).fetchall() == shown
    row_query = "SELECT row_to_json(p)->>'ssn' FROM m.people p ORDER BY id"
    assert agent.execute(row_query.encode()).fetchall() == shown
    for sql in (
        "SELECT upper(ssn) FROM m.people",
        "SELECT id FROM m.people WHERE ssn IS NULL",
        "SELECT id FROM m.people ORDER BY ssn",
        "SELECT ssn, count(*) FROM m.people GROUP BY ssn",
        "SELECT s || 'x' FROM (SELECT ssn AS s FROM m.people) q",
        "DELETE FROM m.people WHERE ssn = '111-22-3333'",
    ):
        assert outcome(agent, sql) == "SP1201", sql


def test_allow_lets_conditions_see_the_value_and_shows_the_mask(agent: Session) -> None:
    assert agent.execute("SELECT id FROM m.towns WHERE town LIKE 'Os%' ORDER BY id").fetchall() == [
        (1,),
        (2,),
    ]
    towns = agent.execute("SELECT DISTINCT town, upper(town) FROM m.towns").fetchall()
    assert towns == [("[redacted]", "[redacted]")] * 2


def test_errors_and_positions_are_of_the_client_s_statement(agent: Session) -> None:
    sql = "SELECT upper(mail), 1/(id-1) FROM m.people"
    assert outcome(agent, sql) == "22012"
    assert outcome(agent, "SELECT note::int FROM m.people") == "22P02"
    with pytest.raises(psycopg.errors.InvalidTextRepresentation) as failed:
        agent.execute("SELECT mail || '', 'é', id = 'x' FROM m.people")
    assert failed.value.diag.statement_position == "30"


# -- writes


def test_a_write_chooses_rows_by_masks_where_write_filter_says_so(agent: Session) -> None:
    changed = agent.execute("UPDATE m.people SET paid = 0 WHERE born = '1970-01-01'")
    assert changed.rowcount == 2
    assert agent.execute("DELETE FROM m.people WHERE born = '1970-03-05'").rowcount == 0
    assert agent.execute("DELETE FROM m.people WHERE mail = 'ada@one.example'").rowcount == 1
    assert outcome(agent, "UPDATE m.people SET paid = 1 WHERE mail LIKE 'b%'") == "SP1201"
    assert outcome(agent, "UPDATE m.people SET paid = 1 WHERE note IS NULL") == "SP1201"


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("UPDATE m.people SET mail = 'ada@one.example' WHERE id = 1", "SP1201"),
        ("UPDATE m.people SET born = NULL WHERE id = 1", "SP1201"),
        ("UPDATE m.people SET note = 'new' WHERE id = 1", ""),
        ("UPDATE m.people SET note = note || 'x' WHERE id = 1", "SP1202"),
        ("UPDATE m.people SET note = mail WHERE id = 1", "SP1202"),
        ("INSERT INTO m.people (id, mail, born, note) VALUES (9, 'x@y.example', now(), 'n')", ""),
        ("INSERT INTO m.people (id, code) VALUES (9, 'c1')", "SP1201"),
        ("INSERT INTO m.people (id, code) VALUES (9, 'c1') ON CONFLICT DO NOTHING", "SP1201"),
        ("INSERT INTO m.people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET mail = 'x'",
        "SP1201"),
        ("INSERT INTO m.people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET note = 'x'", ""),
        (("MERGE INTO m.people p USING (VALUES (1)) v(id) ON p.id = v.id WHEN MATCHED THEN UPDATE"
          " SET mail = 'x'"), "SP1201"),
        ("MERGE INTO m.people p USING (VALUES (1)) v(id) ON p.mail = 'x' WHEN MATCHED THEN DELETE",
        "SP1201"),
    ],
)  # fmt: skip
def test_changing_a_masked_column(agent: Session, sql: str, code: str) -> None:
    assert outcome(agent, sql) == code


def test_copies_hold_masks(agent: Session, postgres: Server) -> None:
    agent.execute("INSERT INTO m.copy (id, note) SELECT id, note FROM m.people")
    agent.execute(
        "UPDATE m.copy c SET note = p.note || '?' FROM m.people p WHERE p.id = c.id AND p.id = 1"
    )
    stored = agent.execute("SELECT note FROM m.copy ORDER BY id").fetchall()
    assert stored == [("[redacted]?",), ("[redacted]",), ("[redacted]",)]
    assert outcome(agent, "INSERT INTO m.copy (mail) SELECT mail FROM m.people") == "SP1202"
    assert (
        outcome(agent, "INSERT INTO m.people (id, note) SELECT id + 9, note FROM m.people")
        == "SP1202"
    )


def test_what_a_write_returns_is_masked(agent: Session) -> None:
    sql = "UPDATE m.people SET paid = paid + 1 WHERE id = 1 RETURNING mail, note, born, ssn"
    mail, note, born, ssn = agent.execute(sql.encode()).fetchone() or ()
    assert (mail, note, str(born), ssn) == (
        "a***@one.example",
        "[redacted]",
        "1970-01-01",
        "*******3333",
    )


# -- views, functions, partitions


def test_views_compute_with_masks(agent: Session) -> None:
    rows = agent.execute("SELECT id, loud FROM m.born_early ORDER BY id").fetchall()
    assert rows == [(1, "A***@ONE.EXAMPLE"), (2, "B***@TWO.EXAMPLE")]
    assert outcome(agent, "SELECT id FROM m.opaque") == "SP1206"
    assert agent.execute("SELECT id, note FROM m.trusted").fetchall() == [(1, "[redacted]")]


def test_functions_get_masks_and_read_no_masked_column(agent: Session) -> None:
    assert agent.execute("SELECT m.shout(note) FROM m.people WHERE id = 1").fetchone() == (
        "[REDACTED]!",
    )
    assert outcome(agent, "SELECT m.first_note()") == "SP1103"
    assert outcome(agent, "EXPLAIN (VERBOSE) SELECT m.first_note()") == "SP1103"


def test_a_masked_partition_key(agent: Session) -> None:
    assert outcome(agent, "SELECT id FROM m.parts") == "SP1201"
    assert outcome(agent, "SELECT count(*) FROM m.parts_a") == "SP1201"


# -- around it


@pytest.mark.parametrize(
    "options", ["", "VERBOSE", "ANALYZE", "ANALYZE, VERBOSE, FORMAT json", "SETTINGS"]
)
def test_explain_runs_and_tells_no_value(agent: Session, options: str) -> None:
    sql = (
        "SELECT upper(mail), count(*) FROM m.people WHERE note LIKE 'first%' AND mail LIKE 'a%'"
        " GROUP BY 1"
    )
    plan = str(agent.execute(f"EXPLAIN ({options or 'COSTS'}) {sql}".encode()).fetchall())
    assert "people" in plan
    assert "Buffers" not in plan
    assert "Shared Hit Blocks" not in plan
    assert not any(value in plan for value in VALUES if value not in sql)


@pytest.mark.parametrize("option", ["BUFFERS", "ANALYZE, WAL", "ANALYZE, BUFFERS"])
def test_explain_counts_no_bytes(agent: Session, option: str) -> None:
    assert outcome(agent, f"EXPLAIN ({option}) SELECT mail FROM m.people") == "SP1201"


def test_counters_of_tables_with_masks_are_hidden(agent: Session) -> None:
    counters = (
        "SELECT relname, seq_scan, n_tup_ins FROM pg_stat_user_tables WHERE schemaname = 'm' ORDER"
        " BY 1"
    )
    shown = {name: (scans, rows) for name, scans, rows in agent.execute(counters.encode())}
    assert shown["people"] == (None, None)
    assert shown["copy"][1] is not None
    called = (
        "SELECT pg_stat_get_tuples_inserted('m.people'::regclass),"
        " pg_stat_get_numscans('m.people_pkey'::regclass)"
    )
    assert agent.execute(called.encode()).fetchone() == (None, None)


def test_a_session_sees_itself_only(agent: Session, gateway: Gateway) -> None:
    with psycopg.connect(gateway.dsn()) as second:
        second.execute("SELECT upper(mail) FROM m.people WHERE mail = 'ada@one.example'")
        for relation in ("pg_stat_activity", "pg_locks"):
            pids = agent.execute(f"SELECT DISTINCT pid FROM {relation}".encode()).fetchall()
            assert len(pids) == 1, relation
        assert agent.execute("SELECT query FROM pg_stat_activity").fetchall() == [(None,)]


@pytest.mark.parametrize("setting", ["enable_memoize", "enable_indexonlyscan"])
def test_settings_that_move_values_about_are_off(agent: Session, setting: str) -> None:
    assert agent.execute(f"SHOW {setting}".encode()).fetchone() == ("off",)
    assert outcome(agent, f"SET {setting} = on") == "SP1301"
    assert outcome(agent, f"SELECT set_config('{setting}', 'on', false)") == "SP1301"
    agent.execute(f"RESET {setting}".encode())
    assert agent.execute(f"SHOW {setting}".encode()).fetchone() == ("off",)


def test_hints_in_comments_are_off(agent: Session) -> None:
    """``/*+ IndexOnlyScan(t i) */`` would give rows in the order of what the index has."""
    assert agent.execute("SELECT m.hints()").fetchone() == ("off",)
    assert outcome(agent, "SET pg_hint_plan.enable_hint = on") == "SP1301"
    assert outcome(agent, "SELECT set_config('pg_hint_plan.enable_hint', 'on', false)") == "SP1301"
    agent.execute("RESET ALL")
    assert agent.execute("SELECT m.hints()").fetchone() == ("off",)


def test_no_notices_where_policy_says_so(
    issuer: DevIssuer, postgres: Server, gateway: Gateway
) -> None:
    def notices(running: Gateway) -> list[str | None]:
        heard: list[str | None] = []
        with psycopg.connect(running.dsn()) as db:
            db.add_notice_handler(lambda notice: heard.append(notice.message_primary))
            assert db.execute("SELECT upper(note) FROM m.people LIMIT 1").fetchone() == (
                "[REDACTED]",
            )
        return heard

    quiet = Gateway(issuer, {"shop": postgres}, policy=f"{POLICY}notices: false\n").start()
    try:
        assert notices(quiet) == []
    finally:
        quiet.stop()
    assert notices(gateway) == ["[SP2001] computed with masked values of m.people.note (redact)"]
