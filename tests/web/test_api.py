"""The REST interface: who may, what comes back, and a fuzzer that has read the OpenAPI document."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks
from starlette.testclient import TestClient

from sallyport.approvals.service import Approvals
from sallyport.approvals.states import Request
from sallyport.core.clock import SystemClock, unix_seconds
from sallyport.core.counts import Counts
from sallyport.demo.issuer import DevIssuer
from sallyport.identity.failures import FailedLogins
from sallyport.operations.access import OWN
from sallyport.web.api.operations import PREFIX
from sallyport.web.api.resources import OPERATIONS
from tests.support.sampling import examples
from tests.web.helpers import Browser, bearer
from tests.web.world import World


def test_no_token(client: TestClient) -> None:
    client.cookies.clear()
    for operation in OPERATIONS:
        answer = client.request(operation.method, PREFIX + operation.path.replace("{id}", "x"))
        assert answer.status_code == 401
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_cookie_is_no_token(client: TestClient, place: World) -> None:
    client.cookies.clear()
    place.forget_sign_ins()
    Browser(client).sign_in("auditor")
    assert client.get(f"{PREFIX}/sessions").status_code == 401
    client.cookies.clear()


@pytest.mark.parametrize("token", ["x", "a.b.c", "", "é"])
def test_bad_tokens(client: TestClient, place: World, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode()}
    assert client.get(f"{PREFIX}/sessions", headers=headers).status_code == 401


def test_bad_tokens_are_limited(client: TestClient, issuer: DevIssuer) -> None:
    authenticator = client.app.state.console.services.authenticator
    kept = authenticator._failures
    authenticator._failures = FailedLogins(SystemClock(), 30, Counts())
    try:
        seen = [
            client.get(f"{PREFIX}/targets", headers={"Authorization": "Bearer x"}).status_code
            for _ in range(40)
        ]
        assert seen[-1] == 429
        assert client.get(f"{PREFIX}/targets", headers=bearer(issuer, "viewer")).status_code == 200
    finally:
        authenticator._failures = kept


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_needs_its_permission(
    client: TestClient, issuer: DevIssuer, operation: Any
) -> None:
    path = PREFIX + operation.path.replace("{id}", "x")
    answer = client.request(operation.method, path, headers=bearer(issuer, "nobody"))
    if operation.permission in OWN:
        assert answer.status_code != 403, "whoever has a token may"
        assert client.request(operation.method, path).status_code == 401
        return
    assert answer.status_code == 403
    assert operation.permission in answer.json()["detail"]


def test_sessions_and_events(client: TestClient, issuer: DevIssuer) -> None:
    headers = bearer(issuer, "auditor")
    page = client.get(f"{PREFIX}/sessions?limit=60", headers=headers).json()
    rest = client.get(
        f"{PREFIX}/sessions", params={"after": page["next"], "limit": 60}, headers=headers
    ).json()
    assert len(page["sessions"]) == 60
    assert [len(rest["sessions"]), rest["next"]] == [41, None]
    assert client.get(f"{PREFIX}/sessions/s_first", headers=headers).json()["statements"] == 259
    kinds: list[str] = []
    start: int | None = 0
    while start is not None:
        answer = client.get(
            f"{PREFIX}/sessions/s_first/events?start={start}&limit=500", headers=headers
        )
        assert answer.text.isascii()
        events = answer.json()
        kinds += [event["kind"] for event in events["events"]]
        start = events["next"]
    assert kinds[0] == "opened"
    assert kinds[-1] == "closed"
    assert kinds.count("result_row") == 400
    assert kinds.count("asked") == 259


def test_times_are_rfc3339(client: TestClient, issuer: DevIssuer) -> None:
    headers, path = bearer(issuer, "auditor"), f"{PREFIX}/sessions"
    rows = client.get(f"{path}?limit=60", headers=headers).json()["sessions"]
    times = [unix_seconds(row["started"]) for row in rows]
    assert times == sorted(times, reverse=True)
    query = {"since": rows[9]["started"], "limit": 60}
    newer = client.get(path, params=query, headers=headers).json()["sessions"]
    assert [row["id"] for row in newer[:10]] == [row["id"] for row in rows[:10]]
    assert all(row["started"] >= query["since"] for row in newer)
    refused = client.get(f"{path}?since=yesterday", headers=headers)
    assert (refused.status_code, "2026-11-29T08:00:00Z" in refused.text) == (422, True)


def test_a_decision(client: TestClient, issuer: DevIssuer, place: World) -> None:
    request = place.ask(77)
    path = f"{PREFIX}/approvals/{request.id}"
    dana = bearer(issuer, "reviewer")
    listed = client.get(
        f"{PREFIX}/approvals?status=pending", headers=bearer(issuer, "viewer")
    ).json()
    assert "sql" not in listed["approvals"][0]
    assert client.get(path, headers=bearer(issuer, "viewer")).status_code == 403
    shown = client.get(path, headers=dana).json()
    assert shown["sql"].endswith("77") and shown["sent"] == shown["sql"]
    assert client.post(f"{path}/decision", json={"approve": False}, headers=dana).status_code == 422
    assert client.post(f"{path}/decision", json={"approve": "yes"}, headers=dana).status_code == 422
    assert (
        client.post(f"{path}/decision", json={"approve": True, "x": 1}, headers=dana).status_code
        == 422
    )
    assert (
        client.post(
            f"{path}/decision", json={"approve": True}, headers=bearer(issuer, "operator")
        ).status_code
        == 403
    )
    done = client.post(f"{path}/decision", json={"approve": True, "reason": "fine"}, headers=dana)
    assert done.json()["status"] == "approved"
    assert done.json()["decisions"][0]["channel"] == "rest"
    assert client.post(f"{path}/decision", json={"approve": True}, headers=dana).status_code == 409


def test_a_grant_is_answered_off_the_event_loop(
    client: TestClient, issuer: DevIssuer, place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(approvals: Approvals, id_: str) -> Request | None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return real_get(approvals, id_)

    real_get = Approvals.get
    monkeypatch.setattr(Approvals, "get", get)
    answer = client.post(
        f"{PREFIX}/approvals/{place.ask(78).id}/decision",
        json={"approve": True, "minutes": 5},
        headers=bearer(issuer, "reviewer"),
    ).json()
    assert answer["status"] == "approved" and answer["granted"]["request"] == answer["id"]


def test_explain(client: TestClient, issuer: DevIssuer) -> None:
    body = {
        "target": "shop",
        "sql": "select email from customers",
        "subject": {"groups": ["agents"]},
    }
    headers = bearer(issuer, "viewer")
    (statement,) = client.post(f"{PREFIX}/policy/explain", json=body, headers=headers).json()[
        "statements"
    ]
    assert statement["outcome"] == "allow"
    assert statement["columns"][0]["mask"] == "email" and statement["sent"] == ""
    computed = {**body, "sql": "select id, 'a' from customers where email is null"}
    (statement,) = client.post(f"{PREFIX}/policy/explain", json=computed, headers=headers).json()[
        "statements"
    ]
    assert statement["sql"] == computed["sql"]
    assert "UNION ALL" in statement["sent"] and statement["sent"].startswith(
        "select id, 'a' from ("
    )
    answer = client.post(f"{PREFIX}/policy/explain", json={**body, "sql": "selec"}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["code"] == "SP1101"
    assert (
        client.post(
            f"{PREFIX}/policy/explain", json={**body, "target": "x"}, headers=headers
        ).status_code
        == 422
    )


def test_kill(client: TestClient, issuer: DevIssuer, place: World) -> None:
    assert (
        client.post(
            f"{PREFIX}/sessions/s_live2/kill", headers=bearer(issuer, "auditor")
        ).status_code
        == 403
    )
    answer = client.post(f"{PREFIX}/sessions/s_live2/kill", headers=bearer(issuer, "operator"))
    assert answer.json() == {"killed": "s_live2"}
    assert (
        client.post(
            f"{PREFIX}/sessions/s_live2/kill", headers=bearer(issuer, "operator")
        ).status_code
        == 404
    )


def test_the_document_lists_what_is_served(client: TestClient) -> None:
    document = client.get(f"{PREFIX}/openapi.json").json()
    served = {
        (method.lower(), route.path)
        for route in client.app.routes
        for method in route.methods
        if route.path.startswith(PREFIX)
        and not route.path.endswith("openapi.json")
        and method != "HEAD"
    }
    listed = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert listed == served


def test_unknown_paths_are_problems(client: TestClient, issuer: DevIssuer) -> None:
    answer = client.get(f"{PREFIX}/nothing", headers=bearer(issuer, "viewer"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    answer = client.delete(f"{PREFIX}/sessions", headers=bearer(issuer, "viewer"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (405, "application/problem+json")
    assert "GET" in answer.headers["Allow"]


@pytest.fixture(scope="module")
def everything(issuer: DevIssuer, place: World) -> dict[str, str]:
    """Headers of somebody with every role."""
    token = issuer.sign(
        {
            "iss": issuer.url, "sub": "fuzz", "aud": "sallyport", "exp": 4_000_000_000,
            "email": "fuzz@example.com",
            "groups": ["staff", "dba", "audit", "ops"],
        }
    )  # fmt: skip
    return {"Authorization": f"Bearer {token.reveal()}", "Host": "127.0.0.1:8642"}


@pytest.fixture(scope="module")
def described(place: World, everything: dict[str, str]) -> Any:
    return schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", place.app, headers=everything)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_fuzzer_finds_nothing(
    described: Any, everything: dict[str, str], operation: Any
) -> None:
    """No server error, and every answer is as documented: status, content type, shape; nonsense is
    refused.
    """
    what = described[PREFIX + operation.path][operation.method]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @given(case=what.as_strategy(generation_mode=mode))
        @settings(
            max_examples=examples(20),
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        def fuzz(case: schemathesis.Case) -> None:
            answer = case.call(headers=everything)
            selected = [
                checks.not_a_server_error, checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_schema_conformance,
            ]  # fmt: skip
            if answer.status_code != 413:  # that is a refusal, too
                selected.append(checks.negative_data_rejection)
            case.validate_response(answer, checks=selected)

        fuzz()
