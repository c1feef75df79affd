"""A quick seeded part of ``python -m tests.differential``, and proof that the oracle sees a
difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.differential.oracle import Oracle
from tests.differential.world import oracle, statements
from tests.support.postgres import Server

SEED = 20
QUICK = ("generated", "odd", "shop")
#: Generated statements of each kind; ``python -m tests.differential`` runs more.
COUNT = 150


@pytest.fixture(scope="module")
def running(issuer: DevIssuer, postgres: Server) -> Iterator[Oracle]:
    with oracle(issuer, postgres, QUICK) as made:
        yield made


def test_masked_answers_are_those_of_a_masked_copy(running: Oracle, postgres: Server) -> None:
    for name in QUICK:
        totals = running.run(statements(name, postgres.major, SEED, COUNT))
    assert not totals.different, "\n".join(str(difference) for difference in totals.different[:5])
    assert totals.equal > 300, totals.line()
    assert len(totals.undetermined) <= totals.ran // 100, totals.line()


def test_the_oracle_sees_raw_values(running: Oracle, postgres: Server) -> None:
    """Against the database itself, past the gateway, the same statements differ."""
    raw = Oracle(
        {"shop": replace(postgres, database="differ_shop").agent_dsn},
        {"shop": replace(postgres, database="differ_shop_masked").agent_dsn},
        {"shop": {}},
    )
    try:
        totals = raw.run(statements("shop", postgres.major, SEED, 0))
    finally:
        raw.close()
    assert len(totals.different) > totals.ran // 2, totals.line()
