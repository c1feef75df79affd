"""Held statements that masks are put into: reviewers see the text that will be sent, and an
approval is for that text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.core.secret import Secret
from sallyport.demo.issuer import DemoClient, DevIssuer
from tests.support import requests
from tests.support.approvals import CLIENTS, SECURITY, Desk, Waiter, holding_gateway
from tests.support.forked import run
from tests.support.gateway import AGENT, DBA, Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for

#: The subject of AGENT, in a group that masks spare.
CLEARED = "cleared-agent"
KEY = "SALLYPORT_TEST_MASK_KEY"
POLICY = """\
version: 1
rules:
  - name: agents work
    subjects: {groups: [claude-postgres]}
    allow: [read, write]
    relations: ["public.*"]
  - name: changes wait
    subjects: {groups: [claude-postgres]}
    hold: [insert, update]
    relations: ["public.letters", "public.people"]
    reviewers: {groups: [dba, security]}
    expires: 2m
  - name: deletes are asked for
    subjects: {groups: [claude-postgres]}
    hold: [delete]
    relations: ["public.letters"]
    reviewers: {groups: [security]}
    mode: async
    expires: 2m
  - name: who decides may look
    subjects: {groups: [dba, security]}
    allow: [read]
    relations: ["public.*"]
masks:
  - {columns: ["public.people.email"], with: email, except: {groups: [security, cleared]}}
  - {columns: ["public.people.ssn"], with: hash, except: {groups: [security, cleared]}}
