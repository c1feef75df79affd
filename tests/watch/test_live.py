"""Watching through a real gateway: what agents do is learned, what is unusual is told and held."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.support.approvals import Desk
from tests.support.forked import run
from tests.support.gateway import DBA, Gateway
from tests.support.waiting import wait_for

WATCH = {"learning_days": 0, "learning_statements": 30, "episode_minutes": 0.02}
SELECT = "SELECT id, status FROM orders WHERE id = %s"


def learn(db: psycopg.Connection[Any], rounds: int = 4) -> None:
    """Small work in several episodes, each of which is learned when the next one begins."""
    for _ in range(rounds):
        for number in range(12):
            db.execute(SELECT, (number,)).fetchall()
        time.sleep(1.3)
    db.execute(SELECT, (1,)).fetchall()
    time.sleep(0.7)


def watched(
    make_gateway: Callable[..., Gateway],
    approvals: dict[str, Any] | None = None,
    **watch: Any,
) -> Gateway:
    console = {
        "listen": f"127.0.0.1:{free_port()}",
        "roles": {"reviewer": ["dba"], "operator": ["dba"], "auditor": ["dba"]},
    }
    extra = {"console": console, "watch": {**WATCH, **watch}, "approvals": approvals or {}}
    return make_gateway(extra=extra)


def findings(gateway: Gateway) -> list[dict[str, Any]]:
    return list(Desk(gateway, DBA).get("/findings")["findings"])


def acknowledge(gateway: Gateway, finding: str, reason: str) -> dict[str, Any]:
    """By the command line."""
    words = ["findings", finding, "--acknowledge", "--reason", reason, "--expected", "--json"]
    url = f"http://{gateway.extra['console']['listen']}"
    command = [gateway.command()[0], *words, "--url", url]
    done = run(command, {"SALLYPORT_TOKEN": gateway.token(DBA)})
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(("simple", "lane"), [(True, "on"), (False, "on"), (False, "off")])
def test_bulk_reading_is_explained(
    make_gateway: Callable[..., Gateway],
    monkeypatch: pytest.MonkeyPatch,
    simple: bool,
    lane: str,
) -> None:
    monkeypatch.setenv("SALLYPORT_LANE", lane)
    gateway = watched(make_gateway)
    options = {"cursor_factory": psycopg.ClientCursor} if simple else {}
    with psycopg.connect(gateway.dsn(), autocommit=True, **options) as db:
        learn(db)
        assert findings(gateway) == []
        db.execute("SELECT * FROM order_items, generate_series(1, 2)").fetchall()
        (finding,) = wait_for(lambda: [f for f in findings(gateway) if f["detector"] == "bulk"])
    assert finding["severity"] == "high"
    assert "public.order_items" in finding["evidence"]
    assert finding["session"].startswith("ses_")
    assert 0 < finding["first"] <= finding["last"]
    desk = Desk(gateway, DBA)
    (agent,) = desk.get("/agents")["agents"]
    assert desk.get(f"/agents/{agent['id']}")["statements"] >= 48


def test_next_statement_is_held_and_goes_on_when_acknowledged(
    make_gateway: Callable[..., Gateway],
) -> None:
    reviewers = {"groups": ["dba"]}
    gateway = watched(make_gateway, actions={"bulk": ["notify", "hold"]}, reviewers=reviewers)
    notices: list[str] = []
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        learn(db)
        db.execute("SELECT * FROM order_items, generate_series(1, 2)").fetchall()
        (finding,) = wait_for(lambda: [f for f in findings(gateway) if f["detector"] == "bulk"])
        db.execute("BEGIN")  # names nothing, so it does not wait
        db.execute("ROLLBACK")
        desk = Desk(gateway, DBA)
        rows: list[Any] = []
        runs = threading.Thread(target=lambda: rows.append(db.execute(SELECT, (7,)).fetchall()))
        runs.start()
        (request,) = wait_for(lambda: desk.pending())
        assert request["rule"] == f"finding {finding['id']}"
        desk.approve(request["id"])
        runs.join(8)
        assert len(rows) == 1
        assert any(finding["id"] in text for text in notices)

        runs = threading.Thread(target=lambda: rows.append(db.execute(SELECT, (8,)).fetchall()))
        runs.start()
        wait_for(lambda: desk.pending())
        acknowledge(gateway, finding["id"], "an export of the month")
        runs.join(8)
        assert len(rows) == 2
        db.execute(SELECT, (9,)).fetchall()
    assert findings(gateway)[0]["reason"] == "an export of the month"


def test_names_that_hold_data_are_not_told(make_gateway: Callable[..., Gateway]) -> None:
    """An agent, or what it read, could send a value out as the name of something it makes."""
    gateway = watched(make_gateway)
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        learn(db)
        for number in range(8):
            with contextlib.suppress(psycopg.Error):
                db.execute(f'CREATE TABLE public."canary-{number}@example.com" (id int)')
        told = wait_for(lambda: findings(gateway))
    assert {"probing", "enumeration"} & {finding["detector"] for finding in told}
    assert "canary" not in json.dumps(told)


def test_totals_that_differ_by_one_row(make_gateway: Callable[..., Gateway]) -> None:
    gateway = watched(make_gateway, learning_statements=0, episode_minutes=10)
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for month in range(1, 13):
            sql = "SELECT sum(total) FROM orders WHERE extract(month FROM placed_at) = %s"
            db.execute(sql, (month,)).fetchall()
        db.execute("SELECT avg(price) FROM products").fetchall()
        for number in range(1, 8):
            sql = "SELECT avg(price) FROM products WHERE id <> %s"
            db.execute(sql, (number,)).fetchall()
        (finding,) = wait_for(
            lambda: [f for f in findings(gateway) if f["detector"] == "differencing"]
        )
        assert finding["about"] == "public.products"


def test_session_ends_and_subject_is_locked(make_gateway: Callable[..., Gateway]) -> None:
    gateway = watched(make_gateway, actions={"high": ["end", "lock"]})
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        learn(db)
        with contextlib.suppress(psycopg.Error):  # the session may end before all rows came
            db.execute("SELECT * FROM order_items, generate_series(1, 2)").fetchall()
        (finding,) = wait_for(lambda: [f for f in findings(gateway) if f["detector"] == "bulk"])
        wait_for(lambda: db.closed or _is_over(db))
    with pytest.raises(psycopg.OperationalError, match="SP1608"):
        psycopg.connect(gateway.dsn())
    desk = Desk(gateway, DBA)
    (lock,) = desk.get("/locks")["locks"]
    assert finding["id"] in lock["reason"]
    actions = desk.get("/actions?name=locks.lock")["actions"]
    assert [action["object"] for action in actions] == [lock["id"]], "audit reindex needs it"


def _is_over(db: psycopg.Connection[Any]) -> bool:
    try:
        db.execute("SELECT 1")
    except psycopg.Error:
        return True
    return False


def test_people_outside_are_told_and_actions_have_it(
    make_gateway: Callable[..., Gateway],
) -> None:
    bodies: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        hook = {"url": url, "secret": {"command": ["echo", "a-shared-secret"]}}
        gateway = watched(make_gateway, approvals={"webhooks": [hook]})
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            learn(db)
            db.execute("SELECT * FROM order_items, generate_series(1, 2)").fetchall()
            wait_for(lambda: bodies)
        server.shutdown()
    assert len(bodies) == 1, bodies
    (body,) = bodies
    assert body["event"] == "finding"
    assert body["url"].endswith(f"/findings/{body['id']}")
    assert "public.order_items" in body["text"]
    desk = Desk(gateway, DBA)
    actions = wait_for(lambda: desk.get("/actions?name=findings.raise")["actions"])
    assert [action["object"] for action in actions] == [body["id"]]


def test_baseline_survives_a_restart(make_gateway: Callable[..., Gateway]) -> None:
    gateway = watched(make_gateway)
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        learn(db)
    gateway.restart()
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("SELECT * FROM order_items, generate_series(1, 2)").fetchall()
        wait_for(lambda: [f for f in findings(gateway) if f["detector"] == "bulk"])


def test_stuck_agent_gets_a_hint(make_gateway: Callable[..., Gateway]) -> None:
    gateway = watched(make_gateway)
    notices: list[str] = []
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        learn(db)
        for _ in range(14):
            with pytest.raises(psycopg.Error):
                db.execute("SELECT id / 0 FROM orders")
        wait_for(lambda: [f for f in findings(gateway) if f["detector"] == "stuck"])
        db.execute("SELECT 1")
    assert any("repeats" in text for text in notices)
