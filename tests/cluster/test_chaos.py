"""Two gateways of two workers each while their processes are killed and their store is cut off.

Clients write down what they were told; in the end their history is compared with the database:

- a write that was acknowledged is there, one that was refused is not, and none is there twice;
- an approval that was acknowledged is in the store, and what it approves has run at most once;
- nobody read a value that policy masks.

Each blow falls when the clients have been answered some more times, so that nothing depends on how
fast the machine is. ``CHAOS_BLOWS=200`` is the long form. Behind HAProxy where it is installed.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import httpx2
import psutil
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from sallyport.demo.process import Program
from tests.cluster.conftest import members_of_store
from tests.cluster.test_across import ROLES, Pair, is_up
from tests.cluster.test_haproxy import configuration
from tests.support.approvals import POLICY
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import PATIENCE, wait_for
from tests.workers.crew import problems, process_of

BLOWS = int(os.environ.get("CHAOS_BLOWS", "6"))
#: Answers of all clients that write or ask between two blows.
BETWEEN = 20
#: Writes of one session.
SESSION = 15
HAS_BALANCER = shutil.which("haproxy") is not None
pytestmark = pytest.mark.timeout(900 + 60 * BLOWS)

ASKED = """
  - name: rows of tickets are approved first
    subjects: {groups: [claude-postgres]}
    hold: [insert]
    relations: ["public.tickets"]
    reviewers: {groups: [dba]}
    mode: async
    expires: 1h
tags: {pii.email: ["public.customers.email"]}
masks:
  - {tags: [pii.email], with: redact}
