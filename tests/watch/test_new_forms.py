"""Statements of a form that an agent never ran before."""

from __future__ import annotations

from sallyport.watch.intake import Observation
from tests.watch.test_detectors import ITEMS, ORDERS, World, shape


def settled() -> World:
    """Enough work for that a new form is below 0.1 % of it."""
    world = World()
    by_id = shape("by id", columns=("public.orders.id",))
    world.learn(extra=[Observation(by_id, 200, 200, 1, 1)])
    return world


def test_a_new_form_is_told_for_a_column_that_is_new() -> None:
    world = settled()
    rewritten = shape("by id, rewritten", columns=("public.orders.id",))
    assert world.run(ORDERS) + world.run(rewritten, rows=1) == []
    with_notes = shape("by id, with notes", columns=("public.orders.id", "public.orders.notes"))
    (finding,) = world.do(Observation(with_notes, 1))
    assert finding.detector == "new-statement"
    assert finding.evidence.endswith("it never used public.orders.notes")


def test_new_forms_are_told_where_they_are_most_of_an_episode() -> None:
    world = settled()
    forms = [shape(f"form {number}", columns=("public.orders.id",)) for number in range(4)]
    assert world.run(ORDERS) + world.run(ITEMS) + world.run(forms[0]) + world.run(forms[1]) == []
    assert world.run(forms[2]) == ["new-statement"]
