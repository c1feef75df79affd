"""A target whose password verifier has few iterations: usable with TLS, refused without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from tests.support.gateway import Gateway
from tests.support.postgres import Server

PASSWORD = "of-few-iterations"


def with_iterations(server: Server, iterations: int) -> Server:
    """The same server, for a role whose verifier was made with so many iterations."""
    role = f"iterations_{iterations}"
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute(f"set scram_iterations = {iterations}")
        connection.execute(f"drop role if exists {role}")
        connection.execute(f"create role {role} login in role {server.user} password '{PASSWORD}'")
    return replace(server, user=role, password=PASSWORD)


@pytest.mark.parametrize("iterations", [1, 4095, 4096])
def test_without_tls(
    make_gateway: Callable[..., Gateway], postgres: Server, iterations: int
) -> None:
    gateway = make_gateway(targets={"shop": with_iterations(postgres, iterations)})
    if iterations < 4096:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(gateway.dsn())
        assert "at least 4096" in gateway.output()
    else:
        with psycopg.connect(gateway.dsn()) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_with_tls(make_gateway: Callable[..., Gateway], postgres_tls: Server) -> None:
    gateway = make_gateway(targets={"shop": with_iterations(postgres_tls, 1)})
    with psycopg.connect(gateway.dsn()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
