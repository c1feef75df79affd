"""Gateways that share a store, from outside: what one records another lists, and what becomes of
sessions when the store is away.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import psutil
import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for
from tests.workers.crew import rest

Make = Callable[..., Gateway]


def listed(gateway: Gateway) -> list[dict[str, object]]:
    done = gateway.run("sessions", "list", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def can_log_in(gateway: Gateway, token: str = "") -> str:
    """ "" or the refusal."""
    try:
        with psycopg.connect(gateway.dsn(token), connect_timeout=60) as connection:
            connection.execute("SELECT count(*) FROM customers")
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def test_a_restart_leaves_the_sessions_of_others_alone(make_member: Make) -> None:
    first, second = make_member(), make_member()
    with psycopg.connect(first.dsn(), autocommit=True) as connection:
        connection.execute("SELECT id FROM customers LIMIT 1")
        assert can_log_in(second) == ""
        second.restart()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        wait_for(lambda: [row["status"] for row in listed(second)].count("ended") == 1)
        assert sorted(str(row["status"]) for row in listed(second)) == ["ended", "live"]
    wait_for(lambda: {row["status"] for row in listed(second)} == {"ended"})


def test_a_store_that_is_away_stops_logins_and_comes_back(
    make_member: Make, store_server: Server
) -> None:
    gateway = make_member(grace=3600.0)
    with psycopg.connect(gateway.dsn(), autocommit=True) as connection:
        connection.execute("SELECT 1")
        os.kill(store_server.cluster.pid, signal.SIGKILL)
        wait_for(lambda: "SP1807" in can_log_in(gateway))
        assert connection.execute("SELECT 1").fetchone() == (1,), "what runs goes on"
        store_server.restart()
        wait_for(lambda: can_log_in(gateway) == "")
        assert connection.execute("SELECT 1").fetchone() == (1,)
    wait_for(lambda: [row["status"] for row in listed(gateway)].count("ended") >= 2)


def test_a_store_that_stops_answering_refuses_session_tokens_as_well(
    make_member: Make, store_server: Server
) -> None:
    """SIGSTOP: packets arrive and nobody answers, as behind a broken network."""
    gateway = make_member(grace=3600.0)
    unknown = "spt_" + "a" * 32
    assert "SP1601" in can_log_in(gateway, unknown)
    stopped = psutil.Process(store_server.cluster.pid)
    processes = [stopped, *stopped.children()]
    with psycopg.connect(gateway.dsn(), autocommit=True) as connection:
        for process in processes:
            process.suspend()
        try:
            wait_for(lambda: "SP1807" in can_log_in(gateway))
            assert "SP1807" in can_log_in(gateway, unknown)
            assert connection.execute("SELECT 1").fetchone() == (1,), "what runs goes on"
        finally:
            for process in processes:
                process.resume()
        wait_for(lambda: can_log_in(gateway) == "")


def test_a_session_token_is_good_at_every_gateway(make_member: Make) -> None:
    console = {"listen": f"127.0.0.1:{free_port()}", "roles": {"viewer": ["claude-postgres"]}}
    first, second = make_member(extra={"console": console}), make_member()
    answer = rest(first, "POST", "/tokens", AGENT, json={"minutes": 10})
    assert answer.status_code in (200, 201), answer.text
    token = answer.json()
    assert can_log_in(second, token["secret"]) == ""
    answer = rest(first, "POST", f"/tokens/{token['token']['id']}/revoke", AGENT)
    assert answer.status_code == 200, answer.text
    wait_for(lambda: "SP1601" in can_log_in(second, token["secret"]))


def test_sessions_end_when_the_grace_is_over(make_member: Make, store_server: Server) -> None:
    gateway = make_member(grace=1.0)
    connection = psycopg.connect(gateway.dsn(), autocommit=True)
    connection.execute("SELECT 1")
    store_server.cluster.wanted_port = store_server.port
    store_server.cluster.stop()
    with pytest.raises(psycopg.OperationalError, match="SP1807"):
        while True:
            connection.execute("SELECT 1")
            signal.sigtimedwait([], 0.2)
    store_server.cluster.start()  # for the fixture, which drops the database


def test_two_gateways_cannot_have_one_name(make_member: Make) -> None:
    first, second = make_member(), make_member()
    second.stop()
    name = (first.home / "var" / "gateway.name").read_text()
    (second.home / "var" / "gateway.name").write_text(name)
    done = second.run("serve")
    assert done.returncode == 2 and "another gateway is called" in done.stderr


def test_a_session_is_held_where_it_was_recorded(make_member: Make) -> None:
    first, second = make_member(), make_member()
    assert can_log_in(first) == ""
    wait_for(lambda: [row["status"] for row in listed(first)] == ["ended"])
    (session,) = (str(row["id"]) for row in listed(second))
    name = (first.home / "var" / "gateway.name").read_text().strip()
    hold = ("audit", "hold", "--reason", "case 7")
    refused = second.run(*hold, "--session", session)
    assert refused.returncode == 2 and f"by the gateway {name}" in refused.stderr
    done = first.run(*hold, "--session", session)
    assert done.returncode == 0 and "is in force" in done.stdout, done.stderr
    done = first.run(*hold, "--target", "shop")
    assert done.returncode == 0 and "on every gateway" in done.stdout, done.stderr
    made = json.loads(first.run("audit", "holds", "--json").stdout)
    assert [each["session"] for each in made] == [session, ""]
    assert not json.loads(second.run("audit", "holds", "--json").stdout)
    done = first.run("audit", "release", made[0]["id"], "--reason", "closed")
    assert done.returncode == 0, done.stderr
