"""What each gateway recorded, in a store that several share: made unreadable, and made anew when
the store is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
from psycopg import sql

from tests.cluster.test_across import is_up, make_pair
from tests.cluster.test_members import can_log_in, listed
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for
from tests.workers.crew import OLGA, rest

Make = Callable[..., Gateway]
CANARY = "CANARY4713"


def ask(gateway: Gateway) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as connection:
        connection.execute(f"SELECT id AS {CANARY} FROM customers LIMIT 1")


def hits(gateway: Gateway) -> list[str]:
    done = gateway.run("sessions", "search", CANARY, "--json")
    assert done.returncode == 0, done.stderr
    *statements, _ = map(json.loads, done.stdout.splitlines())  # the last line is the state
    return [statement["session"] for statement in statements]


def test_each_gateway_shreds_what_it_recorded(make_member: Make, store_server: Server) -> None:
    first, second = make_member(), make_member()
    ask(first)
    ask(second)
    wait_for(lambda: len(hits(first)) == 2)
    wait_for(lambda: {row["status"] for row in listed(first)} == {"ended"})
    name = (second.home / "var" / "gateway.name").read_text().strip()
    row = next(row for row in listed(first) if row["gateway"] == name)
    reason = ("--reason", "request 42", "--yes")
    refused = first.run("audit", "shred", str(row["id"]), *reason)
    assert (refused.returncode, name in refused.stderr) == (2, True), refused.stderr
    subject = ("--subject", str(row["subject"]), *reason)
    done = first.run("audit", "shred", *subject)
    assert "1 recording shredded, 1 statement deleted" in done.stdout
    assert f"1 more were recorded by {name}" in done.stderr
    assert done.returncode == 1
    assert hits(first) == [row["id"]]
    done = second.run("audit", "shred", str(row["id"]), *reason)
    assert done.returncode == 0, done.stderr
    assert hits(second) == []
    for gateway in (first, second):
        verified = gateway.run("audit", "verify")
        assert (verified.returncode, "SHREDDED" in verified.stdout) == (0, True), verified.stdout
        assert can_log_in(gateway) == ""


def test_a_store_that_is_lost_is_made_anew_from_what_each_recorded(
    make_member: Make, postgres: Server, store_server: Server
) -> None:
    first, second = make_pair(make_member, postgres)
    ask(first)
    ask(second)
    body = {"kind": "subject", "name": "somebody", "reason": "looks odd"}
    assert rest(second, "POST", "/locks", OLGA, json=body).is_success
    wait_for(lambda: {row["status"] for row in listed(first)} == {"ended"})
    before = counts(first)
    first.stop()
    second.stop()
    forget_everything(store_server, first)
    first.start()
    assert "SP1806" in can_log_in(first)
    refused = first.run("audit", "reindex")
    assert "a gateway uses the data directory" in refused.stderr
    first.stop()
    assert "rebuilt" in reindexed(first)
    assert "1 locks made anew" in reindexed(second), "the second gateway has its record"
    assert counts(second) == before
    assert len(hits(second)) == 2
    for gateway in (first, second):
        gateway.start()
        is_up(gateway)
        assert can_log_in(gateway) == ""
        assert gateway.run("audit", "verify").returncode == 0
    locks = rest(first, "GET", "/locks", OLGA).json()["locks"]
    assert [lock["name"] for lock in locks] == ["somebody"]


def counts(gateway: Gateway) -> dict[object, tuple[object, object]]:
    """Of every session, which gateway recorded how many statements."""
    return {row["id"]: (row["gateway"], row["statements"]) for row in listed(gateway)}


def reindexed(gateway: Gateway) -> str:
    """What the command says."""
    done = gateway.run("audit", "reindex")
    assert done.returncode == 0, done.stderr
    return done.stdout


def forget_everything(server: Server, gateway: Gateway) -> None:
    """An empty database in the place of the store."""
    name = sql.Identifier(gateway.extra["store"]["database"])
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        db.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(name))
