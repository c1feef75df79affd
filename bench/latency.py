"""``make bench ARGS=--latency``: how long one session's point queries take at most while something
large happens beside it, directly, through PgBouncer and through Sallyport. What a schema change and
a large policy do is in ``--growth``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.contenders import QUICK_ROWS, Contender, contenders
from bench.growth import beside, quantile

#: Logins at once.
_THREADS = 8
_LARGE = 1_000_000

Work = Callable[[Contender], None]


def print_latency(console: Console, logins: int) -> None:
    """Run and print everything; so many logins arrive in the largest burst."""
    rows: list[tuple[str, Work]] = [
        ("nothing", lambda way: time.sleep(3.0)),
        ("200 logins", lambda way: log_in(way, 200)),
        (f"{logins:,} logins", lambda way: log_in(way, logins)),
        ("texts of one megabyte, each a new one", judge_large),
    ]
    table = Table(box=SIMPLE, pad_edge=False, title="a point query beside, p50 / p99.9 / max ms")
    table.add_column("")
    with contenders(QUICK_ROWS, lambda line: console.print(f"[dim]· {line}[/]")) as (_, _, ways):
        for way in ways:
            table.add_column(way.name, justify="right")
        for name, work in rows:
            console.print(f"[dim]· {name}[/]")
            table.add_row(name, *(_waits(way, work) for way in ways))
    console.print(table)


def _waits(way: Contender, work: Work) -> str:
    with psycopg.connect(way.dsn, autocommit=True) as db:
        with beside(db, "SELECT id FROM people WHERE id = 1") as waits:
            work(way)
        shown = (quantile(waits, 0.5), quantile(waits, 0.999), max(waits))
    return " / ".join(f"{seconds * 1000:.1f}" for seconds in shown)


def log_in(way: Contender, count: int) -> None:
    """So many sessions arrive, run one statement and leave."""

    def visit(_: int) -> None:
        with psycopg.connect(way.dsn, autocommit=True) as db:
            db.execute("SELECT 1")

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(visit, range(count)))


def judge_large(way: Contender) -> None:
    """Five statements of a megabyte that nobody has seen."""
    with psycopg.connect(way.dsn, autocommit=True) as db:
        for number in range(5):
            numbers = ",".join(str(n % 100_000) for n in range(_LARGE // 6))
            db.execute(f"SELECT {number}, count(*) FROM people WHERE id IN ({numbers})".encode())
