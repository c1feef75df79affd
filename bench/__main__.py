"""``python -m bench [--quick]``: runs every workload through every contender, in turn, and prints
medians and ratios.

Rounds are interleaved, so that a machine that gets slower in between treats all alike. The numbers
go to .cache/bench/ as JSON. Absolute numbers mean little on a shared machine: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from tests.support.gateway import Gateway
from tests.support.places import CACHE

from bench import (
    cluster,
    drivers,
    durability,
    growth,
    injection,
    judging,
    latency,
    logins,
    rewritten,
    search,
    volume,
    watching,
    workloads,
)
from bench.contenders import QUICK_ROWS, ROWS, Contender, contenders

Run = Callable[[Contender], dict[str, float]]


def main() -> int:
    options = _options()
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=120)
    if options.realtime:
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            sys.exit("error: --realtime needs root (CAP_SYS_NICE): sudo make bench ARGS=--realtime")
    if options.part == "watch":
        size = (20, 3) if options.quick else (100, 12)
        watching.print_watching(console, *size, held_out=options.held_out)
        return 0
    if options.part == "cluster":
        cluster.print_cluster(console, *((20, 50) if options.quick else (options.sessions, 100)))
        return 0
    if options.growth:
        growth.print_growth(console, *((1000, 100) if options.quick else (10_000, 1000)))
        return 0
    if options.durability:
        return 0 if _durability(options, console) else 1
    if options.latency:
        latency.print_latency(console, 200 if options.quick else 1000)
        return 0
    if options.logins:
        logins.print_logins(console, 40 if options.quick else 200)
        return 0
    if options.part == "volume":
        count = options.statements or (50_000 if options.quick else 1_000_000)
        volume.print_volume(console, count, options.soak)
        return 0
    if options.search:
        search.print_search(console, 100_000 if options.quick else 1_000_000)
        return 0
    if options.injection:
        return 0 if injection.print_injection(console) else 1
    rows = QUICK_ROWS if options.quick else ROWS
    sessions = 200 if options.quick else 1000
    with contenders(rows, lambda line: console.print(f"[dim]· {line}[/]")) as (
        server,
        gateway,
        ways,
    ):
        results: dict[str, dict[str, float]] = {}
        for name, rounds, run in _workloads(options, rows, sessions):
            console.print(f"[dim]· {name}[/]")
            for figure, values in _measure(ways, rounds, run).items():
                results[f"{name}, {figure}" if figure else name] = values
        by_hand = _rewritten(options, gateway, rows, console)
        for name, value in judging.figures(
            server, gateway.policy_file, 50 if options.quick else 300
        ).items():
            results[name] = {"Sallyport": value}
    _print(console, results)
    if by_hand:
        _print_rewritten(console, by_hand)
    _write(console, {**results, **by_hand}, rows, sessions)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=["watch", "cluster", "volume"],
                        help="instead: the detectors; three gateways with one store; a million "
                             "statements recorded, verified, reported")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer rounds and rows: a minute")
    parser.add_argument("--sessions", type=int, default=200, help="cluster: how many at once")
    parser.add_argument(
        "--rounds", type=int, default=0, help="rounds of each workload (default 5, quick 2)"
    )
    parser.add_argument(
        "--seconds", type=float, default=0, help="length of a pgbench run (default 5, quick 2)"
    )
    parser.add_argument(
        "--held-out",
        action="store_true",
        help="watch: other agents than those that thresholds were set by",
    )
    parser.add_argument(
        "--growth", action="store_true", help="instead: what 10,000 tables and 1,000 rules cost"
    )
    parser.add_argument(
        "--durability",
        action="store_true",
        help="instead: kill the gateway under 8, 100 and 200 clients, and what its journal costs",
    )
    parser.add_argument(
        "--latency",
        action="store_true",
        help="instead: how long a session waits while others log in, or are judged",
    )
    parser.add_argument(
        "--injection",
        action="store_true",
        help="instead: how well and how fast text that reads as instructions is found",
    )
    parser.add_argument(
        "--logins",
        action="store_true",
        help="instead: what a login costs, by the target's credential",
    )
    parser.add_argument(
        "--search", action="store_true", help="instead: searching a million recorded statements"
    )
    parser.add_argument(
        "--kills", type=int, default=20, help="with --durability: kills of each (0: none)"
    )
    parser.add_argument("--statements", type=int, default=0, help="with volume: how many")
    parser.add_argument(
        "--soak", type=int, default=0, help="with volume: record so many more under retention"
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="before all other work of the machine (SCHED_RR, as root): figures that a busy machine"
        " does not disturb",
    )
    parser.add_argument("--only", default="", help="only workloads whose name contains this")
    return parser.parse_args()


def _durability(options: argparse.Namespace, console: Console) -> bool:
    return durability.print_durability(
        console,
        kills=options.kills,
        rounds=options.rounds if options.rounds else (2 if options.quick else 5),
        seconds=options.seconds or (2 if options.quick else 5),
    )


def _workloads(options: argparse.Namespace, rows: int, sessions: int) -> list[tuple[str, int, Run]]:
    rounds = options.rounds or (2 if options.quick else 5)
    seconds = options.seconds or (2 if options.quick else 5)

    def point(mode: str, clients: int, tls: bool = False) -> Run:
        def run(way: Contender) -> dict[str, float]:
            if tls and not way.tls:
                return {}
            return _figures(
                way, workloads.point_selects(way, mode, clients, seconds, rows, tls), clients
            )

        return run

    def transaction(mode: str) -> Run:
        return lambda way: _figures(way, workloads.transactions(way, mode, 8, seconds), 8)

    def habit(name: str) -> Run:
        return lambda way: _figures(way, drivers.habit(way, name, seconds, rows), 8)

    def bulk(work: Callable[[Contender, int], workloads.Bulk]) -> Run:
        def run(way: Contender) -> dict[str, float]:
            result = work(way, rows)
            return {"rows per second": rows / result.seconds, "memory MiB": result.growth / 2**20}

        return run

    def idle(way: Contender) -> dict[str, float]:
        result = workloads.idle_sessions(way, sessions)
        return {"KiB each": result.bytes_each / 1024, "login ms": result.login * 1000}

    # The idle sessions come first: later ones would move into memory that other workloads left
    # behind.
    series: list[tuple[str, int, Run]] = [
        (f"{sessions} idle sessions", 1, idle),
        ("point SELECT, simple, 8 clients", rounds, point("simple", 8)),
        ("point SELECT, prepared, 8 clients", rounds, point("prepared", 8)),
        ("point SELECT, simple, 8 clients, TLS", rounds, point("simple", 8, tls=True)),
        ("point SELECT, prepared, 8 clients, TLS", rounds, point("prepared", 8, tls=True)),
        ("TPC-B, simple, 8 clients", rounds, transaction("simple")),
        ("TPC-B, prepared, 8 clients", rounds, transaction("prepared")),
        ("point SELECT, simple, 200 clients", min(rounds, 3), point("simple", 200)),
        ("point SELECT, prepared, 200 clients", min(rounds, 3), point("prepared", 200)),
        ("point SELECT, prepared, 500 clients", min(rounds, 3), point("prepared", 500)),
        ("point SELECT, simple, 1 client", rounds, point("simple", 1)),
        ("point SELECT, prepared, 1 client", rounds, point("prepared", 1)),
        *((f"drivers: {name}", rounds, habit(name)) for name in drivers.HABITS),
        (f"{rows:,} rows x 7, psycopg fetch", min(rounds, 3), bulk(workloads.fetch_all)),
        (f"{rows:,} rows x 7, COPY TO STDOUT", min(rounds, 3), bulk(workloads.copy_all)),
    ]
    return [run for run in series if options.only.lower() in run[0].lower()]


def _figures(way: Contender, rate: workloads.Rate, clients: int) -> dict[str, float]:
    speed = {"per second": rate.per_second} if clients > 1 else {"ms": rate.latency}
    if way.name == "direct":
        return speed
    return {**speed, "CPU µs each": rate.cpu.total * 1e6, "in user space": rate.cpu.user * 1e6}


def _rewritten(
    options: argparse.Namespace, gateway: Gateway, rows: int, console: Console
) -> dict[str, dict[str, float]]:
    """Statements that are rewritten, against the same with masks written by hand."""
    rounds = options.rounds or (2 if options.quick else 5)
    seconds = options.seconds or (2 if options.quick else 5)

    def point(mode: str) -> Run:
        return lambda way: {"per second": rewritten.point(way, mode, seconds, rows)}

    runs: list[tuple[str, Run]] = [
        ("rewritten point SELECT, prepared, 8 clients", point("prepared")),
        ("rewritten point SELECT, simple, 8 clients", point("simple")),
        (
            f"rewritten SELECT of {rows:,} rows",
            lambda way: {"rows per second": rewritten.scan(way, rows)},
        ),
    ]
    results = {}
    for name, run in runs:
        if options.only.lower() in name.lower():
            console.print(f"[dim]· {name}[/]")
            for figure, values in _measure(rewritten.ways(gateway), rounds, run).items():
                results[f"{name}, {figure}"] = values
    return results


def _print_rewritten(console: Console, results: dict[str, dict[str, float]]) -> None:
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("")
    for name in ("masks by hand", "rewritten", "rewritten / by hand"):
        table.add_column(name, justify="right")
    for what, values in results.items():
        hand, own = values.get(rewritten.BY_HAND), values.get("Sallyport")
        table.add_row(what, _number(hand), _number(own), _ratio(own, hand))
    console.print(table)


def _measure(ways: list[Contender], rounds: int, run: Run) -> dict[str, dict[str, float]]:
    """Figure -> contender -> median."""
    samples: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for way in ways:
            try:
                figures = run(way)
            except workloads.UnmeasuredError as error:
                print(f"  {error}: left out", file=sys.stderr)
                continue
            for figure, value in figures.items():
                samples.setdefault(figure, {}).setdefault(way.name, []).append(value)
    return {
        figure: {name: statistics.median(values) for name, values in by_name.items()}
        for figure, by_name in samples.items()
    }


def _print(console: Console, results: dict[str, dict[str, float]]) -> None:
    names = ["direct", "PgBouncer", "Sallyport"]
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("")
    for name in [*names, "Sallyport / direct", "Sallyport / PgBouncer"]:
        table.add_column(name, justify="right")
    for what, values in results.items():
        cells = [_number(values.get(name)) for name in names]
        ratios = [
            _ratio(values.get("Sallyport"), values.get(name)) for name in ("direct", "PgBouncer")
        ]
        table.add_row(what, *cells, *ratios)
    console.print(table)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _ratio(mine: float | None, theirs: float | None) -> str:
    return f"{mine / theirs:.2f}" if mine is not None and theirs else "-"


def _write(console: Console, results: dict[str, Any], rows: int, sessions: int) -> None:
    directory = CACHE / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    file.write_text(
        json.dumps(
            {"machine": machine, "rows": rows, "sessions": sessions, "results": results}, indent=2
        )
    )
    console.print(f"[dim]Written to {file}[/]")


if __name__ == "__main__":
    sys.exit(main())
