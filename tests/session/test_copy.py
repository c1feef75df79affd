"""COPY in both directions, and everything that can be sent at the wrong time during it."""

from __future__ import annotations

import struct

import pytest

from sallyport.wire import backend, frontend
from sallyport.wire.frontend import copy_data, copy_done, copy_fail, execute, parse, query, sync
from tests.session.playbook import (
    CANARY,
    IDLE,
    NOTHING,
    Like,
    Stage,
    client,
    closes,
    done,
    play,
    refused,
    rows,
    server,
    server_error,
)

COPY = query("COPY products (sku, name, price) FROM STDIN")
TEXT_IN = backend.message(backend.COPY_IN_RESPONSE, b"\0\0\x03" + b"\0\0" * 3)
BIND = frontend.bind("", "")


def out(columns: int, binary: bool = False) -> bytes:
    code = 1 if binary else 0
    return backend.message(
        backend.COPY_OUT_RESPONSE,
        bytes([code]) + struct.pack("!H", columns) + struct.pack("!H", code) * columns,
    )


def data(text: str | bytes) -> bytes:
    return backend.message(backend.COPY_DATA, text.encode() if isinstance(text, str) else text)


END = backend.message(backend.COPY_DONE)


def test_copy_in_text(stage: Stage) -> None:
    sent = (copy_data(b"a\tb\t1\n"), copy_data(b""), copy_data(b"c\td\t2\n"))
    run = play(
        stage,
        client >> COPY,
        server << COPY,
        server >> TEXT_IN,
        client << TEXT_IN,
        client >> (*sent, copy_done()),
        server << (*sent, copy_done()),
        server >> (done("COPY 2"), IDLE),
        client << (done("COPY 2"), IDLE),
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
    )
    assert [d for _, d in run.recording.copied] == list(sent)


def test_copy_in_fails_in_the_middle(stage: Stage) -> None:
    error = server_error(
        "22P02", "invalid input syntax for type numeric", where="COPY products, line 1"
    )
    play(
        stage,
        client >> COPY,
        server << COPY,
        server >> TEXT_IN,
        client << TEXT_IN,
        client >> copy_data(b"a\tb\tc\n"),
        server << copy_data(b"a\tb\tc\n"),
        server >> (error, IDLE),
        client << (error, IDLE),
        # a client that has not noticed goes on; PostgreSQL ignores it, so nothing may come of it
        # here
        client >> (copy_data(b"more"), copy_done(), query("SELECT 1")),
        server << Like("Q", ("SELECT 1",)),
    )


def test_the_client_gives_up(stage: Stage) -> None:
    error = server_error("57014", "COPY from stdin failed: changed my mind")
    play(
        stage,
        client >> COPY,
        server << COPY,
        server >> TEXT_IN,
        client << TEXT_IN,
        client >> copy_fail("changed my mind"),
        server << copy_fail("changed my mind"),
        server >> (error, IDLE),
        client << (error, IDLE),
    )


EXTENDED = (parse("", "COPY products (sku, name, price) FROM STDIN"), BIND, execute(), sync())
BOUND = (backend.parse_complete(), backend.bind_complete())


def test_copy_in_extended_as_libpq_does_it(stage: Stage) -> None:
    """Sync right behind Execute is read, and ignored, by the server's COPY; the one behind CopyDone
    is answered.
    """
    play(
        stage,
        client >> EXTENDED,
        server << EXTENDED,
        server >> (*BOUND, TEXT_IN),
        client << (*BOUND, TEXT_IN),
        client >> (copy_data(b"a\tb\t1\n"), copy_done(), sync()),
        server << (copy_data(b"a\tb\t1\n"), copy_done(), sync()),
        server >> (done("COPY 1"), IDLE),
        client << (done("COPY 1"), IDLE),
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
    )


