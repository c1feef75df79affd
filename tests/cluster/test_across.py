"""What one gateway of a shared store is told, the others go by: real drivers, two gateways."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from sallyport.wire import frontend
from tests.server.raw import Raw
from tests.support.approvals import POLICY, Desk, Waiter, count
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import SUPERUSER_PASSWORD, Server
from tests.support.waiting import PATIENCE, wait_for
from tests.workers.crew import OLGA, rest, wait_for_both

LONG = "SELECT count(*) FROM waits a, waits b, waits c, waits d"
ROLES = {"reviewer": ["dba", "security"], "operator": ["ops"], "viewer": ["claude-postgres"]}
Pair = tuple[Gateway, Gateway]


@pytest.fixture
def pair(make_member: Callable[..., Gateway], postgres: Server) -> Pair:
    return make_pair(make_member, postgres)


def make_pair(make_member: Callable[..., Gateway], postgres: Server, workers: int = 1) -> Pair:
    """Two gateways with consoles, and tables with every row."""
    refill(postgres)

    def make() -> Gateway:
        console = {"listen": f"127.0.0.1:{free_port()}", "roles": ROLES}
        return make_member(extra={"console": console, "workers": workers}, policy=POLICY)

    first, second = make(), make()
    for gateway in (first, second):
        is_up(gateway)
    return first, second


def refill(server: Server) -> None:
    """Put back the rows that an earlier test deleted."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        for table in ("waits", "later"):
            rows = f"INSERT INTO {table} SELECT generate_series(1, 200) ON CONFLICT DO NOTHING"
            db.execute(rows)  # type: ignore[arg-type]


def is_up(gateway: Gateway, times: int = 1) -> None:
    """Until its console and each of its workers listens, which a start does not wait for."""
    wait_for(partial(has_console, gateway), PATIENCE)
    if gateway.extra.get("workers", 1) > 1:
        wait_for_both(gateway, times)


def has_console(gateway: Gateway) -> bool:
    """It listens a moment after the gateway."""
    host, _, port = gateway.extra["console"]["listen"].rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def is_over(connection: psycopg.Connection[Any], code: str) -> bool:
    """Whether the session has ended, for this reason. A statement is sent only when the gateway
    has said something: of a FATAL between CommandComplete and ReadyForQuery psycopg says only that
    the connection was lost, as it does with PostgreSQL's own pg_terminate_backend.
    """
    if not select.select([connection.fileno()], [], [], 0)[0]:
        return False
    try:
        connection.execute("SELECT 1")
    except psycopg.Error as error:
        assert code in str(error)
        return True
    return False


def is_let_in(gateway: Gateway) -> bool:
    try:
        psycopg.connect(gateway.dsn()).close()
    except psycopg.OperationalError as error:
        assert "SP1608" in str(error)
        return False
    return True


def cancelled(gateway: Gateway, raw: Raw, pid: int, key: bytes) -> bool:
    """Send a CancelRequest to this gateway. Whether the session's statement was cancelled."""
    with Raw(gateway) as request:
        request.send(frontend.cancel_request(pid, key))
        assert request.closed()
    raw.socket.settimeout(1.0)
    try:
        return b"C57014\0" in raw.until("E")[-1]
    except TimeoutError:
        return False


def test_one_gateway_waits_for_what_another_decides(pair: Pair, postgres: Server) -> None:
    first, second = pair
    with Waiter(first) as held:
        held.run("DELETE FROM waits WHERE id = 101")
        Desk(second).approve(held.id)
        assert held.end().result == "DELETE 1", held.error
        held.run("DELETE FROM waits WHERE id = 102")
        Desk(second).deny(held.id, "not today")
        held.end().refused("SP1402", "42501")
    assert count(postgres, "waits", "id = 102") == 1


def test_what_was_approved_at_one_gateway_runs_once_at_any(pair: Pair, postgres: Server) -> None:
    sql = "DELETE FROM later WHERE id = 7"
    first, second = (psycopg.connect(member.dsn(), autocommit=True) for member in pair)
    with first, second:
        with pytest.raises(psycopg.Error, match="apr_"):
            first.execute(sql)
        (request,) = Desk(pair[1]).pending()
        Desk(pair[1]).approve(request["id"])
        assert second.execute(sql).statusmessage == "DELETE 1"
        for connection in (first, second):
            with pytest.raises(psycopg.Error, match="approval"):
                connection.execute(sql)
    assert count(postgres, "later", "id = 7") == 0


