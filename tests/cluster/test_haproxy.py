"""Gateways behind a balancer: what one records another lists, and one may die."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from sallyport.demo.process import Program
from tests.cluster.test_members import Make, listed
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy: apt-get install it")
def test_behind_haproxy_the_others_take_over(make_member: Make, tmp_path: Path) -> None:
    members = [make_member(extra={"proxy_protocol": ["127.0.0.1/32"]}) for _ in range(2)]
    port = free_port()
    file = tmp_path / "haproxy.cfg"
    file.write_text(configuration(port, members))
    program = Program(["haproxy", "-db", "-f", str(file)], tmp_path / "haproxy.log", {})
    try:
        program.wait_listening(port)
        first = members[0]
        through = first.dsn().replace(f"127.0.0.1:{first.port}", f"127.0.0.1:{port}")
        for _ in range(6):
            with psycopg.connect(through, autocommit=True) as connection:
                row = connection.execute("SELECT email FROM customers LIMIT 1").fetchone()
                assert row is not None and "***" in row[0]
        wait_for(lambda: len(listed(first)) >= 6 and _gateways(listed(members[1])) == 2)
        check_recordings(members)
        first.kill()

        def served() -> bool:
            try:
                with psycopg.connect(through, autocommit=True, connect_timeout=60) as connection:
                    return connection.execute("SELECT 1").fetchone() == (1,)
            except psycopg.OperationalError:
                return False

        wait_for(served)
        first.start()
    finally:
        program.stop()


def configuration(port: int, members: Sequence[Gateway]) -> str:
    """HAProxy's, that listens at ``port`` before the members."""
    servers = "\n".join(
        f"    server g{member.port} 127.0.0.1:{member.port} check inter 200ms send-proxy-v2"
        for member in members
    )
    return (
        "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1m\n"
        "    timeout server 1m\n    retries 3\n    option redispatch\n"
        f"frontend agents\n    bind 127.0.0.1:{port}\n    default_backend gateways\n"
        f"backend gateways\n    balance roundrobin\n{servers}\n"
    )


def check_recordings(members: list[Gateway]) -> None:
    """Each replays and verifies its own, and says of others who has them."""
    names = [(member.home / "var" / "gateway.name").read_text().strip() for member in members]
    for row in listed(members[0]):
        for member, name in zip(members, names, strict=True):
            done = member.run("sessions", "replay", str(row["id"]), "--instant")
            if row["gateway"] == name:
                assert done.returncode == 0 and "customers" in done.stdout, done.stderr
            else:
                assert done.returncode == 2
                assert f"the gateway {row['gateway']} has this recording" in done.stderr
    for member in members:
        assert member.run("audit", "verify").returncode == 0


def _gateways(rows: list[dict[str, object]]) -> int:
    return len({row["gateway"] for row in rows})
