"""Three gateways of two workers with one store, behind a balancer: what sessions and statements
cost, how long it takes until all serve again, and a model of capacity fitted to that.

The balancer is HAProxy where it is installed, else a small relay of ours, and named as such. All
stand on this machine: what a figure says of one part is its CPU time, its bytes and its calls, not
what it could do alone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

import psutil
import psycopg
from rich.console import Console
from tests.cluster.conftest import members_of_store
from tests.cluster.test_across import is_up
from tests.cluster.test_haproxy import configuration
from tests.support.gateway import Gateway
from tests.support.places import scratch_dir
from tests.support.postgres import Server, start_server

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from sallyport.demo.process import Program

GATEWAYS, WORKERS = 3, 2
LIMITS = {"limits": {"max_sessions_per_subject": 5000}}
#: Seconds after a blow for which its end is awaited.
LONGEST = 180.0
SQL = "SELECT id, email FROM customers WHERE id = %s"


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one moment: CPU seconds and resident bytes of gateways; of the store CPU seconds, commits,
    bytes of WAL, bytes of its database; bytes of recordings.
    """

    gateway_cpu: float
    memory: float
    store_cpu: float
    commits: float
    wal: float
    stored: float
    recorded: float

    def since(self, before: Reading) -> Reading:
        """The differences."""
        return Reading(*(getattr(self, n) - getattr(before, n) for n in _NAMES))


_NAMES = tuple(field.name for field in fields(Reading))


class Cluster:
    """The parts, and how to read them."""

    def __init__(self, members: Sequence[Gateway], store: Server, target: Server) -> None:
        self.members, self.store, self.target = members, store, target

    def read(self) -> Reading:
        processes = [p for m in self.members for p in _family(m.pid)]
        cpu = sum(_cpu(p, 2) for p in processes)
        memory = float(sum(p.memory_info().rss for p in processes))
        with psycopg.connect(self.store.superuser_dsn, autocommit=True) as db:
            query = (
                "SELECT sum(xact_commit), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'),"
                " sum(pg_database_size(datname)) FROM pg_stat_database WHERE datname LIKE 'store_%'"
            )
            commits, wal, stored = map(float, db.execute(query).fetchone() or (0, 0, 0))
        store = [*_family(self.store.cluster.pid)]
        store_cpu = sum(_cpu(p, 4) for p in store)  # with backends that have ended
        recorded = float(sum(_bytes(member) for member in self.members))
        return Reading(cpu, memory, store_cpu, commits, wal, stored, recorded)

    def store_connections(self) -> int:
        with psycopg.connect(self.store.superuser_dsn, autocommit=True) as db:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'store_%'"
            return int((db.execute(query).fetchone() or (0,))[0])


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _cpu(process: psutil.Process, numbers: int) -> float:
    """Seconds: user and system, then those of children that have ended. None of one that ends."""
    try:
        return float(sum(process.cpu_times()[:numbers]))
    except psutil.NoSuchProcess:
        return 0.0


def _bytes(member: Gateway) -> int:
    files = (member.home / "var").rglob("*")
    return sum(f.stat().st_size for f in files if f.is_file() and "recordings" in f.parts)


@contextmanager
def balanced(members: Sequence[Gateway]) -> Iterator[tuple[int, str]]:
    """A port before all members, and the name of what balances."""
    port = free_port()
    if shutil.which("haproxy") is None:
        relay = Relay(port, [member.port for member in members])
        yield port, "a small relay of the bench (HAProxy is not installed)"
        relay.close()
        return
    directory = scratch_dir("haproxy")
    file = directory / "haproxy.cfg"
    file.write_text(configuration(port, members).replace(" send-proxy-v2", ""))
    program = Program(["haproxy", "-db", "-f", str(file)], directory / "haproxy.log", {})
    try:
        program.wait_listening(port)
        yield port, "HAProxy"
    finally:
        program.stop()


