"""Requests as they are on the wire: again, too many, with what does not belong in them; and what
is counted of them.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx2
import psycopg
from mcp.client.client import Client

from sallyport.demo.issuer import DevIssuer
from tests.mcp.clients import Raw, data_of, mcp_url, text_of
from tests.mcp.test_http import ERAS, ask, bearer, converse, rows
from tests.mcp.test_places import served
from tests.support.approvals import OTHER_AGENT, Desk, count
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for


def test_a_request_that_comes_again_runs_once(mcp_gateway: Gateway, mcp_postgres: Server) -> None:
    """A client, or a proxy, sends it again where the connection broke."""
    raw = Raw(mcp_url(mcp_gateway), mcp_gateway.token())
    sql = "INSERT INTO waits (id) VALUES (2001)"
    assert raw.call(7, "query", sql=sql, target="shop")["command"] == "INSERT 0 1"
    again = raw.call(7, "query", sql=sql, target="shop")
    assert again["state"] == "unusable" and "does not run again" in again["message"]
    session = again["hint"].split('"')[1]
    assert raw.call(8, "status", session=session)["command"] == "INSERT 0 1"
    assert raw.call(9, "query", sql=sql, target="shop")["sqlstate"] == "23505"
    # another text under the same id, and the same text under another one, are other requests
    assert raw.call(7, "query", sql="SELECT 1", target="shop")["rows"] == [[1]]
    assert count(mcp_postgres, "waits", "id = 2001") == 1


def test_a_session_that_is_deleted_withdraws_what_waits(mcp_gateway: Gateway) -> None:
    desk = Desk(mcp_gateway)
    raw = Raw(mcp_url(mcp_gateway), mcp_gateway.token())
    approvals = [
        raw.call(
            number, "query", sql=f"DELETE FROM waits WHERE id = {40 + number}", target="shop",
            wait_seconds=1, session=session,
        )["approval"]
        for number, session in ((1, ""), (2, "new"))
    ]  # fmt: skip
    stranger = {"Authorization": f"Bearer {mcp_gateway.token(OTHER_AGENT)}"}
    assert raw.delete(**stranger) == 404
    assert {request["id"] for request in desk.pending()} >= set(approvals)
    assert raw.delete() == 200
    wait_for(lambda: not desk.pending())
    assert [desk.status(approval) for approval in approvals] == ["withdrawn"] * 2


class Broken:
    """A tool call whose connection breaks when its statement waits. ``approval``: its id."""

    def __init__(self, raw: Raw, desk: Desk, row: int) -> None:
        before = {request["id"] for request in desk.pending()}
        arguments = {"sql": f"DELETE FROM waits WHERE id = {row}", "target": "shop"}
        params = {"name": "query", "arguments": {**arguments, "wait_seconds": 60}}
        content = json.dumps(raw.request(row, "tools/call", params)).encode()
        headers = {**raw.headers, "Content-Type": "application/json"}
        sent = {"headers": headers, "content": content, "timeout": 60}
        with httpx2.stream("POST", raw.url, **sent) as answer:
            assert answer.status_code == 200
            wait_for(lambda: len(desk.pending()) > len(before))
        (self.approval,) = {request["id"] for request in desk.pending()} - before


def test_a_client_that_vanishes_withdraws_what_waits(
    mcp_issuer: DevIssuer, mcp_postgres: Server
) -> None:
    """As on the wire, but that it has a minute to come back: here its connection may break."""
    with served(mcp_issuer, mcp_postgres, mcp={"idle_seconds": 900.0}) as gateway:
        desk = Desk(gateway)
        gone, back = (Raw(mcp_url(gateway), gateway.token()) for _ in range(2))
        left, kept = Broken(gone, desk, 46), Broken(back, desk, 47)
        state = back.call(1, "status")["sessions"]
        assert {session.get("approval") for session in state} >= {kept.approval}
        began = time.monotonic()
        wait_for(lambda: desk.status(left.approval) == "withdrawn", 90)
        assert time.monotonic() - began > 40
        assert desk.status(kept.approval) == "pending"
        lost = gone.call(2, "query", sql="SELECT 1", target="shop")
        assert "was gone" in lost["message"], lost
        assert gone.call(3, "query", sql="SELECT 1", target="shop")["rows"] == [[1]]


def test_a_statement_nobody_asks_for_is_withdrawn(
    mcp_issuer: DevIssuer, mcp_postgres: Server
) -> None:
    """Its answer was given: it waits. The client never asks again."""
    with served(mcp_issuer, mcp_postgres, mcp={"idle_seconds": 4.0}) as gateway:
        desk = Desk(gateway)
        gone, asking = (Raw(mcp_url(gateway), gateway.token()) for _ in range(2))
        held = [
            raw.call(
                1, "query", sql=f"DELETE FROM waits WHERE id = {row}", target="shop",
                wait_seconds=1, session="new",
            )
            for raw, row in ((gone, 48), (asking, 49))
        ]  # fmt: skip
        left, asked_for = held
        ends, number = time.monotonic() + 12, 2
        while time.monotonic() < ends:
            number += 1
            asked = asking.call(number, "status", session=asked_for["session"], wait_seconds=1)
            assert asked["state"] == "waiting_for_approval", asked
        assert desk.status(left["approval"]) == "withdrawn"
        assert desk.status(asked_for["approval"]) == "pending"


def test_bounds_of_sessions_and_of_what_waits_in_one(
    mcp_gateway: Gateway, mcp_postgres: Server
) -> None:
    async def sessions(client: Client) -> None:
        for _ in range(16):
            assert not (await ask(client, "SELECT 1", session="new")).is_error
        more = await ask(client, "SELECT 1", session="new")
        assert more.is_error and "16 open sessions" in text_of(more)

    async def queue(client: Client) -> None:
        """Behind a statement that waits for another transaction's row."""
        assert data_of(await ask(client, insert, wait_seconds=1))["state"] == "running"
        insert_too = insert.replace("3001", "3002")
        texts = [text_of(await ask(client, insert_too, wait_seconds=0)) for _ in range(16)]
        assert "16 statements wait in this session" in texts[-1]
        assert not any("statements wait" in text for text in texts[:-1])
        session = data_of(await client.call_tool("status", {}))["sessions"][0]["session"]
        cancel = {"session": session, "cancel": True, "wait_seconds": 30}
        told = await client.call_tool("status", cancel)
        assert "cancelled before it ran" in text_of(told), text_of(told)

    converse(mcp_gateway, sessions, "legacy", mcp_gateway.token("crowd-1"))
    insert = "INSERT INTO waits (id) VALUES (3001)"
    with psycopg.connect(mcp_postgres.superuser_dsn) as db:
        db.execute(insert)  # type: ignore[arg-type]
        converse(mcp_gateway, queue, "legacy", mcp_gateway.token("crowd-2"))
        time.sleep(2)
        db.rollback()
    # its client has deleted the session: what waited in it does not run afterwards
    time.sleep(1)
    assert count(mcp_postgres, "waits", "id = 3002") == 0


