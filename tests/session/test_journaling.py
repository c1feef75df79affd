"""What the session hands to the journal, by every way that a statement can take, and what it
refuses while there is none.
"""

from __future__ import annotations

from typing import Any

import pytest

from sallyport.session.commands import AskApproval
from sallyport.session.held import Ruling
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.wire import backend
from sallyport.wire.frontend import bind, execute, parse, query, sync
from tests.session.playbook import (
    FAILED,
    FAILS,
    IDLE,
    IN_BLOCK,
    Like,
    Run,
    Stage,
    asks,
    client,
    does,
    done,
    play,
    refused,
    rows,
    server,
)

POLICY = """\
version: 1
rules:
  - {name: all, allow: [all], relations: ["public.*"]}
  - {name: deletes wait, hold: [delete], relations: ["public.orders"], reviewers: {groups: [dba]}}
"""
READ = "SELECT id FROM products"
WRITE = "UPDATE products SET name = name WHERE id = 1"
PARSED, BOUND = backend.parse_complete(), backend.bind_complete()


@pytest.fixture
def stage(catalog: CatalogSnapshot) -> Stage:
    return Stage(catalog, POLICY)


def asked(sql: str, tag: str, status: bytes = IDLE) -> tuple[Any, ...]:
    """A simple query and its answer, without rows."""
    return (
        client >> query(sql),
        server << query(sql),
        server >> (done(tag), status),
        client << (done(tag), status),
    )


def journaled(run: Run) -> list[bool]:
    return [bool(statement["changes"]) for statement in run.recording.statements]


def test_a_simple_query(stage: Stage) -> None:
    # the second time by the short way
    twice = (*asked(READ, "SELECT 0"), *asked(WRITE, "UPDATE 1")) * 2
    assert journaled(play(stage, *twice)) == [False, True] * 2


def test_a_script_as_each_of_its_statements(stage: Stage) -> None:
    text = f"{READ}; {WRITE}; COMMIT"
    run = play(
        stage,
        client >> query(text),
        server << query(text),
        server >> (done("SELECT 0"), done("UPDATE 1"), done("COMMIT"), IDLE),
        client << (done("SELECT 0"), done("UPDATE 1"), done("COMMIT"), IDLE),
    )
    assert journaled(run) == [False, True, False]


def test_what_is_refused_is_not_journaled(stage: Stage) -> None:
    run = play(
        stage,
        client >> query("DELETE FROM orders"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1003"), IDLE),
    )
    assert journaled(run) == [False]


@pytest.mark.parametrize("changes", [False, True])
def test_sql_execute_counts_as_what_it_runs(stage: Stage, changes: bool) -> None:
    sql, tag = (WRITE, "UPDATE 1") if changes else (READ, "SELECT 0")
    prepare = (f"PREPARE p AS {sql}", "PREPARE")
    run = play(stage, *asked(*prepare), *asked("EXECUTE p", tag))
    assert journaled(run) == [changes, changes]


@pytest.mark.parametrize("changes", [False, True])
def test_fetch_counts_as_its_cursor(stage: Stage, changes: bool) -> None:
    sql = "SELECT nextval('orders_id_seq') AS n" if changes else READ
    run = play(
        stage,
        *asked("BEGIN", "BEGIN", IN_BLOCK),
        *asked(f"DECLARE c CURSOR FOR {sql}", "DECLARE CURSOR", IN_BLOCK),
        *asked("MOVE c", "MOVE 0", IN_BLOCK),
    )
    assert journaled(run) == [False, changes, changes]


def test_each_execute_of_a_prepared_statement(stage: Stage) -> None:
    bundle = (bind("", "w", []), execute(""), sync())
    once = (
        client >> bundle,
        server << bundle,
        server >> (BOUND, done("UPDATE 1"), IDLE),
        client << (BOUND, done("UPDATE 1"), IDLE),
    )
    run = play(
        stage,
        client >> (parse("w", WRITE), sync()),
        server << (parse("w", WRITE), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
        *once,
        *once,
    )
    assert journaled(run) == [True, True]


def test_a_statement_that_people_approved(stage: Stage) -> None:
    sql = "DELETE FROM orders WHERE id = 5"
    run = play(
        stage,
        does(lambda run: setattr(run.session, "can_hold", True)),
        client >> query(sql),
        asks(AskApproval),
        does(lambda run: run.session.on_ruling(Ruling(None, None, lambda held: None))),
        server << query(sql),
        server >> (done("DELETE 1"), IDLE),
        client << (done("DELETE 1"), IDLE),
    )
    assert journaled(run) == [True]


# -- while the journal cannot be written -----------------------------------------------------------

FAILS_NOW = does(lambda run: setattr(run.recording, "journal_failed", True))
WORKS_AGAIN = does(lambda run: setattr(run.recording, "journal_failed", False))
NO = refused("SP1801", "58030")


def test_changes_stop_and_reads_go_on(stage: Stage) -> None:
    before = (*asked(READ, "SELECT 0"), *asked(WRITE, "UPDATE 1"))  # known by now: the short way
    stopped = (
        client >> query(WRITE),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (NO, IDLE),
    )
    run = play(stage, *before, FAILS_NOW, *asked(READ, "SELECT 0"), *stopped, WORKS_AGAIN, *before)
    assert journaled(run) == [False, True, False, False, False, True]


def test_a_portal_that_was_bound_before_does_not_run(stage: Stage) -> None:
    play(
        stage,
        client >> (parse("", WRITE), bind("p", "", [])),
        server << (parse("", WRITE), bind("p", "", [])),
        FAILS_NOW,
        client >> (execute("p"), sync()),
        server << (Like("E", ("refused",)), sync()),
        server >> (PARSED, BOUND, FAILED, IDLE),
        client << (PARSED, BOUND, NO, IDLE),
    )


def test_sql_execute_does_not_run(stage: Stage) -> None:
    stopped = (
        client >> query("EXECUTE p"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (NO, IDLE),
    )
    play(stage, *asked(f"PREPARE p AS {WRITE}", "PREPARE"), FAILS_NOW, *stopped)


def test_rows_of_a_read_still_come(stage: Stage) -> None:
    described = stage.describe("products.id")
    answer = (described, rows("1"), done("SELECT 1"), IDLE)
    play(
        stage,
        FAILS_NOW,
        client >> query(READ),
        server << query(READ),
        server >> answer,
        client << answer,
    )
