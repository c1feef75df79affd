"""Messages longer than what is kept in memory, and messages with a body where the protocol has
none.
"""

from __future__ import annotations

import pytest

from sallyport.session.commands import CancelUpstream
from sallyport.session.machine import SessionLimits
from sallyport.wire import backend
from sallyport.wire.frontend import bind, close, describe, execute, parse, query, sync
from tests.session.playbook import (
    CANARY,
    IDLE,
    POLICY,
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
    server,
    server_error,
)

LIMITS = SessionLimits(max_server_message=200)
NAMES = "SELECT id, name FROM products"
MASKED = "SELECT id, email FROM customers"
LONG = "x" * 5000
PARSED, BOUND, NO_DATA = b"1\0\0\0\x04", b"2\0\0\0\x04", b"n\0\0\0\x04"


def test_a_row_that_nothing_is_masked_in_passes(stage: Stage) -> None:
    answer = (
        stage.describe("products.id", "products.name"),
        rows("1", "Lamp"),
        rows("2", LONG),
        rows("3", "Chair"),
        rows("4", LONG),
        done("SELECT 4"),
    )
    run = play(
        stage,
        client >> query(NAMES),
        server << query(NAMES),
        server >> (*answer, IDLE),
        client << (*answer, IDLE),
        limits=LIMITS,
    )
    assert run.recording.completed == [(1, "SELECT 4", 4, "")]
    assert b"".join(d for n, d in run.recording.replies if n == 1) == b"".join(answer)


@pytest.mark.parametrize("value", [CANARY, CANARY + LONG], ids=["short", "long"])
def test_a_masked_cell_may_have_any_length(stage: Stage, value: str) -> None:
    described = stage.describe("customers.id", "customers.email")
    shown = rows("1", "[redacted]")
    run = play(
        stage,
        client >> query(MASKED),
        server << query(MASKED),
        server >> (described, rows("1", value), rows("1", value), done("SELECT 2"), IDLE),
        client << (described, shown, shown, done("SELECT 2"), IDLE),
        limits=LIMITS,
    )
    assert not any(CANARY.encode() in data for _, data in run.recording.replies)


@pytest.mark.parametrize("value", ["", CANARY, CANARY + LONG], ids=["empty", "short", "long"])
@pytest.mark.parametrize("kept", [180, 181, 5000])
def test_what_is_not_masked_decides_what_is_too_long(stage: Stage, kept: int, value: str) -> None:
    described = stage.describe("customers.id", "customers.email")
    row = rows("1" * kept, value)
    if kept + 4 <= LIMITS.max_server_message:
        play(
            stage,
            client >> query(MASKED),
            server << query(MASKED),
            server >> (described, row, done("SELECT 1"), IDLE),
            client << (described, rows("1" * kept, "[redacted]"), done("SELECT 1"), IDLE),
            limits=LIMITS,
        )
        return
    run = play(
        stage,
        client >> query(MASKED),
        server << query(MASKED),
        server >> (described, row),
        client << (described, refused("SP1702", "54000")),
        asks(CancelUpstream),
        does(lambda run: run.session.release_input()),
        server >> (rows("2", CANARY), backend.error_response("ERROR", "57014", "canceled"), IDLE),
        client << IDLE,
        limits=LIMITS,
    )
    assert not any(CANARY.encode() in data for _, data in run.recording.replies)


def test_a_row_that_the_server_cannot_send_is_too_long_in_the_same_words(stage: Stage) -> None:
    """Whether the server or the gateway stops it goes by the length of masked values."""
    described = stage.describe("customers.id", "customers.email")
    play(
        stage,
        client >> query(MASKED),
        server << query(MASKED),
        server >> (described, server_error("54000", "string buffer exceeds 1 GB"), IDLE),
        client << (described, refused("SP1702", "54000"), IDLE),
    )
    described = stage.describe("products.id", "products.name")
    error = server_error("54000", "string buffer exceeds 1 GB")
    play(
        stage,
        client >> query(NAMES),
        server << query(NAMES),
        server >> (described, error, IDLE),
        client << (described, error, IDLE),
    )


