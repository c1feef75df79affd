"""``make bench ARGS=--growth``: what large catalogs and policies cost, through a gateway of its
own: starting, a schema change, a name that is not there, first sight, and how long another session
waits meanwhile. Each beside the same done directly, where there is such a thing.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server

from sallyport.demo.issuer import DevIssuer

_COLUMNS = (
    "id int PRIMARY KEY, name text NOT NULL, email text, phone text, created timestamptz DEFAULT"
    " now(), amount numeric(12,2), status text CHECK (status <> ''), owner_id int, note text,"
    " updated timestamptz"
)
_BATCH = 500
_SCHEMAS = 20
#: The buffers are PostgreSQL's default: in fewer, each look at so large a catalog reads its files.
_SETTINGS = {
    "max_locks_per_transaction": "512",
    "max_connections": "60",
    "shared_buffers": "128MB",
}
_POLICY = """version: 1
rules:
  - name: builders build
    subjects: {groups: [claude-postgres]}
    allow: [all]
    relations: ["public.*"]
"""
_MASKS = """masks:
  - {columns: ["*.*.email"], with: email}
  - {columns: ["*.*.phone"], with: redact}
"""

Session = psycopg.Connection[Any]


def print_growth(console: Console, tables: int, rules: int) -> None:
    """Run and print everything, with so many tables and rules."""
    with ExitStack() as stack:
        console.print(f"[dim]· making {tables:,} tables[/]")
        server = _server(tables)
        stack.callback(server.stop)
        issuer = stack.enter_context(DevIssuer(lifetime=3600.0))
        gateway = Gateway(issuer, {"shop": server}, _policy(0)).start()
        stack.callback(gateway.stop)
        empty = gateway.rss()
        began = time.perf_counter()
        agent = stack.enter_context(psycopg.connect(gateway.dsn(), autocommit=True))
        first_login = time.perf_counter() - began
        direct = stack.enter_context(psycopg.connect(server.superuser_dsn, autocommit=True))
        table = Table(box=SIMPLE, pad_edge=False, title=f"{tables:,} tables, {rules:,} rules")
        for name in ("", "direct", "Sallyport"):
            table.add_column(name, justify="left" if not name else "right")
        table.add_row("first login: catalog read, policy bound, s", "", f"{first_login:.2f}")
        table.add_row("memory for it, MiB", "", f"{(gateway.rss() - empty) / 2**20:.0f}")
        for name, work in (
            ("CREATE TABLE and SELECT of it", _create),
            ("a name that is not there", _missing),
        ):
            times = [statistics.median(work(db, n) for n in range(10)) for db in (direct, agent)]
            table.add_row(f"{name}, ms", *(f"{seconds * 1000:.1f}" for seconds in times))
        _print_waits(table, stack, gateway, server, direct, agent, rules)
        console.print(table)


def _print_waits(
    table: Table,
    stack: ExitStack,
    gateway: Gateway,
    server: Server,
    direct: Session,
    agent: Session,
    rules: int,
) -> None:
    """How long other sessions' point queries take at most while something large happens."""
    neighbors = [
        stack.enter_context(psycopg.connect(dsn, autocommit=True))
        for dsn in (server.superuser_dsn, gateway.dsn())
    ]

    def save() -> None:
        gateway.write(_policy(rules))
        version = f"({rules:,} rules)"
        deadline = time.monotonic() + 60
        while gateway.output().count("policy reloaded") < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        if "policy reloaded" not in gateway.output():
            raise RuntimeError(f"the policy was not taken {version}")
        time.sleep(1.0)  # until it is bound

    def create(db: Session) -> Callable[[], None]:
        return lambda: [_create(db, 100 + n) for n in range(5)] and None

    rows = [
        ("nothing", lambda: time.sleep(2.0), lambda: time.sleep(2.0)),
        ("five tables are made", create(direct), create(agent)),
        (f"a policy of {rules:,} rules is saved", None, save),
    ]
    for name, *works in rows:
        cells = []
        for neighbor, work in zip(neighbors, works, strict=True):
            if work is None:
                cells.append("")
                continue
            with beside(neighbor, "SELECT id FROM customers WHERE id = 1") as waits:
                work()
            cells.append(f"{quantile(waits, 0.999) * 1000:.1f} / {max(waits) * 1000:.1f}")
        table.add_row(f"point query beside: {name}, p99.9 / max ms", *cells)
    sights = [_first_sight(agent, n) for n in range(100)]
    table.add_row(
        f"first sight of a point query, {rules:,} rules, ms",
        "",
        f"{statistics.median(sights) * 1000:.2f}",
    )


def _server(tables: int) -> Server:
    server = start_server(settings=_SETTINGS)
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        for schema in range(_SCHEMAS):
            db.execute(
                (
                    f"CREATE SCHEMA app{schema};"
                    f" GRANT USAGE ON SCHEMA app{schema} TO sallyport_agent"
                ).encode()
            )
        db.execute("GRANT CREATE ON SCHEMA public TO sallyport_agent")
        for first in range(0, tables, _BATCH):
            with db.transaction():
                for n in range(first, min(first + _BATCH, tables)):
                    db.execute(f"CREATE TABLE app{n % _SCHEMAS}.table_{n} ({_COLUMNS})".encode())
    return server


def _policy(rules: int) -> str:
    """So many rules over names of every form."""
    forms = ("app{s}.table_{n}", "app{s}.table_{n}*", "app{s}.*", "*.table_{n}", "app{s}.*_{n}")
    lines = [
        f"  - name: rule {n}\n    subjects: {{groups: [g{n % 10}, claude-postgres]}}\n"
        f"    {'deny: [delete]' if n % 7 == 0 else 'allow: [read]'}\n"
        f'    relations: ["{forms[n % 5].format(s=n % _SCHEMAS, n=n)}"]\n'
        for n in range(rules)
    ]
    return _POLICY + "".join(lines) + _MASKS


@contextmanager
def beside(db: Session, sql: str) -> Iterator[list[float]]:
    """The same query again and again on a session, and how long each took (seconds)."""
    waits: list[float] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            db.execute(sql.encode())
            waits.append(time.perf_counter() - began)
            stop.wait(0.001)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        stop.set()
        thread.join()


def quantile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _create(db: Session, number: int) -> float:
    began = time.perf_counter()
    db.execute(f"CREATE TABLE made_{number} (id int PRIMARY KEY, note text)".encode())
    db.execute(f"SELECT id, note FROM made_{number}".encode())
    taken = time.perf_counter() - began
    db.execute(f"DROP TABLE made_{number}".encode())
    return taken


def _missing(db: Session, number: int) -> float:
    began = time.perf_counter()
    try:
        db.execute(f"SELECT id FROM no_such_table_{number}".encode())
    except psycopg.Error:
        return time.perf_counter() - began
    raise RuntimeError("a table that does not exist was read")


def _first_sight(db: Session, number: int) -> float:
    began = time.perf_counter()
    db.execute(f"SELECT id AS first_{number} FROM customers WHERE id = 1".encode())
    return time.perf_counter() - began
