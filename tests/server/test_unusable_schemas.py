"""A schema that the target's role may not use is on no search_path, whatever policy lists: the
server skips it, and so must the judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for


@pytest.fixture
def closed(postgres: Server, make_gateway: Callable[..., Gateway]) -> Iterator[Gateway]:
    """``closed.customers`` has no masks; the policy lists a path on which it comes first."""
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute("CREATE SCHEMA closed")
        db.execute("CREATE TABLE closed.customers (id integer, ssn text)")
        db.execute("INSERT INTO closed.customers VALUES (1, 'not a secret')")
        db.execute("GRANT SELECT ON closed.customers TO sallyport_agent")
        policy = SHOP_POLICY.replace(
            'relations: ["public.*"]', 'relations: ["public.*", "closed.*"]'
        )
        yield make_gateway(policy=policy + 'search_paths: ["closed, public"]\n')
        db.execute("DROP SCHEMA closed CASCADE")


def _first(gateway: Gateway) -> str:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("SET search_path TO closed, public")
        (value,) = db.execute(
            "SELECT upper(ssn) FROM customers ORDER BY id LIMIT 1"
        ).fetchone() or ("",)
        return str(value)


def test_names_are_looked_up_where_the_server_looks(closed: Gateway, postgres: Server) -> None:
    assert _first(closed).startswith("*******")
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute("GRANT USAGE ON SCHEMA closed TO sallyport_agent")
        wait_for(lambda: _first(closed) == "NOT A SECRET")
        db.execute("REVOKE USAGE ON SCHEMA closed FROM sallyport_agent")
        # seen at the next look at the catalog, like every change that somebody makes past the
        # gateway (docs/guarantees.md)
        wait_for(lambda: _first(closed).startswith("*******"))
