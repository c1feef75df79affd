"""A database of the gateway that is deleted, replaced or damaged, before a start and while
it runs.
"""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.faults.test_crashes import command, listed
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for


def database(gateway: Gateway) -> Path:
    return gateway.home / "var" / "sallyport.db"


def remove(gateway: Gateway) -> None:
    for path in database(gateway).parent.glob("sallyport.db*"):
        path.unlink()


def record_a_session(gateway: Gateway) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("SELECT count(*) FROM products")


def login_is_refused(gateway: Gateway) -> bool:
    try:
        psycopg.connect(gateway.dsn()).close()
    except psycopg.OperationalError as error:
        return "SP1806" in str(error)
    return False


def verified(gateway: Gateway) -> dict[str, bool]:
    done = command(gateway, "audit", "verify", "--json")
    assert "Traceback" not in done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    verdicts = {result["session"]: result["ok"] for result in results}
    assert verdicts.pop("log"), done.stdout
    return verdicts


def history(gateway: Gateway) -> str:
    return command(gateway, "policy", "history").stdout


def test_a_deleted_database_and_reindex(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    record_a_session(gateway)
    gateway._end()
    before = [{**row, "searchable": ""} for row in listed(gateway)]
    remove(gateway)
    assert [ok for session, ok in verified(gateway).items() if session != "index"] == [True]
    assert verified(gateway)["index"] is False
    gateway.start()
    assert login_is_refused(gateway)
    running = command(gateway, "audit", "reindex")
    assert running.returncode == 2
    assert "Stop it" in running.stderr
    gateway.restart()
    assert login_is_refused(gateway), "a second start changes nothing"
    gateway._end()
    done = command(gateway, "audit", "reindex")
    assert done.returncode == 0, done.stderr
    assert "Lost for good" in done.stdout
    assert [{**row, "searchable": ""} for row in listed(gateway)] == before
    assert set(verified(gateway).values()) == {True}
    assert len(listed(gateway, "--text", "from products")) == 1
    gateway.start()
    record_a_session(gateway)
    wait_for(lambda: "audit reindex" in history(gateway))


def test_lost_state_is_accepted_by_an_operator(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    record_a_session(gateway)
    gateway._end()
    remove(gateway)
    gateway.start()
    assert login_is_refused(gateway)
    gateway._end()
    gateway.arguments = ("--accept-lost-state",)
    gateway.start()
    record_a_session(gateway)
    gateway.arguments = ()
    wait_for(lambda: "accepted lost state" in history(gateway))
    gateway.restart()
    record_a_session(gateway)


def test_another_database_is_not_the_gateways(make_gateway: Callable[..., Gateway]) -> None:
    gateway, second = make_gateway(), make_gateway()
    record_a_session(gateway)
    gateway._end()
    second._end()
    remove(gateway)
    database(gateway).write_bytes(database(second).read_bytes())
    gateway.start()
    assert login_is_refused(gateway)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_deleted_under_a_running_gateway(
    make_gateway: Callable[..., Gateway], replaced: bool
) -> None:
    console = free_port()
    gateway = make_gateway(extra={"console": {"listen": f"127.0.0.1:{console}"}})
    record_a_session(gateway)
    content = database(gateway).read_bytes()
    remove(gateway)
    if replaced:
        database(gateway).write_bytes(content)
    wait_for(lambda: login_is_refused(gateway))
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"http://127.0.0.1:{console}/readyz", timeout=60)
    assert "state was lost" in gateway.log.read_text()


def damage_header(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def damage_pages(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = db.execute("PRAGMA page_size").fetchone()[0]
        roots = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sessions'").fetchall()
    db.close()
    with path.open("r+b") as file:
        file.seek((roots[0][0] - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("damage", [damage_header, damage_pages])
def test_a_damaged_database(
    make_gateway: Callable[..., Gateway], damage: Callable[[Path], None]
) -> None:
    gateway = make_gateway()
    record_a_session(gateway)
    gateway._end()
    damage(database(gateway))
    results = verified(gateway)
    assert results.pop("index") is False
    assert list(results.values()) == [True]
    refused = command(gateway, "serve")
    assert refused.returncode == 2
    assert "audit reindex" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = command(gateway, "audit", "reindex")
    assert done.returncode == 0, done.stderr
    assert set(verified(gateway).values()) == {True}
    gateway.start()
    record_a_session(gateway)
    if damage is damage_pages:
        assert "the gateway started:" in history(gateway), "what could be read was kept"


def test_a_row_that_was_changed_is_found_and_made_anew(
    make_gateway: Callable[..., Gateway],
) -> None:
    gateway = make_gateway()
    record_a_session(gateway)
    gateway._end()
    with sqlite3.connect(database(gateway)) as db:
        db.execute("UPDATE sessions SET subject = 'somebody else', rows = 0")
    db.close()
    done = command(gateway, "audit", "verify")
    assert done.returncode == 1
    assert "the index says 'somebody else'" in done.stdout
    assert command(gateway, "audit", "reindex").returncode == 0
    assert set(verified(gateway).values()) == {True}
    assert listed(gateway)[0]["subject"] != "somebody else"
