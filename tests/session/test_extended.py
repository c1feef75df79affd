"""Extended query: Parse, Bind, Describe, Execute, Close, Flush, Sync, pipelined at will."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sallyport.wire import backend, frontend
from sallyport.wire.frontend import bind, close, describe, execute, flush, parse, query, sync
from tests.session.playbook import (
    CANARY,
    FAILED,
    FAILED_BLOCK,
    FAILS,
    IDLE,
    IN_BLOCK,
    NOTHING,
    POLICY,
    Like,
    Run,
    Stage,
    client,
    closes,
    does,
    done,
    play,
    refused,
    rows,
    server,
    server_error,
    told,
)

PARSED, BOUND, CLOSED = backend.parse_complete(), backend.bind_complete(), backend.close_complete()
SUSPENDED, NO_DATA = backend.portal_suspended(), backend.no_data()
NO_PARAMETERS = backend.parameter_description(())
REDACTED = "[redacted]"
SSN, NAME = "SELECT ssn FROM customers", "SELECT name FROM products"
#: Both computed, one of them from a column with ``filter: allow``: RowDescription tells one from
#: the other by nothing.
SECRET, PUBLIC = "SELECT upper(notes) FROM customers", "SELECT upper(name) FROM products"
HIDDEN = describe(b"P", "")
#: What a refused Parse, Bind or Execute becomes on its way to the server.
BAD_PARSE, BAD_BIND, BAD_EXECUTE = (Like(k, ("refused",)) for k in "PBE")
NO_SUCH = server_error("26000", 'prepared statement "sallyport refused this" does not exist')


def test_everything_once(stage: Stage) -> None:
    described = stage.describe("customers.ssn")
    run = play(
        stage,
        client
        >> (
            parse("s", SSN),
            describe(b"S", "s"),
            bind("p", "s"),
            describe(b"P", "p"),
            execute("p"),
            sync(),
        ),
        server
        << (
            parse("s", SSN),
            describe(b"S", "s"),
            bind("p", "s"),
            describe(b"P", "p"),
            execute("p"),
            sync(),
        ),
        server
        >> (
            PARSED,
            NO_PARAMETERS,
            described,
            BOUND,
            described,
            rows(CANARY),
            done("SELECT 1"),
            IDLE,
        ),
        client
        << (
            PARSED,
            NO_PARAMETERS,
            described,
            BOUND,
            described,
            rows(REDACTED),
            done("SELECT 1"),
            IDLE,
        ),
        client >> (close(b"S", "s"), close(b"P", "p"), sync()),
        server << (close(b"S", "s"), close(b"P", "p"), sync()),
        server >> (CLOSED, CLOSED, IDLE),
        client << (CLOSED, CLOSED, IDLE),
    )
    assert not run.session.statements.confirmed
    assert run.recording.completed == [(1, "SELECT 1", 1, "")]


#: Goes to the server with its masks in it.
COMPUTED = "SELECT lower(ssn) FROM customers WHERE id = $1"


def test_what_computes_with_masked_columns_is_prepared_with_their_masks_in_it(stage: Stage) -> None:
    """In one pipeline, then message by message, then on the short way with and without Describe:
    the same bytes.
    """
    a, sent = stage.describe("lower:25"), stage.sent(COMPUTED)
    assert sent == (
        """SELECT lower(ssn) FROM (SELECT t."id", '[redacted]'::pg_catalog.text AS "ssn" """
        """FROM "public"."customers" AS t) AS "customers" WHERE id = $1"""
    )
    asked = (bind("", "s", [b"7"]), describe(b"P", ""), execute(), sync())
    blind = (bind("", "s", [b"7"]), execute(), sync())
    answer = (BOUND, a, rows("[redacted]"), done("SELECT 1"), IDLE)
    noticed = (rows("[redacted]"), told("public.customers.ssn (redact)"), done("SELECT 1"), IDLE)
    types = backend.parameter_description((23,))
    run = play(
        lambda: Stage(stage.catalog),
        client >> (parse("s", COMPUTED), describe(b"S", "s"), *asked),
        server << (parse("s", sent), describe(b"S", "s"), *asked),
        server >> (PARSED, types, a, *answer),
        client << (PARSED, types, a, BOUND, a, *noticed),
        *(client >> asked, server << asked, server >> answer, client << (BOUND, a, *noticed)) * 2,
        *(client >> blind, server << (blind[0], HIDDEN, *blind[1:]), server >> answer, client << (BOUND, *noticed)) * 2,
    )  # fmt: skip
    assert [one["sql"] for one in run.recording.statements] == [COMPUTED] * 5
    kept = [b"".join(d for n, d in run.recording.replies if n == number) for number in range(1, 6)]
    assert all(CANARY.encode() not in data and b"[SP2001]" in data for data in kept)


def test_a_portal_in_portions_says_at_its_end_what_was_masked(stage: Stage) -> None:
    sent, a = stage.sent("SELECT lower(ssn) FROM customers"), stage.describe("lower:25")
    masked = rows("[redacted]")
    play(
        stage,
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << (done("BEGIN"), IN_BLOCK),
        client
        >> (
            parse("", "SELECT lower(ssn) FROM customers"),
            bind("p", ""),
            execute("p", 1),
            execute("p"),
            sync(),
        ),
        server
        << (
            parse("", sent),
            bind("p", ""),
            describe(b"P", "p"),
            execute("p", 1),
            execute("p"),
            sync(),
        ),
        server >> (PARSED, BOUND, a, masked, SUSPENDED, masked, done("SELECT 1"), IN_BLOCK),
        client
        << (PARSED, BOUND, masked, SUSPENDED, masked, told("ssn"), done("SELECT 1"), IN_BLOCK),
    )


def test_positions_in_errors_of_extended_query(stage: Stage) -> None:
    sent = stage.sent(COMPUTED)

    def said(text: str, position: int) -> bytes:
        return server_error("42883", text, position=position)

    steps = [
        client >> (parse("s", COMPUTED), sync()),
        server << (parse("s", sent), sync()),
        server >> (said("analysis", sent.index("WHERE") + 1), IDLE),
        client << (said("analysis", COMPUTED.index("WHERE") + 1), IDLE),
        client >> (parse("s", COMPUTED), sync()),
        server << (parse("s", sent), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
    ]
    once = (
        client >> (bind("", "s", [b"7"]), describe(b"P", ""), execute(), sync()),
        server << (bind("", "s", [b"7"]), describe(b"P", ""), execute(), sync()),
        server
        >> (BOUND, stage.describe("lower:25"), said("running", sent.index("id = $1") + 1), IDLE),
        client
        << (
            BOUND,
            stage.describe("lower:25"),
            said("running", COMPUTED.index("id = $1") + 1),
            IDLE,
        ),
    )
    play(lambda: Stage(stage.catalog), *steps, *once, *once)


def test_execute_and_fetch_of_what_was_rewritten(stage: Stage) -> None:
    sql, a = "SELECT lower(ssn) FROM customers", stage.describe("lower:25")
    prepare, declare = f"PREPARE s AS {sql}", f"DECLARE c CURSOR FOR {sql}"
    masked = rows("[redacted]")
    play(
        stage,
        client >> query(f"BEGIN; {prepare}; {declare}"),
        server << query(stage.sent(f"BEGIN; {prepare}; {declare}")),
        server >> (done("BEGIN"), done("PREPARE"), done("DECLARE CURSOR"), IN_BLOCK),
        client
        << (
            done("BEGIN"),
            told("ssn"),
            done("PREPARE"),
            told("ssn"),
            done("DECLARE CURSOR"),
            IN_BLOCK,
        ),
        client >> query("EXECUTE s; FETCH 1 FROM c"),
        server << query("EXECUTE s; FETCH 1 FROM c"),
        server >> (a, masked, done("SELECT 1"), a, masked, done("FETCH 1"), IN_BLOCK),
        client << (a, masked, told("ssn"), done("SELECT 1"), a, masked, done("FETCH 1"), IN_BLOCK),
        client >> (bind("", "s"), execute(), execute("c"), sync()),
        server << (bind("", "s"), HIDDEN, execute(), describe(b"P", "c"), execute("c"), sync()),
        server >> (BOUND, a, masked, done("SELECT 1"), a, masked, done("FETCH 1"), IN_BLOCK),
        client
        << (
            BOUND,
            masked,
            told("ssn"),
            done("SELECT 1"),
            masked,
            told("ssn"),
            done("FETCH 1"),
            IN_BLOCK,
        ),
    )


def test_a_client_that_does_not_describe(stage: Stage) -> None:
    """The gateway asks in its place and keeps the answer."""
    described = stage.describe("customers.ssn")
    steps = [
        client >> (parse("s", SSN), sync()),
        server << (parse("s", SSN), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
    ]
    again = [
        client >> (bind("", "s"), execute(), sync()),
        server << (bind("", "s"), HIDDEN, execute(), sync()),
        server >> (BOUND, described, rows(CANARY), done("SELECT 1"), IDLE),
        client << (BOUND, rows(REDACTED), done("SELECT 1"), IDLE),
    ]
    play(stage, *steps, *again, *again)


def test_types_of_parameters_are_recorded(stage: Stage) -> None:
    """As Parse declared them, or as the server said when it was asked; on the general path and on
    the fast one.
    """
    by_id = "SELECT name FROM products WHERE id = $1"
    described, answer = stage.describe("products.name"), (rows(b"nut"), done("SELECT 1"), IDLE)
    value = bind("", "s", [b"\0\0\0\7"], [1], ())
    declared = play(
        stage,
        client >> (parse("s", by_id, (20,)), value, execute(), sync()),
        server << (parse("s", by_id, (20,)), value, HIDDEN, execute(), sync()),
        server >> (PARSED, BOUND, described, *answer),
        client << (PARSED, BOUND, *answer),
    )
    assert [s["bind_types"] for s in declared.recording.statements] == [(20,)]
    asked = play(
        stage,
        client >> (parse("s", by_id), describe(b"S", "s"), sync()),
        server << (parse("s", by_id), describe(b"S", "s"), sync()),
        server >> (PARSED, backend.parameter_description((23,)), described, IDLE),
        client << (PARSED, backend.parameter_description((23,)), described, IDLE),
        client >> (value, execute(), sync()),
        server << (value, HIDDEN, execute(), sync()),
        server >> (BOUND, described, *answer),
        client << (BOUND, *answer),
    )
    assert [s["bind_types"] for s in asked.recording.statements] == [(23,)]


def test_statements_without_rows_need_no_description(stage: Stage) -> None:
    sql = "UPDATE products SET stock = 1 WHERE id = 1"
    play(
        stage,
        client >> (parse("", sql), bind("", ""), execute(), sync()),
        server << (parse("", sql), bind("", ""), execute(), sync()),
        server >> (PARSED, BOUND, done("UPDATE 1"), IDLE),
        client << (PARSED, BOUND, done("UPDATE 1"), IDLE),
    )


def test_flush_brings_answers_early(stage: Stage) -> None:
    play(
        stage,
        client >> (parse("", NAME), flush()),
        server << (parse("", NAME), flush()),
        server >> PARSED,
        client << PARSED,
        client >> (describe(b"S", ""), flush()),
        server << (describe(b"S", ""), flush()),
        server >> (NO_PARAMETERS, stage.describe("products.name")),
        client << (NO_PARAMETERS, stage.describe("products.name")),
        client >> sync(),
        server << sync(),
        server >> IDLE,
        client << IDLE,
    )


def test_an_empty_statement(stage: Stage) -> None:
    play(
        stage,
        client >> (parse("", ""), bind("", ""), describe(b"P", ""), execute(), sync()),
        server << (parse("", ""), bind("", ""), describe(b"P", ""), execute(), sync()),
        server >> (PARSED, BOUND, NO_DATA, backend.empty_query(), IDLE),
        client << (PARSED, BOUND, NO_DATA, backend.empty_query(), IDLE),
    )


def test_a_refusal_in_the_middle_of_a_pipeline(stage: Stage) -> None:
    a = stage.describe("products.name")
    one = (parse("", NAME), bind("", ""), describe(b"P", ""), execute())
    run = play(
        stage,
        client >> (*one, parse("", "DROP ROLE x"), *one, sync(), *one, sync()),
        server << (*one, BAD_PARSE, sync(), *one, sync()),
        server >> (PARSED, BOUND, a, rows("x"), done("SELECT 1"), FAILED, IDLE, PARSED, BOUND, a, rows("y"), done("SELECT 1"), IDLE),
        client
        << (
            PARSED, BOUND, a, rows("x"), done("SELECT 1"), Like("E", ("C42501\0",)), IDLE,
            PARSED, BOUND, a, rows("y"), done("SELECT 1"), IDLE,
        ),
    )  # fmt: skip
    assert not run.session.pipeline.entries


def test_after_an_error_everything_until_sync_is_skipped(stage: Stage) -> None:
    play(
        stage,
        client >> (bind("", "nothing"), flush()),
        server << BAD_BIND,
        server >> NO_SUCH,
        client << refused("SP1304", "26000"),
        client >> (parse("", NAME), bind("", ""), execute(), query("SELECT 1"), flush()),
        server << NOTHING,
        client >> sync(),
        server << sync(),
        server >> IDLE,
        client << IDLE,
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
    )


def test_unknown_portals_and_statements(stage: Stage) -> None:
    play(
        stage,
        client >> (execute("nothing"), sync()),
        server << (BAD_EXECUTE, sync()),
        server >> (server_error("34000", "no portal"), IDLE),
        client << (refused("SP1303", "34000"), IDLE),
        client >> (describe(b"P", "nothing"), sync()),
        server << (Like("D", ("refused",)), sync()),
        server >> (server_error("34000", "no portal"), IDLE),
        client << (refused("SP1303", "34000"), IDLE),
    )


def test_a_portal_in_portions(stage: Stage) -> None:
    a = stage.describe("customers.ssn")
    play(
        stage,
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << (done("BEGIN"), IN_BLOCK),
        client >> (parse("", SSN), bind("p", ""), execute("p", 2), sync()),
        server << (parse("", SSN), bind("p", ""), describe(b"P", "p"), execute("p", 2), sync()),
        server >> (PARSED, BOUND, a, rows(CANARY), rows(CANARY), SUSPENDED, IN_BLOCK),
        client << (PARSED, BOUND, rows(REDACTED), rows(REDACTED), SUSPENDED, IN_BLOCK),
        client >> (execute("p", 2), flush(), execute("p", 0), sync()),
        server << (execute("p", 2), flush(), execute("p", 0), sync()),
        server >> (rows(CANARY), rows(CANARY), SUSPENDED, rows(CANARY), done("SELECT 1"), IN_BLOCK),
        client
        << (rows(REDACTED), rows(REDACTED), SUSPENDED, rows(REDACTED), done("SELECT 1"), IN_BLOCK),
    )


def test_binary_results_are_masked_in_binary(stage: Stage) -> None:
    binary = stage.describe("customers.ssn", "customers.birth_date", formats=1)
    sql = "SELECT ssn, birth_date FROM customers"
    play(
        stage,
        client >> (parse("", sql), bind("", "", (), (), (1,)), execute(), sync()),
        server << (parse("", sql), bind("", "", (), (), (1,)), HIDDEN, execute(), sync()),
        server >> (PARSED, BOUND, binary, rows(CANARY, b"\0\0\0\x01"), done("SELECT 1"), IDLE),
        client << (PARSED, BOUND, rows(REDACTED, b"\0\0\0\x01"), done("SELECT 1"), IDLE),
    )


def test_a_result_that_was_not_judged_is_withheld_once(new_stage: Callable[[], Stage]) -> None:
    other = new_stage().describe("customers.ssn")
    sent = (parse("", NAME), bind("", ""), describe(b"P", ""), execute(), sync())
    play(
        new_stage,
        client >> sent,
        server << sent,
        server >> (PARSED, BOUND, other, rows(CANARY), done("SELECT 1"), IDLE),
        client << (PARSED, BOUND, refused("SP1203"), IDLE),
        client >> sync(),
        server << sync(),
        server >> IDLE,
        client << IDLE,
    )


def test_withheld_before_sync_the_rest_of_the_pipeline_is_skipped(
    new_stage: Callable[[], Stage],
) -> None:
    other = new_stage().describe("customers.ssn")
    play(
        new_stage,
        client >> (parse("", NAME), describe(b"S", ""), flush()),
        server << (parse("", NAME), describe(b"S", ""), flush()),
        server >> (PARSED, NO_PARAMETERS, other),
        client << (PARSED, NO_PARAMETERS, refused("SP1203")),
        client >> (bind("", ""), execute(), sync()),
        server << sync(),
        server >> IDLE,
        client << IDLE,
    )


def test_what_is_withheld_does_not_open_the_next_segment(new_stage: Callable[[], Stage]) -> None:
    """A suspended portal whose rows come behind a withheld result is masked as before."""
    stage = new_stage()
    a, other = stage.describe("customers.ssn"), stage.describe("customers.email")
    bad = (parse("", NAME), bind("", ""), describe(b"P", ""), execute())
    play(
        new_stage,
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << (done("BEGIN"), IN_BLOCK),
        client >> (parse("s", SSN), bind("p", "s"), execute("p", 1), sync()),
        server << (parse("s", SSN), bind("p", "s"), describe(b"P", "p"), execute("p", 1), sync()),
        server >> (PARSED, BOUND, a, rows(CANARY), SUSPENDED, IN_BLOCK),
        client << (PARSED, BOUND, rows(REDACTED), SUSPENDED, IN_BLOCK),
        client >> (*bad, sync(), execute("p", 1), sync()),
        server << (*bad, sync(), execute("p", 1), sync()),
        server
        >> (
            PARSED,
            BOUND,
            other,
            rows(CANARY),
            done("SELECT 1"),
            IN_BLOCK,
            rows(CANARY),
            SUSPENDED,
            IN_BLOCK,
        ),
        client << (PARSED, BOUND, refused("SP1203"), IN_BLOCK, rows(REDACTED), SUSPENDED, IN_BLOCK),
    )


def test_a_name_that_exists_keeps_its_meaning(stage: Stage) -> None:
    """The second Parse fails at the server; a Bind that was sent behind it in another segment gets
    the first statement.
    """
    duplicate = server_error("42P05", 'prepared statement "s" already exists')
    play(
        stage,
        client >> (parse("s", SECRET), sync(), parse("s", PUBLIC), sync()),
        server << (parse("s", SECRET), sync(), parse("s", PUBLIC), sync()),
        server >> (PARSED, IDLE, duplicate, IDLE),
        client << (PARSED, IDLE, duplicate, IDLE),
        client >> (bind("", "s"), execute(), sync()),
        server << (bind("", "s"), HIDDEN, execute(), sync()),
        server >> (BOUND, stage.describe("upper:25"), rows(CANARY), done("SELECT 1"), IDLE),
        client << (BOUND, rows(REDACTED), done("SELECT 1"), IDLE),
    )


def test_a_name_parsed_twice_with_the_same_text(stage: Stage) -> None:
    """The second Parse fails; what was pipelined behind it runs the first statement, which was
    judged the same.
    """
    duplicate = server_error("42P05", 'prepared statement "s" already exists')
    sent = (parse("s", SECRET), sync(), bind("", "s"), execute(), sync())
    play(
        stage,
        client >> (parse("s", SECRET), sync()),
        server << (parse("s", SECRET), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
        client >> sent,
        server << (*sent[:3], HIDDEN, *sent[3:]),
        server
        >> (
            duplicate,
            IDLE,
            BOUND,
            stage.describe("upper:25"),
            rows(CANARY),
            done("SELECT 1"),
            IDLE,
        ),
        client << (Like("E", ("C42P05\0",)), IDLE, BOUND, rows(REDACTED), done("SELECT 1"), IDLE),
    )


#: A Parse that the gateway lets pass and the server does not: its table was dropped a moment ago.
FAILS_THERE = parse("z", NAME)


def test_assumed_and_confirmed_statements_may_differ(stage: Stage) -> None:
    """The trap: a Parse that is skipped because of an earlier error, and a Bind behind it that
    reaches the old statement.
    """
    for how in ("", "s"):
        first = (parse(how, SECRET), sync())
        segment = (FAILS_THERE, close(b"S", how), parse(how, PUBLIC), sync())
        play(
            stage,
            client >> first,
            server << first,
            server >> (PARSED, IDLE),
            client << (PARSED, IDLE),
            client >> (*segment, bind("", how), execute(), sync()),
            server << (FAILS_THERE, *segment[1:]),
            server >> (server_error("42P01"), IDLE),
            client << (server_error("42P01"), IDLE),
            server << (bind("", how), HIDDEN, execute(), sync()),
            server >> (BOUND, stage.describe("upper:25"), rows(CANARY), done("SELECT 1"), IDLE),
            client << (BOUND, rows(REDACTED), done("SELECT 1"), IDLE),
        )


def test_assumed_and_confirmed_cursors_may_differ(stage: Stage) -> None:
    """The same trap with held cursors, which the extended protocol reaches as portals."""
    old, new = (f"DECLARE c CURSOR WITH HOLD FOR {sql}" for sql in (SECRET, PUBLIC))
    skipped = (query("CLOSE c"), query(new))
    for fetch in (execute("c"), execute("c", 1)):
        play(
            stage,
            client >> query(old),
            server << query(old),
            server >> (done("DECLARE CURSOR"), IDLE),
            client << (done("DECLARE CURSOR"), IDLE),
            client >> (FAILS_THERE, *skipped, sync(), fetch, sync()),
            server << (FAILS_THERE, *skipped, sync()),
            server >> (server_error("42P01"), IDLE),
            client << (server_error("42P01"), IDLE),
            server << (describe(b"P", "c"), fetch, sync()),
            server >> (stage.describe("upper:25"), rows(CANARY), done("SELECT 1"), IDLE),
            client << (rows(REDACTED), done("SELECT 1"), IDLE),
        )


def test_assumed_and_confirmed_in_fetch_and_execute(stage: Stage) -> None:
    for old, new, drop, use in (
        (
            f"DECLARE c CURSOR WITH HOLD FOR {SECRET}",
            f"DECLARE c CURSOR WITH HOLD FOR {PUBLIC}",
            "CLOSE c",
            "FETCH 1 FROM c",
        ),
        (f"PREPARE s AS {SECRET}", f"PREPARE s AS {PUBLIC}", "DEALLOCATE s", "EXECUTE s"),
    ):
        play(
            stage,
            client >> query(old),
            server << query(old),
            server >> (done(old.split()[0]), IDLE),
            client << (done(old.split()[0]), IDLE),
            client >> (FAILS_THERE, query(drop), query(new), sync(), query(use)),
            server << (FAILS_THERE, query(drop), query(new), sync()),
            server >> (server_error("42P01"), IDLE),
            client << (server_error("42P01"), IDLE),
            server << query(use),
            server >> (stage.describe("upper:25"), rows(CANARY), done("X 1"), IDLE),
            client << (stage.describe("upper:25"), rows(REDACTED), done("X 1"), IDLE),
        )


def test_names_end_at_63_bytes(stage: Stage) -> None:
    long, other, cut = "n" * 63 + "x", "n" * 63 + "y", "n" * 63
    play(
        stage,
        client >> (parse(long, SSN), sync()),
        server << (parse(long, SSN), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
        client >> (bind("", other), execute(), sync()),
        server << (bind("", other), HIDDEN, execute(), sync()),
        server >> (BOUND, stage.describe("customers.ssn"), rows(CANARY), done("SELECT 1"), IDLE),
        client << (BOUND, rows(REDACTED), done("SELECT 1"), IDLE),
        client >> query(f'EXECUTE "{cut}"'),
        server << query(f'EXECUTE "{cut}"'),
        server >> (stage.describe("customers.ssn"), rows(CANARY), done("SELECT 1"), IDLE),
        client << (stage.describe("customers.ssn"), rows(REDACTED), done("SELECT 1"), IDLE),
        client >> (close(b"S", cut), sync(), bind("", long), sync()),
        server
        << (
            close(b"S", cut),
            sync(),
        ),  # a Close may be skipped: what the name means is known when it is answered
        server >> (CLOSED, IDLE),
        client << (CLOSED, IDLE),
        server << (BAD_BIND, sync()),
    )


def test_a_close_that_was_skipped_closes_nothing(stage: Stage) -> None:
    a, failed = stage.describe("products.name"), server_error("26000", "no such statement")
    play(
        stage,
        client >> (parse("s", NAME), sync()),
        server << (parse("s", NAME), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
        client
        >> (describe(b"S", "gone"), close(b"S", "s"), sync(), bind("", "s"), execute(), sync()),
        server << (describe(b"S", "gone"), close(b"S", "s"), sync()),
        server >> (failed, IDLE),
        client << (Like("E", ("C26000\0",)), IDLE),
        server << (bind("", "s"), HIDDEN, execute(), sync()),
        server >> (BOUND, a, rows("Lamp"), done("SELECT 1"), IDLE),
        client << (BOUND, rows("Lamp"), done("SELECT 1"), IDLE),
    )


def test_sql_and_protocol_share_their_names(stage: Stage) -> None:
    a = stage.describe("customers.ssn")
    play(
        stage,
        client >> query(f"PREPARE s AS {SSN}"),
        server << query(f"PREPARE s AS {SSN}"),
        server >> (done("PREPARE"), IDLE),
        client << (done("PREPARE"), IDLE),
        client >> (bind("", "s"), execute(), sync()),
        server << (bind("", "s"), HIDDEN, execute(), sync()),
        server >> (BOUND, a, rows(CANARY), done("SELECT 1"), IDLE),
        client << (BOUND, rows(REDACTED), done("SELECT 1"), IDLE),
        client >> query("EXECUTE s"),
        server << query("EXECUTE s"),
        server >> (a, rows(CANARY), done("SELECT 1"), IDLE),
        client << (a, rows(REDACTED), done("SELECT 1"), IDLE),
        client >> query("DEALLOCATE s"),
        server << query("DEALLOCATE s"),
        server >> (done("DEALLOCATE"), IDLE),
        client << (done("DEALLOCATE"), IDLE),
        client >> query("EXECUTE s"),
        server << Like("Q", ("refused",)),
        server >> (FAILED, IDLE),
        client << (refused("SP1304", "26000"), IDLE),
    )


def test_execute_through_the_extended_protocol_is_described_every_time(stage: Stage) -> None:
    a = stage.describe("upper:25")
    use = (bind("p", "e"), execute("p"), sync())
    asked = (bind("p", "e"), describe(b"P", "p"), execute("p"), sync())
    play(
        stage,
        client >> (query(f"PREPARE s AS {SECRET}"), parse("e", "EXECUTE s"), sync()),
        server << (query(f"PREPARE s AS {SECRET}"), parse("e", "EXECUTE s"), sync()),
        server >> (done("PREPARE"), IDLE, PARSED, IDLE),
        client << (done("PREPARE"), IDLE, PARSED, IDLE),
        client >> use,
        server << asked,
        server >> (BOUND, a, rows(CANARY), done("SELECT 1"), IDLE),
        client << (BOUND, rows(REDACTED), done("SELECT 1"), IDLE),
        client >> (query("DEALLOCATE s"), query(f"PREPARE s AS {PUBLIC}"), *use),
        server << (query("DEALLOCATE s"), query(f"PREPARE s AS {PUBLIC}")),
        server >> (done("DEALLOCATE"), IDLE, done("PREPARE"), IDLE),
        client << (done("DEALLOCATE"), IDLE, done("PREPARE"), IDLE),
        server << asked,
        server >> (BOUND, a, rows("LAMP"), done("SELECT 1"), IDLE),
        client << (BOUND, rows("LAMP"), done("SELECT 1"), IDLE),
    )


@pytest.mark.parametrize(
    ("make", "again", "use"),
    [
        (f"PREPARE s AS {SECRET}", ("DEALLOCATE s", f"PREPARE s AS {PUBLIC}"), "EXECUTE s"),
        (
            f"DECLARE s CURSOR FOR {SECRET}",
            ("CLOSE s", f"DECLARE s CURSOR FOR {PUBLIC}"),
            "FETCH ALL FROM s",
        ),
    ],
)
def test_a_portal_of_execute_keeps_its_first_rows(
    stage: Stage, make: str, again: tuple[str, str], use: str
) -> None:
    """The server keeps the rows of the first run; what the name means later is no reason to let
    them pass.
    """
    a = stage.describe("upper:25")
    play(
        stage,
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << (done("BEGIN"), IN_BLOCK),
        client >> (query(make), parse("e", use), bind("p", "e"), execute("p", 1), sync()),
        server
        << (
            query(make),
            parse("e", use),
            bind("p", "e"),
            describe(b"P", "p"),
            execute("p", 1),
            sync(),
        ),
        server >> (done("X"), IN_BLOCK, PARSED, BOUND, a, rows(CANARY), SUSPENDED, IN_BLOCK),
        client << (done("X"), IN_BLOCK, PARSED, BOUND, rows(REDACTED), SUSPENDED, IN_BLOCK),
        client >> (query(again[0]), query(again[1]), execute("p"), sync()),
        server << (query(again[0]), query(again[1]), BAD_EXECUTE, sync()),
        server
        >> (
            done("X"),
            IN_BLOCK,
            done("X"),
            IN_BLOCK,
            server_error("34000", "no portal"),
            FAILED_BLOCK,
        ),
        client << (done("X"), IN_BLOCK, done("X"), IN_BLOCK, refused("SP1107"), FAILED_BLOCK),
    )


def test_cursors(stage: Stage) -> None:
    declare = f"DECLARE c CURSOR FOR {SSN}"
    a = stage.describe("customers.ssn")
    play(
        stage,
        client >> query(f"BEGIN; {declare}"),
        server << query(f"BEGIN; {declare}"),
        server >> (done("BEGIN"), done("DECLARE CURSOR"), IN_BLOCK),
        client << (done("BEGIN"), done("DECLARE CURSOR"), IN_BLOCK),
        client >> query("FETCH 2 FROM c; MOVE 1 IN c; CLOSE c; SELECT id FROM products"),
        server << query("FETCH 2 FROM c; MOVE 1 IN c; CLOSE c; SELECT id FROM products"),
        server
        >> (
            a, rows(CANARY), rows(CANARY), done("FETCH 2"), done("MOVE 1"), done("CLOSE CURSOR"),
            stage.describe("products.id"), rows("1"), done("SELECT 1"), IN_BLOCK,
        ),
        client
        << (
            a, rows(REDACTED), rows(REDACTED), done("FETCH 2"), done("MOVE 1"), done("CLOSE CURSOR"),
            stage.describe("products.id"), rows("1"), done("SELECT 1"), IN_BLOCK,
        ),
        client >> query("FETCH 1 FROM c"),
        server << Like("Q", ("refused",)),
        server >> (FAILED, FAILED_BLOCK),
        client << (refused("SP1303", "34000"), FAILED_BLOCK),
    )  # fmt: skip


STRICT = POLICY.replace(
    'allow: [all], relations: ["public.*"]', 'allow: [all], relations: ["public.orders"]'
)
MORE_MASKS = POLICY.replace(
    '"public.customers.ssn"', '"public.customers.ssn", "public.products.name"'
)


def changes(policy: str) -> Callable[[Run], None]:
    return does(lambda run: run.stage.change_policy(policy))


def test_policy_changes_between_parse_and_execute(new_stage: Callable[[], Stage]) -> None:
    a = new_stage().describe("products.name")
    prepared = [
        client >> (parse("s", NAME), sync()),
        server << (parse("s", NAME), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
    ]
    play(
        new_stage,
        *prepared,
        changes(STRICT),
        client >> (bind("", "s"), execute(), sync()),
        server << (BAD_BIND, sync()),
        server >> (NO_SUCH, IDLE),
        client << (refused("SP1001"), IDLE),
    )
    play(
        new_stage,
        *prepared,
        changes(MORE_MASKS),
        client >> (bind("", "s"), execute(), sync()),
        server << (bind("", "s"), HIDDEN, execute(), sync()),
        server >> (BOUND, a, rows(CANARY), done("SELECT 1"), IDLE),
        client << (BOUND, rows(REDACTED), done("SELECT 1"), IDLE),
    )


def test_what_was_prepared_without_masks_is_not_run_with_them(
    new_stage: Callable[[], Stage],
) -> None:
    """The server holds the text as it was sent: no mask can be put into it later, nor be taken out
    of it.
    """
    less = POLICY.replace('  - {columns: ["public.customers.ssn"], with: redact}\n', "")
    stage, masked = new_stage(), "SELECT lower(ssn) FROM customers"
    for sql, sent, policy in ((PUBLIC, PUBLIC, MORE_MASKS), (masked, stage.sent(masked), less)):
        play(
            new_stage,
            client >> (parse("s", sql), sync()),
            server << (parse("s", sent), sync()),
            server >> (PARSED, IDLE),
            client << (PARSED, IDLE),
            changes(policy),
            client >> (bind("", "s"), execute(), sync()),
            server << (BAD_BIND, sync()),
            server >> (NO_SUCH, IDLE),
            client << (refused("SP1206", "0A000"), IDLE),
        )


def test_explain_of_what_was_prepared(stage: Stage) -> None:
    """The plan of a rewritten text holds no masked value; sizes of the rows under it are
    not told.
    """
    plan = stage.describe("QUERY PLAN:25")
    masked, plain = "SELECT lower(ssn) FROM customers", "SELECT ssn FROM customers"
    write = "UPDATE customers SET city = 'x' WHERE id = 1"

    def prepared(sql: str, sent: str) -> tuple[Any, ...]:
        return (
            client >> (parse("s", sql), sync()),
            server << (parse("s", sent), sync()),
            server >> (PARSED, IDLE),
            client << (PARSED, IDLE),
        )

    for sql, sent, options, code in (
        (masked, stage.sent(masked), "", ""),
        (masked, stage.sent(masked), "(ANALYZE, BUFFERS OFF)", "SP1201"),  # 18 tells of memory
        (masked, stage.sent(masked), "(ANALYZE)", "SP1201"),
        (masked, stage.sent(masked), "(ANALYZE, BUFFERS)", "SP1201"),
        (masked, stage.sent(masked), "(ANALYZE, BUFFERS OFF, WAL)", "SP1201"),
        (plain, plain, "", "SP1201"),
        (write, write, "", ""),
        (write, write, "(ANALYZE, BUFFERS OFF)", "SP1201"),
    ):
        use = query(f"EXPLAIN {options} EXECUTE s")
        passes = (
            server << use,
            server >> (plan, rows("Seq Scan"), done("EXPLAIN"), IDLE),
            client << (plan, rows("Seq Scan"), done("EXPLAIN"), IDLE),
        )
        fails = (server << FAILS, server >> (FAILED, IDLE), client << (refused("SP1201"), IDLE))
        play(stage, *prepared(sql, sent), client >> use, *(fails if code else passes))


def test_policy_changes_between_two_executes_of_a_portal(new_stage: Callable[[], Stage]) -> None:
    a = new_stage().describe("products.name")
    begun = [
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << (done("BEGIN"), IN_BLOCK),
        client >> (parse("s", NAME), bind("p", "s"), execute("p", 1), sync()),
        server << (parse("s", NAME), bind("p", "s"), describe(b"P", "p"), execute("p", 1), sync()),
        server >> (PARSED, BOUND, a, rows("lamp"), SUSPENDED, IN_BLOCK),
        client << (PARSED, BOUND, rows("lamp"), SUSPENDED, IN_BLOCK),
    ]
    play(
        new_stage,
        *begun,
        changes(MORE_MASKS),
        client >> (execute("p", 1), execute("p", 1), sync()),
        server << (describe(b"P", "p"), execute("p", 1), execute("p", 1), sync()),
        server >> (a, rows(CANARY), SUSPENDED, rows(CANARY), SUSPENDED, IN_BLOCK),
        client << (rows(REDACTED), SUSPENDED, rows(REDACTED), SUSPENDED, IN_BLOCK),
    )
    play(
        new_stage,
        *begun,
        changes(STRICT),
        client >> (execute("p", 1), sync()),
        server << (BAD_EXECUTE, sync()),
        server >> (server_error("34000", "no portal"), FAILED_BLOCK),
        client << (refused("SP1001"), FAILED_BLOCK),
    )


def test_policy_changes_between_two_fetches(new_stage: Callable[[], Stage]) -> None:
    a = new_stage().describe("products.name")
    play(
        new_stage,
        client >> query(f"BEGIN; DECLARE c CURSOR FOR {NAME}"),
        server << query(f"BEGIN; DECLARE c CURSOR FOR {NAME}"),
        server >> (done("BEGIN"), done("DECLARE CURSOR"), IN_BLOCK),
        client << (done("BEGIN"), done("DECLARE CURSOR"), IN_BLOCK),
        changes(MORE_MASKS),
        client >> query("FETCH 1 FROM c"),
        server << query("FETCH 1 FROM c"),
        server >> (a, rows(CANARY), done("FETCH 1"), IN_BLOCK),
        client << (a, rows(REDACTED), done("FETCH 1"), IN_BLOCK),
        changes(STRICT),
        client >> query("FETCH 1 FROM c"),
        server << Like("Q", ("refused",)),
        server >> (FAILED, FAILED_BLOCK),
        client << (refused("SP1001"), FAILED_BLOCK),
    )


def test_a_refused_parse_leaves_the_unnamed_statement_alone(stage: Stage) -> None:
    play(
        stage,
        client >> (parse("named", "DROP ROLE x"), sync()),
        server << (Like("P", ("sallyport refused this",)), sync()),
    )


def test_deferred_constraints_speak_at_sync(stage: Stage) -> None:
    sql = "INSERT INTO customers (name, email, city) VALUES ('a', 'b', 'c')"
    play(
        stage,
        client >> (parse("", sql), bind("", ""), execute(), sync()),
        server << (parse("", sql), bind("", ""), execute(), sync()),
        server
        >> (PARSED, BOUND, done("INSERT 0 1"), server_error("23505", f"Key ({CANARY})"), IDLE),
        client
        << (
            PARSED,
            BOUND,
            done("INSERT 0 1"),
            Like("E", ("C23505\0", "withheld"), (CANARY,)),
            IDLE,
        ),
    )


def test_answers_that_do_not_belong_end_the_session(stage: Stage) -> None:
    for wrong in (
        PARSED,
        CLOSED,
        NO_DATA,
        SUSPENDED,
        rows(CANARY),
        done("SELECT 1"),
        backend.message(0x56, b"\0\0\0\0"),
    ):
        play(
            stage,
            client >> (bind("", "nothing"), sync()),
            server << (BAD_BIND, sync()),
            server >> wrong,
            client << refused("SP1203", severity="FATAL"),
            closes,
        )


def test_garbage_from_the_server_passes_nothing(stage: Stage) -> None:
    for garbage in (
        b"\x00" * 8,
        b"D\x00\x00\x00\x03",
        b"D\xff\xff\xff\xff" + CANARY.encode(),
        b"D\x80\x00\x00\x00" + CANARY.encode(),
        b"T\x00\x00\x00\x08\x00\x01ab",
        b"Z\x00\x00\x00\x05X",
        b"E\x00\x00\x00\x05M",
    ):
        play(
            stage,
            client >> query(SSN),
            server << query(SSN),
            server >> garbage,
            client << refused("SP1203", severity="FATAL"),
            closes,
        )


@pytest.mark.parametrize("length", [0, 3, 2**31, 2**32 - 1])
def test_lengths_out_of_bounds_end_the_session_at_once(stage: Stage, length: int) -> None:
    for kind in b"QPBdX":
        play(
            stage,
            client >> bytes([kind]) + length.to_bytes(4, "big"),
            client << refused("SP1501", "08P01", "FATAL"),
            closes,
        )


@pytest.mark.parametrize(
    "message",
    [
        frontend.message(0x50, b"no end"),
        frontend.message(0x50, b"s\0SELECT 1\0\0\x01"),
        frontend.message(0x42, b"\0\0\0\x02\0\0\0\0"),
        frontend.message(0x42, b"\0\0\0\0\0\x01\0\0\xff\xff\0\0"),
        frontend.message(0x44, b"X\0"),
        frontend.message(0x45, b"\0\0\0"),
        frontend.message(0x53, b"trailing"),
        frontend.message(0x51, b"SELECT 1"),
        frontend.message(0x51, b"SELECT 1\0SELECT 2\0"),
        frontend.message(0x7A, b""),
        frontend.message(0x70, b"password\0"),
    ],
)
def test_malformed_messages_end_the_session(stage: Stage, message: bytes) -> None:
    play(stage, client >> message, client << refused("SP1501", "08P01", "FATAL"), closes)


def test_terminate(stage: Stage) -> None:
    play(stage, client >> frontend.terminate(), server << frontend.terminate(), closes)
