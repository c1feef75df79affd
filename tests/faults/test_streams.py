"""Streams of a gateway that is killed, and of one whose receiver is away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.faults.test_crashes import command
from tests.support.gateway import Gateway
from tests.support.receivers import HttpReceiver, SyslogReceiver
from tests.support.waiting import wait_for

MakeGateway = Callable[..., Gateway]


def exported(gateway: Gateway) -> set[str]:
    """The ids of everything that was recorded."""
    done = command(gateway, "audit", "export")
    return {json.loads(line)["id"] for line in done.stdout.splitlines()}


def work(gateway: Gateway, seconds: float) -> None:
    """Statements until the gateway dies, at most so long."""
    deadline = time.monotonic() + seconds
    try:
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            while time.monotonic() < deadline:
                db.execute("UPDATE products SET name = name WHERE id = 1")
                db.execute("SELECT count(*) FROM products")
    except psycopg.Error:
        return


def test_nothing_is_lost_by_a_gateway_that_is_killed(make_gateway: MakeGateway) -> None:
    receiver = SyslogReceiver()
    stream = {"name": "siem", "to": "syslog", "tls": "disable", "begin": "beginning",
              "address": f"127.0.0.1:{receiver.port}"}  # fmt: skip
    gateway = make_gateway(extra={"audit": {"stream": [stream]}})
    for round_ in range(3):
        threads = [threading.Thread(target=work, args=(gateway, 6.0)) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(2.5 + round_ / 2)
        gateway.kill()
        for thread in threads:
            thread.join()
        gateway.start()
    work(gateway, 0.2)
    gateway._end()
    gateway.start()
    expected = exported(gateway)
    wait_for(lambda: expected <= {event["id"] for event in receiver.events()})
    assert len(expected) > 300
    assert {event["id"] for event in receiver.events()} <= exported(gateway)
    receiver.stop()


@pytest.mark.parametrize("lane", ["simple", "prepared"])
def test_a_required_stream_that_is_late_stops_statements(
    make_gateway: MakeGateway,
    lane: str,
) -> None:
    is_up = [True]
    receiver = HttpReceiver(lambda path, body: (200 if is_up[0] else 503, ""))
    stream: dict[str, Any] = {
        "name": "hec", "to": "splunk", "url": receiver.url, "token": {"command": ["echo", "t"]},
        "required": True, "max_lag_seconds": 2,
    }  # fmt: skip
    gateway = make_gateway(extra={"audit": {"stream": [stream]}})
    prepare = lane == "prepared"

    def run(db: psycopg.Connection[Any]) -> str:
        try:
            db.execute("SELECT id FROM products WHERE id = 1", prepare=prepare)
        except psycopg.Error as error:
            return str(error)
        return ""

    with psycopg.connect(gateway.dsn(), autocommit=True, prepare_threshold=0) as db:
        for _ in range(20):
            assert run(db) == ""
        wait_for(lambda: any(b"products" in body for body in receiver.taken))
        is_up[0] = False
        wait_for(lambda: "[SP1810]" in run(db))
        with pytest.raises(psycopg.OperationalError, match="SP1810"):
            psycopg.connect(gateway.dsn())
        is_up[0] = True
        wait_for(lambda: run(db) == "")
        with psycopg.connect(gateway.dsn()) as second:
            assert run(second) == ""
    receiver.stop()


def test_a_stream_that_is_not_required_stops_nothing(make_gateway: MakeGateway) -> None:
    stream = {"name": "siem", "to": "syslog", "address": "127.0.0.1:1", "tls": "disable",
              "max_lag_seconds": 0.5}  # fmt: skip
    gateway = make_gateway(extra={"audit": {"stream": [stream]}})
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for _ in range(4):
            db.execute("SELECT 1")
            time.sleep(0.5)
    assert "a stream of the record fails" in gateway.output()
