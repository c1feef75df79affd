"""A reviewer sees what the session did last."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.web.helpers import Browser
from tests.web.world import World


def test_the_latest_statements_come_first(browser: Callable[[str], Browser], place: World) -> None:
    page = browser("reviewer").get(f"/approvals/{place.request.id}").text
    numbers = [int(number) for number in re.findall(r'<tr id="s(\d+)"', page)]
    assert numbers == list(range(259, 234, -1))
    assert "Its last 25 statements, newest first; 234 came before them." in page
    assert '<a href="/sessions/s_first">The whole session, from its beginning</a>' in page
