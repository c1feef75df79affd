"""``python -m bench --durability``: does a killed gateway lose what changed something, and what
does it cost that it does not?

Kills it in the middle of many clients' writes, again and again, and looks for every acknowledged
and every committed one in the recordings after the restart. Then INSERTs through gateways without a
journal, with ``durability: standard`` and with ``strict``, in turn, with the CPU time of each
transaction.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from tests.support import acknowledged as ack
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server

from bench.contenders import SETTINGS, Contender
from bench.workloads import pgbench
from sallyport.demo.issuer import DevIssuer

MODES = ("standard", "strict")
#: The way without a journal.
OFF = "off"
CLIENTS = (8, 100, 200)
_INSERT = "\\set who random(1, 1000000)\nINSERT INTO acknowledged (marker) VALUES (:who::text);\n"


class _Unjournaled(Gateway):
    """A gateway without its journal."""

    def command(self, *words: str) -> list[str]:
        _, *arguments = super().command(*words)
        return [sys.executable, "-m", "bench.unjournaled", *arguments]


def print_durability(console: Console, *, kills: int, rounds: int, seconds: float) -> bool:
    """Measure and print; whether nothing was missing."""
    with ExitStack() as stack:
        server = start_server(settings=SETTINGS)
        stack.callback(server.stop)
        stack.enter_context(ack.table(server))
        issuer = stack.enter_context(DevIssuer(lifetime=12 * 3600.0))
        complete = _print_kills(console, issuer, server, kills) if kills else True
        if rounds:
            _print_costs(console, issuer, server, rounds, seconds)
    return complete


@contextmanager
def _gateway(issuer: DevIssuer, server: Server, durability: str) -> Iterator[Gateway]:
    kind = _Unjournaled if durability == OFF else Gateway
    extra = (
        dict(ack.LIMITS)
        if durability == OFF
        else {**ack.LIMITS, "recording": {"durability": durability}}
    )
    gateway = kind(issuer, {"shop": server}, ack.POLICY, extra=extra).start()
    try:
        yield gateway
    finally:
        gateway.stop()


def _print_kills(console: Console, issuer: DevIssuer, server: Server, kills: int) -> bool:
    table = Table(
        "durability", "clients", "kills", "acknowledged", "committed", "missing", box=SIMPLE
    )
    missing = 0
    for durability in MODES:
        for clients in CLIENTS:
            with _gateway(issuer, server, durability) as gateway:
                results = []
                for number in range(kills):
                    name = f"{durability}-{clients}-{number}"
                    results.append(
                        ack.kill_once(
                            gateway, server, clients, name, max(500, 10 * clients) + 13 * number
                        )
                    )
                    console.print(f"[dim]· {name}: {len(results[-1].missing)} missing[/]")
            lost = sum(len(result.missing) for result in results)
            missing += lost
            done, rows = sum(r.acknowledged for r in results), sum(r.committed for r in results)
            table.add_row(durability, str(clients), str(kills), f"{done:,}", f"{rows:,}", str(lost))
    console.print(table)
    return not missing


def _print_costs(
    console: Console, issuer: DevIssuer, server: Server, rounds: int, seconds: float
) -> None:
    table = Table("INSERTs", box=SIMPLE)
    names = ("direct", OFF, *MODES)
    for name in names:
        table.add_column(name, justify="right")
    with ExitStack() as stack:
        ways = [Contender("direct", f"{server.agent_dsn}?sslmode=disable", lambda: 0)]
        pids: dict[str, int] = {}
        for mode in (OFF, *MODES):
            gateway = stack.enter_context(_gateway(issuer, server, mode))
            ways.append(Contender(mode, gateway.dsn(), gateway.rss))
            pids[mode] = gateway.pid
        for mode, clients in (("simple", 8), ("prepared", 8), ("prepared", 1), ("prepared", 32)):
            rates: dict[str, list[float]] = {}
            costs: dict[str, list[float]] = {}
            for _ in range(rounds):
                for way in ways:
                    before = _cpu(pids.get(way.name))
                    rate = pgbench(way, _INSERT, mode, clients, seconds, 1)
                    rates.setdefault(way.name, []).append(rate.per_second)
                    used = _cpu(pids.get(way.name)) - before
                    costs.setdefault(way.name, []).append(used / (rate.per_second * seconds) * 1e6)
            label = f"{mode}, {clients} client{'s'[: clients > 1]}"
            table.add_row(
                f"{label}, per second", *(f"{statistics.median(rates[n]):,.0f}" for n in names)
            )
            spent = [f"{statistics.median(costs[name]):.1f}" for name in names[1:]]
            table.add_row(f"{label}, CPU µs each", "-", *spent)
    console.print(table)


def _cpu(pid: int | None) -> float:
    """Seconds of CPU that a process has used; 0.0 without one."""
    if pid is None:
        return 0.0
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
