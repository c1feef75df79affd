"""What a login costs: direct, through the gateway with the target's static role, and with a role of
its own for each session.

In turn, on the same server; a login is connecting until ReadyForQuery, and then closing.
Milliseconds.
"""

from __future__ import annotations

import secrets
import statistics
import time
from contextlib import ExitStack

import psycopg
from rich.console import Console
from tests.support.gateway import Gateway
from tests.support.places import scratch_dir
from tests.support.postgres import start_server

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import bundled
from sallyport.demo.shop import ADMIN_ROLE, add_administrator


def measure(count: int) -> dict[str, list[float]]:
    """Seconds of each of ``count`` logins, by how."""
    with ExitStack() as stack:
        server = start_server()
        stack.callback(server.stop)
        issuer = stack.enter_context(DevIssuer())
        secret = scratch_dir("admin") / "password"
        secret.write_text(secrets.token_hex(16))
        secret.chmod(0o600)
        add_administrator(server.cluster, bundled(), secret.read_text())
        admin = {"user": ADMIN_ROLE, "password": {"file": str(secret)}}
        dsns = {"direct": server.agent_dsn}
        for name, extra in (
            ("static", {}),
            ("ephemeral", {"credential": "ephemeral", "admin": admin}),
        ):
            gateway = Gateway(issuer, {"shop": server}, target_extra=extra).start()
            stack.callback(gateway.stop)
            dsns[name] = gateway.dsn()
        took: dict[str, list[float]] = {name: [] for name in dsns}
        for number in range(-5, count):  # the first few make catalogs and grant roles
            for name, dsn in dsns.items():
                began = time.perf_counter()
                session = psycopg.connect(dsn)
                if number >= 0:
                    took[name].append(time.perf_counter() - began)
                session.close()
        return took


def print_logins(console: Console, count: int) -> None:
    for name, took in measure(count).items():
        ms = sorted(seconds * 1000 for seconds in took)
        worst = ms[int(len(ms) * 0.95)]
        console.print(
            f"login, {name:<10} {statistics.median(ms):7.1f} ms median, {ms[0]:.1f} least,"
            f" {worst:.1f} at 95 %"
        )
