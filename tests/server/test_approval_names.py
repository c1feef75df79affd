"""Names that mean something else than what was pipelined: whatever the server has under a name,
nothing held runs without its approval.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import frontend
from tests.server.raw import Raw
from tests.support.approvals import CLIENTS, count, holding_gateway, make_tables
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer(CLIENTS) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server()
    make_tables(server)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, database: Server) -> Iterator[Gateway]:
    running = holding_gateway(issuer, database).start()
    yield running
    running.stop()


def held(id_: int) -> str:
    return f"DELETE FROM waits WHERE id = {id_} RETURNING id"


HARMLESS = "DELETE FROM free WHERE id = -1 RETURNING id"
P, B, E, S, Q, C = (
    frontend.parse,
    frontend.bind,
    frontend.execute,
    frontend.sync(),
    frontend.query,
    frontend.close,
)
BEGIN = (Q("BEGIN"),)

#: What is prepared or bound first (and answered), and what is then pipelined. ``{}`` is the held
#: statement.
WAYS = {
    "a second Parse of a name": ((P("s", "{}"), S), (P("s", HARMLESS), S, B("", "s"), E(""), S)),
    "a second Parse, between others": (
        (P("s", "{}"), S), (P("s", HARMLESS), S, P("", "SELECT 1"), B("", "s"), E(""), S),
    ),
    "a Parse that is skipped": (
        (P("", "{}"), S), (P("", "SELECT nothing"), P("", HARMLESS), S, B("", ""), E(""), S),
    ),
    "a named Parse that is skipped": (
        (P("s", "{}"), S), (B("", "nothing"), C(b"S", "s"), P("s", HARMLESS), S, B("", "s"), E(""),
        S),
    ),
    "a failing cast skips it": (
        (P("s", "{}"), P("f", "SELECT 1/$1::int"), S),
        (B("", "f", [b"0"]), E(""), C(b"S", "s"), P("s", HARMLESS), S, B("", "s"), E(""), S),
    ),
    "PREPARE of a name": ((P("s", "{}"), S), (Q(f"PREPARE s AS {HARMLESS}"), Q("EXECUTE s"))),
    "PREPARE of a name, then Bind": ((P("s", "{}"), S),
    (Q(f"PREPARE s AS {HARMLESS}"), B("", "s"), E(""), S)),
    "a Parse of a name, then EXECUTE": ((P("s", "{}"), S), (P("s", HARMLESS), S, Q("EXECUTE s"))),
    "DEALLOCATE that fails": (
        (P("s", "{}"), S), (Q("SELECT 1/0; DEALLOCATE s"), P("s", HARMLESS), S, B("", "s"), E(""),
        S),
    ),
    "EXPLAIN ANALYZE EXECUTE": ((P("s", "{}"), S),
    (Q("PREPARE s AS SELECT 1"), Q("EXPLAIN ANALYZE EXECUTE s"))),
    "a second Bind of a portal": (
        (Q("BEGIN"), P("s", "{}"), P("a", HARMLESS), B("p", "s"), S, Q("SAVEPOINT one")),
        (B("p", "a"), S, Q("ROLLBACK TO one"), E("p"), S, Q("COMMIT")),
    ),
    "DECLARE over a portal": (
        (Q("BEGIN"), P("s", "{}"), B("p", "s"), S, Q("SAVEPOINT one")),
        (Q("DECLARE p CURSOR FOR SELECT 1"), Q("ROLLBACK TO one"), Q("FETCH ALL FROM p"),
        Q("COMMIT")),
    ),
    "a Parse that the first one answers": (
        (), (P("s", "{}"), S, P("s", HARMLESS), S, B("", "s"), E(""), S),
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_means_something_else(gateway: Gateway, database: Server, way: str) -> None:
    id_ = 60 + list(WAYS).index(way)
    before, then = (
        [m.replace(b"{}\0", held(id_).encode() + b"\0") for m in part] for part in WAYS[way]
    )

    def sized(messages: list[bytes]) -> bytes:
        return b"".join(m[:1] + (len(m) - 1).to_bytes(4, "big") + m[5:] for m in messages)

    with Raw(gateway) as raw:
        raw.login()
        if before:
            raw.send(sized(before))
            for _ in [m for m in before if m[:1] in b"SQ"]:
                messages = raw.until("Z")
                assert not [m for m in messages if m[:1] == b"E"], messages
        raw.send(sized(then))
        raw.socket.settimeout(0.5)
        until_ = time.monotonic() + 2
        # it waits, is refused, or the session is closed
        with contextlib.suppress(EOFError, OSError):
            while time.monotonic() < until_:
                raw.message()
    time.sleep(0.2)
    assert count(database, "waits", f"id = {id_}") == 1
