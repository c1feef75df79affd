"""A gateway with short patience, and one with TLS, for a whole module."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server


@pytest.fixture(scope="session")
def tls_gateway(issuer: DevIssuer, postgres_tls: Server) -> Iterator[Gateway]:
    """TLS on both legs, verify-full towards PostgreSQL 16; a login may take two seconds."""
    extra = {"limits": {"login_seconds": 2.0}}
    running = Gateway(issuer, {"shop": postgres_tls}, tls=True, extra=extra).start()
    yield running
    running.stop()


def backends(server: Server, condition: str = "true") -> int:
    """Connections of the gateway's role to the shop that do (or wait for) something."""
    with psycopg.connect(server.superuser_dsn) as db:
        row = db.execute(
            "SELECT count(*) FROM pg_stat_activity "
            f"WHERE usename = 'sallyport_agent' AND application_name <> 'sallyport' AND {condition}"
        ).fetchone()
    return int(row[0]) if row else 0