class Relay:
    """Gives connections to the ports in turn, and to the next one where nobody listens."""

    def __init__(self, port: int, ports: Sequence[int]) -> None:
        self._ports, self._next = tuple(ports), 0
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(port,), daemon=True)
        self._thread.start()
        self._listening.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self, port: int) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._pass, "127.0.0.1", port))
        self._listening.set()
        self._loop.run_forever()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self._ports:
            self._next = (self._next + 1) % len(self._ports)
            try:
                there = await asyncio.open_connection("127.0.0.1", self._ports[self._next])
            except OSError:
                continue
            await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
            return
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@contextmanager
def running() -> Iterator[tuple[Cluster, str, str]]:
    """The cluster, the DSN through the balancer, and the balancer's name."""
    with ExitStack() as stack:
        issuer = stack.enter_context(DevIssuer())
        target = start_server(settings={"max_connections": "1100"})
        stack.callback(target.stop)
        store = start_server(settings={"max_connections": "200", "synchronous_commit": "on"})
        stack.callback(store.stop)
        make = stack.enter_context(members_of_store(issuer, target, store))
        members = []
        for _ in range(GATEWAYS):
            console = {"listen": f"127.0.0.1:{free_port()}", "roles": {}}
            members.append(
                make(grace=3600.0, extra={**LIMITS, "workers": WORKERS, "console": console})
            )
            is_up(members[-1])
        port, name = stack.enter_context(balanced(members))
        first = members[0]
        dsn = first.dsn().replace(f"127.0.0.1:{first.port}", f"127.0.0.1:{port}")
        yield Cluster(members, store, target), dsn, name


def print_cluster(console: Console, sessions: int, statements: int) -> None:
    """``sessions``: at once. ``statements``: of each."""
    with running() as (cluster, dsn, balancer):
        processors = os.cpu_count() or 1
        console.print(f"{GATEWAYS} gateways of {WORKERS} workers behind {balancer};"
                      f" {processors} processors for all of it")  # fmt: skip
        psycopg.connect(dsn).close()
        idle = _rest(cluster, 20.0)
        before = cluster.read()
        open_: list[psycopg.Connection[Any]] = []
        began = time.perf_counter()
        for _ in range(sessions):
            open_.append(psycopg.connect(dsn, autocommit=True))
        took = time.perf_counter() - began
        logged_in = cluster.read()
        began = time.perf_counter()
        for number in range(statements):
            for session in open_:
                session.execute(SQL, (number % 100 + 1,)).fetchall()
        seconds = time.perf_counter() - began
        connections = cluster.store_connections()
        for session in open_:
            session.close()
        _rest(cluster, 3.0)  # what is queued is written
        _print_costs(console, idle, logged_in.since(before), cluster.read().since(logged_in),
                     sessions, sessions * statements, (took, seconds), connections)  # fmt: skip
        for what, seconds, problem in recoveries(cluster):
            console.print(
                f"recovery, {what}: not after {seconds:.0f} s: {problem}"
                if problem
                else f"recovery, {what}: {seconds:.1f} s until every gateway logs in"
            )


def _rest(cluster: Cluster, seconds: float) -> Reading:
    """What nobody's work costs, per second."""
    before, began = cluster.read(), time.perf_counter()
    threading.Event().wait(seconds)
    spent, took = cluster.read().since(before), time.perf_counter() - began
    return Reading(**{name: getattr(spent, name) / took for name in _NAMES})


