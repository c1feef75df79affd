"""What one agent does in two workers is one agent's: bounds, containment, unusual behaviour."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import DBA, Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for
from tests.workers.crew import (
    OLGA,
    PATIENCE,
    PEOPLE,
    both,
    crew,
    kill,
    process_of,
    rest,
    serves_again,
)

POLICY = """\
version: 1
untrusted: ["public.customers.notes"]
packs: [contain-untrusted]
contain: {for: 1h, reviewers: {groups: [dba]}}
rules:
  - {name: read, allow: [read], relations: ["public.*"]}
  - {name: stock, allow: [update], relations: ["public.products"]}
limits:
  - {subjects: {groups: [claude-postgres]}, rows_per_hour: 60}
"""
BOUND = "SP1701"
WRITE = "UPDATE products SET stock = stock WHERE id = 1"


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer(PEOPLE) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    watch = {"actions": {"stuck": ["end"]}, "learning_days": 0, "learning_statements": 0}
    with crew(issuer, postgres, POLICY, watch=watch) as running:
        yield running


def read(connection: psycopg.Connection[Any], rows: int) -> int:
    sql = "SELECT n FROM generate_series(1, %s) n"
    return len(connection.execute(sql, (rows,)).fetchall())


def is_over(connection: psycopg.Connection[Any]) -> bool:
    """Ended because of a finding."""
    return is_refused("SP1701", lambda: connection.execute("SELECT 1")) or connection.broken


def is_refused(code: str, act: Callable[[], object]) -> bool:
    try:
        act()
    except psycopg.Error as error:
        return code in str(error)
    return False


def test_rows_of_an_hour_are_counted_together_and_outlive_a_worker(gateway: Gateway) -> None:
    first, second = both(gateway)
    with first:
        assert read(first, 25) == 25
        assert read(second, 25) == 25
        assert is_refused(BOUND, lambda: read(first, 25))
        before = process_of(gateway, 1)
        assert before is not None
        kill(gateway, 1)
        serves_again(gateway, 1, before.pid)
        assert is_refused(BOUND, lambda: read(first, 25))


def test_who_is_contained_in_one_worker_is_in_all(gateway: Gateway) -> None:
    first, second = both(gateway, "crowd-3")
    with first, second:
        assert first.execute(WRITE).statusmessage == "UPDATE 1"
        assert second.execute(WRITE).statusmessage == "UPDATE 1"
        first.execute("SELECT notes FROM customers WHERE id = 1")
        (containment,) = rest(gateway, "GET", "/containments", OLGA).json()["containments"]
        held = threading.Thread(target=second.execute, args=(WRITE,), daemon=True)
        held.start()

        def waits() -> bool:
            answer = rest(gateway, "GET", "/approvals?status=pending", DBA).json()
            return bool(answer["approvals"])

        wait_for(waits)
        answer = rest(gateway, "POST", f"/containments/{containment['id']}/release", OLGA, json={})
        assert answer.status_code == 200, answer.text
        (request,) = rest(gateway, "GET", "/approvals?status=pending", DBA).json()["approvals"]
        body = {"approve": False, "reason": "it was tried"}
        rest(gateway, "POST", f"/approvals/{request['id']}/decision", DBA, json=body)
        held.join(PATIENCE)
        assert second.execute(WRITE).statusmessage == "UPDATE 1"


def test_one_watches_for_all(gateway: Gateway) -> None:
    """The same refusal again and again, now here and now there: stuck, and both sessions end."""
    sessions = both(gateway, "crowd-4")
    for number in range(40):
        connection = sessions[number % 2]
        try:
            connection.execute("DELETE FROM orders WHERE id = -1")
        except psycopg.OperationalError:
            break
        except psycopg.Error:
            continue

    def findings() -> list[dict[str, Any]]:
        return list(rest(gateway, "GET", "/findings", OLGA).json()["findings"])

    wait_for(lambda: any(f["detector"] == "stuck" for f in findings()))
    (finding,) = [f for f in findings() if f["detector"] == "stuck"]
    ended = [c for c in sessions if is_over(c)]
    assert len(ended) == 1, finding
