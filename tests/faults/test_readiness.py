"""A target that new sessions cannot log in to is not ready, however well the connections that are
open work.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.faults.test_lifecycle import get
from tests.support.certificates import Authority
from tests.support.gateway import Gateway
from tests.support.postgres import AGENT_PASSWORD, Server, start_server
from tests.support.waiting import wait_for

ALL = """\
version: 1
rules:
  - {name: all, allow: [read], relations: ["public.*"]}
"""
ROLES = {"viewer": ["claude-postgres"]}


def settings() -> dict[str, Any]:
    console = {"listen": f"127.0.0.1:{free_port()}", "roles": ROLES}
    return {"console": console, "catalog": {"check_seconds": 0.5}}


def ready(gateway: Gateway, target: str = "") -> int:
    return get(gateway, f"/readyz?target={target}" if target else "/readyz").status_code


def up(gateway: Gateway, target: str) -> bool:
    return f'sallyport_target_ready{{target="{target}"}} 1.0' in get(gateway, "/metrics").text


def problem(gateway: Gateway, target: str) -> str:
    """As the console and REST have it, for people who signed in."""
    address = f"http://{gateway.extra['console']['listen']}/api/v1/targets"
    headers = {"Authorization": f"Bearer {gateway.token()}"}
    answer = httpx2.get(address, headers=headers, timeout=60, trust_env=False).json()["targets"]
    return next(str(row["problem"]) for row in answer if row["name"] == target)


def superuser(server: Server, sql: str) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute(sql)  # type: ignore[arg-type]


def test_a_rotated_password(
    make_gateway: Callable[..., Gateway], postgres: Server, own_postgres: Server
) -> None:
    gateway = make_gateway(
        targets={"shop": postgres, "other": own_postgres}, policy=ALL, extra=settings()
    )
    wait_for(lambda: ready(gateway, "shop") == ready(gateway, "other") == 200)
    with psycopg.connect(gateway.dsn(target="other"), autocommit=True) as open_already:
        superuser(own_postgres, "ALTER ROLE sallyport_agent PASSWORD 'rotated'")
        wait_for(lambda: ready(gateway, "other") == 503)
        assert not up(gateway, "other")
        failures = 'sallyport_target_login_failures_total{kind="login",target="other"}'
        assert f"{failures} 0.0" not in get(gateway, "/metrics").text
        assert open_already.execute("SELECT count(*) FROM products").fetchone() == (120,)
    assert (ready(gateway), ready(gateway, "shop")) == (200, 200), "the others can be served"
    assert "password authentication failed" in problem(gateway, "other")
    assert "password authentication failed" not in get(gateway, "/readyz?target=other").text
    assert "a new login at the target fails" in gateway.output()
    assert ready(gateway, "nowhere") == 404
    superuser(own_postgres, f"ALTER ROLE sallyport_agent PASSWORD '{AGENT_PASSWORD}'")
    wait_for(lambda: ready(gateway, "other") == 200)
    assert up(gateway, "other")
    assert problem(gateway, "other") == ""


@pytest.fixture
def own_postgres_tls() -> Iterator[Server]:
    server = start_server("16")
    yield server
    server.stop()


def test_a_wrong_certificate(
    make_gateway: Callable[..., Gateway], own_postgres_tls: Server, tmp_path: Path
) -> None:
    server = own_postgres_tls
    gateway = make_gateway(targets={"shop": server}, policy=ALL, extra=settings())
    wait_for(lambda: ready(gateway) == 200)
    assert server.ca is not None
    foreign = Authority(tmp_path, "Somebody else").issue("server")
    for file in (foreign.certificate, foreign.key):  # keeps owner and mode of what is there
        server.ca.with_name(file.name).write_bytes(file.read_bytes())
    superuser(server, "SELECT pg_reload_conf()")
    wait_for(lambda: ready(gateway) == ready(gateway, "shop") == 503)
    assert "certificate" in problem(gateway, "shop")
    shutil.rmtree(tmp_path)


def test_a_target_that_was_down_at_the_start_comes_back_by_itself(
    make_gateway: Callable[..., Gateway], own_postgres: Server
) -> None:
    """Nobody logs in at a gateway that its balancer takes for dead."""
    own_postgres.cluster.wanted_port = own_postgres.port
    own_postgres.cluster.stop()
    gateway = make_gateway(targets={"shop": own_postgres}, policy=ALL, extra=settings())
    assert ready(gateway) == 503
    own_postgres.cluster.start()
    wait_for(lambda: ready(gateway) == 200)


def test_what_a_client_asks_for_does_not_make_a_target_red(
    make_gateway: Callable[..., Gateway], postgres: Server, issuer: DevIssuer
) -> None:
    gateway = make_gateway(targets={"shop": postgres}, policy=ALL, extra=settings())
    wait_for(lambda: ready(gateway) == 200)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(gateway.dsn(options="options=-c%20DateStyle%3Dnonsense"))
    assert ready(gateway) == 200