def test_a_start_leaves_what_waits_at_another_gateway(pair: Pair) -> None:
    first, second = pair
    with Waiter(first) as held:
        held.run("DELETE FROM waits WHERE id = 103")
        id_ = held.id
        second.restart()
        assert Desk(second).status(id_) == "pending"
        Desk(second).approve(id_)
        assert held.end().result == "DELETE 1", held.error


def test_locks_kills_and_cancels_reach_the_session(pair: Pair) -> None:
    first, second = pair
    with psycopg.connect(first.dsn(), autocommit=True) as connection:
        (id_,) = connection.execute("SELECT current_setting('sallyport.session')").fetchone() or (
            "",
        )
        assert rest(second, "POST", "/sessions/ses_nobody/kill", OLGA).status_code == 404
        kill = f"/sessions/{id_}/kill"
        wait_for(lambda: rest(second, "POST", kill, OLGA).status_code == 200)
        wait_for(lambda: is_over(connection, "SP1803"))
    with Raw(first) as raw:
        key = raw.login()
        raw.send(frontend.query(LONG))
        wait_for(lambda: cancelled(second, raw, *key))
    with psycopg.connect(first.dsn(), autocommit=True) as connection:
        (subject,) = connection.execute(
            "SELECT current_setting('sallyport.subject')"
        ).fetchone() or ("",)
        body = {"kind": "subject", "name": subject, "reason": "looks odd"}
        locked = rest(second, "POST", "/locks", OLGA, json=body)
        assert locked.status_code in (200, 201), locked.text
        wait_for(lambda: is_over(connection, "SP1608"), PATIENCE)
    with pytest.raises(psycopg.OperationalError, match="SP1608"):
        psycopg.connect(first.dsn(first.token(AGENT)))
    release = f"/locks/{locked.json()['lock']['id']}/release"
    assert rest(second, "POST", release, OLGA).status_code == 200
    wait_for(lambda: is_let_in(first), PATIENCE)


def test_a_token_is_listed_and_revoked_at_another_gateway(pair: Pair) -> None:
    first, second = pair
    id_ = rest(first, "POST", "/tokens", AGENT, json={"minutes": 10}).json()["token"]["id"]
    listed = rest(second, "GET", "/tokens", AGENT).json()["tokens"]
    assert [token["id"] for token in listed] == [id_]
    assert rest(second, "POST", f"/tokens/{id_}/revoke", AGENT).status_code == 200
    assert rest(first, "GET", "/tokens", AGENT).json()["tokens"] == []


def test_a_lock_made_while_the_store_is_away_is_stored_and_told_later(
    pair: Pair, store_server: Server
) -> None:
    first, second = pair
    os.kill(store_server.cluster.pid, signal.SIGKILL)
    body = {"kind": "subject", "name": "somebody", "reason": "looks odd"}
    answer = rest(first, "POST", "/locks", OLGA, json=body)
    assert answer.status_code == 503 and "in force" in answer.json()["detail"], answer.text
    wait_for(lambda: rest(second, "POST", "/sessions/ses_1/kill", OLGA).status_code == 503)
    store_server.restart()

    def is_listed(gateway: Gateway) -> bool:
        locks = rest(gateway, "GET", "/locks", OLGA).json()["locks"]
        return [lock["name"] for lock in locks] == ["somebody"]

    for gateway in pair:
        wait_for(partial(is_listed, gateway))
    for gateway in pair:
        gateway.restart()
        is_up(gateway, 2)
        assert is_listed(gateway)


def test_what_no_message_told_is_read_from_the_store(pair: Pair) -> None:
    """Rows as another gateway leaves them whose messages are lost."""
    first, _ = pair
    store = first.extra["store"]
    with (
        psycopg.connect(
            host=store["host"],
            port=store["port"],
            dbname=store["database"],
            user=store["user"],
            password=SUPERUSER_PASSWORD,
            autocommit=True,
        ) as rows,
        Waiter(first) as held,
    ):
        held.run("DELETE FROM waits WHERE id = 104")
        void = "UPDATE approvals SET status = 'voided', void_reason = 'moved' WHERE id = %s"
        assert rows.execute(void, [held.id]).rowcount == 1
        held.end().refused("SP1404", "42501")
        (subject,) = held.db.execute("SELECT current_setting('sallyport.subject')").fetchone() or (
            "",
        )
        rows.execute(
            "INSERT INTO locks (id, kind, name, issuer, reason, created, by, by_issuer, address,"
            " released_by) VALUES ('lck_1', 'subject', %s, '', 'odd', 1, 'olga', '', '', '')",
            [subject],
        )
        wait_for(lambda: is_over(held.db, "SP1608"))
        rows.execute("UPDATE locks SET released_at = 2, released_by = 'olga'")
        wait_for(lambda: is_let_in(first))
