"""What the page of an agent is made of, for an agent with weeks behind it."""

from __future__ import annotations

from sallyport.web.pages.findings import _agent_values
from tests.watch.test_detectors import KEY, World


def test_matrix_hours_and_days() -> None:
    world = World()
    world.learn(21)
    summary = world.watcher.summary(KEY, world.now)
    assert summary is not None
    values = _agent_values(KEY, summary, world.now)
    assert values["actions"] == ["select"]
    assert [row["relation"] for row in values["matrix"]] == ["public.orders", "public.order_items"]
    assert values["matrix"][1]["largest"] == 400
    monday = dict(values["hours"])["Mon"]
    assert [hour for hour, level in enumerate(monday) if level] == [9]
    assert values["has_days"]
    assert str(values["statements"]).count("<rect") == 14  # the day that is not over is not in it
