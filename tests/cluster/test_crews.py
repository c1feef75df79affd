"""Two gateways of two workers each, with one store: what any of the four processes is told, the
others go by.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial

import httpx2
import psycopg
import pytest

from sallyport.core.worker import MOST
from sallyport.demo.issuer import DevIssuer
from sallyport.wire import frontend
from tests.cluster.conftest import members_of_store
from tests.cluster.test_across import (
    LONG,
    Pair,
    cancelled,
    is_over,
    make_pair,
    test_a_token_is_listed_and_revoked_at_another_gateway,
    test_locks_kills_and_cancels_reach_the_session,
    test_one_gateway_waits_for_what_another_decides,
    test_what_was_approved_at_one_gateway_runs_once_at_any,
)
from tests.server.raw import Raw
from tests.support.approvals import Desk, Waiter, count
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import PATIENCE, wait_for
from tests.workers.crew import (
    OLGA,
    connect,
    kill,
    metric,
    process_of,
    rest,
    serves_again,
)

# The same with workers as without.
__all__ = [
    "test_a_token_is_listed_and_revoked_at_another_gateway",
    "test_locks_kills_and_cancels_reach_the_session",
    "test_one_gateway_waits_for_what_another_decides",
    "test_what_was_approved_at_one_gateway_runs_once_at_any",
]

CROWD = "crowd-3"
pytestmark = pytest.mark.timeout(600)  # four processes start slowly beside load


@pytest.fixture(scope="module")
def store_server() -> Iterator[Server]:
    server = start_server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def pair(issuer: DevIssuer, postgres: Server, store_server: Server) -> Iterator[Pair]:
    with members_of_store(issuer, postgres, store_server) as make:
        yield make_pair(make, postgres, workers=2)


def test_every_process_has_a_connection_of_its_own(pair: Pair, store_server: Server) -> None:
    with psycopg.connect(store_server.superuser_dsn) as db:
        query = (
            "SELECT count(*), count(DISTINCT application_name) FROM pg_stat_activity"
            " WHERE application_name LIKE 'sallyport %'"
        )
        assert db.execute(query).fetchone() == (4, 2)


@pytest.mark.parametrize("worker", [0, 1])
def test_a_cancel_at_another_gateway_finds_the_worker(pair: Pair, worker: int) -> None:
    first, second = pair
    while True:
        with Raw(first, PATIENCE) as raw:
            key = raw.login()
            if key[0] % MOST == worker:
                raw.send(frontend.query(LONG))
                wait_for(partial(cancelled, second, raw, *key), PATIENCE)
                return


@pytest.mark.parametrize("worker", [0, 1])
def test_a_session_of_any_worker_is_ended_from_elsewhere(pair: Pair, worker: int) -> None:
    first, second = pair
    with connect(first, worker) as connection:
        (id_,) = connection.execute("SELECT current_setting('sallyport.session')").fetchone() or (
            "",
        )
        path = f"/sessions/{id_}/kill"
        wait_for(lambda: rest(second, "POST", path, OLGA).status_code == 200, PATIENCE)
        wait_for(partial(is_over, connection, "SP1803"), PATIENCE)
    wait_for(lambda: metric(first, "sallyport_sessions") == 0, PATIENCE)
    assert metric(first, "sallyport_sessions_total") >= 1


def test_a_lock_reaches_the_worker_beside_while_the_store_is_away(
    pair: Pair, store_server: Server
) -> None:
    first, second = pair
    with connect(first, 1, CROWD) as connection:
        os.kill(store_server.cluster.pid, signal.SIGKILL)
        body = {"kind": "subject", "name": CROWD, "reason": "looks odd"}
        answer = rest(first, "POST", "/locks", OLGA, json=body)
        assert answer.status_code == 503 and "in force" in answer.json()["detail"], answer.text
        wait_for(partial(is_over, connection, "SP1608"), PATIENCE)
        assert not serves(first)
    store_server.restart()

    def is_kept_out(gateway: Gateway) -> bool:
        try:
            psycopg.connect(gateway.dsn(gateway.token(CROWD))).close()
        except psycopg.OperationalError as error:
            return "SP1608" in str(error)
        return False

    wait_for(partial(is_kept_out, second), PATIENCE)
    for gateway in pair:
        wait_for(partial(serves, gateway), PATIENCE)


def serves(gateway: Gateway) -> bool:
    """Whether every worker of it reaches the store."""
    url = f"http://{gateway.extra['console']['listen']}/readyz"
    ready = httpx2.get(url, trust_env=False, timeout=30).status_code == 200
    return ready and metric(gateway, "sallyport_store_lost") == 0


def test_a_worker_that_is_killed_comes_back_beside_the_others(pair: Pair, postgres: Server) -> None:
    first, second = pair
    process = process_of(first, 1)
    assert process is not None
    with connect(first, 0) as lasting, Waiter(second) as held:
        held.run("DELETE FROM waits WHERE id = 150")
        kill(first, 1)
        assert lasting.execute("SELECT 1").fetchone() == (1,)
        serves_again(first, 1, process.pid)
        wait_for(lambda: Desk(first).status(held.id) == "pending", PATIENCE)

        def is_approved() -> bool:
            """A store that is slow to answer refuses a decision; people try again."""
            decided = Desk(first).decide(held.id, True, "ticket 12").status_code == 200
            return decided or Desk(first).status(held.id) != "pending"

        wait_for(is_approved, PATIENCE)
        assert held.end(PATIENCE).result == "DELETE 1", held.error
        connect(first, 1, AGENT).close()
    assert count(postgres, "waits", "id = 150") == 0
