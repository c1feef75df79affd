"""Simple query: one string, any number of statements, one ReadyForQuery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sallyport.session.client.input import Blocked
from sallyport.session.commands import RefreshCatalog
from sallyport.session.holding import cancel_waiting
from sallyport.session.machine import Session, SessionLimits
from sallyport.session.server.writer import FAILING_SQL
from sallyport.sql.catalog.snapshot import Column
from sallyport.wire import backend, frontend
from sallyport.wire.frontend import query
from tests.session.playbook import (
    AGENT,
    CANARY,
    FAILED,
    FAILED_BLOCK,
    FAILS,
    IDLE,
    IN_BLOCK,
    NOTHING,
    POLICY,
    Like,
    Recording,
    Run,
    Stage,
    asks,
    client,
    closes,
    does,
    done,
    play,
    refused,
    rows,
    scrubbed,
    server,
    server_error,
    told,
)

REDACTED = "[redacted]"


def test_a_plain_query_passes_as_it_is(stage: Stage) -> None:
    answer = (
        stage.describe("products.id", "products.name"),
        rows("1", "Lamp"),
        rows("2", None),
        done("SELECT 2"),
    )
    run = play(
        stage,
        client >> query("SELECT id, name FROM products"),
        server << query("SELECT id, name FROM products"),
        server >> (*answer, IDLE),
        client << (*answer, IDLE),
    )
    assert [s["outcome"] for s in run.recording.statements] == ["allow"]
    assert run.recording.completed == [(1, "SELECT 2", 2, "")]
    assert b"".join(d for n, d in run.recording.replies if n == 1) == b"".join(answer)


def test_masked_columns_are_masked_and_recorded_masked(stage: Stage) -> None:
    sql = "SELECT id, email, upper(notes) FROM customers"
    described = stage.describe("customers.id", "customers.email", "upper:25")
    masked = rows("1", REDACTED, REDACTED)
    run = play(
        stage,
        client >> query(sql),
        server << query(sql),
        server >> (described, rows("1", CANARY, CANARY), done("SELECT 1"), IDLE),
        client << (described, masked, done("SELECT 1"), IDLE),
    )
    assert not any(CANARY.encode() in data for _, data in run.recording.replies)
    assert any(REDACTED.encode() in data for _, data in run.recording.replies)
    (said,) = run.recording.statements
    assert said["relations"] == ("public.customers",)
    assert said["masked"] == ("public.customers.email", "public.customers.notes")


UPPER = "SELECT id, upper(ssn) FROM customers"


def test_what_computes_with_masked_columns_is_sent_with_their_masks_in_it(stage: Stage) -> None:
    """The first time on the general way, the second time on the short one: the same bytes."""
    sent = (
        'SELECT id, upper(ssn) FROM (SELECT t."id", \'[redacted]\'::pg_catalog.text AS "ssn"'
        ' FROM "public"."customers" AS t) AS "customers"'
    )
    answer = (stage.describe("id:23", "upper:25"), rows("1", "[REDACTED]"))
    end = (done("SELECT 1"), IDLE)
    once = (
        client >> query(UPPER),
        server << query(sent),
        server >> (*answer, *end),
        client << (*answer, told("public.customers.ssn (redact)"), *end),
    )
    run = play(lambda: Stage(stage.catalog), *once, *once, *once)
    assert [one["sql"] for one in run.recording.statements] == [UPPER] * 3
    assert [one["masked"] for one in run.recording.statements] == [("public.customers.ssn",)] * 3
    kept = {
        b"".join(data for n, data in run.recording.replies if n == number) for number in (1, 2, 3)
    }
    assert len(kept) == 1
    assert b"[SP2001]" in kept.pop()


def test_without_rows_and_without_notices(stage: Stage) -> None:
    answer = (stage.describe("id:23", "upper:25"), done("SELECT 0"), IDLE)
    once = (client >> query(UPPER), server << query(stage.sent(UPPER)), server >> answer)
    noticed = (answer[0], told("ssn"), *answer[1:])
    play(lambda: Stage(stage.catalog), *once, client << noticed, *once, client << noticed)
    silent = Stage(stage.catalog, POLICY + "notices: false\n")
    play(silent, *once, client << answer, *once, client << answer)


def test_the_second_lock_holds_for_what_was_rewritten(stage: Stage) -> None:
    """Whatever the server says of a computed column, it is never that it comes from a
    masked one.
    """
    for column in ("customers.ssn", "customers.email", "customers.notes"):
        play(
            lambda: Stage(stage.catalog),
            client >> query("SELECT lower(ssn) FROM customers"),
            server << query(stage.sent("SELECT lower(ssn) FROM customers")),
            server >> (stage.describe(column), rows(CANARY), done("SELECT 1"), IDLE),
            client << (refused("SP1203"), IDLE),
        )


def test_positions_in_errors_are_those_of_the_text_that_the_agent_wrote(stage: Stage) -> None:
    sql = "SELECT 'ä', upper(ssn), 1 / (id - 1) FROM customers WHERE name = 'öl' AND city = 1"
    sent = stage.sent(sql)

    def said(position: int) -> bytes:
        return server_error("42703", "no such column", position=position)

    for word in ("upper", "1 / (", "WHERE", "city = 1"):
        play(
            stage,
            client >> query(sql),
            server << query(sent),
            server >> (said(sent.index(word) + 1), IDLE),
            client << (said(sql.index(word) + 1), IDLE),
        )
    # what the gateway wrote stands where the relation stood
    inside = said(sent.index("[redacted]") + 1)
    play(
        stage,
        client >> query(sql),
        server << query(sent),
        server >> (inside, IDLE),
        client << (said(sql.index("customers") + 1), IDLE),
    )


def test_positions_in_texts_that_share_a_template(new_stage: Callable[[], Stage]) -> None:
    def asked(value: str) -> str:
        return (
            f"SELECT upper(ssn), 1 / (id - {value}) FROM customers WHERE city = '{value * 3}' AND"
            " city > '0'"
        )

    stage = new_stage()
    steps = []
    for value in ("1", "22222", "7"):
        sql, sent = asked(value), stage.sent(asked(value))
        for word in ("1 / (", "WHERE", "city >"):
            told_by_server = server_error(
                "22012", "division by zero", position=sent.index(word) + 1
            )
            told_to_client = server_error("22012", "division by zero", position=sql.index(word) + 1)
            steps += [
                client >> query(sql),
                server << query(sent),
                server >> (told_by_server, IDLE),
                client << (told_to_client, IDLE),
            ]
    play(new_stage, *steps)


def test_what_stands_before_a_refused_statement_is_sent_with_masks(stage: Stage) -> None:
    for more in ("", "SELECT ssn FROM customers WHERE upper(ssn) = 'x'; "):
        first = f"SELECT 'ö'; {more}SELECT lower(ssn) FROM customers;"
        play(
            stage,
            client >> query(f"{first} DROP ROLE x; SELECT 2"),
            server << query(f"{stage.sent(first)} \n{FAILING_SQL.decode()}"),
        )


def test_a_script_with_masks_in_several_of_its_statements(stage: Stage) -> None:
    plain, upper = "SELECT ssn FROM customers", "SELECT upper(ssn) FROM customers"
    a, b = stage.describe("customers.ssn"), stage.describe("upper:25")
    one, other = (a, rows(CANARY), done("SELECT 1")), (b, rows("[REDACTED]"), done("SELECT 1"))
    masked = (a, rows(REDACTED), done("SELECT 1"))
    noticed = (b, rows("[REDACTED]"), told("ssn"), done("SELECT 1"))
    for texts in (
        (plain, upper),
        (upper, plain),
        (upper, upper, plain),
        (plain, upper, plain, upper),
    ):
        sql = "; ".join(texts)
        play(
            stage,
            client >> query(sql),
            server << query(stage.sent(sql)),
            server >> (*(m for text in texts for m in (one if text == plain else other)), IDLE),
            client
            << (*(m for text in texts for m in (masked if text == plain else noticed)), IDLE),
        )


def test_what_a_statement_touches_is_recorded_on_every_way(stage: Stage) -> None:
    """The second time, the statement takes the short way; a refused one says what it would have
    touched, and masks nothing.
    """
    update = "UPDATE customers SET city = 'x' WHERE ssn = 'x'"
    sql = "SELECT id, email FROM customers"
    answer = (stage.describe("customers.id", "customers.email"), done("SELECT 0"), IDLE)
    run = play(
        stage,
        *(step for _ in "12" for step in (client >> query(sql), server << query(sql), server >> answer, client << answer)),
        client >> query(update),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1201"), IDLE),
    )  # fmt: skip
    said = [(one["relations"], one["masked"]) for one in run.recording.statements]
    masked = (("public.customers",), ("public.customers.email",))
    assert said == [masked, masked, (("public.customers",), ())]


def test_a_refused_statement_fails_at_the_server_and_says_why(stage: Stage) -> None:
    run = play(
        stage,
        client >> query("UPDATE customers SET city = 'x' WHERE ssn = 'x'"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1201"), IDLE),
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
    )
    assert run.recording.statements[0]["outcome"] == "deny"
    assert run.recording.completed[0] == (1, "", 0, "42501")


def test_statements_before_a_refused_one_run_and_those_behind_it_do_not(stage: Stage) -> None:
    described = stage.describe("products.id")
    run = play(
        stage,
        client >> query("SELECT id FROM products; DROP ROLE x; SELECT 2"),
        server
        << Like("Q", ("SELECT id FROM products;", "refused by sallyport"), ("DROP", "SELECT 2")),
        server >> (described, rows("1"), done("SELECT 1"), FAILED, IDLE),
        client << (described, rows("1"), done("SELECT 1"), Like("E", ("[SP1",)), IDLE),
    )
    assert [s["outcome"] for s in run.recording.statements] == ["allow", "deny"]
    assert [(n, code) for n, _, _, code in run.recording.completed] == [(1, ""), (2, "42501")]


def test_a_comment_before_the_refused_statement_hides_nothing(stage: Stage) -> None:
    play(
        stage,
        client >> query("SELECT 1; -- and now\nDROP ROLE x"),
        server << Like("Q", ('\nSELECT "refused by sallyport"',), ("DROP",)),
    )
    play(
        stage,
        client >> query("SELECT 1; /* ' \" */ DROP ROLE x"),
        server << Like("Q", ('\nSELECT "refused by sallyport"',), ("DROP",)),
    )


def test_several_results_in_one_query(stage: Stage) -> None:
    sql = "SELECT ssn FROM customers; SELECT id FROM products; SELECT email FROM customers"
    a, b, c = (stage.describe(x) for x in ("customers.ssn", "products.id", "customers.email"))
    play(
        stage,
        client >> query(sql),
        server << query(sql),
        server
        >> (
            a,
            rows(CANARY),
            done("SELECT 1"),
            b,
            rows("7"),
            done("SELECT 1"),
            c,
            rows(CANARY),
            done("SELECT 1"),
            IDLE,
        ),
        client
        << (
            a,
            rows(REDACTED),
            done("SELECT 1"),
            b,
            rows("7"),
            done("SELECT 1"),
            c,
            rows(REDACTED),
            done("SELECT 1"),
            IDLE,
        ),
    )


def test_an_empty_query(stage: Stage) -> None:
    for text in ("", " ; ", "-- nothing"):
        play(
            stage,
            client >> query(text),
            server << query(text),
            server >> (backend.empty_query(), IDLE),
            client << (backend.empty_query(), IDLE),
        )


def test_a_syntax_error_is_postgresqls_own(stage: Stage) -> None:
    play(
        stage,
        client >> query("SELEC 1"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (Like("E", ("C42601\0", 'syntax error at or near "SELEC"', "P1\0")), IDLE),
    )


def test_not_utf8_is_refused_and_the_session_lives(stage: Stage) -> None:
    play(
        stage,
        client >> frontend.message(0x51, b"SELECT '\xff'\0"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (Like("E", ("UTF-8",)), IDLE),
    )


def test_in_a_failed_transaction_postgresql_speaks_for_itself(stage: Stage) -> None:
    aborted = server_error(
        "25P02", "current transaction is aborted, commands ignored until end of transaction block"
    )
    play(
        stage,
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << (done("BEGIN"), IN_BLOCK),
        client >> query("DROP ROLE x"),
        server << FAILS,
        server >> (FAILED, FAILED_BLOCK),
        client << (Like("E", ("C42501\0",)), FAILED_BLOCK),
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
        server >> (aborted, FAILED_BLOCK),
        client << (aborted, FAILED_BLOCK),
        client >> query("DROP ROLE x"),
        server << FAILS,
        server >> (aborted, FAILED_BLOCK),
        client << (aborted, FAILED_BLOCK),
        client >> query("ROLLBACK"),
        server << query("ROLLBACK"),
        server >> (done("ROLLBACK"), IDLE),
        client << (done("ROLLBACK"), IDLE),
    )


def test_pipelined_queries_keep_their_order(stage: Stage) -> None:
    a, b = stage.describe("customers.ssn"), stage.describe("products.id")
    play(
        stage,
        client
        >> (
            query("SELECT ssn FROM customers"),
            query("DROP ROLE x"),
            query("SELECT id FROM products"),
        ),
        server << (query("SELECT ssn FROM customers"), FAILS, query("SELECT id FROM products")),
        server
        >> (
            a,
            rows(CANARY),
            done("SELECT 1"),
            IDLE,
            FAILED,
            IDLE,
            b,
            rows("7"),
            done("SELECT 1"),
            IDLE,
        ),
        client
        << (
            a,
            rows(REDACTED),
            done("SELECT 1"),
            IDLE,
            Like("E", ("C42501\0",)),
            IDLE,
            b,
            rows("7"),
            done("SELECT 1"),
            IDLE,
        ),
    )


def test_function_call_is_refused(stage: Stage) -> None:
    play(
        stage,
        client >> frontend.message(frontend.FUNCTION_CALL, b"\0\0\0\x01\0\0\0\0\0\0"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1502", "0A000"), IDLE),
    )


def test_an_error_about_a_masked_column_is_scrubbed_in_every_field(stage: Stage) -> None:
    sql = "INSERT INTO customers (name, email, city) VALUES ('a', 'b', 'c')"
    fields = {k: CANARY for k in "MDHWqstcdnFLRp"} | {
        "S": "ERROR",
        "V": "ERROR",
        "C": "23505",
        "x": CANARY,
    }
    body = backend.error_body(fields)
    play(
        stage,
        client >> query(sql),
        server << query(sql),
        server >> (backend.message(0x45, body), IDLE),
        client << (scrubbed("23505"), IDLE),
    )
    notice = {k: CANARY for k in "MDHWqstcdnFLRp"} | {"S": CANARY, "V": "WARNING", "C": CANARY[:5]}
    play(
        stage,
        client >> query(sql),
        server << query(sql),
        server >> (backend.message(0x4E, backend.error_body(notice)), done("INSERT 0 1"), IDLE),
        client << (Like("N", ("withheld",), (CANARY, CANARY[:5])), done("INSERT 0 1"), IDLE),
    )


def test_an_error_without_masked_data_passes_as_it_is(stage: Stage) -> None:
    error = server_error(
        "23514", "new row violates check constraint", detail="Failing row contains (1)."
    )
    play(
        stage,
        client >> query("UPDATE products SET price = -1 WHERE id = 1"),
        server << query("UPDATE products SET price = -1 WHERE id = 1"),
        server >> (error, IDLE),
        client << (error, IDLE),
    )


def test_an_error_at_the_end_of_a_script_may_be_about_its_beginning(stage: Stage) -> None:
    """Deferred constraints speak when the implicit transaction ends: with the last statement."""
    sql = "INSERT INTO customers (name, email, city) VALUES ('a', 'b', 'c'); SELECT 1"
    described = stage.describe("?column?:23")
    error = server_error("23505", "duplicate key", detail=f"Key (email)=({CANARY}) already exists.")
    play(
        stage,
        client >> query(sql),
        server << query(sql),
        server >> (done("INSERT 0 1"), described, rows("1"), error, IDLE),
        client << (done("INSERT 0 1"), described, rows("1"), scrubbed("23505"), IDLE),
    )


def test_set_constraints_speaks_for_the_whole_transaction(stage: Stage) -> None:
    error = server_error("23505", "duplicate key", detail=f"Key (email)=({CANARY}) already exists.")
    play(
        stage,
        client >> query("SET CONSTRAINTS ALL IMMEDIATE"),
        server << query("SET CONSTRAINTS ALL IMMEDIATE"),
        server >> (error, FAILED_BLOCK),
        client << (scrubbed("23505"), FAILED_BLOCK),
    )


def test_asynchronous_messages_in_the_middle_of_a_result(stage: Stage) -> None:
    described = stage.describe("customers.ssn")
    status = backend.parameter_status("application_name", "x")
    heard = backend.message(0x41, b"\0\0\0\x05" + b"channel\0" + CANARY.encode() + b"\0")
    silent = backend.message(0x41, b"\0\0\0\x05" + b"channel\0\0")
    note = backend.notice_response("NOTICE", "00000", f"about {CANARY}")
    play(
        stage,
        client >> query("SELECT ssn FROM customers"),
        server << query("SELECT ssn FROM customers"),
        server >> (described, rows(CANARY), status, rows(CANARY), note, rows(CANARY), heard, done("SELECT 3"), IDLE),
        client
        << (
            described, rows(REDACTED), status, rows(REDACTED), Like("N", ("withheld",), (CANARY,)),
            rows(REDACTED), silent, done("SELECT 3"), IDLE,
        ),
    )  # fmt: skip
    play(
        stage,
        server >> (status, heard, note),
        client << (status, silent, Like("N", ("withheld",), (CANARY,))),
    )


def test_a_result_that_is_not_what_was_judged_is_withheld_once(
    new_stage: Callable[[], Stage],
) -> None:
    other = new_stage().describe("customers.ssn")
    play(
        new_stage,
        client >> query("SELECT id FROM products"),
        server << query("SELECT id FROM products"),
        server >> (other, rows(CANARY), rows(CANARY), done("SELECT 2"), IDLE),
        client << (refused("SP1203"), IDLE),
        client >> query("SELECT 1"),
        server << NOTHING,
        asks(RefreshCatalog),
        does(lambda run: run.session.resume(refreshed=True)),
        server << query("SELECT 1"),
    )


def test_fewer_or_more_columns_than_judged_are_withheld(stage: Stage) -> None:
    for columns in (("products.id",), ("products.id", "products.name", "products.sku"), ()):
        play(
            stage,
            client >> query("SELECT id, name FROM products"),
            server << query("SELECT id, name FROM products"),
            server >> (stage.describe(*columns), done("SELECT 0"), IDLE),
            client << (refused("SP1203"), IDLE),
        )


def test_a_row_with_other_columns_than_described_ends_the_session(stage: Stage) -> None:
    play(
        stage,
        client >> query("SELECT ssn FROM customers"),
        server << query("SELECT ssn FROM customers"),
        server >> stage.describe("customers.ssn"),
        client << stage.describe("customers.ssn"),
        server >> rows(CANARY, CANARY),
        client << refused("SP1203", severity="FATAL"),
        closes,
    )


def test_rows_from_a_statement_without_result_end_the_session(stage: Stage) -> None:
    sql = "UPDATE products SET stock = 1 WHERE id = 1"
    play(
        stage,
        client >> query(sql),
        server << query(sql),
        server >> rows(CANARY),
        client << refused("SP1203", severity="FATAL"),
        closes,
    )


def test_a_refused_statement_that_succeeds_ends_the_session(stage: Stage) -> None:
    play(
        stage,
        client >> query("DROP ROLE x"),
        server << FAILS,
        server >> (done("DROP ROLE"), IDLE),
        client << refused("SP1203", severity="FATAL"),
        closes,
    )


def test_when_recording_fails_statements_stop(new_stage: Callable[[], Stage]) -> None:
    def fail(run: Run) -> None:
        run.recording.failed = True

    def recover(run: Run) -> None:
        run.recording.failed = False

    play(
        new_stage,
        does(fail),
        client >> query("SELECT 1"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1801", "58030"), IDLE),
        client
        >> (
            frontend.parse("", "SELECT 1"),
            frontend.bind("", ""),
            frontend.execute(),
            frontend.sync(),
        ),
        server << (Like("P", ("refused by sallyport",)), frontend.sync()),
        server >> (FAILED, IDLE),
        client << (refused("SP1801", "58030"), IDLE),
        does(recover),
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
    )


def test_search_path_changes_how_the_next_statement_is_judged(stage: Stage) -> None:
    probe = query("SELECT pg_catalog.current_setting('search_path')")
    answer = (
        stage.describe("current_setting:25"),
        rows("pg_catalog, public"),
        done("SELECT 1"),
        IDLE,
    )

    def moved(run: Run) -> None:
        assert run.session.names.search_path == ("pg_catalog", "public")

    play(
        stage,
        client >> query("SET search_path = pg_catalog, public"),
        server << query("SET search_path = pg_catalog, public"),
        server >> (done("SET"), IDLE),
        client << (done("SET"), IDLE),
        server << probe,
        client >> query("SELECT 1"),
        server << NOTHING,
        server >> answer,
        client << NOTHING,
        does(moved),
        server << query("SELECT 1"),
    )


def test_a_search_path_that_policy_does_not_list_is_refused(stage: Stage) -> None:
    play(
        stage,
        client >> query("SET search_path = other"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1302"), IDLE),
    )


def test_names_wait_for_a_new_search_path(stage: Stage) -> None:
    play(
        stage,
        client >> (query("SET search_path = public"), query("SELECT id FROM products")),
        server << query("SET search_path = public"),
    )


PROBE = query("SELECT pg_catalog.current_setting('search_path')")


def path_is(stage: Stage, path: str) -> bytes:
    return stage.describe("current_setting:25") + rows(path) + done("SELECT 1")


def waits(run: Run, why: Blocked) -> None:
    assert run.session.blocked is why
    assert not run.session.is_plain


def is_too_late_to_cancel(run: Run) -> None:
    """The message has no statement left that could be refused; the next message must not be
    instead.
    """
    assert not cancel_waiting(run.session)
    assert not run.session.input.is_canceled


def test_a_cancel_refuses_what_is_sent_next(new_stage: Callable[[], Stage]) -> None:
    alter = "ALTER TABLE products ADD COLUMN z integer"
    run = play(
        new_stage,
        *begun(f"{alter}; SELECT 1 FROM products; SELECT 2", alter),
        server >> (done("ALTER TABLE"), IN_BLOCK),
        client << done("ALTER TABLE"),
        asks_own,
        does(lambda run: cancel_waiting(run.session)),
        does(lambda run: run.session.resume(refreshed=True)),
        server << FAILS,
        server >> (FAILED, FAILED_BLOCK),
        client << refused("SP1805", "57014"),
        server << query("ROLLBACK"),
        server >> (done("ROLLBACK"), IDLE),
        client << IDLE,
        asks(RefreshCatalog),
    )
    assert run.recording.notes == [("rolled back", "what the message up to statement 2 did")]


def test_behind_a_new_search_path_statements_are_sent_one_by_one(stage: Stage) -> None:
    """In a block of the gateway's own, whose end the last statement's end waits for."""
    run = play(
        stage,
        client
        >> query("SET search_path = public; SELECT id FROM products; SELECT 1 FROM products"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << NOTHING,
        server << query("SET search_path = public"),
        server >> (done("SET"), IN_BLOCK),
        client << done("SET"),
        server << PROBE,
        client >> query("SELECT 2"),
        server << NOTHING,
        does(lambda run: waits(run, Blocked.PROBE)),
        server >> (path_is(stage, "public"), IN_BLOCK),
        server << query("SELECT id FROM products; SELECT 1 FROM products"),
        does(lambda run: waits(run, Blocked.SERIES)),
        server >> (stage.describe("products.id"), rows("1"), done("SELECT 1")),
        client << (stage.describe("products.id"), rows("1"), done("SELECT 1")),
        server >> (stage.describe("?column?:23"), done("SELECT 0"), IN_BLOCK),
        client << stage.describe("?column?:23"),
        does(lambda run: is_too_late_to_cancel(run)),
        server << query("COMMIT"),
        server >> done("COMMIT"),
        client << done("SELECT 0"),
        server >> IDLE,
        client << IDLE,
        server << PROBE,
        server >> (path_is(stage, "public"), IDLE),
        server << query("SELECT 2"),
    )
    assert [(s["sql"], s["outcome"]) for s in run.recording.statements] == [
        ("SET search_path = public", "allow"),
        ("SELECT id FROM products", "allow"),
        ("SELECT 1 FROM products", "allow"),
        ("SELECT 2", "allow"),
    ]
    assert run.recording.completed == [
        (1, "SET", 0, ""),
        (2, "SELECT 1", 1, ""),
        (3, "SELECT 0", 0, ""),
    ]


def begun(text: str, first: str) -> tuple[Any, ...]:
    """A text whose statements are sent one by one, up to its first."""
    return (
        client >> query(text),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        server << query(first),
    )


def test_a_commit_that_fails_is_how_the_last_statement_ended(
    new_stage: Callable[[], Stage],
) -> None:
    alter, insert = (
        "ALTER TABLE products ADD COLUMN z integer",
        "UPDATE products SET sku = 'a' WHERE id = 1",
    )
    error = server_error("23505", "duplicate key")
    run = play(
        new_stage,
        *begun(f"{alter}; {insert}", alter),
        server >> (done("ALTER TABLE"), IN_BLOCK),
        client << done("ALTER TABLE"),
        asks_own,
        does(lambda run: run.session.resume(refreshed=True)),
        server << query(insert),
        server >> (done("UPDATE 1"), IN_BLOCK),
        client << NOTHING,
        server << query("COMMIT"),
        server >> (error, IDLE),
        client << (scrubbed("23505"), IDLE),
        asks(RefreshCatalog),
    )
    assert run.recording.completed == [(1, "ALTER TABLE", 0, ""), (2, "", 0, "23505")]


def test_a_refused_part_rolls_back_what_the_others_did(new_stage: Callable[[], Stage]) -> None:
    alter = "ALTER TABLE products ADD COLUMN z integer"
    run = play(
        new_stage,
        *begun(f"{alter}; GRANT SELECT ON products TO public; SELECT 1", alter),
        server >> (done("ALTER TABLE"), IN_BLOCK),
        client << done("ALTER TABLE"),
        asks_own,
        does(lambda run: run.session.resume(refreshed=True)),
        server << FAILS,
        server >> (FAILED, FAILED_BLOCK),
        client << refused("SP1102"),
        server << query("ROLLBACK"),
        server >> (done("ROLLBACK"), IDLE),
        client << IDLE,
        asks(RefreshCatalog),
    )
    assert [s["outcome"] for s in run.recording.statements] == ["allow", "deny"]


def test_what_the_gateway_sends_itself_must_do_what_it_says(new_stage: Callable[[], Stage]) -> None:
    alter = "ALTER TABLE products ADD COLUMN z integer"
    play(
        new_stage,
        *begun(f"SELECT 1; {alter}; SELECT 2 FROM products", "SELECT 1"),
        server >> (server_error("57014"), FAILED_BLOCK),
        client << server_error("57014"),
        server << query("ROLLBACK"),
        server >> (done("COMMIT"), IDLE),
        client << refused("SP1203", severity="FATAL"),
        closes,
    )


def test_ddl_is_followed_by_a_look_at_the_catalog(new_stage: Callable[[], Stage]) -> None:
    play(
        new_stage,
        client >> query("ALTER TABLE products ADD COLUMN z integer"),
        server << query("ALTER TABLE products ADD COLUMN z integer"),
        server >> (done("ALTER TABLE"), IDLE),
        client << (done("ALTER TABLE"), IDLE),
        client >> query("SELECT 1 FROM products"),
        server << NOTHING,
        asks(RefreshCatalog),
        does(lambda run: run.session.resume(refreshed=True)),
        server << query("SELECT 1 FROM products"),
    )


def test_a_catalog_that_cannot_be_read_stops_statements(new_stage: Callable[[], Stage]) -> None:
    """After DDL the old snapshot says nothing about what names mean."""
    play(
        new_stage,
        client >> query("ALTER TABLE products ADD COLUMN z integer"),
        server << query("ALTER TABLE products ADD COLUMN z integer"),
        server >> (done("ALTER TABLE"), IDLE),
        client << (done("ALTER TABLE"), IDLE),
        client >> query("SELECT 1 FROM products"),
        asks(RefreshCatalog),
        does(lambda run: run.session.resume(refreshed=False)),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (Like("E", ("catalog",)), IDLE),
        client >> query("SELECT 1 FROM products"),
        asks(RefreshCatalog),
        does(lambda run: run.session.resume(refreshed=True)),
        server << query("SELECT 1 FROM products"),
    )


def in_a_transaction_with_ddl() -> tuple[Any, ...]:
    return (
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << (done("BEGIN"), IN_BLOCK),
        client >> query("ALTER TABLE products ADD COLUMN z integer"),
        server << query("ALTER TABLE products ADD COLUMN z integer"),
        server >> (done("ALTER TABLE"), IN_BLOCK),
        client << (done("ALTER TABLE"), IN_BLOCK),
    )


def asks_own(run: Run) -> None:
    assert run.asked == [RefreshCatalog(own=True)]
    run.asked.clear()


def test_ddl_inside_a_transaction_stops_what_needs_names(new_stage: Callable[[], Stage]) -> None:
    """When the catalog cannot be read as the transaction sees it."""
    play(
        new_stage,
        *in_a_transaction_with_ddl(),
        client >> query("SELECT id FROM products"),
        server << NOTHING,
        asks_own,
        does(lambda run: run.session.resume(refreshed=False)),
        server << FAILS,
        server >> (FAILED, FAILED_BLOCK),
        client << (refused("SP1102"), FAILED_BLOCK),
        client >> query("ROLLBACK"),
        server << query("ROLLBACK"),
    )


def test_after_ddl_in_a_transaction_names_mean_what_it_sees(new_stage: Callable[[], Stage]) -> None:
    def sees(run: Run) -> None:
        catalog = run.session.names.judge.catalog
        products = next(r for r in catalog.relations.values() if r.name == "products")
        wider = replace(products, columns=(*products.columns, Column("z", 90, 23)))
        relations = {**catalog.relations, products.oid: wider}
        own = replace(
            catalog,
            epoch="own",
            relations=relations,
            relation_by_name={("public", "products"): wider},
        )
        run.session.use_transaction_catalog(run.session.names.judge.beside(own))
        run.session.resume(refreshed=True)

    play(
        new_stage,
        *in_a_transaction_with_ddl(),
        client >> query("UPDATE products SET z = 1 WHERE id = 1"),
        server << NOTHING,
        asks_own,
        does(sees),
        server << query("UPDATE products SET z = 1 WHERE id = 1"),
        server >> (done("UPDATE 1"), IN_BLOCK),
        client << (done("UPDATE 1"), IN_BLOCK),
        client >> query("ROLLBACK"),
        server << query("ROLLBACK"),
        server >> (done("ROLLBACK"), IDLE),
        client << (done("ROLLBACK"), IDLE),
        client >> query("UPDATE products SET z = 1 WHERE id = 1"),
        server << NOTHING,
        asks(RefreshCatalog),
        does(lambda run: run.session.resume(refreshed=True)),
        asks(RefreshCatalog),  # an unknown name is looked for once more
        does(lambda run: run.session.resume(refreshed=True)),
        server << FAILS,
    )


def test_pinned_parameters_that_change_end_the_session(stage: Stage) -> None:
    for name, value in (
        ("client_encoding", "SJIS"),
        ("standard_conforming_strings", "off"),
        ("session_authorization", "postgres"),
        ("is_superuser", "on"),
    ):
        play(
            stage,
            server >> backend.parameter_status(name, value),
            client << refused("SP1203", severity="FATAL"),
            closes,
        )


def test_session_starts_blank(stage: Stage) -> None:
    run = play(stage)
    assert isinstance(run.session, Session)
    assert not run.session.pipeline.entries


def test_an_answer_that_asks_for_something_takes_the_general_way(stage: Stage) -> None:
    """The owner carries out no commands after the short way: a session whose transaction with DDL
    and a change of search_path has ended would stay blocked until its client said something.
    """
    session = Session(AGENT, stage.judge, Recording(), ("public",), SessionLimits())
    answer = stage.describe("products.id") + done("SELECT 0") + IDLE
    session.receive_from_client(query("SELECT id FROM products"))
    session.receive_from_server(answer)
    session.to_client.clear()
    session.receive_from_client(query("SELECT id FROM products"))
    session.names.refresh_due = True
    assert session.try_fast_response(answer) is None
    session.receive_from_server(answer)
    assert session.to_client == answer
    assert session.commands == [RefreshCatalog(force=True, publishes=True)] and session.holds_answer
