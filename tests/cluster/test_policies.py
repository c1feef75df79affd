"""One policy for every gateway of a store, by version: two gateways, one of them with workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.cluster.test_across import ROLES, is_up
from tests.support.approvals import POLICY
from tests.support.gateway import Gateway
from tests.support.postgres import SUPERUSER_PASSWORD
from tests.support.waiting import PATIENCE, wait_for
from tests.workers.crew import OLGA, both, rest

READ_ONLY = POLICY.replace("allow: [read, write, ddl]", "allow: [read]")
UPDATE = "UPDATE free SET note = 'y' WHERE id = 1"
pytestmark = pytest.mark.timeout(600)  # several processes start slowly beside load


def code_of(connection: psycopg.Connection[Any]) -> str:
    """What an UPDATE is refused with; "" when it runs."""
    try:
        connection.execute(UPDATE)
    except psycopg.Error as error:
        return str(error).partition("]")[0].rpartition("[")[2]
    return ""


def members(gateway: Gateway) -> list[dict[str, Any]]:
    done = gateway.run("policy", "gateways", "--json")
    assert done.returncode in (0, 1), done.stderr
    return list(json.loads(done.stdout))


def test_a_version_is_published_rolled_out_and_seen(  # long: one rollout, step by step
    make_member: Callable[..., Gateway],
) -> None:
    def make(workers: int) -> Gateway:
        console = {"listen": f"127.0.0.1:{free_port()}", "roles": ROLES}
        extra = {"console": console, "workers": workers}
        store = {"policy": "published"}
        return make_member(extra=extra, store=store, policy=POLICY, start=False)

    first, second = make(2), make(1)
    plain = make_member(policy=POLICY)  # takes its file; the store has its tables now
    for gateway in (first, second):
        gateway.port = free_port()
        gateway.write()
    refused = first.run("serve")
    assert refused.returncode == 2 and "no policy is published" in refused.stderr
    done = first.run("policy", "publish")
    assert done.returncode == 0 and "as number 1" in done.stdout, done.stderr
    for gateway in (first, second):
        gateway.start()
        is_up(gateway)
    wait_for(lambda: [m["policy_problem"] for m in members(first)] == [""] * 4, PATIENCE)
    assert first.run("policy", "gateways").returncode == 0

    connections = [*both(first), psycopg.connect(second.dsn(), autocommit=True)]
    with connections[0], connections[1], connections[2]:
        assert [code_of(connection) for connection in connections] == [""] * 3

        # A file of one gateway decides nothing, and is told.
        second.write(READ_ONLY)
        wait_for(lambda: any("its file" in m["policy_problem"] for m in members(first)), PATIENCE)
        assert [code_of(connection) for connection in connections] == [""] * 3

        assert second.run("policy", "publish").returncode == 0
        for connection in connections:
            wait_for(lambda c=connection: code_of(c) == "SP1001", PATIENCE)

        def is_told() -> bool:
            told = {member["policy_problem"] for member in members(first)}
            return any("it runs its file" in text for text in told)

        wait_for(is_told, PATIENCE)
        assert first.run("policy", "gateways").returncode == 1
        assert "SP" not in code_of(psycopg.connect(plain.dsn(), autocommit=True))

        # Who can write the store but has no key makes no policy.
        store = first.extra["store"]
        with psycopg.connect(
            host=store["host"],
            port=store["port"],
            dbname=store["database"],
            user=store["user"],
            password=SUPERUSER_PASSWORD,
            autocommit=True,
        ) as rows:
            forge = (
                "INSERT INTO published_policies"
                " SELECT 9, version, %s, 1, 'm' FROM published_policies LIMIT 1"
            )
            rows.execute(forge, [POLICY.encode()])

            def is_refused() -> bool:
                told = [m for m in members(first) if "not sealed" in m["policy_problem"]]
                return len(told) == 3

            wait_for(is_refused, PATIENCE)
            assert [code_of(connection) for connection in connections] == ["SP1001"] * 3
            # nor by putting back what was in force before
            rows.execute("DELETE FROM published_policies WHERE number > 1")

            def is_missed() -> bool:
                told = [m for m in members(first) if "not in the store" in m["policy_problem"]]
                return len(told) == 3

            wait_for(is_missed, PATIENCE)
            assert [code_of(connection) for connection in connections] == ["SP1001"] * 3

    listed = rest(second, "GET", "/policy/gateways", OLGA).json()["gateways"]
    assert len(listed) == 4 and len({member["policy"] for member in listed}) == 2
