"""What the store of several gateways lacks of their recordings is added from the files."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import psycopg
import pytest

from sallyport.audit import events as ev
from sallyport.audit.verify import read_events
from tests.cluster.test_members import can_log_in
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.recordings import keys_of
from tests.support.waiting import PATIENCE, wait_for
from tests.workers.crew import listed, problems, process_of

Make = Callable[..., Gateway]
pytestmark = pytest.mark.timeout(600)  # several processes start slowly beside load


def kill(gateway: Gateway) -> None:
    """All of its processes at once, as when the machine loses power but for its disk."""
    supervisor = psutil.Process(gateway.pid)
    processes = [supervisor, *supervisor.children()]
    for process in processes:
        process.suspend()
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=PATIENCE)


def kill_store(server: Server) -> None:
    backends = psutil.Process(server.cluster.pid).children()
    os.kill(server.cluster.pid, signal.SIGKILL)
    psutil.wait_procs(backends, timeout=PATIENCE)


def ends(gateway: Gateway) -> int:
    """Recordings with an end on the disk."""
    data = gateway.home / "var"
    return sum(
        isinstance(event, ev.End)
        for path in data.rglob("*.sprec")
        for event in read_events(path, keys=keys_of(data))
    )


def by_status(gateway: Gateway) -> dict[str, list[dict[str, Any]]]:
    """The sessions of agents that the index has."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in listed(gateway):
        rows.setdefault(row["status"], []).append(row)
    return rows


def test_sessions_of_a_gateway_that_died_without_the_store(
    make_member: Make, store_server: Server
) -> None:
    """Some ended and some ran on while the store was away, then the gateway was killed."""
    gateway = make_member(grace=3600.0, extra={"workers": 2})
    assert can_log_in(gateway) == ""
    sessions = [psycopg.connect(gateway.dsn(), autocommit=True) for _ in range(8)]
    for session in sessions:
        session.execute("SELECT 1")
    wait_for(lambda: len(by_status(gateway).get("live", [])) == 8)
    kill_store(store_server)
    wait_for(lambda: "SP1807" in can_log_in(gateway), PATIENCE)
    for session in sessions:
        session.execute("SELECT 2")
    for session in sessions[:4]:
        session.close()
    wait_for(lambda: ends(gateway) == 5, PATIENCE)
    kill(gateway)
    for session in sessions[4:]:
        session.close()
    store_server.restart()
    gateway.start()
    wait_for(lambda: problems(gateway) == [], PATIENCE)
    rows = by_status(gateway)
    assert [row["statements"] for row in rows["ended"]].count(2) == 4
    assert [row["statements"] for row in rows["interrupted"]] == [2] * 4


def test_a_worker_that_cannot_start_without_the_store_is_started_again(
    make_member: Make, store_server: Server
) -> None:
    """The one that serves already does not end for it."""
    gateway = make_member(grace=3600.0, extra={"workers": 2})
    starting = wait_for(lambda: process_of(gateway, 1))
    assert starting is not None
    starting.suspend()
    with psycopg.connect(gateway.dsn(), autocommit=True) as session:
        kill_store(store_server)
        starting.resume()
        wait_for(lambda: "a worker died; it is started again" in gateway.output(), PATIENCE)
        assert "Traceback" not in gateway.output()
        assert session.execute("SELECT 1").fetchone() == (1,)
        store_server.restart()
        wait_for(lambda: "workers listen" in gateway.output(), PATIENCE)
        wait_for(lambda: can_log_in(gateway) == "", PATIENCE)
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_store_that_comes_back_without_what_it_acknowledged(
    make_member: Make, store_server: Server
) -> None:
    """As a standby that was promoted, or a server that does not flush what it commits: of two
    sessions that are over it has one as it began and the other not at all.
    """
    gateway, neighbour = make_member(grace=3600.0), make_member(grace=3600.0)
    with psycopg.connect(gateway.dsn(), autocommit=True) as runs:
        runs.execute("SELECT 1")
        assert can_log_in(gateway) == can_log_in(gateway) == can_log_in(neighbour) == ""
        wait_for(lambda: sorted(map(len, by_status(gateway).values())) == [1, 3], PATIENCE)
        before = {row["id"]: row for row in listed(gateway)}
        store = store_server.superuser_dsn.replace(
            "/shop", f"/{gateway.extra['store']['database']}"
        )
        with psycopg.connect(store, autocommit=True) as db:
            name = (gateway.home / "var" / "gateway.name").read_text().strip()
            first, second = db.execute(
                "SELECT id FROM sessions WHERE status = 'ended' AND gateway = %s", [name]
            ).fetchall()
            db.execute("DELETE FROM sessions WHERE id = %s", first)
            db.execute(
                "UPDATE sessions SET status = 'live', last_hash = '', ended = NULL, reason = '',"
                " statements = 0, rows = 0, bytes = 0 WHERE id = %s",
                second,
            )
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'sallyport%'"
            )
        wait_for(lambda: {row["id"]: row for row in listed(gateway)} == before, PATIENCE)
        assert problems(gateway) == []
        assert runs.execute("SELECT 1").fetchone() == (1,)
