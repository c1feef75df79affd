"""Findings of a period, as the audit report has them."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Engine, insert

from sallyport.operations.auditreport import finding_line
from sallyport.store.tables import watch_findings
from sallyport.store.watching import SqlFindingStore, _values
from sallyport.watch.finding import AgentKey, Finding, Severity

KEY = AgentKey("https://a.example", "ada", "", "claude", "shop")


def finding(number: int, **changes: Any) -> Finding:
    made = Finding(
        f"fnd_{number}", "rows", "public.orders", Severity.HIGH, KEY, "ses_1", float(number), "many"
    )
    return msgspec.structs.replace(made, **changes)


def test_those_of_a_period_and_how_many_more(engine: Engine) -> None:
    seen = finding(3, acknowledged=9.0, by="olga", reason="a batch", done=("notify", "hold"))
    with engine.begin() as connection:
        rows = [_values(each) for each in (finding(1), finding(2), seen, finding(4))]
        connection.execute(insert(watch_findings), rows)
    page = SqlFindingStore(engine).within(2.0, 4.0, 10)
    assert ([each.id for each in page.rows], page.left_out) == (["fnd_2", "fnd_3"], 0)
    assert page.rows[1] == seen
    page = SqlFindingStore(engine).within(0.0, 5.0, 3)
    assert ([each.id for each in page.rows], page.left_out) == (["fnd_1", "fnd_2", "fnd_3"], 1)
    line = finding_line(seen)
    assert (line.severity, line.subject, line.agent, line.done) == (
        "high", "ada", "claude", ("notify", "hold"),
    )  # fmt: skip
    assert line.acknowledged == 9.0 and finding_line(finding(1)).acknowledged is None
