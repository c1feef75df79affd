"""The attacks on masks at the scan as tests: a quick part of each, on one server version. ``make
attacks`` runs all of it (scan/run.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.attacks.scan import plan_walk, run, shapes
from tests.attacks.scan.planners import GENERIC, PARALLEL, SETTINGS
from tests.attacks.scan.stage import Stage, Tally, stage
from tests.attacks.scan.worlds import masked_columns
from tests.support.postgres import WHEEL

_SOME = {name: SETTINGS[name] for name in ("as it is", "no hash", "only merge joins", "as written")}
#: How much of what must work may be refused.
_TOLERATED = 0.01


@pytest.fixture(scope="module")
def scene() -> Iterator[Stage]:
    with stage(WHEEL) as running:
        yield running


def silent(line: str) -> None:
    return None


def told(tally: Tally) -> str:
    return "\n".join(str(leak)[:1500] for leak in tally.leaks[:10])


def test_no_plan_carries_a_raw_value_above_its_scan(scene: Stage) -> None:
    planners = _SOME | {"parallel": PARALLEL["parallel"]} | GENERIC
    tally = run.walked(scene, silent, agents=("shown", "hashed"), planners=planners)
    assert not tally.leaks, told(tally)
    assert tally.outcomes.get("rewritten", 0) > 150


def test_no_session_tells_worlds_apart(scene: Stage) -> None:
    tally = run.sessions(scene, silent, agents=("strict",), ways=("simple",), residual=False)
    assert not tally.leaks, told(tally)


@pytest.mark.parametrize("agent", ["strict", "shown"])
def test_what_is_asked_every_day_is_served(scene: Stage, agent: str) -> None:
    tally = run.benign(scene, silent, agents=(agent,), ways=("text",))
    assert not tally.leaks, told(tally)
    assert len(tally.notes) <= tally.tried * _TOLERATED, "\n".join(tally.notes)


@pytest.mark.parametrize(
    ("agent", "planner"), [("strict", "little memory"), ("shown", "only hash joins")]
)
def test_the_order_of_rows_and_counters_tell_nothing(
    scene: Stage, agent: str, planner: str
) -> None:
    tally = run.orders(scene, silent, agents=(agent,), planners={planner: SETTINGS[planner]})
    assert not tally.leaks, told(tally)


def test_explain_tells_nothing(scene: Stage) -> None:
    tally = run.explained(
        scene,
        silent,
        agents=("shown",),
        planners={"little memory": SETTINGS["little memory"]},
        every=3,
    )
    assert not tally.leaks, told(tally)


def test_no_function_operator_or_cast_fails_by_a_masked_value(scene: Stage) -> None:
    tally = run.catalog(scene, silent, every=80)
    assert not tally.leaks, told(tally)


def test_names_that_hide_names_tell_nothing(scene: Stage) -> None:
    tally = run.named(scene, silent, count=150)
    assert not tally.leaks, told(tally)
    assert tally.outcomes.get("ran", 0) > 60


def test_the_plan_walk_can_fail(scene: Stage) -> None:
    """Subselects that PostgreSQL flattens carry raw values up; those with an arm that gives no row
    do not.
    """
    bad = {False: 0, True: 0}
    for arm, shape in (
        (arm, shape) for arm in bad for shape in shapes.read(scene.server.major, "shown")
    ):
        if not shape.simple_relations:
            continue
        for settings in (SETTINGS["as it is"], SETTINGS["only merge joins"]):
            try:
                text = shape.sql(shapes.by_hand(arm))
                bad[arm] += bool(
                    plan_walk.carried(scene.owner(0), text, masked_columns(), settings)
                )
            except psycopg.Error:
                break  # by hand not everything can be written
    assert bad[True] == 0
    assert bad[False] > 60


def test_the_worlds_can_be_told_apart(scene: Stage) -> None:
    """What would leak without the gateway is seen."""
    scene.forget()
    scene.direct = True
    try:
        for shape in (
            shape
            for shape in shapes.read(scene.server.major, "strict")
            if shape.group == "Conditions"
        ):
            bare = scene.run(shape.steps(), "strict")
            assert (
                bare.difference
                or "count" in shape.text
                or "guesses" in shape.text
                or "city" in shape.text
            ), shape
        hashed = [
            b"SET max_parallel_workers_per_gather = 0", b"SET enable_mergejoin = off",
            b"SET join_collapse_limit = 1", b"SET work_mem = '64kB'",
            b"SELECT g.n FROM (SELECT n, notes FROM generate_series(1, 100000) h(n) JOIN (small c"
            b" CROSS JOIN generate_series(1, 1300) g(m)) ON m = n"
            b" WHERE c.id = 6) g",
        ]  # fmt: skip
        assert not scene.run([b"SELECT id FROM small ORDER BY id"], "strict").difference
        assert scene.run(
            [*hashed[:-1], hashed[-1].replace(b"g.n FROM", b"g.n, length(g.notes) FROM")], "strict"
        ).difference
    finally:
        scene.direct = False
        scene.forget()


def test_enough_is_tried() -> None:
    assert len(shapes.read(18, "strict")) >= 100
    assert len(SETTINGS | PARALLEL | GENERIC) >= 16
