"""A short run of ``make fuzz`` against the real gateway, and proof that it would notice."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import run_inputs
from tests.fuzz.stage import FuzzError, fuzz_stage
from tests.support.gateway import SHOP_POLICY


@pytest.mark.parametrize("side", ["client", "server"])
def test_it_survives(side: str) -> None:
    with fuzz_stage(seed=9) as stage:
        run_inputs(stage, side, 0, 300)


def test_it_notices_a_leak() -> None:
    masks = SHOP_POLICY.index("masks:")
    leaks = pytest.raises(FuzzError, match=r"reached a client[\s\S]*Repeat it: make fuzz")
    with fuzz_stage(seed=9, policy=SHOP_POLICY[:masks]) as stage, leaks:
        run_inputs(stage, "client", 0, 300)


def test_it_notices_a_gateway_that_is_gone() -> None:
    with fuzz_stage(seed=9) as stage:
        run_inputs(stage, "client", 0, 1)
        stage.gateway.stop()
        with pytest.raises((FuzzError, OSError)):
            run_inputs(stage, "client", 0, 5)
        stage.gateway.start()
