"""``record.results``: what recordings keep of rows, and that they say what they left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sallyport.audit.events import Complete, Event, Note, Reply
from sallyport.core.errors import SallyportError
from sallyport.policy.file.load import parse_policy
from tests.server.test_record_values import CLEAR, files
from tests.server.test_recorded_logins import events_of
from tests.support.gateway import SHOP_POLICY, Gateway

ROWS = "SELECT 'row-' || n FROM generate_series(1, 150) AS n, public.products WHERE id = 1"


def policy(results: str, of_rule: str = "") -> str:
    own = (
        "  - name: products\n    allow: [read]\n    relations: [public.products]\n"
        f"    record: {{results: {of_rule}}}\n"
    )
    text = SHOP_POLICY.replace("masks:\n", (own if of_rule else "") + "masks:\n")
    return text + f"record: {{results: {results}}}\n"


def work(db: psycopg.Connection[Any]) -> None:
    """Six answers with 150 rows, in every way that rows come back."""
    for _ in range(2):  # the second by the short way
        db.execute(ROWS)
        db.execute(ROWS, prepare=True)
    db.execute(f"PREPARE p AS {ROWS}")
    db.execute("EXECUTE p")
    with db.transaction():
        db.execute(f"DECLARE c CURSOR FOR {ROWS}")
        db.execute("FETCH ALL FROM c")
    with db.cursor().copy(f"COPY ({ROWS}) TO STDOUT") as copy:
        assert len(list(copy)) >= 150


def kept(events: list[Event], number: int) -> int:
    return sum(
        event.data.count(b"row-") for event in events if getattr(event, "number", 0) == number
        and hasattr(event, "data")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of_all", "of_rule", "most", "copied"),
    [
        ("full", "", 150, 150),
        ("sample", "", 100, 0),
        ("counts", "", 0, 0),
        ("full", "counts", 0, 0),
    ],
)
def test_what_is_kept_of_rows(
    make_gateway: Callable[..., Gateway], of_all: str, of_rule: str, most: int, copied: int
) -> None:
    gateway = make_gateway(policy=policy(of_all, of_rule), extra=CLEAR)
    before = files(gateway)
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        work(db)
    events = events_of(gateway, before)
    done = {e.number: e for e in events if isinstance(e, Complete)}
    answers = [number for number, end in done.items() if end.rows == 150]
    assert len(answers) == 7
    assert [kept(events, number) for number in answers] == [most] * 6 + [copied]
    notes = [e.text for e in events if isinstance(e, Note) and e.kind == "results"]
    assert len(notes) == (0 if most == 150 else 7)
    assert all(event.data for event in events if isinstance(event, Reply))
    assert all(
        note.startswith("the first 100 rows of statement" if most == 100 else "no rows")
        for note in notes[:6]
    )


def test_a_join_with_what_no_rule_speaks_of_is_recorded_as_the_policy_says(
    make_gateway: Callable[..., Gateway],
) -> None:
    gateway = make_gateway(policy=policy("counts", "full"), extra=CLEAR)
    before = files(gateway)
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for joined in ("public.products p", "public.orders o"):
            for _ in range(2):
                db.execute(f"{ROWS} AND EXISTS (SELECT FROM {joined})")
    events = events_of(gateway, before)
    done = [e for e in events if isinstance(e, Complete)]
    assert [(e.rows, kept(events, e.number)) for e in done] == [(150, n) for n in (150, 150, 0, 0)]


def test_a_deny_rule_has_no_results() -> None:
    text = "version: 1\nrules:\n  - {name: n, deny: [drop], record: {results: counts}}\n"
    with pytest.raises(SallyportError, match=r":3:29: .*gives no results"):
        parse_policy(text, "policy.yaml")
