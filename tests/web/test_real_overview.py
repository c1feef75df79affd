"""The overview before the real thing: what a gateway added is measured where statements pass."""

from __future__ import annotations

import re
from typing import Any

from tests.support.browser import shoot
from tests.web.real import VERA, People, Real


def test_what_was_added_is_measured(people: People, real: Real) -> None:
    with real.psql() as psql:
        for number in range(80):
            psql.send(f"SELECT {number} + 1 AS n{number};")
        psql.wait_for(r"\b80\b")
        page: Any = people(VERA)
        page.goto("/")
        said = str(
            page.get_by_role("img", name=re.compile("^Latency added")).get_attribute("aria-label")
        )
        assert re.search(r"Highest: [\d.]+ [µm]s", said), said
        assert page.get_by_role("table", name="Time added").get_by_role("row").count() >= 1
        shoot(page, "real-overview", full_page=True)
        metrics = page.request.get("/metrics").text()
        for direction in ("to_server", "to_client"):
            match = re.search(
                rf'sallyport_latency_seconds_count{{direction="{direction}"}} (\d+)', metrics
            )
            assert match is not None
            assert int(match[1]) >= 3
        assert psql.finish() == 0
