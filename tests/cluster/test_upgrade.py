"""A rolling upgrade: two gateways of the version before the newest migration, one after the other
replaced by this one, with clients that go on.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from sallyport.store.database import HEAD
from tests.cluster.conftest import members_of_store
from tests.cluster.test_across import ROLES, has_console
from tests.cluster.test_members import listed
from tests.support.approvals import POLICY, Desk, Waiter, count
from tests.support.gateway import Gateway
from tests.support.places import scratch_dir
from tests.support.postgres import SUPERUSER_PASSWORD, Server
from tests.support.waiting import PATIENCE, wait_for

REPOSITORY = Path(__file__).parents[2]
MIGRATIONS = "src/sallyport/store/migrations/versions"
pytestmark = pytest.mark.timeout(600)  # several processes start slowly beside load


def git(*words: str) -> bytes:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True)
    return done.stdout if done.returncode == 0 else b""


@pytest.fixture(scope="module")
def earlier() -> Path:
    """The sources as they were before the newest migration."""
    added = git("log", "--diff-filter=A", "--format=%H", "--", f"{MIGRATIONS}/{HEAD}_*.py").split()
    commit = f"{added[-1].decode()}^" if added else "HEAD"
    archive = git("archive", "--format=tar", commit, "src")
    if not archive:
        pytest.skip("needs the repository's history")
    place = scratch_dir("earlier")
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
    assert not list((place / MIGRATIONS).glob(f"{HEAD}_*.py"))
    return place / "src"


class Upgraded(Gateway):
    """Of the earlier version until :attr:`sources` is taken away."""

    sources: Path | None = None

    def command(self, *words: str) -> list[str]:
        command = super().command(*words)
        return (
            command if self.sources is None else [sys.executable, "-m", "sallyport", *command[1:]]
        )

    def _environment(self) -> dict[str, str]:
        environment = super()._environment()
        return (
            environment
            if self.sources is None
            else {**environment, "PYTHONPATH": str(self.sources)}
        )


class Client(threading.Thread):
    """Reads and writes through its gateway, and connects again when its session was drained."""

    def __init__(self, gateway: Gateway, first: int) -> None:
        super().__init__(daemon=True)
        self.gateway, self.over = gateway, threading.Event()
        self.first = self.next = first  # the number that it writes
        self.written, self.faults, self.drained = set[int](), list[str](), 0

    def run(self) -> None:
        while not self.over.is_set():
            try:
                connection = psycopg.connect(self.gateway.dsn(), autocommit=True)
            except psycopg.OperationalError:
                self.over.wait(0.1)  # it starts again
                continue
            with connection:
                try:
                    while not self.over.is_set():
                        self.work(connection)
                except psycopg.Error as error:
                    self.drained += 1
                    # libpq makes a notice of last words that it reads while it is idle, and has
                    # only the end of the connection for the statement it sends then.
                    if "SP1803" not in str(error) and "server closed" not in str(error):
                        self.faults.append(str(error))

    def work(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        """Two statements in a transaction, two alone."""
        self.next += 1
        with connection.transaction():
            connection.execute("SELECT email FROM customers LIMIT 1")
            connection.execute("INSERT INTO free (id) VALUES (%s)", [self.next])
        self.written.add(self.next)
        connection.execute("SELECT email FROM customers LIMIT 1")

    def missing(self, server: Server) -> tuple[set[int], set[int]]:
        """What it was told is written and is not there; what is there and nobody was told."""
        with psycopg.connect(server.superuser_dsn) as db:
            rows = db.execute(
                "SELECT id FROM free WHERE id BETWEEN %s AND %s", [self.first, self.next]
            ).fetchall()
        there = {int(row[0]) for row in rows}
        return self.written - there, there - self.written


def test_one_gateway_after_the_other(
    earlier: Path, issuer: DevIssuer, postgres: Server, store_server: Server
) -> None:
    with members_of_store(issuer, postgres, store_server, empty=True) as make:

        def member() -> Upgraded:
            console = {"listen": f"127.0.0.1:{free_port()}", "roles": ROLES}
            made = make(extra={"console": console}, policy=POLICY, start=False, kind=Upgraded)
            made.sources = earlier
            made.start()
            wait_for(lambda: has_console(made), PATIENCE)
            return made

        first, second = member(), member()
        assert revision(first) == f"{int(HEAD) - 1:04}"
        clients = [Client(first, 10**6), Client(second, 2 * 10**6)]
        for client in clients:
            client.start()
        try:
            goes_on(clients)
            with Waiter(first) as held:
                held.run("DELETE FROM waits WHERE id = 101")
                request = held.id
                upgrade(second)
                assert revision(first) == HEAD
                # Both versions side by side: what one asks the other decides, each way.
                Desk(second).approve(request)
                assert held.end(PATIENCE).result == "DELETE 1", held.error
                with Waiter(second) as newer:
                    newer.run("DELETE FROM waits WHERE id = 102")
                    Desk(first).approve(newer.id)
                    assert newer.end(PATIENCE).result == "DELETE 1", newer.error
                psycopg.connect(first.dsn()).close()
            goes_on(clients)
            upgrade(first)
            goes_on(clients)
        finally:
            for client in clients:
                client.over.set()
            for client in clients:
                client.join(PATIENCE)
        for client in clients:
            assert client.faults == [] and client.drained > 0
            assert client.missing(postgres) == (set(), set())
        assert count(postgres, "waits", "id IN (101, 102)") == 0
        wait_for(lambda: {row["status"] for row in listed(first)} == {"ended"}, PATIENCE)


def upgrade(gateway: Upgraded) -> None:
    gateway.sources = None
    gateway.restart()
    wait_for(lambda: has_console(gateway), PATIENCE)


def goes_on(clients: list[Client]) -> None:
    for client in clients:
        before = client.next
        wait_for(lambda c=client, b=before: c.next > b + 5, PATIENCE)  # type: ignore[misc]


def revision(gateway: Gateway) -> str:
    """The schema of its store."""
    store = gateway.extra["store"]
    with psycopg.connect(
        host=store["host"],
        port=store["port"],
        dbname=store["database"],
        user=store["user"],
        password=SUPERUSER_PASSWORD,
    ) as db:
        row = db.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""