"""


@dataclass
class History:
    """What clients were told. ``written``: by number, ``ok``, ``refused`` or ``unknown``."""

    written: dict[int, str] = field(default_factory=dict)
    approved: dict[int, str] = field(default_factory=dict)  # the approval of each ticket
    runs: Counter[int] = field(default_factory=Counter)  # of each ticket, as told
    unmasked: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    answers: int = 0
    reads: int = 0

    def answered(self) -> None:
        self.answers += 1


@dataclass
class Town:
    """The gateways, how to reach them, and what happens."""

    members: Pair
    store: Server
    ports: list[int]
    history: History = field(default_factory=History)
    over: threading.Event = field(default_factory=threading.Event)

    def dsn(self) -> str:
        port = random.choice(self.ports)
        first = self.members[0]
        return first.dsn().replace(f"127.0.0.1:{first.port}", f"127.0.0.1:{port}")


@pytest.fixture(scope="module")
def postgres(postgres: Server) -> Server:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        for table in ("ledger", "tickets"):
            db.execute(f"CREATE TABLE public.{table} (id int)")  # type: ignore[arg-type]
            db.execute(f"GRANT ALL ON public.{table} TO sallyport_agent")  # type: ignore[arg-type]
    return postgres


@pytest.fixture
def town(
    issuer: DevIssuer, postgres: Server, store_server: Server, tmp_path: Path
) -> Iterator[Town]:
    with ExitStack() as stack:
        make = stack.enter_context(members_of_store(issuer, postgres, store_server))

        def member() -> Gateway:
            console = {"listen": f"127.0.0.1:{free_port()}", "roles": ROLES}
            extra = {
                "workers": 2,
                "console": console,
                **({"proxy_protocol": ["127.0.0.1/32"]} if HAS_BALANCER else {}),
                "limits": {"failed_logins_per_minute": 100_000},
            }
            return make(extra=extra, policy=POLICY + ASKED, grace=3600.0)

        members = (member(), member())
        for each in members:
            is_up(each)
        ports = [each.port for each in members]
        if HAS_BALANCER:
            ports = [stack.enter_context(balanced(members, tmp_path))]
        yield Town(members, store_server, ports)


@contextmanager
def balanced(members: Pair, directory: Path) -> Iterator[int]:
    port = free_port()
    file = directory / "haproxy.cfg"
    file.write_text(configuration(port, members))
    program = Program(["haproxy", "-db", "-f", str(file)], directory / "haproxy.log", {})
    try:
        program.wait_listening(port)
        yield port
    finally:
        program.stop()


# -- clients ---------------------------------------------------------------------------------------


def write(town: Town, first: int) -> None:
    """Write one number after the other, each once, some in a session."""
    numbers = iter(range(first, first + 1_000_000))
    while not town.over.is_set():
        with connected(town) as connection:
            for number in islice(numbers, SESSION):
                told = outcome(
                    lambda c=connection, n=number: c.execute("INSERT INTO ledger VALUES (%s)", [n])
                )
                town.history.written[number] = told
                town.history.answered()
                if told == "unknown" or town.over.is_set():
                    break


def outcome(run: Callable[[], object]) -> str:
    """``ok``, ``refused`` (nothing ran), ``unknown`` (the connection broke)."""
    try:
        run()
    except psycopg.OperationalError:
        return "unknown"
    except psycopg.Error as error:
        return "refused" if "[SP" in str(error) else f"error {error}"
    return "ok"


@contextmanager
def connected(town: Town) -> Iterator[psycopg.Connection[object]]:
    """A new session, as soon as somebody gives one; the last one may be closed when it is over."""
    while True:
        try:
            connection = psycopg.connect(town.dsn(), autocommit=True, connect_timeout=20)
            break
        except psycopg.OperationalError:
            if town.over.wait(0.2):
                raise SystemExit from None  # this thread
    try:
        yield connection
    finally:
        connection.close()


def ask(town: Town, first: int) -> None:
    """Have tickets approved, run each, and try to run it once more."""
    for number in range(first, first + 1_000_000):
        if town.over.is_set():
            return
        sql = f"INSERT INTO tickets VALUES ({number})"
        request = asked(town, sql)
        if request is None or not approve(town, request):
            continue
        town.history.approved[number] = request
        for _ in range(2):
            with connected(town) as connection:
                try:
                    connection.execute(sql)
                    town.history.runs[number] += 1
                except psycopg.Error as error:
                    broken = isinstance(error, psycopg.OperationalError)
                    if broken or "SP1801" in str(error) or "SP1807" in str(error):
                        continue  # nothing is known, or nothing ran
                    if town.history.runs[number] == 0 and "apr_" not in str(error):
                        town.history.faults.append(f"ticket {number}: {error}")
        town.history.answered()


def asked(town: Town, sql: str) -> str | None:
    """The id of its approval."""
    with connected(town) as connection:
        try:
            connection.execute(sql)
        except psycopg.Error as error:
            id_ = re.search(r"apr_\w+", str(error))
            return id_[0] if id_ is not None else None
    town.history.faults.append(f"it ran without an approval: {sql}")
    return None


def approve(town: Town, request: str) -> bool:
    """Whether the approval was acknowledged by one of the consoles."""
    for member in town.members:
        url = f"http://{member.extra['console']['listen']}/api/v1/approvals/{request}/decision"
        headers = {"Authorization": f"Bearer {member.token('dana-dba')}"}
        body = {"approve": True, "reason": "ticket"}
        with suppress(httpx2.HTTPError):
            answer = httpx2.post(url, headers=headers, json=body, timeout=20, trust_env=False)
            if answer.status_code == 200:
                return True
    return False


def read(town: Town, first: int) -> None:
    """Read what is masked, in a session for as long as it lives."""
    while not town.over.is_set():
        with connected(town) as connection:
            try:
                while not town.over.is_set():
                    rows = connection.execute("SELECT email FROM customers LIMIT 20").fetchall()
                    town.history.unmasked += [str(row) for row in rows if "@" in str(row)]
                    town.history.reads += len(rows)
            except psycopg.Error:
                continue


# -- blows -----------------------------------------------------------------------------------------


def kill_worker(town: Town, chance: random.Random) -> None:
    process = process_of(chance.choice(town.members), chance.choice((0, 1)))
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def hang_worker(town: Town, chance: random.Random) -> None:
    """Its event loop stands still until the supervisor kills it."""
    process = process_of(chance.choice(town.members), chance.choice((0, 1)))
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            process.wait(3 * PATIENCE)


def kill_gateway(town: Town, chance: random.Random) -> None:
    """The supervisor; its workers end by themselves, and it starts again."""
    member = chance.choice(town.members)
    member.kill()
    member.start()


def kill_store(town: Town, chance: random.Random) -> None:
    cluster = town.store.cluster
    backends = psutil.Process(cluster.pid).children()
    os.kill(cluster.pid, signal.SIGKILL)
    psutil.wait_procs(backends, timeout=PATIENCE)  # they end by themselves, and have its memory
    town.store.restart()


def silence_store(town: Town, chance: random.Random) -> None:
    """It does not answer until a gateway has noticed, as behind a broken network."""
    postmaster = psutil.Process(town.store.cluster.pid)
    processes = [postmaster, *postmaster.children()]
    before = [member.output().count("the store cannot be reached") for member in town.members]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        wait_for(
            lambda: any(
                member.output().count("the store cannot be reached") > number
                for member, number in zip(town.members, before, strict=True)
            ),
            PATIENCE,
        )
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def refuse_store(town: Town, chance: random.Random) -> None:
    """Every connection of a gateway to the store is cut."""
    with psycopg.connect(town.store.superuser_dsn, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'sallyport%'"
        )


KINDS = (kill_worker, hang_worker, kill_gateway, kill_store, silence_store, refuse_store)


# -- the test --------------------------------------------------------------------------------------


def test_nothing_acknowledged_is_lost_or_run_twice(town: Town, postgres: Server) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"CHAOS_SEED={seed}")
    chance, history = random.Random(seed), town.history
    clients = [
        threading.Thread(target=target, args=(town, first), daemon=True)
        for target, first in (
            (write, 1),
            (write, 10**7),
            (write, 2 * 10**7),
            (ask, 1),
            (ask, 10**7),
            (read, 0),
        )
    ]
    for client in clients:
        client.start()
    try:
        kinds = [KINDS[number % len(KINDS)] for number in range(BLOWS)]
        chance.shuffle(kinds)
        for kind in kinds:
            advance(town, BETWEEN)
            print(f"{time.strftime('%X')} {kind.__name__}")
            kind(town, chance)
        advance(town, BETWEEN)  # everybody serves again
    finally:
        town.over.set()
        for client in clients:
            client.join(PATIENCE)
    assert not any(client.is_alive() for client in clients)
    compare(history, rows_of(postgres, "ledger"), rows_of(postgres, "tickets"))
    compare_store(history, town.store)
    for member in town.members:
        wait_for(lambda m=member: problems(m) == [], PATIENCE)
    told = Counter(history.written.values())
    print(f"{told}, {len(history.approved)} approved, {history.runs.total()} of them ran,")
    print(f"{history.reads} rows read")


def advance(town: Town, answers: int) -> None:
    """Until clients were answered so many times more."""
    before = town.history.answers
    wait_for(lambda: town.history.answers >= before + answers, 3 * PATIENCE)


def rows_of(server: Server, table: str) -> Counter[int]:
    with psycopg.connect(server.superuser_dsn) as db:
        rows = db.execute(f"SELECT id FROM {table}")  # type: ignore[arg-type]
        return Counter(row[0] for row in rows)


def compare(history: History, ledger: Counter[int], tickets: Counter[int]) -> None:
    """The histories of clients with what the database has."""
    assert history.unmasked == [] and history.faults == []
    bounds = {"ok": (1, 1), "refused": (0, 0), "unknown": (0, 1)}
    assert history.written.keys() >= ledger.keys()
    for number, told in history.written.items():
        least, most = bounds[told]
        assert least <= ledger[number] <= most, (number, told, ledger[number])
    assert Counter(history.written.values())["ok"] > 0
    assert history.approved.keys() >= tickets.keys()
    for number, times in tickets.items():
        assert times == 1, f"ticket {number} ran {times} times"
    for number, runs in history.runs.items():
        assert runs == tickets[number], (number, runs)
    assert history.runs.total() > 0 and history.reads > 0


def compare_store(history: History, store: Server) -> None:
    """Every approval that was acknowledged is in the store, with its decision."""
    with psycopg.connect(store.superuser_dsn) as db:
        databases = db.execute(
            "SELECT datname FROM pg_database WHERE datname ~ '^store_[0-9]+_[0-9]+$'"
        ).fetchall()
    stored: dict[str, str] = {}
    for (name,) in databases:
        dsn = store.superuser_dsn.rpartition("/")[0] + f"/{name}"
        with psycopg.connect(dsn) as db:
            query = (
                "SELECT id, status FROM approvals WHERE id IN"
                " (SELECT approval FROM approval_decisions WHERE approve)"
            )
            stored |= dict(db.execute(query).fetchall())
    lost = [id_ for id_ in history.approved.values() if id_ not in stored]
    assert not lost, lost