@pytest.mark.parametrize("length", [1, 500])
def test_a_limit_on_bytes_does_not_tell_how_long_masked_values_are(
    stage: Stage, length: int
) -> None:
    described = stage.describe("customers.id", "customers.email")
    shown = (rows("1", "[redacted]"), rows("2", "[redacted]"))
    play(
        lambda: Stage(stage.catalog, POLICY + "limits: {bytes: 100}\n"),
        client >> query(MASKED),
        server << query(MASKED),
        server >> (described, rows("1", CANARY * length), rows("2", None), done("SELECT 2"), IDLE),
        client << (described, *shown, done("SELECT 2"), IDLE),
    )


def test_nothing_is_said_in_the_middle_of_a_row(stage: Stage) -> None:
    described, long = stage.describe("products.id", "products.name"), rows("1", LONG)
    notice = backend.notice_response("NOTICE", "00000", "wait", routine=backend.ORIGIN)

    def say(run: Run) -> None:
        run.session.send_notice("wait")
        run.drain()
        assert notice not in run.to_client
        run.head = bytes(run.to_client)
        run.to_client.clear()

    def compare(run: Run) -> None:
        assert run.head + bytes(run.to_client) == described + long + notice
        run.to_client.clear()

    play(
        stage,
        client >> query(NAMES),
        server << query(NAMES),
        server >> (described + long[:1000]),
        does(say),
        server >> long[1000:],
        does(compare),
        server >> (done("SELECT 1"), IDLE),
        client << (done("SELECT 1"), IDLE),
        limits=LIMITS,
    )


def test_a_long_message_that_is_no_row_ends_the_session(stage: Stage) -> None:
    long = backend.notice_response("NOTICE", "00000", "x" * (2 << 20), detail="", hint="")
    play(
        stage,
        client >> query(NAMES),
        server << query(NAMES),
        server >> long[:100_000],
        client << refused("SP1702", "54000", "FATAL"),
        closes,
        limits=LIMITS,
        cuts=("whole",),
    )


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (query(""), b"I"),
        ((parse("a", "SELECT 1"), sync()), b"1"),
        ((close(b"S", "a"), sync()), b"3"),
    ],
)
def test_a_body_where_there_is_none_ends_the_session(
    stage: Stage, asked: object, kind: bytes
) -> None:
    play(
        stage,
        client >> asked,
        server << asked,
        server >> (kind + b"\0\0\0\x05x"),
        client << refused("SP1203", severity="FATAL"),
        closes,
    )


@pytest.mark.parametrize(
    ("good", "wrong"), [(PARSED, b"2"), (PARSED + BOUND, b"n"), (PARSED + BOUND + NO_DATA, b"s")]
)
def test_a_body_in_an_answer_of_a_portal_ends_the_session(
    stage: Stage, good: bytes, wrong: bytes
) -> None:
    asked = (parse("", "SELECT 1"), bind("", ""), describe(b"P", ""), execute(""), sync())
    play(
        stage,
        client >> asked,
        server << asked,
        server >> good,
        client << good,
        server >> (wrong + b"\0\0\0\x06xy"),
        client << refused("SP1203", severity="FATAL"),
        closes,
    )


def test_copy_done_with_a_body_ends_the_session(stage: Stage) -> None:
    out = backend.message(backend.COPY_OUT_RESPONSE, b"\0\0\x01\0\0")
    play(
        stage,
        client >> query("COPY products (name) TO STDOUT"),
        server << query("COPY products (name) TO STDOUT"),
        server >> out,
        client << out,
        server >> b"c\0\0\0\x05x",
        client << refused("SP1203", severity="FATAL"),
        closes,
    )