def test_a_sync_that_arrives_during_copy_changes_nothing(stage: Stage) -> None:
    play(
        stage,
        client >> EXTENDED[:3],
        server << EXTENDED[:3],
        server >> (*BOUND, TEXT_IN),
        client << (*BOUND, TEXT_IN),
        client >> (sync(), copy_data(b"bad\n")),
        server << copy_data(b"bad\n"),
        server >> server_error("22P04", "missing data"),
        client << server_error("22P04", "missing data"),
        client >> (copy_done(), parse("", "SELECT 1"), sync()),
        server << sync(),
        server >> IDLE,
        client << IDLE,
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
    )


@pytest.mark.parametrize(
    "what", [query("SELECT 1"), parse("", "SELECT 1"), BIND, execute(), frontend.describe(b"P", "")]
)
def test_other_messages_during_copy_in_end_the_session(stage: Stage, what: bytes) -> None:
    play(
        stage,
        client >> COPY,
        server << COPY,
        server >> TEXT_IN,
        client << TEXT_IN,
        client >> what,
        client << refused("SP1501", "08P01", "FATAL"),
        closes,
    )


def test_what_is_pipelined_behind_copy_in_waits_for_it(stage: Stage) -> None:
    """The server's COPY would swallow a Query sent too early, and its answer would be taken for
    that of the next one.
    """
    masked = query("SELECT upper(notes) FROM customers")
    play(
        stage,
        client >> (COPY, query("SELECT upper(name) FROM products"), masked),
        server << COPY,
        server >> TEXT_IN,
        client << (TEXT_IN, refused("SP1501", "08P01", "FATAL")),
        closes,
    )
    # COPY fails before it begins: then what was sent behind it is an ordinary statement
    error = server_error("42501", "permission denied for table products")
    play(
        stage,
        client >> (COPY, masked),
        server << COPY,
        server >> (error, IDLE),
        client << (error, IDLE),
        server << masked,
        server >> (stage.describe("upper:25"), rows(CANARY), done("SELECT 1"), IDLE),
        client << (stage.describe("upper:25"), rows("[redacted]"), done("SELECT 1"), IDLE),
    )


def test_copy_data_pipelined_behind_the_query_is_not_lost(stage: Stage) -> None:
    sent = (copy_data(b"a\tb\t1\n"), copy_done())
    play(
        stage,
        client >> (COPY, *sent, query("SELECT 1")),
        server << COPY,
        server >> TEXT_IN,
        client << TEXT_IN,
        server << (*sent, query("SELECT 1")),
        server >> (done("COPY 1"), IDLE),
        client << (done("COPY 1"), IDLE),
    )


def test_two_copies_in_one_query(stage: Stage) -> None:
    both = query(
        "COPY products (sku, name, price) FROM STDIN; COPY products (sku, name, price) FROM STDIN"
    )
    sent = (copy_data(b"a\tb\t1\n"), copy_done())
    play(
        stage,
        client >> both,
        server << both,
        server >> TEXT_IN,
        client << TEXT_IN,
        client >> (*sent, query("SELECT upper(name) FROM products")),
        server << sent,
        server >> (done("COPY 1"), TEXT_IN),
        client << (done("COPY 1"), TEXT_IN, refused("SP1501", "08P01", "FATAL")),
        closes,
    )


def test_copy_in_that_nobody_asked_for_ends_the_session(stage: Stage) -> None:
    play(
        stage,
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
        server >> TEXT_IN,
        client << refused("SP1203", severity="FATAL"),
        closes,
    )


def test_copy_both_ends_the_session(stage: Stage) -> None:
    play(
        stage,
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
        server >> backend.message(backend.COPY_BOTH_RESPONSE, b"\0\0\0"),
        client << refused("SP1203", severity="FATAL"),
        closes,
    )


def test_copy_in_behind_a_withheld_result_is_ended(stage: Stage) -> None:
    """The client was told of an error and waits for ReadyForQuery: nobody is left to send data."""
    script = query("SELECT id FROM products; COPY products (sku, name, price) FROM STDIN")
    play(
        stage,
        client >> script,
        server << script,
        server >> (stage.describe("customers.ssn"), rows(CANARY), done("SELECT 1"), TEXT_IN),
        client << refused("SP1203"),
        server << Like("f"),
        server >> (server_error("57014", "COPY from stdin failed"), IDLE),
        client << IDLE,
    )


