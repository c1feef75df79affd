"""What each reviewer sees of a held statement's own values: as much as their own masks leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.approvals.seeing import MASKED, MOVED, NO_RULE, NOT_DECIDING
from sallyport.core.secret import Secret
from sallyport.demo.issuer import DemoClient, DevIssuer
from tests.support.approvals import CLIENTS, SECURITY, Desk, Waiter, holding_gateway
from tests.support.forked import run
from tests.support.gateway import AGENT, DBA, Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for

#: An agent whom masks spare; a reviewer whom they spare too, and for whom there is no rule.
CLEARED, BEA = "cleared-agent", "bea-board"
CANARY = "CANARY-4711"
POLICY = """\
version: 1
search_paths: ["public", "hr"]
rules:
  - name: agents work
    subjects: {groups: [claude-postgres]}
    allow: [read, write, ddl]
    relations: ["public.*", "hr.*"]
  - name: and have temporary tables
    subjects: {groups: [claude-postgres]}
    allow: [temp]
  - name: changes wait
    subjects: {groups: [claude-postgres]}
    hold: [write]
    relations: ["public.letters", "*.people"]
    reviewers: {groups: [dba, security, board]}
    expires: 2m
  - name: who decides may look
    subjects: {groups: [dba, security]}
    allow: [read]
    relations: ["public.*"]
masks:
  - columns: ["public.people.email"]
    with: redact
    filter: masked
    except: {groups: [security, cleared, board]}
