"""What somebody makes beside the gateway is known when it is asked for, however shortly before the
catalog was looked at.
"""

from __future__ import annotations

import time

import psycopg
import pytest

from tests.support.gateway import Gateway
from tests.support.postgres import Server


def test_new_names_are_found_at_once(gateway: Gateway, postgres: Server) -> None:
    with (
        psycopg.connect(postgres.superuser_dsn, autocommit=True) as owner,
        psycopg.connect(gateway.dsn(), autocommit=True) as agent,
    ):
        for number in range(12):
            owner.execute(f"CREATE TABLE public.fresh_{number} AS SELECT {number} AS n")
            owner.execute(f"GRANT SELECT ON public.fresh_{number} TO sallyport_agent")
            assert agent.execute(f"SELECT n FROM fresh_{number}").fetchone() == (number,)
            owner.execute(f"DROP TABLE public.fresh_{number}")


def test_names_that_are_not_there_cost_little(gateway: Gateway) -> None:
    """Whoever guesses names waits for the next look; the others do not."""
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as guesser,
        psycopg.connect(gateway.dsn(), autocommit=True) as other,
    ):
        started = time.monotonic()
        for number in range(5):
            with pytest.raises(psycopg.errors.UndefinedTable):
                guesser.execute(f"SELECT 1 FROM nowhere_{number}")
            assert other.execute("SELECT 1").fetchone() == (1,)
        assert time.monotonic() - started < 3
