"""Peers that vanish without closing their connections: the database, and clients inside
transactions.

The packets of a network namespace are dropped; nobody gets a reset.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import frontend
from tests.server.conftest import backends
from tests.server.raw import Raw
from tests.support.approvals import CLIENTS, Desk, Waiter, holding_gateway, make_tables
from tests.support.gateway import Gateway
from tests.support.netns import Namespace, NamespaceUnavailableError, namespace
from tests.support.postgres import Server, start_server
from tests.support.proxy import Fault, FaultProxy, through
from tests.support.waiting import wait_for

#: A peer is gone after three seconds.
NETWORK = {
    "keepalive_idle_seconds": 1,
    "keepalive_interval_seconds": 1,
    "keepalive_probes": 2,
    "user_timeout_seconds": 3,
}
#: Longest that anything here may take; without what is tested it takes minutes.
SECONDS = 60.0
SLOW = "SELECT count(*) FROM orders a, orders b, orders c"
BIG = "SELECT a.id, a.placed_at, b.name FROM orders a, products b"  # 720,000 rows, some 30 MB


@pytest.fixture
def apart() -> Iterator[Namespace]:
    try:
        with namespace() as made:
            yield made
    except NamespaceUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def far(apart: Namespace, postgres: Server) -> Iterator[Server]:
    """The shop, reached through the namespace. What still runs there, because nobody could cancel
    it, is ended.
    """
    with apart.run(lambda: FaultProxy(postgres.host, postgres.port, listen=apart.inside)) as proxy:
        yield through(postgres, proxy)
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
            [postgres.user],
        )


def waits_at(server: Server) -> bool:
    return backends(server, "state = 'active'") > 0


# -- the database ----------------------------------------------------------------------------------


def test_a_statement_gets_no_answer(
    make_gateway: Callable[..., Gateway], apart: Namespace, far: Server, postgres: Server
) -> None:
    gateway = make_gateway(targets={"shop": far}, extra={"network": NETWORK})
    with Raw(gateway, SECONDS) as raw:
        raw.login()
        raw.send(frontend.query(SLOW))
        wait_for(lambda: waits_at(postgres), SECONDS)
        apart.vanish()
        error = raw.error()
    assert (error["S"], error["C"]) == ("FATAL", "08006")
    assert "SP1802" in error["M"]
    wait_for(lambda: "the target does not answer any more" in gateway.output(), SECONDS)


def test_a_statement_is_not_taken(
    make_gateway: Callable[..., Gateway], apart: Namespace, far: Server
) -> None:
    gateway = make_gateway(
        targets={"shop": far}, extra={"network": {**NETWORK, "keepalive_idle_seconds": 600}}
    )
    with Raw(gateway, SECONDS) as raw:
        raw.login()
        apart.vanish()
        raw.send(frontend.query("SELECT 1"))
        assert "SP1802" in raw.error()["M"]


def test_the_cancel_of_a_statement_gets_no_answer(
    make_gateway: Callable[..., Gateway], apart: Namespace, far: Server, postgres: Server
) -> None:
    """With long keepalive times: the cancel alone ends it."""
    gateway = make_gateway(targets={"shop": far})
    with Raw(gateway, SECONDS) as raw:
        pid, key = raw.login()
        raw.send(frontend.query(SLOW))
        wait_for(lambda: waits_at(postgres), SECONDS)
        apart.vanish()
        with Raw(gateway) as canceler:
            canceler.send(frontend.cancel_request(pid, key))
            assert canceler.closed()
        assert "SP1802" in raw.error()["M"]


def test_a_slow_database_may_take_its_time(
    make_gateway: Callable[..., Gateway], own_postgres: Server
) -> None:
    """It does not read what COPY sends, and is there: longer than the user timeout."""
    policy = (
        "version: 1\nrules:\n  - {name: all, allow: [all], relations: ['public.*']}\nfunctions:"
        " [public.wait]\n"
    )
    gateway = make_gateway(
        targets={"shop": own_postgres}, policy=policy, extra={"network": NETWORK}
    )
    row = ("x" * 1000 + "\n").encode()
    with psycopg.connect(own_postgres.superuser_dsn) as admin:
        admin.execute("CREATE TABLE lines (line text)")
        admin.execute("GRANT ALL ON lines TO public")
        admin.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(8); RETURN NEW; END'"
        )
        admin.execute(
            "CREATE TRIGGER t BEFORE INSERT ON lines FOR EACH ROW WHEN (NEW.line = 'w') EXECUTE"
            " FUNCTION wait()"
        )
        admin.commit()
    with psycopg.connect(gateway.dsn()) as db, db.cursor() as cursor:
        with cursor.copy("COPY lines FROM STDIN") as copy:
            copy.write(b"w\n")
            for _ in range(20_000):
                copy.write(row)
        assert cursor.rowcount == 20_001


# -- clients ---------------------------------------------------------------------------------------


@pytest.fixture
def open_to(
    make_gateway: Callable[..., Gateway], apart: Namespace, postgres_tls: Server
) -> Callable[[], Gateway]:
    """A gateway that clients in the namespace reach."""

    def make() -> Gateway:
        gateway = make_gateway(targets={"shop": postgres_tls}, tls=True, extra={"network": NETWORK})
        gateway.extra = {**gateway.extra, "listen": f"0.0.0.0:{gateway.port}"}
        gateway.restart()
        return gateway

    return make


def _connect(gateway: Gateway, apart: Namespace) -> psycopg.Connection[tuple[object, ...]]:
    dsn = gateway.dsn().replace("127.0.0.1", apart.outside).replace("verify-full", "require")
    return apart.run(lambda: psycopg.connect(dsn))


def test_a_client_vanishes_inside_a_transaction(
    open_to: Callable[[], Gateway], apart: Namespace, postgres_tls: Server
) -> None:
    gateway = open_to()
    client = _connect(gateway, apart)
    client.execute("UPDATE products SET name = name WHERE id = 1")
    apart.vanish()
    with psycopg.connect(postgres_tls.superuser_dsn) as db:
        db.execute(f"SET statement_timeout = '{SECONDS:g}s'")
        db.execute("SELECT 1 FROM products WHERE id = 1 FOR UPDATE")
        db.rollback()
    wait_for(lambda: "the client does not answer any more" in gateway.output(), SECONDS)
    client.close()


def test_a_client_vanishes_while_rows_are_on_their_way(
    open_to: Callable[[], Gateway], apart: Namespace, postgres_tls: Server
) -> None:
    gateway = open_to()
    client = _connect(gateway, apart)
    with client.cursor() as cursor:
        rows = cursor.stream(BIG)
        next(rows)
        apart.vanish()
        wait_for(lambda: backends(postgres_tls) == 0, SECONDS)
        client.pgconn.finish()
    wait_for(lambda: "the client does not answer any more" in gateway.output(), SECONDS)


def test_a_client_that_does_not_read_may_take_its_time(
    make_gateway: Callable[..., Gateway],
) -> None:
    """Longer than the user timeout, with a full window."""
    gateway = make_gateway(extra={"network": NETWORK})
    with psycopg.connect(gateway.dsn()) as db, db.cursor() as cursor:
        rows = cursor.stream(BIG)
        next(rows)
        time.sleep(8)  # what is tested is that nothing happens in this time
        assert sum(1 for _ in rows) > 100_000


# -- approvals -------------------------------------------------------------------------------------


def test_who_waits_for_an_approval_is_answered() -> None:
    """It is approved while the database does not answer."""
    database = start_server()
    make_tables(database)
    with DevIssuer(CLIENTS) as issuer, FaultProxy(database.host, database.port) as proxy:
        gateway = holding_gateway(issuer, through(database, proxy))
        gateway.extra = {**gateway.extra, "network": NETWORK}
        gateway.start()
        try:
            with Waiter(gateway) as agent:
                agent.run("DELETE FROM waits WHERE id = 1")
                id_ = agent.id
                proxy.from_server = Fault(stall_after=0)
                Desk(gateway).approve(id_)
                assert "SP1802" in str(agent.end(2 * SECONDS).error)
        finally:
            proxy.from_server = Fault()
            gateway.stop()
            database.stop()
