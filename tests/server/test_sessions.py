"""Cancel, limits, memory, and what happens when one side goes away."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import backend, frontend
from sallyport.wire.frames import data_row
from tests.server.conftest import backends
from tests.server.raw import Raw
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server
from tests.support.proxy import Fault, FaultProxy
from tests.support.waiting import wait_for

SLOW = "SELECT count(*) FROM orders a, orders b, orders c"
BIG = "SELECT a.id, a.placed_at, b.name FROM orders a, products b"  # 720,000 rows, some 30 MB


@pytest.fixture(scope="module")
def short(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    """Three sessions at most, two for each subject, two idle seconds."""
    limits = {
        "max_sessions": 3,
        "max_sessions_per_subject": 2,
        "idle_seconds": 1.0,
        "login_seconds": 5.0,
    }
    running = Gateway(issuer, {"shop": postgres}, extra={"limits": limits}).start()
    yield running
    running.stop()


def test_cancel_with_psycopg(gateway: Gateway) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        threading.Timer(0.3, db.cancel).start()
        started = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            db.execute(SLOW)
        assert time.monotonic() - started < 5
        assert db.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("minor", [0, 2])
def test_cancel_needs_the_right_key(gateway: Gateway, minor: int) -> None:
    with Raw(gateway) as raw:
        pid, key = raw.login(minor=minor)
        assert len(key) == (4 if minor == 0 else 32)
        raw.send(frontend.query(SLOW))
        wrong = [
            (pid, bytes(len(key))),
            (pid + 1, key),
            (pid, key + b"\0"),
            (pid, key[:-1] + bytes([key[-1] ^ 1])),
        ]
        for wrong_pid, guess in wrong:
            with Raw(gateway) as second:
                second.send(frontend.cancel_request(wrong_pid, guess))
                assert second.closed()
        raw.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            raw.message()
        raw.socket.settimeout(5.0)
        with Raw(gateway) as second:
            second.send(frontend.cancel_request(pid, key))
            assert second.closed()
        assert b"C57014\0" in raw.until("E")[-1]


def test_the_targets_own_key_is_never_shown(gateway: Gateway, postgres: Server) -> None:
    with Raw(gateway) as raw:
        pid, _ = raw.login()
        with psycopg.connect(postgres.superuser_dsn) as db:
            assert (
                db.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
                is None
            )


#: Selects the backends that run SLOW.
SLOW_RUNS = (
    "state = 'active' AND query LIKE '%orders a, orders b, orders c%' AND pid <> pg_backend_pid()"
)


def test_a_client_that_leaves_in_the_middle_has_its_statement_cancelled(
    gateway: Gateway, postgres: Server
) -> None:
    wait_for(lambda: backends(postgres, SLOW_RUNS) == 0)
    with Raw(gateway) as raw:
        raw.login()
        raw.send(frontend.query(SLOW))
        wait_for(lambda: backends(postgres, SLOW_RUNS) >= 1)
    wait_for(lambda: backends(postgres, SLOW_RUNS) == 0)


def test_a_client_that_cancels_and_terminates_at_once_has_its_statement_cancelled(
    gateway: Gateway, postgres: Server
) -> None:
    """As pgx does where a context ends. A request that comes soon after the one before waits, and
    Terminate is there first.
    """
    wait_for(lambda: backends(postgres, SLOW_RUNS) == 0)
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as watcher, Raw(gateway) as raw:
        pid, key = raw.login()

        def cancel_slow() -> None:
            raw.send(frontend.query(SLOW))
            while watcher.execute(f"SELECT 1 FROM pg_stat_activity WHERE {SLOW_RUNS}").rowcount < 1:
                pass
            with Raw(gateway) as canceller:
                canceller.send(frontend.cancel_request(pid, key))
                assert canceller.closed()

        cancel_slow()
        assert b"C57014\0" in raw.until("Z")[-2]
        cancel_slow()
        raw.send(frontend.terminate())
        wait_for(lambda: backends(postgres, SLOW_RUNS) == 0)


def test_a_client_that_does_not_read_costs_no_memory(gateway: Gateway) -> None:
    with Raw(gateway) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw.login()
        before = gateway.rss()
        raw.send(frontend.query(BIG))
        peak = 0
        for _ in range(15):
            time.sleep(0.1)
            peak = max(peak, gateway.rss())
        assert peak - before < 12 << 20
        with psycopg.connect(gateway.dsn()) as db:  # others live on
            assert db.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_does_not_read_costs_no_memory(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    """What the client pipelines waits in the client, though the server goes on talking."""
    with FaultProxy(postgres.host, postgres.port) as proxy:
        behind = Server(postgres.version, postgres.cluster)
        gateway = make_gateway(
            targets={"shop": behind}, extra={"targets": _through(behind, proxy.port)}
        )
        with Raw(gateway) as raw:
            raw.login()
            raw.send(frontend.query("SELECT 1"))
            raw.until("Z")
            before = gateway.rss()
            proxy.from_client = Fault(stall_after=0)
            raw.socket.settimeout(1.0)
            message = frontend.parse("", "SELECT '" + "x" * 4_000 + "'") * 16
            sent = 0
            with pytest.raises(TimeoutError):
                while sent < 200 << 20:
                    raw.socket.sendall(message)
                    sent += len(message)
            assert gateway.rss() - before < 40 << 20
            proxy.cut()


def _through(server: Server, port: int) -> dict[str, object]:
    return {
        "shop": {
            "host": "127.0.0.1", "port": port, "database": server.database, "user": server.user,
            "password": {"env": "SHOP_PASSWORD"}, "tls": "disable",
        }
    }  # fmt: skip


def _connects(gateway: Gateway) -> bool:
    try:
        psycopg.connect(gateway.dsn()).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_login_given_up_leaves_no_connection_behind(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    with FaultProxy(postgres.host, postgres.port) as proxy:
        gateway = make_gateway(
            extra={"targets": _through(postgres, proxy.port), "limits": {"login_seconds": 1.0}}
        )
        wait_for(lambda: _connects(gateway))  # the catalog is there from now on
        proxy.from_server = Fault(stall_after=200)
        accepted = proxy.accepted
        with Raw(gateway) as raw:
            raw.startup()
            raw.until("R")
            raw.send(frontend.password(gateway.token().encode()))
            wait_for(lambda: proxy.accepted > accepted)
        wait_for(lambda: len(proxy._open) <= 2)  # the gateway's own


def test_no_more_sessions_than_configured(short: Gateway) -> None:
    with psycopg.connect(short.dsn()), psycopg.connect(short.dsn()):
        with pytest.raises(psycopg.OperationalError, match="you already have 2 sessions"):
            psycopg.connect(short.dsn())
        second_subject = short.dsn(short.token("paul-privacy"))
        with (
            psycopg.connect(second_subject),
            pytest.raises(psycopg.OperationalError, match="SP1605"),
        ):
            psycopg.connect(second_subject)


def test_no_more_sessions_than_configured_however_fast_they_come(short: Gateway) -> None:
    wait_for(lambda: _count(short) == 0)
    tokens = [short.dsn() for _ in range(8)]
    opened: list[psycopg.Connection] = []

    def connect(dsn: str) -> None:
        try:
            opened.append(psycopg.connect(dsn))
        except psycopg.OperationalError:
            pass

    threads = [threading.Thread(target=connect, args=(dsn,)) for dsn in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    admitted = len(opened)
    for db in opened:
        db.close()
    assert 1 <= admitted <= 2


def _count(gateway: Gateway) -> int:
    text = gateway.output()
    return text.count("session started") - text.count("session ended")


def test_idle_sessions_are_closed(short: Gateway) -> None:
    with Raw(short) as raw:
        raw.login()
        assert "idle" in raw.error()["M"]
        assert raw.closed()


def test_half_open_connections(short: Gateway) -> None:
    with Raw(short) as raw:
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.closed()
    with Raw(short) as raw:
        raw.login()
        raw.socket.shutdown(socket.SHUT_WR)
        while raw.socket.recv(4096):
            pass


def test_a_session_lives_no_longer_than_configured(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    gateway = make_gateway(extra={"limits": {"session_seconds": 1.0}})
    with Raw(gateway) as raw:
        raw.login()
        raw.send(frontend.query(SLOW))
        assert b"lifetime" in raw.until("E")[-1]
        assert raw.closed()
    # and its statement with it
    running = (
        "state = 'active' AND query LIKE '%orders a, orders b, orders c%' AND pid <>"
        " pg_backend_pid()"
    )
    wait_for(lambda: backends(postgres, running) == 0)


def test_a_query_before_the_login_is_answered(gateway: Gateway) -> None:
    with Raw(gateway) as raw:
        raw.startup()
        raw.until("R")
        raw.send(frontend.query("SELECT 1"))
        assert raw.error()["C"] == "08P01"
        assert raw.closed()


def test_what_is_pipelined_behind_the_password_is_not_lost(gateway: Gateway) -> None:
    with Raw(gateway) as raw:
        raw.startup()
        raw.until("R")
        raw.send(frontend.password(gateway.token().encode()), frontend.query("SELECT 1"))
        raw.until("Z")
        assert raw.until("Z")[-2] == backend.command_complete("SELECT 1")


MASKED_NAMES = '  - {columns: ["public.products.name"], with: redact, filter: masked}\n'


@pytest.mark.parametrize("extended", [False, True])
def test_a_prepared_statement_whose_masks_changed_is_prepared_again(
    make_gateway: Callable[..., Gateway], extended: bool
) -> None:
    gateway = make_gateway()
    prepare = "PREPARE name AS SELECT upper(name) FROM products WHERE id = 1"
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:

        def state() -> str:
            try:
                db.execute("EXECUTE name", prepare=extended)
            except psycopg.Error as error:
                assert "[SP1206]" in str(error)
                return error.sqlstate or ""
            return "00000"

        for policy, masked in ((SHOP_POLICY + MASKED_NAMES, True), (SHOP_POLICY, False)):
            db.execute(prepare)
            assert state() == "00000"
            gateway.write(policy)
            wait_for(lambda: state() == "0A000")
            db.execute("DEALLOCATE name")
            db.execute(prepare)
            assert (
                db.execute("EXECUTE name", prepare=extended).fetchone() == ("[REDACTED]",)
            ) is masked
            db.execute("DEALLOCATE name")


def test_policy_is_reloaded_and_an_invalid_one_is_not(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    with psycopg.connect(gateway.dsn(), autocommit=True, prepare_threshold=0) as db:
        assert db.execute("SELECT name FROM products LIMIT 1").fetchone() != ("[redacted]",)
        gateway.write("this: is not a policy")
        wait_for(lambda: "policy not reloaded" in gateway.output())
        assert db.execute("SELECT count(*) FROM products").fetchone() == (120,)
        gateway.write(SHOP_POLICY + MASKED_NAMES)
        wait_for(
            lambda: db.execute("SELECT name FROM products LIMIT 1").fetchone() == ("[redacted]",)
        )


def test_what_copy_swallows_shifts_no_answers(gateway: Gateway, postgres: Server) -> None:
    """PostgreSQL's COPY reads, and drops, a Query sent too early; the next answer must not be taken
    for that one's.
    """
    with psycopg.connect(postgres.superuser_dsn) as db:
        secrets = [row[0] for row in db.execute("SELECT ssn FROM customers LIMIT 50")]
    with Raw(gateway) as raw:
        raw.login()
        raw.send(
            frontend.query("COPY products (sku, name, price) FROM STDIN"),
            frontend.query("SELECT upper(name) FROM products"),
            frontend.query("SELECT upper(ssn) FROM customers LIMIT 50"),
        )
        got = b""
        raw.socket.settimeout(2.0)
        try:
            while data := raw.socket.recv(65536):
                got += data
        except TimeoutError:
            pass
        assert not any(secret.encode() in got for secret in secrets)
        assert b"08P01" in got


def test_pipelined_queries_keep_their_answers_apart(gateway: Gateway) -> None:
    with Raw(gateway) as raw:
        raw.login()
        raw.send(
            *(
                frontend.query(f"SELECT {i}; SELECT name FROM products WHERE id = {i}; DROP ROLE x")
                for i in range(1, 20)
            )
        )
        for i in range(1, 20):
            messages = raw.until("Z")
            assert messages[1] == data_row([str(i).encode()])
            assert b"C42501" in messages[-2]