"""
JOINED = "UPDATE letters SET sent = true FROM people p WHERE p.id = letters.id AND"
Statement = tuple[str, list[Any] | None]
HIDDEN: list[Statement] = [
    (f"{JOINED} p.email = '{CANARY}'", None),
    (f"{JOINED} p.email <> '{CANARY}' AND p.name = 'ada'", None),
    (f"{JOINED} p.email LIKE '{CANARY}%' -- of {CANARY}", None),
    (f"{JOINED} p.email IN ('a', '{CANARY}', 'b')", None),
    (f"{JOINED} p.email = ANY (ARRAY['a', '{CANARY}'])", None),
    (f"{JOINED} p.email = %s", [CANARY]),
    (f"UPDATE people SET email = '{CANARY}' WHERE id = 1", None),
    (f"UPDATE people SET email = lower('x{CANARY}') WHERE id = 1", None),
    ("UPDATE people SET name = %s, email = %s WHERE id = %s", ["ada", CANARY, 1]),
    (f"UPDATE people SET (name, email) = ('ada', '{CANARY}') WHERE id = 1", None),
    (f"INSERT INTO people (id, email) VALUES (1001, 'x'), (1002, '{CANARY}')", None),
    (f"INSERT INTO people (id, email) SELECT 1003, '{CANARY}'", None),
    ("INSERT INTO people (id, email) VALUES (%s, %s)", [1004, CANARY]),
    (f"DELETE FROM people WHERE email = '{CANARY}'", None),
    (f"WITH c AS (SELECT '{CANARY}'::text AS e) UPDATE people SET email = c.e FROM c", None),
    (f"MERGE INTO people p USING (VALUES (1, '{CANARY}')) s (id, e) ON p.id = s.id"
     " WHEN MATCHED THEN UPDATE SET email = s.e", None),
    (f"MERGE INTO people p USING letters l ON p.id = l.id AND p.email = '{CANARY}'"
     " WHEN MATCHED THEN DELETE", None),
]  # fmt: skip
#: The same, of what nobody masks.
SEEN: list[Statement] = [
    (f"{JOINED} p.name = '{CANARY}'", None),
    (f"{JOINED} p.name IN ('a', '{CANARY}', 'b')", None),
    (f"{JOINED} p.name = %s", [CANARY]),
    (f"UPDATE people SET name = '{CANARY}' WHERE id = 1", None),
    ("UPDATE people SET name = %s WHERE id = %s", [CANARY, 1]),
    (f"INSERT INTO people (id, name) VALUES (1002, '{CANARY}')", None),
    (f"UPDATE letters SET note = '{CANARY}' WHERE id = 1 -- {CANARY}", None),
    (f"MERGE INTO people p USING letters l ON p.id = l.id AND p.name = '{CANARY}'"
     " WHEN MATCHED THEN UPDATE SET name = 'b'", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    cleared = DemoClient("cleared", Secret("x"), ("claude-postgres", "cleared"))
    bea = DemoClient("bea", Secret("x"), ("board",), "bea@example.com")
    with DevIssuer({**CLIENTS, CLEARED: cleared, BEA: bea}) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server()
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute("CREATE SCHEMA hr")
        for name in ("public.people", "hr.people"):
            columns = "(id int PRIMARY KEY, name text, email text)"
            db.execute(f"CREATE TABLE {name} {columns}")  # type: ignore[arg-type]
        db.execute(
            "CREATE TABLE public.letters (id int PRIMARY KEY, sent bool DEFAULT false, note text)"
        )
        db.execute("INSERT INTO public.letters SELECT generate_series(1, 30)")
        db.execute("GRANT ALL ON SCHEMA public, hr TO sallyport_agent")
        db.execute("GRANT ALL ON public.people, hr.people, public.letters TO sallyport_agent")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def running_gateway(issuer: DevIssuer, database: Server) -> Iterator[Gateway]:
    running = holding_gateway(issuer, database, POLICY, held_in_transaction_seconds=60.0)
    running.extra["console"]["roles"]["reviewer"].append("board")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def gateway(running_gateway: Gateway) -> Gateway:
    running_gateway.change_policy(POLICY)
    return running_gateway


@pytest.fixture
def cleared(gateway: Gateway) -> Iterator[Waiter]:
    with Waiter(gateway, CLEARED) as waiter:
        yield waiter
        if waiter.waiting:
            waiter.db.cancel()
            waiter.end()


def measured(desk: Desk, id_: str) -> dict[str, Any]:
    wait_for(lambda: desk.show(id_)["preview"] is not None)
    return desk.show(id_)


@pytest.mark.parametrize(("sql", "values"), HIDDEN)
def test_each_reviewer_sees_what_their_masks_leave(
    gateway: Gateway, cleared: Waiter, sql: str, values: list[Any] | None
) -> None:
    dana, sam, bea = (Desk(gateway, who) for who in (DBA, SECURITY, BEA))
    id_ = cleared.run(sql, values).id
    clear, masked, unread = (measured(desk, id_) for desk in (sam, dana, bea))
    assert CANARY in clear["sql"] + str(clear["binds"]) and clear["hidden"] == ""
    assert clear["preview"]["plan"]
    for shown, why in ((masked, MASKED), (unread, NO_RULE)):
        assert CANARY not in json.dumps(shown) and "[redacted]" in json.dumps(shown)
        assert (shown["hidden"], shown["sent"], shown["preview"]["plan"]) == (why, "", "")
        assert shown["preview"]["rows"] == clear["preview"]["rows"]
        assert shown["digest"] != clear["digest"]
    answer = dana.decide(id_, False, "no")
    assert answer.status_code == 200 and CANARY not in answer.text
    assert CANARY not in json.dumps(sam.show(id_))


@pytest.mark.parametrize(("sql", "values"), SEEN)
def test_what_nobody_masks_is_shown_to_all(
    gateway: Gateway, cleared: Waiter, sql: str, values: list[Any] | None
) -> None:
    id_ = cleared.run(sql, values).id
    shown = [measured(Desk(gateway, who), id_) for who in (SECURITY, DBA)]
    for seen in shown:
        assert CANARY in seen["sql"] + str(seen["binds"]) and seen["hidden"] == ""
        assert seen["preview"]["plan"] and "[redacted]" not in seen["sql"] + str(seen["binds"])
    assert shown[0] == shown[1]


@pytest.mark.parametrize(("sql", "values"), [HIDDEN[0], HIDDEN[3], HIDDEN[5]])
def test_the_masks_of_the_requester_do_not_matter(
    gateway: Gateway, sql: str, values: list[Any] | None
) -> None:
    """Nor do they for who sees the values: the agent that sent them sees masks alone."""
    with Waiter(gateway, AGENT) as agent:
        id_ = agent.run(sql, values).id
        clear, masked = (measured(Desk(gateway, who), id_) for who in (SECURITY, DBA))
        assert CANARY in clear["sql"] + str(clear["binds"])
        assert CANARY in clear["sent"] + str(clear["binds"]) and clear["sent"] != clear["sql"]
        assert CANARY not in json.dumps(masked) and masked["hidden"] == MASKED
        agent.db.cancel()
        agent.end()


def test_a_name_means_what_it_meant_to_the_session(gateway: Gateway, cleared: Waiter) -> None:
    dana, sql = Desk(gateway), f"UPDATE people SET email = '{CANARY}' WHERE id = 1"
    cleared.db.execute("SET search_path = hr")
    shown = dana.show(cleared.run(sql).id)
    assert (shown["sql"], shown["search_path"]) == (sql, ["hr"])
    cleared.db.cancel()
    cleared.end()
    cleared.db.execute("SET search_path = public")
    assert CANARY not in json.dumps(dana.show(cleared.run(sql).id))


@pytest.mark.parametrize(
    "before", ["CREATE TABLE more (id int)", "CREATE TEMP TABLE more (id int)"]
)
def test_a_catalog_of_the_sessions_own_hides_values(
    gateway: Gateway, cleared: Waiter, before: str
) -> None:
    sam, hidden, seen = Desk(gateway, SECURITY), HIDDEN[6][0], SEEN[3][0]
    cleared.db.execute("BEGIN")
    cleared.db.execute(before)  # type: ignore[call-overload]
    shown = sam.show(cleared.run(hidden).id)
    assert shown["status"] == "pending" and shown["hidden"] == MOVED
    assert CANARY not in json.dumps(shown)
    cleared.db.cancel()
    cleared.end()
    cleared.db.execute("ROLLBACK")
    cleared.db.execute("BEGIN")
    cleared.db.execute(before)  # type: ignore[call-overload]
    assert sam.show(cleared.run(seen).id)["sql"] == seen


@pytest.mark.parametrize("moves", ["policy", "catalog"])
def test_what_moved_since_hides_values(
    gateway: Gateway, cleared: Waiter, database: Server, moves: str
) -> None:
    sam = Desk(gateway, SECURITY)
    id_ = cleared.run(HIDDEN[6][0]).id
    assert CANARY in sam.show(id_)["sql"]
    if moves == "policy":
        gateway.change_policy(POLICY + "# another\n")
    else:
        with psycopg.connect(database.superuser_dsn, autocommit=True) as db:
            db.execute("ALTER TABLE letters ADD COLUMN IF NOT EXISTS later int")
    wait_for(lambda: sam.status(id_) == "voided")
    shown = sam.show(id_)
    assert CANARY not in json.dumps(shown) and "'[redacted]'" in shown["sql"]


def test_every_way_out(gateway: Gateway, cleared: Waiter) -> None:
    dana, sam = Desk(gateway), Desk(gateway, SECURITY)
    id_ = cleared.run(HIDDEN[6][0]).id
    url = f"http://{gateway.extra['console']['listen']}"
    words = [*gateway.command("approvals", "show", id_)[:4], "--url", url]
    said = {
        who: run(words, {**gateway.environment, "SALLYPORT_TOKEN": gateway.token(who)}).stdout
        for who in (DBA, SECURITY)
    }
    assert CANARY in said[SECURITY] and CANARY not in said[DBA]
    assert MASKED in " ".join(said[DBA].split()) and MASKED not in said[SECURITY]
    assert CANARY not in json.dumps([dana.pending(), sam.pending()])
    granted = sam.decide(id_, True, minutes=5)
    assert granted.status_code == 200 and CANARY not in granted.text
    assert sam.show(id_)["hidden"] in ("", NOT_DECIDING)
