"""Cancel storms: what is sent to the target for them, and what they do to statements and to other
sessions.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from sallyport.wire import frontend
from tests.server.raw import Raw
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server, start_server
from tests.support.proxy import FaultProxy, through
from tests.support.waiting import wait_for

#: The shop's policy, and agents may call nap().
NAPPING = SHOP_POLICY.replace("functions: [", 'functions: ["public.nap", ')


@pytest.fixture(scope="module")
def napping() -> Iterator[Server]:
    """A server where agents may call nap(seconds)."""
    server = start_server()
    with psycopg.connect(server.superuser_dsn) as db:
        db.execute(
            "CREATE FUNCTION nap(float8) RETURNS int LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep($1); RETURN 7; END'"
        )
    yield server
    server.stop()


@pytest.fixture
def proxy(napping: Server) -> Iterator[FaultProxy]:
    with FaultProxy(napping.host, napping.port) as running:
        yield running


@pytest.fixture
def behind(proxy: FaultProxy, napping: Server, make_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway that reaches the shop through the proxy."""
    return make_gateway(targets={"shop": through(napping, proxy)}, policy=NAPPING)


def cancel(gateway: Gateway, pid: int, key: bytes) -> None:
    with Raw(gateway) as raw:
        raw.send(frontend.cancel_request(pid, key))
        assert raw.closed()


def test_nothing_is_sent_for_an_idle_session(behind: Gateway, proxy: FaultProxy) -> None:
    with Raw(behind) as raw:
        pid, key = raw.login()
        for _ in range(100):
            cancel(behind, pid, key)
        raw.send(frontend.query("SELECT count(*) FROM orders"))
        answer = raw.until("Z")
    assert not any(message[:1] == b"E" for message in answer)
    assert proxy.cancels == 0


def test_a_statement_that_waits_for_the_catalog_can_be_canceled(
    make_gateway: Callable[..., Gateway], own_postgres: Server
) -> None:
    """It names a table that is being made, so the gateway asks the database, which does not answer
    meanwhile.
    """
    gateway = make_gateway(targets={"shop": own_postgres})
    with Raw(gateway, 30.0) as raw, psycopg.connect(own_postgres.superuser_dsn) as owner:
        pid, key = raw.login()
        raw.send(frontend.query("SELECT 1"))
        raw.until("Z")
        owner.execute("CREATE TABLE public.later AS SELECT 1 AS a")
        owner.execute("GRANT SELECT ON public.later TO sallyport_agent")
        owner.execute("LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE")
        raw.send(frontend.query("SELECT a FROM later"))
        waiting = "SELECT count(*) FROM pg_catalog.pg_locks WHERE NOT granted"
        wait_for(lambda: owner.execute(waiting).fetchone() != (0,))
        cancel(gateway, pid, key)
        owner.commit()
        answer = raw.until("Z")
        assert any(b"C57014\0" in message for message in answer), answer
        raw.send(frontend.query("SELECT a FROM later"))
        assert not any(message[:1] == b"E" for message in raw.until("Z"))


def test_one_cancel_is_outstanding_for_a_session(behind: Gateway, proxy: FaultProxy) -> None:
    proxy.hold_cancels = True
    with Raw(behind, 20.0) as raw:
        pid, key = raw.login()
        raw.send(frontend.query("SELECT nap(60)"))
        for _ in range(50):
            cancel(behind, pid, key)
        wait_for(lambda: proxy.cancels > 0)
        for _ in range(50):
            cancel(behind, pid, key)
        assert proxy.cancels == 1
        proxy.hold_cancels = False
        assert any(b"C57014\0" in message for message in raw.until("Z"))
        assert proxy.cancels == 1


def test_cancels_to_a_target_are_bounded(behind: Gateway, proxy: FaultProxy) -> None:
    sessions = [Raw(behind, 20.0) for _ in range(8)]
    keys = [raw.login() for raw in sessions]
    proxy.hold_cancels = True
    for raw in sessions:
        raw.send(frontend.query("SELECT nap(60)"))
    for pid, key in keys:
        cancel(behind, pid, key)
    wait_for(lambda: proxy.cancels == 4)
    # time for more of them to come, and a login goes its way
    with psycopg.connect(behind.dsn()) as db:
        db.execute("SELECT 1")
    assert proxy.cancels == 4
    proxy.hold_cancels = False
    for raw in sessions:
        assert any(b"C57014\0" in message for message in raw.until("Z"))
    assert proxy.cancels == 8
    for raw in sessions:
        raw.socket.close()  # what the gateway asks after a trusted function is canceled with it


def test_a_late_cancel_does_not_hit_the_next_statement(behind: Gateway, proxy: FaultProxy) -> None:
    """The first statement ends while its cancel is on its way; the client sends the next one at
    once.
    """
    proxy.hold_cancels = True
    ended = threading.Event()
    outcome: list[object] = []

    def work(db: psycopg.Connection[tuple[object, ...]]) -> None:
        try:
            db.execute("SELECT nap(0.5)")
            ended.set()
            outcome.append(db.execute("SELECT nap(0.5)").fetchone())
        except psycopg.Error as error:
            outcome.append(error)

    with psycopg.connect(behind.dsn(), autocommit=True) as db:
        thread = threading.Thread(target=work, args=[db])
        thread.start()
        while not proxy.cancels:
            db.cancel()
        if ended.wait(1.5):  # the gateway gave the answer away while the cancel was on its way
            time.sleep(0.2)
        proxy.hold_cancels = False
        thread.join(30)
    assert outcome == [(7,)]


def test_a_cancel_that_the_database_does_not_answer_ends_the_session(
    behind: Gateway, proxy: FaultProxy
) -> None:
    with Raw(behind, 30.0) as raw:
        pid, key = raw.login()
        raw.send(frontend.query("SELECT nap(60)"))
        proxy.hold_cancels = True
        cancel(behind, pid, key)
        error = raw.error()
        assert error["S"] == "FATAL"
        assert "SP1802" in error["M"]


def test_a_storm_leaves_logins_at_the_database_alone(
    make_gateway: Callable[..., Gateway], napping: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints how long direct logins took before and during a storm of cancels against a running
    statement.
    """
    gateway = make_gateway(targets={"shop": napping}, policy=NAPPING)
    before = _logins(napping)
    stop, sent = threading.Event(), [0, 0]
    with Raw(gateway, 60.0) as raw:
        pid, key = raw.login()
        raw.send(frontend.query("SELECT nap(60)"))

        def storm(index: int) -> None:
            while not stop.is_set():
                cancel(gateway, pid, key)
                sent[index] += 1

        threads = [threading.Thread(target=storm, args=[index]) for index in (0, 1)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        during = _logins(napping)
        stop.set()
        for thread in threads:
            thread.join()
        rate = sum(sent) / (time.monotonic() - began)
        raw.until("Z")
    with capsys.disabled():
        print(
            f"\n{rate:.0f} cancels/s; direct login median {before * 1e3:.1f} ms before, "
            f"{during * 1e3:.1f} ms during"
        )


def _logins(postgres: Server) -> float:
    """Median seconds of a direct login."""
    times = []
    for _ in range(50):
        began = time.monotonic()
        psycopg.connect(postgres.superuser_dsn).close()
        times.append(time.monotonic() - began)
    return statistics.median(times)
