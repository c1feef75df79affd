"""What one worker of a gateway knows, the other one goes by: real drivers, two processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.approvals import POLICY, Waiter, count, make_tables
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for
from tests.workers.crew import (
    OLGA,
    PEOPLE,
    both,
    connect,
    crew,
    desk,
    metric,
    rest,
    worker_of,
)

#: Runs for minutes.
LONG = "SELECT count(*) FROM waits a, waits b, waits c, waits d"
CROWD = "crowd-1"
MINE = {"limits": {"max_sessions_per_subject": 6, "failed_logins_per_minute": 4}}


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer(PEOPLE) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server(settings={"max_connections": "100"})
    make_tables(server)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, database: Server) -> Iterator[Gateway]:
    with crew(issuer, database, POLICY, **MINE) as running:
        yield running


def fails(connection: psycopg.Connection[Any], code: str) -> None:
    """Until its session is over, for this reason."""
    messages: list[str] = []

    def is_over() -> bool:
        try:
            connection.execute("SELECT 1")
        except psycopg.Error as error:
            messages.append(str(error))
            return True
        return False

    wait_for(is_over)
    assert code in messages[0], messages


def test_the_console_shows_the_sessions_of_all(gateway: Gateway) -> None:
    first, second = both(gateway)
    with first, second:
        assert {worker_of(first), worker_of(second)} == {0, 1}
        wait_for(lambda: metric(gateway, "sallyport_sessions") == 2)
        before = metric(gateway, "sallyport_sessions_total")
        connect(gateway, 1).close()
        wait_for(lambda: metric(gateway, "sallyport_sessions_total") > before)
    wait_for(lambda: metric(gateway, "sallyport_sessions") == 0)


def test_a_cancel_finds_its_worker(gateway: Gateway) -> None:
    """Each request goes to either worker; in eight of them some reach the wrong one."""
    for connection in both(gateway):
        with connection:
            for _ in range(4):
                timer = threading.Timer(0.3, connection.cancel)
                timer.start()
                with pytest.raises(psycopg.errors.QueryCanceled):
                    connection.execute(LONG)
                timer.join()


def test_an_operator_ends_a_session_of_the_other_worker(gateway: Gateway) -> None:
    with connect(gateway, 1) as connection:
        (id_,) = connection.execute("SELECT current_setting('sallyport.session')").fetchone() or (
            "",
        )
        answers = []

        def is_killed() -> bool:
            answers.append(rest(gateway, "POST", f"/sessions/{id_}/kill", OLGA).status_code)
            return answers[-1] == 200

        wait_for(is_killed)
        fails(connection, "SP1803")


def test_a_lock_holds_in_every_worker(gateway: Gateway) -> None:
    first, second = both(gateway, CROWD)
    body = {"kind": "subject", "name": CROWD, "reason": "looks odd"}
    answer = rest(gateway, "POST", "/locks", OLGA, json=body)
    assert answer.status_code in (200, 201), answer.text
    fails(first, "SP1608")
    fails(second, "SP1608")
    for _ in range(6):
        with pytest.raises(psycopg.OperationalError, match="SP1608"):
            psycopg.connect(gateway.dsn(gateway.token(CROWD)))
    id_ = answer.json()["lock"]["id"]
    assert rest(gateway, "POST", f"/locks/{id_}/release", OLGA).status_code == 200
    for connection in both(gateway, CROWD):
        connection.close()


def waiter(gateway: Gateway, worker: int, client: str = AGENT, **options: Any) -> Waiter:
    while True:
        made = Waiter(gateway, client, **options)
        if worker_of(made.db) == worker:
            return made
        made.db.close()


@pytest.mark.parametrize("worker", [0, 1])
def test_one_worker_waits_for_what_another_decides(
    gateway: Gateway, database: Server, worker: int
) -> None:
    row = 100 + worker
    with waiter(gateway, worker) as held:
        held.run(f"DELETE FROM waits WHERE id = {row}")
        desk(gateway).approve(held.id)
        assert held.end().result == "DELETE 1", held.error
        held.run(f"DELETE FROM waits WHERE id = {row + 10}")
        desk(gateway).deny(held.id, "not today")
        held.end().refused("SP1402", "42501")
    assert count(database, "waits", f"id = {row + 10}") == 1


def test_what_was_approved_for_one_worker_runs_once_in_any(
    gateway: Gateway, database: Server
) -> None:
    sql = "DELETE FROM later WHERE id = 7"
    first, second = both(gateway)
    with first, second:
        with pytest.raises(psycopg.Error, match="apr_"):
            first.execute(sql)
        (request,) = desk(gateway).pending()
        desk(gateway).approve(request["id"])
        assert second.execute(sql).statusmessage == "DELETE 1"
        for connection in (first, second):
            with pytest.raises(psycopg.Error, match="approval"):
                connection.execute(sql)
    for request in desk(gateway).pending():
        desk(gateway).deny(request["id"], "asked again")
    assert count(database, "later", "id = 7") == 0


def test_sessions_of_one_subject_are_counted_together(gateway: Gateway) -> None:
    client = "crowd-2"
    sessions = [psycopg.connect(gateway.dsn(gateway.token(client))) for _ in range(6)]
    assert {worker_of(session) for session in sessions} <= {0, 1}
    for _ in range(4):
        with pytest.raises(psycopg.OperationalError, match="SP1605"):
            psycopg.connect(gateway.dsn(gateway.token(client)))
    sessions.pop().close()

    def is_let_in() -> bool:
        try:
            sessions.append(psycopg.connect(gateway.dsn(gateway.token(client))))
        except psycopg.OperationalError:
            return False
        return True

    wait_for(is_let_in)
    for session in sessions:
        session.close()


def test_a_session_token_opens_and_closes_every_worker(gateway: Gateway) -> None:
    answer = rest(gateway, "POST", "/tokens", AGENT, json={"minutes": 10})
    assert answer.status_code in (200, 201), answer.text
    secret, id_ = answer.json()["secret"], answer.json()["token"]["id"]
    first, second = connect(gateway, 0, token=secret), connect(gateway, 1, token=secret)
    assert rest(gateway, "POST", f"/tokens/{id_}/revoke", AGENT).status_code == 200
    fails(first, "SP1610")
    fails(second, "SP1610")
    for _ in range(6):
        with pytest.raises(psycopg.OperationalError, match=r"SP160[17]"):
            psycopg.connect(gateway.dsn(secret))


def test_a_changed_policy_is_in_force_everywhere(gateway: Gateway) -> None:
    first, second = both(gateway)
    with first, second:
        gateway.write(POLICY.replace("allow: [read, write, ddl]", "allow: [read]"))
        os.kill(gateway.pid, signal.SIGHUP)
        for connection in (first, second):

            def is_refused(connection: psycopg.Connection[Any] = connection) -> bool:
                try:
                    connection.execute("UPDATE free SET note = 'y' WHERE id = 1")
                except psycopg.Error as error:
                    return "SP1001" in str(error)
                return False

            wait_for(is_refused)
        gateway.write(POLICY)
        os.kill(gateway.pid, signal.SIGHUP)
        for connection in (first, second):

            def is_allowed(connection: psycopg.Connection[Any] = connection) -> bool:
                try:
                    connection.execute("UPDATE free SET note = 'y' WHERE id = 1")
                except psycopg.Error:
                    return False
                return True

            wait_for(is_allowed)
    versions = rest(gateway, "GET", "/policy/versions", OLGA)
    assert versions.status_code == 200, versions.text


def test_failed_logins_are_counted_together(gateway: Gateway) -> None:
    """The bound is 4 in a minute; each worker alone would tell why more often."""
    told = [_refusal(gateway) for _ in range(12)]
    assert sum("SP1607" in text for text in told) >= 8, told
    assert sum("SP1601" in text for text in told) <= 4, told


def _refusal(gateway: Gateway) -> str:
    with pytest.raises(psycopg.OperationalError) as error:
        psycopg.connect(gateway.dsn("not.a.token"))
    return str(error.value)


EVERYTHING = """\
version: 1
rules:
  - {name: everything, allow: [all]}
"""


def test_a_schema_change_is_known_to_the_other(issuer: DevIssuer, database: Server) -> None:
    """Well before it would look by itself."""
    never = {"check_seconds": 3600}
    with psycopg.connect(database.superuser_dsn, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA told; GRANT ALL ON SCHEMA told TO sallyport_agent")
        owner.execute("CREATE TABLE told.t (a int)")
        owner.execute("ALTER TABLE told.t OWNER TO sallyport_agent")
    with crew(issuer, database, EVERYTHING, catalog=never) as gateway:
        for changes, reads in (both(gateway), both(gateway)[::-1]):
            with changes, reads:
                columns = len(reads.execute("SELECT * FROM told.t").description or ())
                changes.execute(f"ALTER TABLE told.t ADD COLUMN c{columns} int")
                seen = 2 * columns  # by each of both, since there was one column
                wait_for(lambda seen=seen: gateway.output().count("catalog changed") == seen)
                cursor = reads.execute("SELECT * FROM told.t")
                assert len(cursor.description or ()) == columns + 1
