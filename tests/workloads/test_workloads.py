"""At most two of the families' queries may be refused, and none may fail."""

from __future__ import annotations

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.postgres import Server
from tests.workloads.__main__ import MAX_REFUSED, touching_masks
from tests.workloads.families import FAMILIES, all_queries
from tests.workloads.runner import family_gateway, run_direct, run_queries

LEAST = {
    "tpch": 22, "tpcds": 80, "joborder": 60, "clickbench": 43, "exercises": 70, "pagila": 80,
    "chinook": 70, "northwind": 70,
}  # fmt: skip


def test_there_are_enough_queries_and_enough_touch_masks() -> None:
    counts = {family: len(all_queries(18, [family])) for family in FAMILIES}
    assert all(counts[family] >= least for family, least in LEAST.items()), counts
    total = sum(counts.values())
    assert total >= 500
    assert sum(touching_masks(family, 18) for family in FAMILIES) >= 0.4 * total


@pytest.mark.timeout(300)
def test_reports_are_answered(issuer: DevIssuer, any_postgres: Server) -> None:
    with family_gateway(issuer, any_postgres) as gateway:
        direct = run_direct(any_postgres)
        assert not direct.failed, direct.failed[:3]
        outcome = run_queries(gateway, any_postgres.major)
    texts = "\n".join(
        f"{code} {query}: {message.splitlines()[0]}" for code, query, message in outcome.refused
    )
    assert len(outcome.refused) <= MAX_REFUSED, texts
    assert not outcome.failed, outcome.failed[:3]
