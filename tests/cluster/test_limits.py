"""What policy allows one subject, counted over two gateways of two workers each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import psutil
import psycopg
import pytest

from tests.support.approvals import POLICY
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import PATIENCE, wait_for
from tests.workers.crew import both, wait_for_both

LIMITED = POLICY + "limits: {rows_per_hour: 100}\n"
Pair = tuple[Gateway, Gateway]
pytestmark = pytest.mark.timeout(600)  # several processes start slowly beside load


@pytest.fixture
def pair(make_member: Callable[..., Gateway]) -> Pair:
    extra = {"workers": 2, "limits": {"max_sessions_per_subject": 5}}
    first, second = (make_member(grace=5.0, policy=LIMITED, extra=extra) for _ in range(2))
    for gateway in (first, second):
        wait_for_both(gateway)
    return first, second


def refusal(connection: psycopg.Connection[Any]) -> str:
    """Of a statement that reads no row; "" when it runs."""
    try:
        connection.execute("SELECT id FROM waits LIMIT 0")
    except psycopg.Error as error:
        return str(error)
    return ""


def logs_in(gateway: Gateway) -> str:
    """ "" or the refusal."""
    try:
        psycopg.connect(gateway.dsn(), connect_timeout=20).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def test_rows_of_an_hour_are_counted_over_all_gateways(pair: Pair, store_server: Server) -> None:
    first, second = pair
    readers = both(first)
    for reader in readers:
        assert len(reader.execute("SELECT id FROM waits LIMIT 50").fetchall()) == 50
    for connection in both(second):
        with connection:
            wait_for(lambda c=connection: "100 rows for an hour" in refusal(c), PATIENCE)
    for reader in readers:
        reader.close()
    # A gateway that was killed and starts again does not forget it.
    first.kill()
    first.start()
    wait_for_both(first, 2)
    for connection in both(first):
        with connection:
            assert "100 rows for an hour" in refusal(connection)


def test_sessions_of_a_subject_are_counted_over_all_gateways(pair: Pair) -> None:
    first, second = pair
    sessions = [psycopg.connect(first.dsn()) for _ in range(5)]
    try:
        wait_for(lambda: "you already have 5 sessions" in logs_in(second), PATIENCE)
        wait_for(lambda: "you already have 5 sessions" in logs_in(first), PATIENCE)
        sessions.pop().close()
        wait_for(lambda: logs_in(second) == "", PATIENCE)
    finally:
        for session in sessions:
            session.close()


def test_what_cannot_be_counted_is_refused(pair: Pair, store_server: Server) -> None:
    """The store answers nothing any more; sessions go on for the grace alone, limits or not."""
    first, _ = pair
    with psycopg.connect(first.dsn(), autocommit=True) as connection:
        assert refusal(connection) == ""
        stopped = psutil.Process(store_server.cluster.pid)
        processes = [stopped, *stopped.children()]
        for process in processes:
            process.suspend()
        try:
            wait_for(lambda: refusal(connection) != "", PATIENCE)
            wait_for(lambda: "SP1807" in logs_in(first), PATIENCE)
        finally:
            for process in processes:
                process.resume()
    wait_for(partial(lambda gateway: logs_in(gateway) == "", first), PATIENCE)
