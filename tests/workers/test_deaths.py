"""Workers that die or are told to stop: nothing runs twice, nothing is lost, the others go on."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import httpx2
import psutil
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support import requests
from tests.support.approvals import POLICY, Waiter, count, make_tables
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for
from tests.workers.crew import (
    PATIENCE,
    PEOPLE,
    connect,
    crew,
    desk,
    kill,
    listed,
    metric,
    problems,
    process_of,
    serves_again,
    wait_for_both,
    worker_of,
)


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer(PEOPLE) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server(settings={"max_connections": "100"})
    make_tables(server)
    yield server
    server.stop()


@pytest.fixture
def gateway(issuer: DevIssuer, database: Server) -> Iterator[Gateway]:
    with crew(issuer, database, POLICY, audit={"checkpoint_seconds": 1.0}) as running:
        yield running


def waiter(gateway: Gateway, worker: int) -> Waiter:
    while True:
        made = Waiter(gateway)
        if worker_of(made.db) == worker:
            return made
        made.db.close()


def pid_of(gateway: Gateway, worker: int) -> int:
    process = process_of(gateway, worker)
    assert process is not None
    return process.pid


def wait_until_over(gateway: Gateway) -> None:
    """Until no session counts as live."""
    wait_for(lambda: not [r for r in listed(gateway) if r["target"] and r["status"] == "live"])


def is_voided(gateway: Gateway, request: str) -> bool:
    return desk(gateway).status(request) == "voided"


def test_a_worker_is_killed_in_the_middle(gateway: Gateway, database: Server) -> None:
    """With an open transaction, a held statement and an approval that nobody used."""
    before = pid_of(gateway, 1)
    spared = connect(gateway, 0)
    spared.execute("SELECT 1")
    writer = connect(gateway, 1, autocommit=False)
    writer.execute("UPDATE free SET note = 'never' WHERE id = 3")
    held = waiter(gateway, 1)
    held.run("DELETE FROM waits WHERE id = 50")
    request = held.id
    with pytest.raises(psycopg.Error, match="apr_"):
        connect(gateway, 1).execute("DELETE FROM later WHERE id = 50")
    (asked,) = [r["id"] for r in desk(gateway).pending() if r["id"] != request]
    total = metric(gateway, "sallyport_sessions_total")
    kill(gateway, 1)
    assert spared.execute("SELECT 2").fetchone() == (2,)
    assert held.end().error is not None
    serves_again(gateway, 1, before)
    wait_for(lambda: is_voided(gateway, request))
    assert desk(gateway).decide(request, True, "too late").status_code == 409
    assert count(database, "waits", "id = 50") == 1
    assert count(database, "free", "note = 'never'") == 0
    # What was asked for to be run later is nobody's session.
    desk(gateway).approve(asked)
    assert (
        connect(gateway, 1).execute("DELETE FROM later WHERE id = 50").statusmessage == "DELETE 1"
    )
    assert metric(gateway, "sallyport_sessions_total") >= total
    assert spared.execute("SELECT 3").fetchone() == (3,)
    spared.close()
    wait_until_over(gateway)
    reasons = [row["reason"] for row in listed(gateway) if row["status"] == "interrupted"]
    assert len(reasons) >= 2, reasons
    assert not [reason for reason in reasons if "stopped during" not in reason], reasons
    assert problems(gateway) == []


def test_the_first_worker_is_killed(gateway: Gateway, database: Server) -> None:
    before = pid_of(gateway, 0)
    spared, held = connect(gateway, 1), waiter(gateway, 1)
    total = metric(gateway, "sallyport_sessions_total")
    held.run("DELETE FROM waits WHERE id = 60")
    request = held.id
    kill(gateway, 0)
    assert spared.execute("SELECT 2").fetchone() == (2,)
    serves_again(gateway, 0, before)
    desk(gateway).approve(request)
    assert held.end().result == "DELETE 1", held.error
    assert count(database, "waits", "id = 60") == 0
    wait_for(lambda: metric(gateway, "sallyport_sessions_total") >= total)
    held.db.close()
    spared.close()
    wait_until_over(gateway)
    assert problems(gateway) == []


def test_a_worker_is_killed_while_it_starts(gateway: Gateway) -> None:
    """The others, which serve already, do not end for it."""
    gateway.restart()
    first, starting = pid_of(gateway, 0), wait_for(lambda: process_of(gateway, 1))
    assert starting is not None
    os.kill(starting.pid, signal.SIGKILL)
    wait_for_both(gateway, times=2)
    assert pid_of(gateway, 0) == first and pid_of(gateway, 1) != starting.pid
    connect(gateway, 1).close()


@pytest.mark.parametrize("worker", [0, 1])
def test_a_worker_that_hangs_is_killed_and_started_again(gateway: Gateway, worker: int) -> None:
    """It is stopped, so its event loop stands still; the other one goes on."""
    before = pid_of(gateway, worker)
    spared = connect(gateway, 1 - worker)
    assert metric(gateway, "sallyport_workers") == 2
    os.kill(before, signal.SIGSTOP)
    serves_again(gateway, worker, before)
    assert spared.execute("SELECT 1").fetchone() == (1,)
    assert "a worker hangs; it is killed" in gateway.output()
    connect(gateway, worker).close()
    assert restarts(gateway) == {"died": 0, "hung": 1}


def test_a_worker_that_hangs_while_it_starts_is_killed(gateway: Gateway) -> None:
    """It was stopped before its event loop ran."""
    before = pid_of(gateway, 1)
    kill(gateway, 1)
    starting = wait_for(lambda: process_of(gateway, 1))
    assert starting is not None and starting.pid != before
    starting.suspend()
    assert psutil.wait_procs([starting], timeout=PATIENCE)[1] == []
    wait_for(lambda: metric(gateway, "sallyport_workers") == 2)
    assert restarts(gateway) == {"died": 1, "hung": 1}


def test_a_worker_that_dies_again_and_again_is_seen(gateway: Gateway) -> None:
    """It is started again after growing pauses; who balances goes on to send clients."""
    for number in range(3):
        before = pid_of(gateway, 1)
        kill(gateway, 1)
        if number == 0:
            wait_for(lambda: "1 of 2 workers do not serve" in readiness(gateway))
        wait_for(lambda b=before: (p := process_of(gateway, 1)) is not None and p.pid != b)
    wait_for(lambda: metric(gateway, "sallyport_workers") == 2)
    assert restarts(gateway) == {"died": 3, "hung": 0}
    pauses = re.findall(r"it is started again .*seconds=([0-9.]+)", gateway.output())
    assert pauses == ["0.1", "0.2", "0.4"]
    assert readiness(gateway) == "ok\n"
    kill(gateway, 0)  # the next first worker is told, too
    wait_for(lambda: restarts(gateway) == {"died": 4, "hung": 0})


def readiness(gateway: Gateway) -> str:
    url = f"http://{gateway.extra['console']['listen']}/readyz"
    answer = requests.get(url, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.text


def restarts(gateway: Gateway) -> dict[str, int]:
    """By why; empty while nobody says."""
    url = f"http://{gateway.extra['console']['listen']}/metrics"
    try:
        text = requests.get(url, timeout=60).text
    except httpx2.HTTPError:
        return {}
    samples = re.findall(
        r'^sallyport_worker_restarts_total\{reason="(\w+)"\} ([0-9.]+)', text, re.M
    )
    return {reason: int(float(value)) for reason, value in samples}


def test_all_are_told_to_stop(gateway: Gateway, database: Server) -> None:
    """Transactions end in either worker, and what waits in one can be decided meanwhile."""
    writers = [connect(gateway, worker, autocommit=False) for worker in (0, 1)]
    for row, writer in enumerate(writers, 20):
        writer.execute("UPDATE free SET note = 'kept' WHERE id = %s", (row,))
    held = waiter(gateway, 1)
    held.run("DELETE FROM waits WHERE id = 70")
    request = held.id
    os.kill(gateway.pid, signal.SIGTERM)
    wait_for(lambda: gateway.output().count(" stopping ") == 3)  # the supervisor and both
    desk(gateway).approve(request)
    assert held.end().result == "DELETE 1", held.error
    for writer in writers:
        writer.commit()
    assert gateway._running().process.wait(PATIENCE) == 0
    assert count(database, "free", "note = 'kept'") == 2
    rows = [row for row in listed(gateway) if row["target"]]
    assert {row["status"] for row in rows} == {"ended"}, rows
    assert problems(gateway) == []
    gateway._program = None  # it has ended as it should


def test_workers_do_not_outlive_their_supervisor(gateway: Gateway) -> None:
    workers = [process_of(gateway, number) for number in (0, 1)]
    gateway.kill()
    _, alive = psutil.wait_procs([process for process in workers if process], timeout=PATIENCE)
    assert not alive
    assert "the supervisor is gone" in gateway.output()
    gateway.start()
    with psycopg.connect(gateway.dsn(gateway.token(AGENT))) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)
    assert problems(gateway) == []
