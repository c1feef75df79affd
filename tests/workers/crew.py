"""A gateway of two workers before a real PostgreSQL, and connections to either of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psutil
import psycopg

from sallyport.core.secret import Secret
from sallyport.core.worker import MOST
from sallyport.demo.issuer import DemoClient, DevIssuer
from sallyport.demo.postgres import free_port
from tests.support import requests
from tests.support.approvals import CLIENTS, Desk
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server
from tests.support.waiting import PATIENCE, wait_for

OLGA = "olga-operator"
PEOPLE = {**CLIENTS, OLGA: DemoClient("olga", Secret("x"), ("ops",), "olga@example.com")}


@contextmanager
def crew(issuer: DevIssuer, server: Server, policy: str, **extra: Any) -> Iterator[Gateway]:
    """Two workers, a console; everything is up."""
    roles = {
        "reviewer": ["dba", "security"],
        "auditor": ["audit"],
        "operator": ["ops"],
        "viewer": ["claude-postgres"],
    }
    base = {
        "workers": 2,
        "console": {"listen": f"127.0.0.1:{free_port()}", "roles": roles},
        "shutdown": {"drain_seconds": 5.0},
        "catalog": {"check_seconds": 0.5},
    }
    gateway = Gateway(issuer, {"shop": server}, policy=policy, extra={**base, **extra}).start()
    try:
        wait_for_both(gateway)
        yield gateway
    finally:
        gateway.stop()


def wait_for_both(gateway: Gateway, times: int = 1) -> None:
    """Until every worker takes clients."""
    wait_for(lambda: gateway.output().count("workers listen") >= times)


def worker_of(connection: psycopg.Connection[Any]) -> int:
    """The number in its cancel key."""
    return connection.info.backend_pid % MOST


def connect(
    gateway: Gateway, worker: int, client: str = AGENT, token: str = "", **options: Any
) -> psycopg.Connection[Any]:
    """A connection that this worker serves."""
    for _ in range(60):
        options.setdefault("autocommit", True)
        connection = psycopg.connect(gateway.dsn(token or gateway.token(client)), **options)
        if worker_of(connection) == worker:
            return connection
        connection.close()
    raise AssertionError(f"worker {worker} never answered")


def both(gateway: Gateway, client: str = AGENT) -> tuple[psycopg.Connection[Any], ...]:
    return connect(gateway, 0, client), connect(gateway, 1, client)


def process_of(gateway: Gateway, worker: int) -> psutil.Process | None:
    """The worker's process, by the name in its command line."""
    for child in psutil.Process(gateway.pid).children():
        with_name = child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        if with_name and f"worker-{worker}" in child.cmdline():
            return child
    return None


def kill(gateway: Gateway, worker: int) -> None:
    """As an out-of-memory killer does."""
    process = process_of(gateway, worker)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs([process], timeout=PATIENCE)


def serves_again(gateway: Gateway, worker: int, before: int) -> None:
    """Until a worker that died takes clients, in another process."""

    def is_up() -> bool:
        process = process_of(gateway, worker)
        if process is None or process.pid == before:
            return False
        said = [line for line in gateway.output().splitlines() if " listening " in line]
        return sum(f"worker={worker}" in line for line in said) >= 2

    wait_for(is_up)


def rest(gateway: Gateway, method: str, path: str, client: str, **options: Any) -> httpx2.Response:
    url = f"http://{gateway.extra['console']['listen']}"
    headers = {"Authorization": f"Bearer {gateway.token(client)}"}
    return requests.request(method, f"{url}/api/v1{path}", headers=headers, timeout=60, **options)


def metric(gateway: Gateway, name: str) -> float:
    """One sample without labels, as the console gives it."""
    url = f"http://{gateway.extra['console']['listen']}/metrics"
    text = requests.get(url, timeout=60).text
    sample = re.search(rf"^{name} ([0-9.e+]+)$", text, re.MULTILINE)
    assert sample is not None, text[:2000]
    return float(sample[1])


def command(gateway: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    return gateway.run(*words)


def problems(gateway: Gateway) -> list[str]:
    """What ``audit verify`` says is wrong."""
    done = command(gateway, "audit", "verify", "--json")
    assert "Traceback" not in done.stderr, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert results, done.stderr
    return [f"{r.get('session')}: {p}" for r in results for p in r["problems"]]


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    done = command(gateway, "sessions", "list", "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def desk(gateway: Gateway, client: str = "dana-dba") -> Desk:
    return Desk(gateway, client)
