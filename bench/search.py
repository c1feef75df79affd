"""``make bench ARGS=--search``: a million made-up statements, and how long searches of them take.

Prints what a statement costs to write (clock and CPU of the one thread that does it), the size of
the file, and for each kind of search the median, 95th percentile and longest time of 20 runs, and
their CPU time, which a busy machine disturbs less. The last searches are the worst there are: both
sides of an intersection are long and have nothing in common.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sallyport.store.statementindex import IndexedStatement, StatementQuery
from sallyport.store.statementsearch import StatementSearch

_BATCH = 1000
_RUNS = 20
_START = 1_790_000_000.0
_RELATIONS = ("customers", "orders", "products", "payments", "employees")
_COLUMNS = ("id", "email", "name", "ssn", "total", "status")


def print_search(console: Console, count: int) -> None:
    """``count``: statements."""
    with tempfile.TemporaryDirectory() as directory:
        index = StatementSearch(Path(directory), writable=True, maximum=2 * count)
        wall = cpu = 0.0
        for batch in _batches(count):
            began, spent = time.perf_counter(), time.thread_time()
            index.add(batch, "", 0.0)
            wall += time.perf_counter() - began
            cpu += time.thread_time() - spent
        size = sum(path.stat().st_size for path in Path(directory).iterdir())
        console.print(
            f"{count:,} statements: {size / 2**20:,.0f} MiB, {size / count:,.0f} bytes each; "
            f"written in {wall / count * 1e6:.0f} µs each, {cpu / count * 1e6:.0f} µs of CPU"
        )
        reader = StatementSearch(Path(directory))
        table = Table("search", "hits", "median ms", "95 % ms", "longest ms", "CPU ms", box=SIMPLE)
        for name, query in _queries():
            hits = len(reader.search(query))
            spent = time.thread_time()
            times = sorted(milliseconds(partial(reader.search, query)) for _ in range(_RUNS))
            cpu = (time.thread_time() - spent) / _RUNS * 1e3
            figures = (times[_RUNS // 2], times[int(_RUNS * 0.95) - 1], times[-1], cpu)
            table.add_row(name, str(hits), *(f"{figure:.1f}" for figure in figures))
        console.print(table)


def milliseconds(work: Callable[[], object]) -> float:
    """That one run of ``work`` takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def _batches(count: int) -> Iterator[list[IndexedStatement]]:
    random_ = random.Random(7)  # the same statements every time
    words = ["".join(random_.choices("abcdefghijkl", k=6)) for _ in range(5000)]
    for first in range(0, count, _BATCH):
        yield [_statement(random_, words, n) for n in range(first, min(first + _BATCH, count))]


def _statement(random_: random.Random, words: list[str], number: int) -> IndexedStatement:
    relation, columns = random_.choice(_RELATIONS), tuple(random_.sample(_COLUMNS, 3))
    who = f"person-{min(int(random_.expovariate(0.3)), 50)}"
    verdict = random_.choices(("allow", "hold", "deny"), (90, 2, 8))[0]
    return IndexedStatement(
        at=_START + number * 0.5, session=f"ses_{number // 200}", number=number % 200 + 1,
        sql=f"SELECT {', '.join(columns)} FROM {relation} "
            f"WHERE {random_.choice(_COLUMNS)} = {random_.randrange(10**6)} "
            f"AND note LIKE '{random_.choice(words)}%' ORDER BY 1 LIMIT 10",
        subject=who, email=f"{who}@example.com", actors=(),
        agent=random_.choice(("claude", "ci", "cursor")),
        label="x", target=random_.choice(("shop", "crm")), outcome=verdict,
        code="SP1001" if verdict == "deny" else "", rule=f"rule {random_.randrange(20)}",
        relations=(f"public.{relation}",),
        columns=tuple(f"public.{relation}.{name}" for name in columns),
        masked=(f"public.{relation}.email",) if "email" in columns else (),
        sqlstate=random_.choices(("", "42P01"), (99, 1))[0],
        fingerprint=f"{random_.randrange(3000):016x}",
        rows=1, seconds=0.001,
    )  # fmt: skip


def _queries() -> Iterator[tuple[str, StatementQuery]]:
    yield "the latest", StatementQuery()
    yield "refused, one relation", StatementQuery((("verdict", "deny"), ("relation", "customers")))
    yield (
        "one person, target, column",
        StatementQuery((("subject", "person-1"), ("target", "crm"), ("column", "ssn"))),
    )
    yield "one fingerprint", StatementQuery((("fingerprint", f"{7:016x}"),))
    yield "a word in every statement", StatementQuery((), ("select",))
    yield (
        "two words, refused, an agent",
        StatementQuery((("verdict", "deny"), ("agent", "ci")), ("ssn", "total")),
    )
    yield "three words that follow each other", StatementQuery((), ("from customers where email",))
    yield "12*, a person", StatementQuery((("subject", "person-20"),), ("12*",))
    yield "the last page of refusals", StatementQuery((("verdict", "deny"),), until=_START + 1000)
    yield (
        "nothing: two relations at once",
        StatementQuery((("relation", "customers"), ("relation", "orders"))),
    )
    yield (
        "nothing: allowed and refused",
        StatementQuery((("verdict", "allow"), ("verdict", "deny"))),
    )
    yield "nothing: words of all, in a wrong order", StatementQuery((), ("limit select",))
    yield "12*", StatementQuery((), ("12*",))
