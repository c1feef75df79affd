"""One agent, two gateways of one store: what one learned, was told or contained holds at both."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.cluster.test_across import has_console
from tests.support.approvals import Desk
from tests.support.gateway import DBA, Gateway
from tests.support.waiting import PATIENCE, wait_for
from tests.workers.crew import OLGA, rest

pytestmark = pytest.mark.timeout(600)  # several processes start slowly beside load

POLICY = """\
version: 1
untrusted: ["public.customers.notes"]
contain: {for: 1h, writes: deny}
rules:
  - {name: read, allow: [read], relations: ["public.*"]}
  - {name: stock, allow: [update], relations: ["public.products"]}
"""
ROLES = {"reviewer": ["dba"], "operator": ["ops", "dba"], "auditor": ["dba"]}
SELECT = "SELECT id, status FROM orders WHERE id = %s"
DUMP = "SELECT * FROM order_items, generate_series(1, %s)"
WRITE = "UPDATE products SET stock = stock WHERE id = 1"


@pytest.fixture
def pair(make_member: Callable[..., Gateway]) -> tuple[Gateway, Gateway]:
    return _member(make_member), _member(make_member)


def _member(make_member: Callable[..., Gateway]) -> Gateway:
    extra = {
        "console": {"listen": f"127.0.0.1:{free_port()}", "roles": ROLES},
        "watch": {"learning_days": 0, "learning_statements": 30, "episode_minutes": 0.02},
    }
    gateway = make_member(extra=extra, policy=POLICY)
    wait_for(partial(has_console, gateway), PATIENCE)
    return gateway


def learn(gateway: Gateway, rounds: int = 4) -> None:
    """Small work in several episodes, each of which is learned when the next one begins."""
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for _ in range(rounds):
            for number in range(12):
                db.execute(SELECT, (number,)).fetchall()
            time.sleep(1.3)
        db.execute(SELECT, (1,)).fetchall()
        time.sleep(0.7)


def dump(gateway: Gateway, times: int) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute(DUMP, (times,)).fetchall()
        time.sleep(0.7)  # it is looked at twice a second


def bulk(gateway: Gateway) -> list[dict[str, Any]]:
    told = Desk(gateway, DBA).get("/findings")["findings"]
    return [finding for finding in told if finding["detector"] == "bulk"]


def agent_of(gateway: Gateway) -> dict[str, Any]:
    """What this gateway itself knows of the one agent."""
    desk = Desk(gateway, DBA)
    (agent,) = desk.get("/agents")["agents"]
    return dict(desk.get(f"/agents/{agent['id']}"))


def test_what_one_gateway_learned_the_other_compares_with(pair: tuple[Gateway, Gateway]) -> None:
    first, second = pair
    learn(first)
    assert agent_of(first)["learning"] == 1.0
    first.stop()  # what it learned is stored, at the latest now
    dump(second, 2)
    (finding,) = wait_for(lambda: bulk(second), PATIENCE)
    assert "public.order_items" in finding["evidence"]
    assert agent_of(second)["statements"] >= 48, "the second one was never taught"


def test_an_acknowledgement_counts_at_both(pair: tuple[Gateway, Gateway]) -> None:
    first, second = pair
    learn(first)
    learn(second)
    dump(first, 2)
    (finding,) = wait_for(lambda: bulk(second), PATIENCE)
    body = {"reason": "an export", "expected": True}
    path = f"/findings/{finding['id']}/acknowledge"
    answer = rest(second, "POST", path, DBA, json=body)
    assert answer.status_code == 200, answer.text
    wait_for(lambda: bulk(first)[0]["acknowledged"], PATIENCE)
    # The same much is expected now, wherever it is read; five times as much is not. One thing is
    # told once in a while by each gateway, and the second one has told nothing yet.
    dump(second, 2)
    assert len(bulk(second)) == 1
    dump(second, 12)
    wait_for(lambda: len(bulk(second)) == 2, PATIENCE)


def test_a_reset_is_one_for_both(pair: tuple[Gateway, Gateway]) -> None:
    first, second = pair
    learn(first)
    learn(second)
    desk = Desk(second, DBA)
    (agent,) = desk.get("/agents")["agents"]
    answer = rest(first, "POST", f"/agents/{agent['id']}/reset", DBA, json={})
    assert answer.status_code == 200, answer.text
    wait_for(lambda: agent_of(second)["learning"] < 1.0, PATIENCE)
    dump(second, 2)
    assert bulk(second) == [], "nothing is compared while it is learned again"


def test_who_is_contained_at_one_is_contained_at_the_other(pair: tuple[Gateway, Gateway]) -> None:
    first, second = pair
    with (
        psycopg.connect(first.dsn(), autocommit=True) as reader,
        psycopg.connect(second.dsn(), autocommit=True) as writer,
    ):
        assert writer.execute(WRITE).statusmessage == "UPDATE 1"
        reader.execute("SELECT notes FROM customers WHERE id = 1").fetchall()
        read_at = time.monotonic()
        while not _is_contained(writer):
            assert time.monotonic() - read_at < 1.0, "it has a second"
            time.sleep(0.05)
        with psycopg.connect(second.dsn(), autocommit=True) as again:
            assert _is_contained(again), "a reconnect sheds nothing"
        (containment,) = rest(second, "GET", "/containments", OLGA).json()["containments"]
        path = f"/containments/{containment['id']}/release"
        assert rest(second, "POST", path, OLGA, json={}).status_code == 200
        for session in (reader, writer):
            wait_for(lambda s=session: not _is_contained(s), PATIENCE)  # type: ignore[misc]


def _is_contained(db: psycopg.Connection[Any]) -> bool:
    try:
        db.execute(WRITE)
    except psycopg.Error as error:
        assert "SP1005" in str(error)
        return True
    return False
