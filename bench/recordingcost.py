"""``chrt -r 1 python -m bench.recordingcost`` (as root): what recording costs a gateway,
against one that throws away what it should record (:mod:`bench.unrecorded`).

Both are measured in turn, at the default durability, with encryption, the signed log and the index
of statements. The goal is at most 10 % of point SELECTs' throughput and 25 % of bulk.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from tests.support.gateway import Gateway

from bench import workloads
from bench.contenders import QUICK_ROWS, ROWS, Contender, contenders

#: Named by the goal that they have to meet: how much slower it may be.
POINT, BULK = 0.10, 0.25
_CLIENTS = 8
_Work = Callable[[Contender], tuple[float, float]]


class _Measured(Gateway):
    """A gateway that another interpreter runs: both are started in the same way."""

    module = "sallyport"

    def command(self, *words: str) -> list[str]:
        _, *arguments = super().command(*words)
        return [sys.executable, "-m", self.module, *arguments]


class _Unrecorded(_Measured):
    """One whose recordings go nowhere."""

    module = "bench.unrecorded"


def print_cost(console: Console, rows: int, rounds: int, seconds: float) -> None:
    """Medians of ``rounds`` rounds; pgbench runs ``seconds`` each."""
    with ExitStack() as stack:
        running = contenders(rows, lambda line: console.print(f"[dim]· {line}[/]"))
        _, shop, _ = stack.enter_context(running)
        ways = []
        for kind in (_Unrecorded, _Measured):
            gateway = kind(shop.issuer, shop.targets, shop.policy, extra=shop.extra).start()
            stack.callback(gateway.stop)
            ways.append(_contender(gateway))
            stack.callback(_check_recorded, gateway, kind is _Measured)
        table = Table("", "nowhere", "recorded", "slower by", "at most", "CPU µs", box=SIMPLE)
        for name, goal, work in _works(rows, seconds):
            console.print(f"[dim]· {name}[/]")
            table.add_row(name, *_cells(ways, rounds, goal, work))
        console.print(table)


def _check_recorded(gateway: Gateway, expected: bool) -> None:
    """RuntimeError when it has recordings and should not, or the other way round."""
    if any((gateway.home / "var").rglob("ses_*.sprec")) != expected:
        raise RuntimeError("the gateways under measurement do not differ by what they record")


def _contender(gateway: Gateway) -> Contender:
    dsn = f"{gateway.dsn().partition('?')[0]}?sslmode=disable"
    return Contender(type(gateway).__name__, dsn, gateway.rss, gateway.processor_time)


def _works(rows: int, seconds: float) -> list[tuple[str, float, _Work]]:
    """Name, goal, and what gives a rate and its CPU time, in microseconds each."""

    def point(mode: str) -> _Work:
        def work(way: Contender) -> tuple[float, float]:
            rate = workloads.point_selects(way, mode, _CLIENTS, seconds, rows)
            return rate.per_second, rate.cpu.total * 1e6

        return work

    def bulk(run: Callable[[Contender, int], workloads.Bulk]) -> _Work:
        def work(way: Contender) -> tuple[float, float]:
            before = way.cpu()
            rate = rows / run(way, rows).seconds
            return rate, way.cpu().since(before).each(rows).total * 1e6

        return work

    return [
        ("point SELECT, simple, 8 clients, per second", POINT, point("simple")),
        ("point SELECT, prepared, 8 clients, per second", POINT, point("prepared")),
        (f"{rows:,} rows x 7, psycopg fetch, rows per second", BULK, bulk(workloads.fetch_all)),
        (f"{rows:,} rows x 7, COPY TO STDOUT, rows per second", BULK, bulk(workloads.copy_all)),
    ]


def _cells(ways: list[Contender], rounds: int, goal: float, work: _Work) -> list[str]:
    samples: dict[str, list[tuple[float, float]]] = {way.name: [] for way in ways}
    for number in range(rounds):
        for way in reversed(ways) if number % 2 else ways:  # neither is always the first
            samples[way.name].append(work(way))
    rates, costs = (
        [statistics.median(sample[figure] for sample in samples[way.name]) for way in ways]
        for figure in range(2)
    )
    nowhere, recorded = rates
    slower = f"{1 - recorded / nowhere:.1%}"
    cpu = " and ".join(f"{cost:.2f}" for cost in costs)
    return [f"{nowhere:,.0f}", f"{recorded:,.0f}", slower, f"{goal:.0%}", cpu]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.recordingcost", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run of pgbench")
    options = parser.parse_args()
    rows = QUICK_ROWS if options.quick else ROWS
    print_cost(Console(highlight=False, width=120), rows, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