def _print_costs(
    console: Console, idle: Reading, logins: Reading, run: Reading, sessions: int, count: int,
    took: tuple[float, float], connections: int,
) -> None:  # fmt: skip
    """Figures, and the model's constants from them."""
    processes = GATEWAYS * WORKERS
    rate = count / took[1]
    per = {name: getattr(run, name) / count for name in _NAMES}
    gateway, store = per["gateway_cpu"], per["store_cpu"]
    lines = {
        "idle: gateway CPU per process": f"{idle.gateway_cpu / processes * 1000:.1f} ms/s",
        "idle: store CPU per process": f"{idle.store_cpu / processes * 1000:.1f} ms/s",
        "idle: store commits per process": f"{idle.commits / processes:.1f} /s",
        "login: time, one after the other": f"{took[0] / sessions * 1000:.0f} ms",
        "login: gateway CPU": f"{logins.gateway_cpu / sessions * 1000:.1f} ms",
        "login: store WAL": f"{logins.wal / sessions / 1024:.1f} KiB",
        "session: gateway memory": f"{logins.memory / sessions / 1024:.0f} KiB",
        "store connections in use": f"{connections} of at most {17 * processes}",
        "statements, one at a time": f"{rate:.0f} /s",
        "statement: gateway CPU": f"{gateway * 1e6:.0f} us",
        "statement: store CPU": f"{store * 1e6:.0f} us",
        "statement: store WAL": f"{per['wal']:.0f} bytes",
        "a million statements: store": f"{per['stored'] * 1e6 / (1 << 20):.0f} MiB",
        "a million statements: recordings": f"{per['recorded'] * 1e6 / (1 << 20):.0f} MiB",
        "limit of one processor: gateway": f"{1 / gateway:.0f} statements/s",
        "limit of one processor: store": (
            f"{1 / store:.0f} statements/s ({gateway and store / gateway:.2f} processors of the"
            " store for each of gateways)"
        ),
    }
    for name, value in lines.items():
        console.print(f"{name}: {value}")


def recoveries(cluster: Cluster) -> Iterator[tuple[str, float, str]]:
    """Seconds from each blow until every gateway logs in again, at most about :data:`LONGEST`; and
    which does not by then, with its last word, "" when all do.
    """
    member, store = cluster.members[0], cluster.store

    def worker() -> None:
        children = psutil.Process(member.pid).children()
        (victim,) = [p for p in children if "worker-1" in p.cmdline()]
        victim.kill()
        victim.wait(30)

    def gateway() -> None:
        workers = psutil.Process(member.pid).children()
        os.kill(member.pid, signal.SIGKILL)
        psutil.wait_procs(workers, timeout=60)
        member.start()

    def link() -> None:
        with psycopg.connect(store.superuser_dsn, autocommit=True) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'sallyport%'"
            )

    def crash() -> None:
        backends = psutil.Process(store.cluster.pid).children()
        os.kill(store.cluster.pid, signal.SIGKILL)
        psutil.wait_procs(backends, timeout=60)  # they end by themselves, and have its memory
        store.restart()

    blows: tuple[tuple[str, Callable[[], None]], ...] = (
        ("a worker is killed", worker),
        ("a gateway is killed and started again", gateway),
        ("every connection to the store is cut", link),
        ("the store is killed and started again", crash),
    )
    for what, blow in blows:
        began = time.perf_counter()
        blow()
        problem = _until_all_serve(cluster, began + LONGEST)
        yield what, time.perf_counter() - began, problem


def _until_all_serve(cluster: Cluster, ends: float) -> str:
    """What is wrong at ``ends``, "" when every gateway serves before."""
    while True:
        problems = [
            f"gateway {number}: {problem}"
            for number, member in enumerate(cluster.members, 1)
            if (problem := _problem(member))
        ]
        if not problems or time.perf_counter() > ends:
            return "; ".join(problems)
        threading.Event().wait(0.05)


def _problem(member: Gateway) -> str:
    """Why one of its workers does not serve, "" when all do: the kernel spreads connections."""
    try:
        with socket.create_connection(("127.0.0.1", member.port), 5.0):
            pass
        for _ in range(2 * WORKERS):
            psycopg.connect(member.dsn(), connect_timeout=20).close()
    except (OSError, psycopg.OperationalError) as error:
        return str(error).strip()
    return ""
