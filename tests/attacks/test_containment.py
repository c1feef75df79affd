"""Containment by lineage, attacked: see :mod:`tests.attacks.containment`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks import containment, containment_errors
from tests.attacks.containment import ContainmentBench, containment_bench
from tests.support.postgres import WHEEL

ATTACKS = (*containment.ATTACKS, *containment_errors.ATTACKS)


@pytest.fixture(scope="module")
def bench() -> Iterator[ContainmentBench]:
    with containment_bench(WHEEL, sampled=True) as running:
        yield running


@pytest.mark.timeout(240)
@pytest.mark.parametrize("part", ATTACKS, ids=lambda part: part.__name__)
def test_no_write_runs_behind_a_read(bench: ContainmentBench, part: containment.Part) -> None:
    assert not [str(leak) for leak in part(bench)]


def test_nobody_else_is_contained(bench: ContainmentBench) -> None:
    assert not [str(leak) for leak in containment.benign(bench)]


def test_the_attacks_can_succeed() -> None:
    """Where no column is untrusted, every write runs: the attacks say so."""
    policy = containment.POLICY.replace("untrusted:", "settings: [] #")
    with containment_bench(WHEEL, policy) as open_bench:
        leaks = [str(leak) for leak in containment.attack_messages(open_bench)]
    assert len(leaks) >= 10
