"""The runner of other projects' suites: what it reads of each runner's output, and one whole run
with a project of two tests, of which the gateway refuses one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.suites.outcomes import (
    FAILED,
    PASSED,
    SKIPPED,
    Outcome,
    differences,
    from_cargo,
    from_go,
    from_node_postgres,
)
from tests.suites.psqlscript import statements
from tests.suites.regress import Answer, reason

_CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--test-dsn")
def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long")
"""
_TESTS = """
import psycopg
def test_a_query(pytestconfig):
    with psycopg.connect(pytestconfig.getoption("--test-dsn")) as db:
        assert db.execute("SELECT current_database()").fetchone() == ("suite",)
def test_an_encoding(pytestconfig):
    with psycopg.connect(pytestconfig.getoption("--test-dsn")) as db:
        db.execute("SET client_encoding TO latin1")
def test_that_fails_anyway():
    assert 1 == 2
"""


@pytest.mark.timeout(600)
def test_a_whole_run_prints_what_differs(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_two.py").write_text(_TESTS)
    differences_file = tmp_path / "differences.json"
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.suites",
            "psycopg",
            str(tmp_path),
            "--json",
            str(differences_file),
            "--direct",
            str(tmp_path / "direct.json"),
            "--output",
            str(tmp_path / "output"),
            "--names",
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "psycopg, PostgreSQL 18, direct: 2 passed, 1 failed" in ran.stdout
    assert "of those that pass directly: 50.0 %" in ran.stdout
    assert "SP1301" in ran.stdout
    kept = json.loads((tmp_path / "direct.json").read_text())
    assert kept["test_two::test_a_query"] == ["passed", ""]
    assert list(json.loads(differences_file.read_text())) == ["test_two::test_an_encoding"]


def test_a_checkout_that_is_not_there_is_said_so() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.suites", "pgx", "/nowhere"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 2
    assert "name a checkout of pgx" in ran.stderr


def test_go() -> None:
    events = [
        {"Action": "output", "Package": "p", "Test": "TestB", "Output": "  error: [SP1001] no\n"},
        {"Action": "pass", "Package": "p", "Test": "TestA"},
        {"Action": "fail", "Package": "p", "Test": "TestB"},
        {"Action": "skip", "Package": "p", "Test": "TestC"},
        {"Action": "fail", "Package": "p"},
    ]
    outcomes = from_go("\n".join(["FAIL p", *map(json.dumps, events)]))
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        "p::TestA": PASSED,
        "p::TestB": FAILED,
        "p::TestC": SKIPPED,
    }
    assert outcomes["p::TestB"].reason == "SP1001 no"


def test_cargo() -> None:
    outcomes = from_cargo(
        "test a::one ... ok\ntest a::two ... FAILED\ntest a::three ... ignored\n\nfailures:\n\n"
        "---- a::two stdout ----\nthread panicked: Error { code: [SP1102] what 'x' is"
        " }\n\nfailures:\n    a::two\n"
    )
    assert [outcome.state for outcome in outcomes.values()] == [PASSED, FAILED, SKIPPED]
    assert outcomes["a::two"].reason.startswith("SP1102 what ... is")


def test_a_file_of_node_postgres_that_stops() -> None:
    outcomes = from_node_postgres(
        "t.js", "\n  one ✔\n  two FAILED!\n\nError: [SP1301] pinned\n", 255
    )
    assert outcomes == {
        "t.js::one": Outcome(PASSED),
        "t.js::two": Outcome(FAILED, "\n\nError: [SP1301] pinned\n"),
    }
    direct = {f"t.js::{name}": Outcome(PASSED) for name in ("one", "two", "three")}
    assert [name for name, _ in differences(direct, outcomes)] == ["t.js::two", "t.js::three"]


def test_a_file_of_node_postgres_without_marks_is_one_test() -> None:
    assert from_node_postgres("t.js", "", 0) == {"t.js::": Outcome(PASSED)}
    assert from_node_postgres("t.js", "boom", 1)["t.js::"].state == FAILED


def test_statements_of_a_script_for_psql(tmp_path: Path) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "rows.data").write_text("1\n2\n")
    (tmp_path / "sql" / "a.sql").write_text(
        "\\set file :abs_srcdir '/rows.data'\n-- a comment; with a semicolon\n"
        "COPY t FROM :'file';\nSELECT ';', $$;$$ /* ; */ AS a;\nSELECT 1\\; SELECT 2;\n"
        "SELECT 3 AS x \\gset\nSELECT :'x';\nCOPY t FROM stdin;\n3\n\\.\n\\c -\n"
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);\n\\d t\n"
        "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; END;\n"
    )
    read = list(statements(tmp_path, "a"))
    assert [s.text.strip() for s in read if not s.reconnects] == [
        "COPY t FROM STDIN;",
        "SELECT ';', $$;$$ /* ; */ AS a;",
        "SELECT 1; SELECT 2;",
        "SELECT 3 AS x",
        "COPY t FROM stdin;",
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);",
        "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; END;",
    ]
    assert [s.data for s in read if s.data] == [b"1\n2\n", b"3\n"]
    assert [s.line for s in read if s.reconnects] == [11]


def test_reasons_of_different_answers() -> None:
    fine, fewer = Answer((("SELECT 2",),)), Answer((("SELECT 1",),))
    refused = Answer((), "42501", "[SP1102] CREATE RULE is not supported")
    assert reason(fine, fine, "") == "same"
    assert reason(fine, fewer, "") == "different result"
    assert reason(fine, fewer, "SP1102") == "different result after a refusal"
    assert reason(fine, refused, "").startswith("SP1102 CREATE RULE")
    assert reason(Answer((), "42P01", "x"), refused, "").endswith("another SQLSTATE")
    assert reason(fine, Answer((), "25P02", "x"), "") == "another error: none and 25P02"
