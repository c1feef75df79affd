"""What the page of an agent is made of, for an agent with weeks behind it."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import parse_qsl

from sallyport.watch.baseline import DAY, Learning, hour_of_week
from sallyport.watch.intake import Observation
from sallyport.web.pages.findings import _agent_values
from sallyport.web.pages.rendering import environment
from sallyport.web.pages.sessions import time_of
from tests.watch.test_detectors import KEY, MONDAY, ORDERS, World, shape


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
    assert [hour for hour, (level, _) in enumerate(monday) if level] == [9]
    assert values["has_days"]
    assert str(values["statements"]).count("<rect") == 15


def test_what_is_new_comes_first_and_the_rarest_are_folded() -> None:
    world = World()
    tables = [shape(f"t{number}", f"public.t{number:02}") for number in range(50)]
    world.learn(21, [Observation(each, 1, 1, 80, 1) for each in tables])
    world.do(Observation(shape("first", "public.secrets"), 1, 1, 80, 1))
    values = values_of(world)
    assert [row["relation"] for row in values["matrix"]][:2] == ["public.secrets", "public.orders"]
    assert len(values["matrix"]) == 40
    page = main_of(world, values)
    before, after = page.split("25 more, used least")
    assert "public.secrets" in before and "public.t01" in before
    assert "public.t30" in after and "public.t30" not in before


def values_of(world: World) -> dict[str, Any]:
    summary = world.watcher.summary(KEY, world.now)
    assert summary is not None
    return _agent_values(KEY, summary, world.now)


def main_of(world: World, values: dict[str, Any]) -> str:
    """The main part of the page."""
    summary = world.watcher.summary(KEY, world.now)
    more = {"key": KEY, "summary": summary, "learning": Learning(), "findings": []}
    template = environment().get_template("agent.html")
    context = template.new_context({**values, **more, "may": lambda action: False})
    return "".join(template.blocks["main"](context))


def links(shown: object) -> list[dict[str, str]]:
    hrefs = re.findall(r'href="/sessions\?([^"]*)"', str(shown))
    return [dict(parse_qsl(html.unescape(href))) for href in hrefs]


def test_every_bar_leads_to_its_sessions() -> None:
    world = World()
    world.learn(60)
    world.do(Observation(ORDERS, 1, code="SP1001", variant=1))
    values = values_of(world)
    who = {"subject": "claude-ci", "target": "shop"}
    shown = links(values["statements"])
    assert len(shown) == str(values["statements"]).count("<rect") > 40
    first = MONDAY - MONDAY % DAY
    assert time_of(shown[0]["since"]) == first
    assert time_of(shown[0]["until"]) == first + DAY
    assert all(link.items() >= who.items() for link in shown)
    assert [link["since"] for link in shown if link.get("verdict") == "refused"] == [
        shown[-1]["since"]
    ]
    rows = links(values["rows"]) + links(values["older_rows"])
    assert [link["since"] for link in rows] == sorted({link["since"] for link in shown})[::-1]
    (order, _) = values["matrix"]
    assert parse_qsl(order["link"].partition("?")[2])[-1] == ("relation", "public.orders")


def test_an_hour_leads_to_the_latest_one() -> None:
    world = World()
    world.learn(30)
    ((_, cells), *_) = values_of(world)["hours"]
    link = dict(parse_qsl(cells[9][1].partition("?")[2]))
    latest = time_of(link["since"])
    assert latest is not None
    assert hour_of_week(latest) == 9
    assert 0 <= world.now - latest < 7 * DAY
    assert cells[10] == (0, "")


def test_names_do_not_break_out_of_links() -> None:
    world = World()
    world.learn(3)
    summary = world.watcher.summary(KEY, world.now)
    assert summary is not None
    key = KEY._replace(agent='"><script>&target=other', target="a b")
    shown = _agent_values(key, summary, world.now)
    assert "<script" not in str(shown["rows"]) + str(shown["statements"])
    assert links(shown["rows"])[0]["subject"] == key.agent
    assert links(shown["rows"])[0]["target"] == "a b"


def test_the_page_has_the_links() -> None:
    world = World()
    world.learn(40)
    values = values_of(world)
    shown = main_of(world, values)
    assert len(links(values["older_rows"])) > 7
    assert (
        len(links(shown))
        == len(links(values["statements"]))
        + len(links(values["rows"]) + links(values["older_rows"]))
        + len(values["matrix"])
        + sum(bool(link) for _, row in values["hours"] for _, link in row)
        + 1
    )
