"""Rows that a held statement would change, shown to its reviewers: each sees what policy lets them
see, and nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.approvals import BOTH, CLIENTS, SECURITY, Desk, Waiter, holding_gateway
from tests.support.forked import run
from tests.support.gateway import AGENT, DBA, Gateway
from tests.support.postgres import Server, start_server

CANARY = "canary-4711"
POLICY = """\
version: 1
rules:
  - name: agents work
    subjects: {groups: [claude-postgres]}
    allow: [read, write]
    relations: ["public.*"]
  - name: changes wait
    subjects: {groups: [claude-postgres]}
    hold: [write]
    relations: ["public.people", "public.unseen"]
    reviewers: {groups: [dba, security]}
    expires: 2m
  - name: who decides may look
    subjects: {groups: [dba, security]}
    allow: [read]
    relations: ["public.people"]
masks:
  - {columns: ["public.people.secret"], with: redact, except: {groups: [security]}}
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer(CLIENTS) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server()
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        for table in ("people", "unseen"):
            db.execute(f"CREATE TABLE public.{table} (id int PRIMARY KEY, born date, secret text)")
            db.execute(
                f"INSERT INTO public.{table} SELECT n, DATE '2000-01-01' + n, '{CANARY}-' || n FROM"
                " generate_series(1, 50) n"
            )  # type: ignore[call-overload]
            db.execute(f"GRANT ALL ON public.{table} TO sallyport_agent")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, database: Server) -> Iterator[Gateway]:
    running = holding_gateway(issuer, database, POLICY).start()
    yield running
    running.stop()


@pytest.fixture
def agent(gateway: Gateway) -> Iterator[Waiter]:
    with Waiter(gateway) as waiter:
        yield waiter
        if waiter.waiting:
            waiter.db.cancel()
            waiter.end()


def look(gateway: Gateway, id_: str, who: str = DBA) -> dict[str, Any]:
    return dict(Desk(gateway, who).get(f"/approvals/{id_}/sample"))


SEEN = [
    ("DELETE FROM people WHERE id < 3", None),
    (("UPDATE people AS p SET born = now() FROM unseen u WHERE u.id = p.id AND p.id IN (1, 2) -- no"
      " rule for unseen"), "unseen"),
    ("DELETE FROM people WHERE id < %s", None),
    ("MERGE INTO people p USING (VALUES (1), (2), (99)) s (id) ON p.id = s.id WHEN MATCHED AND p.id"
     " < 3 THEN DELETE"
     " WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)", None),
    (("WITH w AS (SELECT id FROM people WHERE id < 3) DELETE FROM people USING w WHERE people.id ="
      " w.id"), None),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "unread"), SEEN)
def test_each_reviewer_sees_what_policy_shows_them(
    gateway: Gateway, agent: Waiter, sql: str, unread: str | None
) -> None:
    id_ = agent.run(sql, [3] if "%s" in sql else None).id
    masked, clear = look(gateway, id_), look(gateway, id_, SECURITY)
    if unread:
        assert masked["rows"] == clear["rows"] == []
        assert (
            unread in masked["problem"] and "not allow you to see these rows" in masked["problem"]
        )
        return
    assert masked["columns"] == clear["columns"] == ["id", "born", "secret"]
    assert masked["problem"] == clear["problem"] == ""
    assert sorted(masked["rows"]) == [
        ["1", "2000-01-02", "[redacted]"],
        ["2", "2000-01-03", "[redacted]"],
    ]
    assert masked["masked"] == ["secret"] and clear["masked"] == []
    assert sorted(row[2] for row in clear["rows"]) == [f"{CANARY}-1", f"{CANARY}-2"]
    assert CANARY not in str(masked)


def test_few_rows_and_no_change(gateway: Gateway, agent: Waiter, database: Server) -> None:
    id_ = agent.run("UPDATE people SET born = now()").id
    assert len(look(gateway, id_)["rows"]) == 10
    with psycopg.connect(database.superuser_dsn) as db:
        assert db.execute("SELECT max(born) < '2001-01-01' FROM people").fetchone() == (True,)


def test_a_masked_column_is_no_oracle(gateway: Gateway, agent: Waiter) -> None:
    """The rows that a condition finds would tell what the mask hides."""
    id_ = agent.run("DELETE FROM people WHERE id IN (SELECT id FROM people WHERE id < 3)").id
    assert len(look(gateway, id_)["rows"]) == 2
    agent.db.cancel()
    agent.end()
    with Waiter(gateway, BOTH) as dora:
        dora.run("DELETE FROM people WHERE id < 3")
        own = look(gateway, dora.id, BOTH)
        assert own["rows"] == [] and "of your own" in own["problem"]
        dora.db.cancel()
        dora.end()


def test_who_may_not_read_is_told_so(gateway: Gateway, agent: Waiter) -> None:
    id_ = agent.run("DELETE FROM unseen WHERE id < 3").id
    sample = look(gateway, id_)
    assert sample["rows"] == [] and "not allow you to see these rows: " in sample["problem"]
    base = f"http://{gateway.extra['console']['listen']}/api/v1"
    headers = {"Authorization": f"Bearer {gateway.token(AGENT)}"}
    assert httpx2.get(f"{base}/approvals/{id_}/sample", headers=headers).status_code == 403


def test_a_value_that_cannot_be_read_is_not_repeated(gateway: Gateway, agent: Waiter) -> None:
    id_ = agent.run("DELETE FROM people WHERE born < %s::text::date", ["no date"]).id
    sample = look(gateway, id_)
    assert sample["rows"] == [] and "no date" not in sample["problem"], sample
    assert sample["problem"]


def test_large_rows_are_not_fetched(gateway: Gateway, agent: Waiter, database: Server) -> None:
    with psycopg.connect(database.superuser_dsn, autocommit=True) as db:
        db.execute("UPDATE people SET secret = repeat('x', 30000000) WHERE id = 50")
        try:
            id_ = agent.run("DELETE FROM people WHERE id > 49").id
            assert "too large" in look(gateway, id_)["problem"]
            agent.db.cancel()
            agent.end()
            id_ = agent.run("DELETE FROM people WHERE id < 3").id
            assert len(look(gateway, id_)["rows"]) == 2, "the next question has its connection"
        finally:
            db.execute(f"UPDATE people SET secret = '{CANARY}-50' WHERE id = 50")


def test_nothing_of_it_is_kept(gateway: Gateway, agent: Waiter) -> None:
    id_ = agent.run("DELETE FROM people WHERE id < 3").id
    desk = Desk(gateway, SECURITY)
    assert CANARY in str(look(gateway, id_, SECURITY))
    session = desk.show(id_)["session"]
    desk.deny(id_, "no")
    agent.end()
    agent.db.close()
    replay = gateway.run("sessions", "replay", session)
    assert replay.returncode == 0, replay.stderr
    assert id_ in replay.stdout and CANARY not in replay.stdout
    for file in Path(gateway.home).rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file


def test_on_the_command_line(gateway: Gateway, agent: Waiter) -> None:
    id_ = agent.run("DELETE FROM people WHERE id < 3").id
    url = f"http://{gateway.extra['console']['listen']}"
    command = [*gateway.command("approvals", "show", id_)[:4], "--url", url]
    shown = run(command, {"SALLYPORT_TOKEN": gateway.token(DBA)})
    assert shown.returncode == 0, shown.stderr
    assert "Some of the rows, as the policy shows them to you (masked: secret):" in shown.stdout
    assert "id=1, born=2000-01-02, secret=[redacted]" in shown.stdout
    assert CANARY not in shown.stdout
