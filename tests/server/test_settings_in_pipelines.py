"""Settings that move what names mean, in the middle of a pipeline: what is behind them is judged
with them, as PostgreSQL runs it.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import backend, frontend
from tests.server.raw import Raw
from tests.support.gateway import Gateway
from tests.support.postgres import Server

POLICY = """version: 1
rules:
  - {name: reads, subjects: {groups: [claude-postgres]}, allow: [read, set, discard],
     relations: ["*.*"]}
masks:
  - {columns: ["hidden.piped.word"], with: redact}
search_paths: ["shown, public", "hidden, public", "public"]
"""
READ = b"select upper(word) from piped"


@pytest.fixture(scope="module")
def door(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        for schema, word in (("shown", "open"), ("hidden", "secret")):
            admin.execute(
                f"create schema {schema}; create table {schema}.piped (word text);insert into"
                f" {schema}.piped values ('{word}'); grant usage on schema {schema} to"
                f" {postgres.user};grant select on {schema}.piped to {postgres.user}"
            )
        running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema shown, hidden cascade")


@pytest.fixture
def raw(door: Gateway) -> Iterator[Raw]:
    with Raw(door, 20.0) as client:
        client.login()
        yield client


def run_of(sql: bytes) -> bytes:
    return frontend.parse(b"", sql) + frontend.bind(b"", b"") + frontend.execute(b"")


def told(messages: list[bytes]) -> list[str]:
    """Types of messages; rows as their text, errors as their SQLSTATE."""
    answers = []
    for message in messages:
        kind = message[:1].decode()
        if kind == "D":
            answers.append(message[11:].decode())
        elif kind == "E":
            answers.append(backend.parse_error_fields(message[5:])["C"])
        elif kind in "CZ":
            answers.append(kind + message[5:].rstrip(b"\0").decode())
    return answers


def asked(raw: Raw, *messages: bytes) -> list[str]:
    return told(raw.send(*messages).until("Z"))


SHOW = run_of(b"show search_path")


def test_what_stands_behind_a_new_path_is_judged_by_it(raw: Raw) -> None:
    to_shown, to_hidden = (
        run_of(b"set search_path = shown, public"),
        run_of(b"set search_path = hidden, public"),
    )
    assert asked(raw, to_shown, run_of(READ), to_hidden, run_of(READ), to_shown, run_of(READ),
    frontend.sync()) == [
        "CSET", "OPEN", "CSELECT 1", "CSET", "[REDACTED]", "CSELECT 1", "CSET", "OPEN", "CSELECT 1",
        "ZI",
    ]  # fmt: skip
    named = frontend.parse(b"n", READ), frontend.bind(b"", b"n"), frontend.execute(b"")
    assert asked(raw, *named, to_hidden, frontend.sync()) == ["OPEN", "CSELECT 1", "CSET", "ZI"]
    again = frontend.bind(b"", b"n"), frontend.execute(b"")
    # the text that was prepared has no masks in it
    assert asked(raw, to_shown, *again, to_hidden, *again, frontend.sync())[:4] == [
        "CSET",
        "OPEN",
        "CSELECT 1",
        "CSET",
    ]


def test_a_pipeline_that_fails_takes_its_path_back(raw: Raw) -> None:
    to_hidden = run_of(b"set search_path = hidden, public")
    assert asked(raw, run_of(b"set search_path = shown, public"), frontend.sync()) == ["CSET", "ZI"]
    # behind the Sync the path is the old one again: what is sent with it at once is judged by that
    raw.send(
        to_hidden,
        run_of(READ),
        run_of(b"select 1/0"),
        run_of(READ),
        frontend.sync(),
        run_of(READ),
        frontend.sync(),
    )
    assert told(raw.until("Z")) == ["CSET", "[REDACTED]", "CSELECT 1", "22012", "ZI"]
    assert told(raw.until("Z")) == ["OPEN", "CSELECT 1", "ZI"]
    raw.send(to_hidden, run_of(READ), frontend.query(b"select 1/0"), run_of(READ), frontend.sync())
    assert told(raw.until("Z")) == ["CSET", "[REDACTED]", "CSELECT 1", "22012", "ZI"]
    assert told(raw.until("Z")) == ["OPEN", "CSELECT 1", "ZI"]


def test_the_end_of_a_transaction_inside_a_pipeline_takes_its_path_back(raw: Raw) -> None:
    assert asked(raw, frontend.query(b"set search_path = hidden, public")) == ["CSET", "ZI"]
    raw.send(frontend.query(b"begin"), frontend.query(b"set search_path = shown, public"))
    assert told(raw.until("Z") + raw.until("Z")) == ["CBEGIN", "ZT", "CSET", "ZT"]
    assert asked(raw, run_of(READ), frontend.sync()) == ["OPEN", "CSELECT 1", "ZT"]
    assert asked(raw, frontend.query(b"select 1/0")) == ["22012", "ZE"]
    raw.send(run_of(b"rollback"), frontend.flush())
    assert told(raw.until("C")) == ["CROLLBACK"]
    assert asked(raw, run_of(READ), frontend.sync()) == ["[REDACTED]", "CSELECT 1", "ZI"]


@pytest.mark.parametrize("reset", [b"reset all", b"reset search_path", b"discard all"])
def test_settings_are_put_back_in_a_pipeline(raw: Raw, reset: bytes) -> None:
    assert asked(raw, frontend.query(b"set search_path = hidden, public")) == ["CSET", "ZI"]
    reply = asked(
        raw,
        run_of(reset),
        SHOW,
        run_of(b"select upper(name) from products where id = 1"),
        frontend.sync(),
    )
    assert reply[0] in ("CRESET", "CDISCARD ALL")
    assert reply[1:3] == ['"$user", public', "CSHOW"]
    assert reply[-2:] == ["CSELECT 1", "ZI"]


def test_a_transaction_keeps_its_first_query_to_come(raw: Raw) -> None:
    """The gateway's question is none, so SET TRANSACTION passes behind it."""
    reply = asked(
        raw,
        run_of(b"begin"),
        run_of(b"set local search_path = hidden, public"),
        run_of(b"set transaction isolation level serializable"),
        frontend.parse(b"", READ),
        run_of(b"set local search_path = shown, public"),
        run_of(READ),
        run_of(b"set local search_path = hidden, public") + run_of(READ),
        run_of(b"commit"),
        SHOW,
        frontend.sync(),
    )
    assert reply == [
        "CBEGIN",
        "CSET",
        "CSET",
        "CSET",
        "OPEN",
        "CSELECT 1",
        "CSET",
        "[REDACTED]",
        "CSELECT 1",
        "CCOMMIT",
        '"$user", public',
        "CSHOW",
        "ZI",
    ]


def test_the_failure_of_a_pipeline_is_told_once(raw: Raw) -> None:
    to_hidden = run_of(b"set search_path = hidden, public")
    bad = run_of(b"select 1/0")
    assert asked(raw, bad, to_hidden, run_of(READ), frontend.sync()) == ["22012", "ZI"]
    assert asked(raw, frontend.query(b"begin")) == ["CBEGIN", "ZT"]
    assert asked(raw, frontend.query(b"select 1/0")) == ["22012", "ZE"]
    assert asked(raw, run_of(READ), run_of(READ), frontend.sync()) == ["25P02", "ZE"]
    assert asked(raw, run_of(b"rollback"), run_of(b"select 1"), frontend.sync()) == [
        "CROLLBACK",
        "1",
        "CSELECT 1",
        "ZI",
    ]