def test_copy_out_text_is_masked(stage: Stage) -> None:
    sql = query("COPY customers (id, email, name) TO STDOUT")
    play(
        stage,
        client >> sql,
        server << sql,
        server
        >> (
            out(3),
            data(f"1\t{CANARY}\tAda\n"),
            data(f"2\t{CANARY}\tBo\\tb\n"),
            END,
            done("COPY 2"),
            IDLE,
        ),
        client
        << (
            out(3),
            data("1\t[redacted]\tAda\n"),
            data("2\t[redacted]\tBo\\tb\n"),
            END,
            done("COPY 2"),
            IDLE,
        ),
    )


def test_copy_out_csv_with_header_is_masked(stage: Stage) -> None:
    sql = query("COPY (SELECT id, ssn FROM customers) TO STDOUT (FORMAT csv, HEADER)")
    play(
        stage,
        client >> sql,
        server << sql,
        server >> (out(2), data("id,ssn\n"), data(f'1,"{CANARY}"\n'), END, done("COPY 1"), IDLE),
        client << (out(2), data("id,ssn\n"), data("1,[redacted]\n"), END, done("COPY 1"), IDLE),
    )


def test_copy_out_binary_is_masked(stage: Stage) -> None:
    head = b"PGCOPY\n\xff\r\n\0" + bytes(8)

    def record(*cells: bytes) -> bytes:
        return struct.pack("!H", len(cells)) + b"".join(
            struct.pack("!I", len(c)) + c for c in cells
        )

    sql = query("COPY (SELECT id, ssn FROM customers) TO STDOUT (FORMAT binary)")
    key = b"\0\0\0\x01"
    play(
        stage,
        client >> sql,
        server << sql,
        server
        >> (
            out(2, True),
            data(head),
            data(record(key, CANARY.encode())),
            data(b"\xff\xff"),
            END,
            done("COPY 1"),
            IDLE,
        ),
        client
        << (
            out(2, True),
            data(head),
            data(record(key, b"[redacted]")),
            data(b"\xff\xff"),
            END,
            done("COPY 1"),
            IDLE,
        ),
    )


def test_copy_out_with_other_columns_is_withheld(stage: Stage) -> None:
    sql = query("COPY customers (id, email, name) TO STDOUT")
    for answer in (out(2), out(4), out(3, True)):
        play(
            stage,
            client >> sql,
            server << sql,
            server >> (answer, data(f"1\t{CANARY}\n"), END, done("COPY 1"), IDLE),
            client << (refused("SP1203"), IDLE),
        )


def test_copy_data_that_nobody_asked_for_ends_the_session(stage: Stage) -> None:
    play(
        stage,
        client >> query("SELECT 1"),
        server << query("SELECT 1"),
        server >> data(CANARY),
        client << refused("SP1203", severity="FATAL"),
        closes,
    )


def test_when_recording_fails_during_copy_in_it_is_ended(stage: Stage) -> None:
    def fail(run: object) -> None:
        run.recording.failed = True  # type: ignore[attr-defined]

    play(
        stage,
        client >> COPY,
        server << COPY,
        server >> TEXT_IN,
        client << TEXT_IN,
        fail,  # type: ignore[arg-type]
        client >> (copy_data(b"a\tb\t1\n"), copy_data(b"c\td\t1\n")),
        server << Like("f"),
        server >> (server_error("57014", "COPY from stdin failed"), IDLE),
        client << (refused("SP1801", "58030"), IDLE),
    )


def test_outside_copy_its_messages_are_ignored(stage: Stage) -> None:
    play(
        stage,
        client >> (copy_data(b"x"), copy_done(), copy_fail("y")),
        server << NOTHING,
        client << NOTHING,
    )