"""
#: ``p%`` matches 20 addresses, and none once the mask is applied, which leaves one letter and
#: stars; so does the other way round ``p*%``.
RAW, MASKED = "p.email LIKE 'p1%'", "p.email LIKE 'p*%'"


def change(condition: str) -> str:
    return f"UPDATE letters SET sent = true FROM people p WHERE p.id = letters.id AND {condition}"


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    agent = CLIENTS[AGENT]
    cleared = DemoClient(agent.subject, Secret("x"), (*agent.groups, "cleared"), agent.email)
    with DevIssuer({**CLIENTS, CLEARED: cleared}) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server()
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute("CREATE TABLE public.people (id int PRIMARY KEY, email text, ssn text)")
        db.execute(
            "INSERT INTO public.people SELECT n, 'p' || n || '@example.com', 'ssn-' || n FROM"
            " generate_series(1, 30) n"
        )
        db.execute("CREATE TABLE public.letters (id int PRIMARY KEY, sent bool DEFAULT false)")
        db.execute("INSERT INTO public.letters SELECT generate_series(1, 30)")
        db.execute("GRANT ALL ON public.people, public.letters TO sallyport_agent")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, database: Server) -> Iterator[Gateway]:
    running = holding_gateway(issuer, database, POLICY)
    running.extra = {**running.extra, "mask_keys": {"default": {"env": KEY}}}
    os.environ[KEY] = "a key of these tests"
    running.start()
    yield running
    running.stop()
    del os.environ[KEY]


@pytest.fixture
def agent(gateway: Gateway) -> Iterator[Waiter]:
    with Waiter(gateway) as waiter:
        yield waiter
        if waiter.waiting:
            waiter.db.cancel()
            waiter.end()


@pytest.fixture
def dana(gateway: Gateway) -> Desk:
    return Desk(gateway)


@pytest.fixture
def sam(gateway: Gateway) -> Desk:
    """Whom no mask is for."""
    return Desk(gateway, SECURITY)


def measured(desk: Desk, id_: str) -> dict[str, Any]:
    wait_for(lambda: desk.show(id_)["preview"] is not None)
    return desk.show(id_)


def sallyport(gateway: Gateway, *words: str, **environment: str) -> str:
    done = run(words, {**gateway.environment, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_reviewers_see_what_is_sent_and_what_it_would_touch(
    gateway: Gateway, agent: Waiter, sam: Desk, database: Server
) -> None:
    text = change(MASKED)
    id_ = agent.run(text).id
    shown = measured(sam, id_)
    assert shown["sql"] == text
    assert shown["sent"] != text and "UNION ALL" in shown["sent"] and shown["sent"].endswith(MASKED)
    assert (shown["preview"]["rows"], shown["preview"]["problems"]) == (30, [])
    sam.approve(id_)
    assert agent.end().result == "UPDATE 30"
    with psycopg.connect(database.superuser_dsn, autocommit=True) as db:
        assert db.execute("UPDATE letters SET sent = false WHERE sent").rowcount == 30


def test_a_condition_that_only_the_value_fulfils_touches_nothing(agent: Waiter, dana: Desk) -> None:
    id_ = agent.run(change(RAW)).id
    assert measured(dana, id_)["preview"]["rows"] == 0
    dana.approve(id_)
    assert agent.end().result == "UPDATE 0"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE people SET id = id WHERE email LIKE 'p1%'",
        "UPDATE people SET email = ssn WHERE id = 1",
        "UPDATE letters SET sent = p.email IS NULL FROM people p WHERE p.id = letters.id",
        "INSERT INTO people (id, email) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET ssn = 'y'",
    ],
)
def test_what_masks_forbid_is_not_held(
    gateway: Gateway, agent: Waiter, dana: Desk, sql: str
) -> None:
    """Neither an approval nor the count of rows in its preview may tell of masked values."""
    before = len(dana.pending())
    error = agent.run(sql).end().error
    assert error is not None and error.sqlstate == "42501" and "[SP120" in str(error), error
    assert len(dana.pending()) == before


def test_a_write_of_a_table_with_masks_by_its_key_waits(agent: Waiter, dana: Desk) -> None:
    id_ = agent.run("UPDATE people SET id = id WHERE id IN (3, 4)").id
    assert measured(dana, id_)["preview"]["rows"] == 2
    dana.approve(id_)
    assert agent.end().result == "UPDATE 2"


def test_without_masks_the_text_is_sent_as_it_came(agent: Waiter, dana: Desk) -> None:
    text = "UPDATE letters SET sent = false WHERE id = 1;  -- as it came"
    shown = dana.show(agent.run(text).id)
    assert shown["sent"] == shown["sql"] == text


def test_parameters(agent: Waiter, sam: Desk) -> None:
    text = (
        "UPDATE letters SET sent = false FROM people p WHERE p.id = letters.id AND p.email LIKE %s"
        " AND p.id < %s"
    )
    id_ = agent.run(text, ["p*%", 6]).id
    shown = measured(sam, id_)
    assert shown["sent"] != shown["sql"] and "UNION ALL" in shown["sent"]
    assert (shown["preview"]["rows"], shown["preview"]["problems"]) == (5, [])
    sam.approve(id_)
    assert agent.end().result == "UPDATE 5"


def test_hashes_are_counted_under_their_key(agent: Waiter, dana: Desk) -> None:
    id_ = agent.run(change("p.ssn LIKE 'tok\\_%'")).id
    shown = measured(dana, id_)
    assert (shown["preview"]["rows"], shown["preview"]["problems"]) == (30, [])
    dana.approve(id_)
    assert agent.end().result == "UPDATE 30"


def test_without_its_masks_it_is_void(gateway: Gateway, sam: Desk, database: Server) -> None:
    """The same subject sends the same text, in a session that sees no masks: nobody
    approved that.
    """
    text = "DELETE FROM letters USING people p WHERE p.id = letters.id AND " + RAW
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"\[SP1406\]") as caught:
            db.execute(text)  # type: ignore[call-overload]
        id_ = next(word for word in str(caught.value).split() if word.startswith("apr_"))
        sam.approve(id_)
    void = pytest.raises(
        psycopg.errors.InsufficientPrivilege,
        match=r"\[SP1404\].*the text that is sent to the database",
    )
    with psycopg.connect(gateway.dsn(gateway.token(CLEARED)), autocommit=True) as db, void:
        db.execute(text)  # type: ignore[call-overload]
    assert sam.status(id_) == "voided"
    with psycopg.connect(database.superuser_dsn) as db:
        assert db.execute("SELECT count(*) FROM letters").fetchone() == (30,)


def test_samples_are_of_the_rows_that_it_would_change(
    gateway: Gateway, agent: Waiter, dana: Desk
) -> None:
    """Who sees the values is shown those rows, and not the ones that the values would choose."""
    sam = Desk(gateway, SECURITY)
    id_ = agent.run(change(MASKED + " AND p.id < 4")).id
    rows = sam.get(f"/approvals/{id_}/sample")
    assert (rows["problem"], sorted(row[0] for row in rows["rows"])) == ("", ["1", "2", "3"])
    hidden = dana.get(f"/approvals/{id_}/sample")
    assert hidden["rows"] == [] and "masked for you: public.people.email" in hidden["problem"]
    agent.db.cancel()
    agent.end()
    id_ = agent.run(change(RAW)).id
    assert sam.get(f"/approvals/{id_}/sample") == {
        "columns": ["id", "sent"],
        "rows": [],
        "masked": [],
        "problem": "",
    }


def test_a_sample_is_not_chosen_by_the_reviewers_masks(gateway: Gateway, dana: Desk) -> None:
    """The agent sees the values here and the reviewer does not: other rows than it would change are
    worse than none.
    """
    with Waiter(gateway, CLEARED) as cleared:
        id_ = cleared.run(change(RAW)).id
        shown = measured(dana, id_)
        assert shown["sent"] == "" and shown["preview"]["rows"] == 11
        hidden = dana.get(f"/approvals/{id_}/sample")
        assert hidden["rows"] == [] and "masked for you" in hidden["problem"]
        cleared.db.cancel()
        cleared.end()


def test_the_command_line_shows_both_texts(gateway: Gateway, agent: Waiter) -> None:
    text = change(MASKED)
    id_ = agent.run(text).id
    url = f"http://{gateway.extra['console']['listen']}"
    show = [*gateway.command("approvals", "show", id_)[:4], "--url", url]
    shown = sallyport(gateway, *show, SALLYPORT_TOKEN=gateway.token(SECURITY))
    before, _, behind = shown.partition("Sent to the database (masks applied):")
    assert text in before and "UNION ALL" not in before and "UNION ALL" in behind


def test_the_session_shows_what_masks_its_expressions_saw(
    gateway: Gateway, agent: Waiter, dana: Desk
) -> None:
    id_ = agent.run(change(MASKED)).id
    session = dana.show(id_)["session"]
    dana.approve(id_)
    assert agent.end().result == "UPDATE 30"
    assert any("[SP2001]" in notice.text for notice in agent.notices)
    agent.db.execute(
        "SELECT count(*) FROM people p JOIN letters USING (id) WHERE p.email LIKE 'p*%'"
    )
    agent.db.close()
    said = "[SP2001] computed with masked values of public.people.email (email)"
    wait_for(
        lambda: (
            sallyport(gateway, *gateway.command("sessions", "show", session, "--json")).count(said)
            == 2
        )
    )
    assert (
        sallyport(gateway, *gateway.command("sessions", "replay", session, "--instant")).count(said)
        == 2
    )


@pytest.mark.parametrize("approves", [True, False])
def test_values_are_seen_while_they_wait_and_are_in_no_file(
    gateway: Gateway, agent: Waiter, sam: Desk, approves: bool
) -> None:
    value = f"CANARY-{approves}"

    def check_files() -> None:
        for file in (gateway.home / "var").rglob("*"):
            assert not file.is_file() or value.encode() not in file.read_bytes(), file

    text = change(f"p.email LIKE '{value}%'")
    id_ = agent.run(text).id
    assert measured(sam, id_)["sql"] == text
    check_files()
    if approves:
        sam.approve(id_)
        assert agent.end().result == "UPDATE 0"
    else:
        sam.deny(id_, "no")
        agent.end()
    wait_for(lambda: sam.show(id_)["status"] in ("used", "denied"))
    shown = sam.show(id_)
    assert shown["sql"] == change("p.email LIKE '[redacted]'") and value not in str(shown)
    check_files()
    assert value not in gateway.output()


def test_values_are_seen_by_those_who_may_decide_alone(
    gateway: Gateway, dana: Desk, sam: Desk
) -> None:
    """dana reviews other statements: no value of this one is hers, nor the plan that quotes it."""
    text = change("p.email LIKE 'CANARY-SEEN%'").replace(
        "UPDATE letters SET sent = true FROM", "DELETE FROM letters USING"
    )
    refused = pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"\[SP1406\]")
    with psycopg.connect(gateway.dsn(), autocommit=True) as db, refused as caught:
        db.execute(text.encode())
    id_ = next(word for word in str(caught.value).split() if word.startswith("apr_"))
    assert measured(sam, id_)["sql"] == text
    shown = dana.show(id_)
    assert shown["status"] == "pending" and "LIKE '[redacted]'" in shown["sql"]
    token = {"Authorization": f"Bearer {gateway.token(DBA)}"}
    base = f"http://{gateway.extra['console']['listen']}"
    listed = requests.get(f"{base}/api/v1/approvals?status=pending", headers=token, timeout=60)
    assert "CANARY-SEEN" not in str(shown) + listed.text
    assert dana.decide(id_, True).status_code == 403
    sam.deny(id_, "no")