@ERAS
def test_arguments_that_no_server_could_take(mcp_gateway: Gateway, mode: str) -> None:
    nested: Any = 1
    for _ in range(100):
        nested = [nested]

    async def work(client: Client) -> None:
        assert await rows(client, "SELECT $1::text", parameters=["\U0001f600"]) == [["\U0001f600"]]
        [(deep,)] = await rows(client, "SELECT $1::text", parameters=[nested])
        assert deep == "[" * 100 + "1" + "]" * 100

    converse(mcp_gateway, work, mode)
    raw = Raw(mcp_url(mcp_gateway), mcp_gateway.token())
    call = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"query","arguments":'
    answer = raw.post(call + b'{"target":"shop","sql":"SELECT \'\\ud800\'"}}}')
    assert "Done" not in answer.text and '"done"' not in answer.text, answer.text


def test_a_session_token_for_one_target_is_not_taken(mcp_gateway: Gateway) -> None:
    base = mcp_url(mcp_gateway).replace("/mcp", "/api/v1/tokens")
    headers = {"Authorization": f"Bearer {mcp_gateway.token()}"}

    def issued(**body: Any) -> str:
        answer = httpx2.post(base, headers=headers, json=body, timeout=60)
        assert answer.status_code in (200, 201), answer.text
        [secret] = [v for v in answer.json().values() if isinstance(v, str)]
        return secret

    bound, free = issued(target="shop"), issued()
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    url = mcp_url(mcp_gateway)
    answers = [
        httpx2.post(url, headers=bearer(token), json=ping, timeout=60) for token in (bound, free)
    ]
    assert answers[0].status_code == 401 and answers[1].status_code != 401
    assert bound not in answers[0].text

    async def work(client: Client) -> None:
        assert await rows(client, "SELECT 1") == [[1]]

    converse(mcp_gateway, work, "auto", free)


def test_what_is_counted_and_logged(mcp_gateway: Gateway) -> None:
    def metric(name: str) -> float:
        text = httpx2.get(mcp_url(mcp_gateway).replace("/mcp", "/metrics"), timeout=60).text
        lines = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].split()[-1]) if lines else 0.0

    def counted(outcome: str) -> float:
        return metric(f'sallyport_entrance_logins_total{{entrance="mcp",outcome="{outcome}"}}')

    def connected(entrance: str) -> float:
        return metric(f'sallyport_entrance_sessions{{entrance="{entrance}"}}')

    accepted, refused = counted("accepted"), counted("SP1601")
    logins = mcp_gateway.output().count("entrance=mcp")

    async def work(client: Client) -> None:
        for _ in range(5):
            await rows(client, "SELECT 1")
        assert await asyncio.to_thread(connected, "mcp") >= 1

    wait_for(lambda: connected("wire") == 0)
    with psycopg.connect(mcp_gateway.dsn()):
        assert connected("wire") == 1
    converse(mcp_gateway, work, "legacy")
    answer = httpx2.post(mcp_url(mcp_gateway), headers=bearer("nonsense"), json={}, timeout=60)
    assert answer.status_code == 401
    assert (counted("accepted"), counted("SP1601")) == (accepted + 1, refused + 1)
    # of MCP's session, of the gateway's, and the refused one
    assert mcp_gateway.output().count("entrance=mcp") == logins + 3
