"""Attacks below SQL: sequences of bytes on the wire. Each function gets ``connect`` and returns
everything it received.

``connect()`` opens a session that is logged in, ``connect(login=False)`` a bare connection. A
sequence is judged like a statement: no canary, equal bytes in every world; and the gateway must be
alive afterwards.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import Protocol

from sallyport.core.secret import Secret
from sallyport.wire import frontend as f
from sallyport.wire.fields import message
from tests.attacks.client import Client


class Connect(Protocol):
    database: str
    token: str

    def __call__(self, *, login: bool = True) -> Client: ...


Sequence = Callable[[Connect], bytes]
SEQUENCES: dict[str, Sequence] = {}
SSN = b"SELECT ssn FROM people ORDER BY id"
NAME = b"SELECT name FROM people ORDER BY id"
_COUNT = struct.Struct("!H").pack


def sequence(run: Sequence) -> Sequence:
    SEQUENCES[run.__name__] = run
    return run


def raw(name: str, *parts: bytes, login: bool = True) -> None:
    """A sequence that only sends: each part, then whatever comes back."""

    def run(connect: Connect) -> bytes:
        client = connect(login=login)
        kept = b""
        for part in parts[:-1]:
            client.send(part)
            kept += client.drain(0.15)
        client.send(parts[-1] + (f.terminate() if login else b""))
        kept += client.drain(0.4)
        client.close()
        return kept

    run.__name__ = name
    sequence(run)


def ask(client: Client, data: bytes, readies: int = 1) -> bytes:
    client.send(data)
    return client.receive(readies)


def run_of(sql: bytes, portal: bytes = b"", rows: int = 0) -> bytes:
    return f.parse(b"", sql) + f.bind(portal, b"") + f.execute(portal, rows)


# --- startup ---------------------------------------------------------------------------------------

_START = f.startup_message({"user": "a", "database": "attackdb0"})
raw("query_before_login", _START, f.query(SSN), login=False)
raw("query_instead_of_startup", f.query(SSN), login=False)
raw("query_glued_to_startup", _START + f.query(SSN) + f.query(SSN), login=False)
raw("second_startup_message", f.query(b"SELECT 1") + _START + f.query(SSN))
raw("startup_of_protocol_2", struct.pack("!II", 8, 2 << 16), login=False)
raw("startup_of_protocol_4", struct.pack("!II", 9, 4 << 16) + b"\0", login=False)
raw(
    "startup_with_greased_minor",
    f.startup_message({"user": "a", "database": "x"}, 9999),
    login=False,
)
raw("ssl_request_twice", f.ssl_request() + f.ssl_request(), f.query(SSN), login=False)
raw("bytes_behind_ssl_request", f.ssl_request() + _START, f.query(SSN), login=False)
raw("gss_request_then_startup", f.gssenc_request(), _START, f.query(SSN), login=False)
raw("cancel_with_guessed_key", f.cancel_request(1, b"\0\0\0\0"), login=False)
raw("cancel_with_long_key", f.cancel_request(1, b"\0" * 256), login=False)
raw(
    "replication",
    f.startup_message({"user": "a", "database": "attackdb0", "replication": "database"}),
    login=False,
)
for _length in (0, 3, 7, 1 << 31, (1 << 32) - 1):
    raw(f"startup_of_length_{_length}", struct.pack("!I", _length) + b"\0" * 8, login=False)
    raw(f"message_of_length_{_length}", b"Q" + struct.pack("!I", _length) + SSN + b"\0")
for _option in ("-c role=postgres", "-c search_path=shadow", "-c session_replication_role=replica", "--row_security=off", "-cclient_encoding=SJIS",
                "-c standard_conforming_strings=off", "-W 100", "-c\\ search_path=shadow", "-c default_transaction_read_only=off"):  # fmt: skip

    def _options(connect: Connect, option: str = _option) -> bytes:
        client = connect(login=False)
        client.send(
            f.startup_message({"user": "a", "database": connect.database, "options": option})
        )
        kept = client.drain(0.15)
        client.send(f.password(Secret(connect.token)))
        kept += client.drain(0.3)
        client.send(f.query(NAME))
        return kept + client.drain(0.15)

    _options.__name__ = f"options {_option}"
    sequence(_options)

# --- messages that do not belong ---------------------------------------------------------------------

raw("function_call", message(f.FUNCTION_CALL, struct.pack("!IHHH", 1299, 0, 0, 0)), f.query(SSN))
raw("unterminated_query", message(f.QUERY, SSN))
raw("query_with_trailing_bytes", message(f.QUERY, SSN + b"\0" + SSN + b"\0"))
raw("query_with_nul_inside", message(f.QUERY, b"SELECT 1\0; " + SSN + b"\0"))
raw("parse_with_trailing_bytes", message(f.PARSE, b"\0" + SSN + b"\0\0\0xx") + f.sync())
raw("parse_with_too_many_types", message(f.PARSE, b"\0" + SSN + b"\0\xff\xff") + f.sync())
raw("unknown_message", b"z" + struct.pack("!I", 4) + f.query(SSN))
raw("copy_data_outside_copy", f.copy_data(b"1\tx\n") + f.copy_done() + f.sync() + f.query(NAME))
raw("password_after_login", f.password(b"x") + f.query(SSN))
raw("copy_both_answer_as_message", b"W" + struct.pack("!I", 7) + b"\0\0\0")
raw(
    "bind_too_many_formats",
    f.parse(b"", SSN)
    + message(f.BIND, b"\0\0" + _COUNT(3) + _COUNT(0) * 3 + _COUNT(0) + _COUNT(0))
    + f.sync(),
)
raw(
    "bind_too_many_parameters",
    f.parse(b"", SSN) + f.bind(b"", b"", [b"1", b"2"]) + f.execute() + f.sync(),
)
raw(
    "bind_wrong_result_formats",
    f.parse(b"", SSN) + f.bind(b"", b"", result_formats=[0, 1, 0]) + f.execute() + f.sync(),
)
raw(
    "bind_unknown_result_format",
    f.parse(b"", SSN) + f.bind(b"", b"", result_formats=[7]) + f.execute() + f.sync(),
)
raw(
    "bind_negative_length",
    f.parse(b"", b"SELECT $1::text")
    + message(f.BIND, b"\0\0" + _COUNT(0) + _COUNT(1) + struct.pack("!i", -2) + _COUNT(0))
    + f.sync(),
)
raw(
    "bind_long_length",
    f.parse(b"", b"SELECT $1::text")
    + message(f.BIND, b"\0\0" + _COUNT(0) + _COUNT(1) + struct.pack("!i", 1 << 30) + _COUNT(0))
    + f.sync(),
)
raw("describe_of_bad_kind", message(f.DESCRIBE, b"X\0") + f.sync())
raw("close_of_bad_kind", message(f.CLOSE, b"X\0") + f.sync())
raw(
    "execute_with_trailing",
    f.parse(b"", SSN) + f.bind(b"", b"") + message(f.EXECUTE, b"\0\0\0\0\0\0") + f.sync(),
)
raw(
    "name_not_utf8",
    message(f.PARSE, b"\xff\xfe\0" + SSN + b"\0\0\0")
    + message(f.DESCRIBE, b"S\xff\xfe\0")
    + f.sync(),
)
raw("flush_without_sync", run_of(SSN) + f.flush(), f.sync())
raw("half_a_message", f.query(SSN)[:-4])
raw("terminate_then_query", f.terminate() + f.query(SSN))

# --- pipelines -----------------------------------------------------------------------------------------

raw(
    "allowed_then_denied",
    run_of(NAME) + run_of(b"SELECT name FROM people ORDER BY ssn") + run_of(NAME) + f.sync(),
)
raw(
    "denied_then_allowed",
    run_of(b"SELECT name FROM people ORDER BY ssn")
    + run_of(SSN)
    + run_of(NAME)
    + f.sync()
    + f.query(NAME),
)
raw(
    "denied_insert_then_select",
    run_of(b"INSERT INTO notes (title) SELECT ssn FROM people")
    + f.sync()
    + run_of(b"SELECT title FROM notes ORDER BY id")
    + f.sync(),
)
raw(
    "reuse_after_denied_parse",
    f.parse(b"s", NAME)
    + f.sync()
    + f.parse(b"t", b"SELECT name FROM people ORDER BY ssn")
    + f.bind(b"", b"s")
    + f.execute()
    + f.sync(),
)
raw(
    "bind_denied_by_name",
    f.parse(b"s", b"SELECT name FROM people ORDER BY ssn")
    + f.sync()
    + f.bind(b"", b"s")
    + f.execute()
    + f.sync(),
)
raw(
    "same_name_twice",
    f.parse(b"s", NAME)
    + f.parse(b"s", SSN)
    + f.sync()
    + f.bind(b"", b"s")
    + f.execute()
    + f.sync(),
)
raw(
    "close_and_reuse",
    f.parse(b"s", NAME)
    + f.close(b"S", b"s")
    + f.parse(b"s", SSN)
    + f.bind(b"", b"s")
    + f.execute()
    + f.sync(),
)
raw(
    "close_in_failed_pipeline",
    f.parse(b"s", NAME)
    + f.sync()
    + run_of(b"SELECT 1/0")
    + f.close(b"S", b"s")
    + f.parse(b"s", SSN)
    + f.sync()
    + f.bind(b"", b"s")
    + f.execute()
    + f.sync(),
)
raw(
    "portal_of_other_statement",
    f.parse(b"a", NAME)
    + f.bind(b"p", b"a")
    + f.parse(b"b", SSN)
    + f.bind(b"q", b"b")
    + f.execute(b"q")
    + f.execute(b"p")
    + f.sync(),
)
raw(
    "portal_replaced",
    f.parse(b"a", NAME)
    + f.parse(b"b", SSN)
    + f.bind(b"p", b"a")
    + f.close(b"P", b"p")
    + f.bind(b"p", b"b")
    + f.execute(b"p")
    + f.sync(),
)
raw(
    "unnamed_portal_replaced",
    f.parse(b"a", NAME)
    + f.parse(b"b", SSN)
    + f.bind(b"", b"a")
    + f.describe(b"P", b"")
    + f.bind(b"", b"b")
    + f.execute()
    + f.sync(),
)
raw(
    "describe_one_execute_other",
    f.parse(b"a", NAME)
    + f.parse(b"b", SSN)
    + f.describe(b"S", b"a")
    + f.bind(b"", b"b", result_formats=[1])
    + f.execute()
    + f.sync(),
)
raw(
    "describe_after_execute",
    run_of(SSN, rows=2) + f.describe(b"P", b"") + f.execute(b"", 2) + f.execute() + f.sync(),
)
raw(
    "two_formats_of_one_statement",
    f.parse(b"s", b"SELECT ssn, salary, token FROM people ORDER BY id")
    + f.bind(b"p", b"s", result_formats=[0, 1, 0])
    + f.bind(b"q", b"s", result_formats=[1])
    + f.execute(b"p", 1)
    + f.execute(b"q", 1)
    + f.execute(b"p", 1)
    + f.execute(b"q")
    + f.sync(),
)
raw(
    "parameter_types",
    f.parse(b"", b"SELECT ssn FROM people WHERE id = $1", [25])
    + f.bind(b"", b"", [b"1"])
    + f.execute()
    + f.sync(),
)
raw("sync_inside", f.parse(b"", SSN) + f.sync() + f.bind(b"", b"") + f.execute() + f.sync())
raw(
    "portal_past_its_transaction",
    f.parse(b"", SSN)
    + f.bind(b"p", b"")
    + f.execute(b"p", 1)
    + f.sync()
    + f.execute(b"p", 1)
    + f.sync(),
)
raw(
    "simple_inside_extended",
    f.parse(b"", SSN) + f.bind(b"", b"") + f.query(NAME) + f.execute() + f.sync(),
)
raw(
    "suspended_then_simple",
    f.query(b"BEGIN")
    + f.parse(b"", SSN)
    + f.bind(b"p", b"")
    + f.execute(b"p", 2)
    + f.sync()
    + f.query(NAME)
    + f.execute(b"p")
    + f.sync(),
)
raw(
    "sql_fetch_of_protocol_portal",
    f.query(b"BEGIN")
    + f.parse(b"", SSN)
    + f.bind(b"p", b"")
    + f.execute(b"p", 1)
    + f.sync()
    + f.query(b"FETCH ALL FROM p"),
)
raw(
    "protocol_execute_of_sql_cursor",
    f.query(b"BEGIN; DECLARE c CURSOR FOR SELECT ssn FROM people")
    + f.describe(b"P", b"c")
    + f.execute(b"c")
    + f.sync(),
)
raw(
    "protocol_bind_of_sql_prepare",
    f.query(b"PREPARE s AS SELECT ssn, id FROM people")
    + f.bind(b"", b"s", result_formats=[1])
    + f.execute()
    + f.sync(),
)
raw(
    "sql_execute_of_protocol_parse",
    f.parse(b"s", b"SELECT ssn, id FROM people") + f.sync() + f.query(b"EXECUTE s"),
)
raw(
    "sql_prepare_over_protocol_name",
    f.parse(b"s", NAME)
    + f.sync()
    + f.query(b"DEALLOCATE s; PREPARE s AS SELECT ssn FROM people")
    + f.bind(b"", b"s")
    + f.execute()
    + f.sync(),
)
raw(
    "deallocate_then_bind",
    f.parse(b"s", NAME)
    + f.sync()
    + f.query(b"DEALLOCATE ALL")
    + f.bind(b"", b"s")
    + f.execute()
    + f.sync(),
)
raw(
    "discard_then_bind",
    f.parse(b"s", SSN)
    + f.sync()
    + f.query(b"DISCARD ALL")
    + f.bind(b"", b"s")
    + f.execute()
    + f.sync(),
)
raw(
    "prepare_in_rolled_back_transaction",
    f.query(b"BEGIN; PREPARE s AS SELECT name FROM people; ROLLBACK")
    + f.query(b"PREPARE s AS SELECT ssn FROM people")
    + f.bind(b"", b"s")
    + f.execute()
    + f.sync(),
)
raw(
    "cursor_rolled_back_to_savepoint",
    f.query(b"BEGIN")
    + f.query(b"DECLARE c CURSOR FOR SELECT name FROM people")
    + f.query(b"SAVEPOINT a")
    + f.query(b"CLOSE c")
    + f.query(b"DECLARE c CURSOR FOR SELECT ssn FROM people")
    + f.query(b"ROLLBACK TO a")
    + f.query(b"FETCH 2 FROM c"),
)
raw(
    "path_changed_between",
    f.parse(b"s", b"SELECT note FROM orders ORDER BY 1")
    + f.sync()
    + f.query(b"SET search_path = app, public")
    + f.bind(b"", b"s")
    + f.describe(b"P", b"")
    + f.execute()
    + f.sync(),
)
raw(
    "path_changed_in_pipeline",
    f.parse(b"s", b"SELECT note FROM orders ORDER BY 1")
    + run_of(b"SET search_path = app, public")
    + f.bind(b"", b"s")
    + f.execute()
    + run_of(b"SELECT note FROM orders")
    + f.sync(),
)
raw(
    "copy_in_with_queries",
    f.query(b"COPY notes (title) FROM STDIN")
    + f.query(SSN)
    + f.copy_data(b"x\n")
    + f.copy_done()
    + f.query(NAME),
)
raw(
    "copy_in_with_sync_and_parse",
    run_of(b"COPY notes (title) FROM STDIN")
    + f.sync()
    + f.copy_data(b"y\n")
    + f.parse(b"", SSN)
    + f.copy_done()
    + f.sync(),
)
raw(
    "copy_in_fails",
    f.query(b"COPY notes (id, title) FROM STDIN")
    + f.copy_data(b"notanumber\tx\n")
    + f.copy_done()
    + f.query(NAME),
)
raw(
    "copy_in_binary_garbage",
    f.query(b"COPY notes (id, title) FROM STDIN (FORMAT binary)")
    + f.copy_data(b"PGCOPY\n\xff\r\n\0garbage")
    + f.copy_done()
    + f.query(NAME),
)
raw(
    "copy_out_in_pipeline",
    run_of(b"COPY people (ssn, id) TO STDOUT")
    + run_of(b"COPY (SELECT salary FROM people) TO STDOUT (FORMAT binary)")
    + f.sync(),
)
raw(
    "empty_statements",
    f.parse(b"", b"")
    + f.bind(b"", b"")
    + f.describe(b"P", b"")
    + f.execute()
    + f.sync()
    + f.query(b"")
    + f.query(b";"),
)
raw(
    "several_statements_in_parse",
    f.parse(b"", NAME + b"; " + SSN) + f.bind(b"", b"") + f.execute() + f.sync(),
)


@sequence
def split_at_every_byte(connect: Connect) -> bytes:
    client, kept = connect(), b""
    data = run_of(SSN) + f.sync()
    for at in range(1, len(data), 7):
        client.send(data[:at])
        client.send(data[at:])
        kept += client.receive()
    client.close()
    return kept


@sequence
def one_byte_at_a_time(connect: Connect) -> bytes:
    client = connect()
    for byte in f.query(SSN):
        client.send(bytes([byte]))
    kept = client.receive()
    client.close()
    return kept


@sequence
def many_at_once(connect: Connect) -> bytes:
    """Two hundred statements in one write, allowed and refused."""
    client = connect()
    client.send(
        b"".join(
            run_of(SSN if i % 3 else b"SELECT id FROM people ORDER BY salary") + f.sync()
            for i in range(200)
        )
    )
    kept = client.receive(200)
    client.close()
    return kept


@sequence
def other_sessions_statement(connect: Connect) -> bytes:
    """A prepared statement of one session, used in another."""
    one, other = connect(), connect()
    kept = ask(one, f.parse(b"mine", SSN) + f.sync()) + ask(
        other, f.bind(b"", b"mine") + f.execute() + f.sync()
    )
    one.close()
    other.close()
    return kept


@sequence
def nested_deeply(connect: Connect) -> bytes:
    client = connect()
    kept = b""
    for text in (b"SELECT " + b"(" * 20000 + b"1" + b")" * 20000, b"SELECT " + b"1+" * 60000 + b"1", b"SELECT " + b"NOT " * 50000 + b"true",
                 b"SELECT 1 WHERE 1 IN (" + b"1," * 300000 + b"1)", b"SELECT " + b"'x'||" * 50000 + b"ssn FROM people",
                 b"/*" * 50000 + b"SELECT 1", b"SELECT " + b"a." * 30000 + b"b", b"SELECT " + b"[" * 30000):  # fmt: skip
        if client.closed:
            client = connect()
        kept += ask(client, f.query(text))
    client.close()
    return kept


@sequence
def unsolicited_reads_of_a_closed_half(connect: Connect) -> bytes:
    client = connect()
    client.send(run_of(SSN) + f.sync())
    client.half_close()
    return client.drain(1.0)


@sequence
def execute_portal_across_search_path(connect: Connect) -> bytes:
    """Rows that EXECUTE computed under one search_path, read on after the text means other,
    unmasked columns.
    """
    client = connect()
    kept = ask(client, f.query(b"SET search_path = app, public"))
    kept += ask(client, f.query(b"PREPARE q AS SELECT note || '' FROM orders ORDER BY id"))
    kept += ask(client, f.query(b"BEGIN"))
    kept += ask(
        client, f.parse(b"", b"EXECUTE q") + f.bind(b"p", b"") + f.execute(b"p", 1) + f.sync()
    )
    kept += ask(client, f.query(b"SET LOCAL search_path = public"))
    kept += ask(client, f.execute(b"p", 1) + f.sync())
    kept += ask(client, f.query(b"ROLLBACK"))
    client.close()
    return kept


@sequence
def parameter_declared_as_a_type_with_a_cast(connect: Connect) -> bytes:
    """upper($1) calls the function of a cast where $1 is of a type that users made; PostgreSQL may
    be told so, or infer it.
    """
    client = connect()
    kept = ask(client, f.query(b"SELECT 'public.sticker'::regtype::oid, 1 FROM notes LIMIT 1"))
    known = re.search(rb"\0\0\0\x05(\d{5})", kept)
    type_ = int(known[1]) if known is not None else 0
    for sql in (
        b"SELECT upper($1)",
        b"SELECT 'x' || $1",
        b"SELECT $1::sticker, upper($1)",
        b"SELECT upper($1), $1::sticker",
    ):
        named = f.parse(b"", sql, [type_] if sql.count(b"$1") == 1 else [])
        kept += ask(client, named + f.bind(b"", b"", [b"(a,1)"]) + f.execute() + f.sync())
    client.close()
    return kept


@sequence
def cursor_over_a_function_across_search_path(connect: Connect) -> bytes:
    """A function's text means what search_path says when its rows are fetched."""
    client = connect()
    kept = ask(client, f.query(b"BEGIN"))
    kept += ask(
        client,
        f.query(b"DECLARE c CURSOR FOR SELECT id, f_note(id) IS NULL FROM people ORDER BY id"),
    )
    kept += ask(client, f.query(b"SET search_path = app, public"))
    kept += ask(client, f.query(b"FETCH 2 FROM c"))
    kept += ask(client, f.query(b"ROLLBACK"))
    client.close()
    return kept


def garbage(seeds: int) -> Iterator[tuple[str, Sequence]]:
    """Real messages with bytes changed at random, the same in every world."""
    import random

    real = [
        f.query(SSN),
        run_of(SSN) + f.sync(),
        f.parse(b"s", SSN)
        + f.describe(b"S", b"s")
        + f.bind(b"", b"s", result_formats=[1])
        + f.execute()
        + f.sync(),
    ]
    for seed in range(seeds):

        def run(connect: Connect, seed: int = seed) -> bytes:
            dice = random.Random(seed)
            data = bytearray(dice.choice(real))
            for _ in range(dice.randrange(1, 4)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            client = connect()
            client.send(bytes(data) + f.sync() + f.query(NAME) + f.terminate())
            kept = client.drain(0.3)
            client.close()
            return kept

        yield f"garbage {seed}", run
