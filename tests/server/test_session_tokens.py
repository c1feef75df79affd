"""Session tokens through the front door: REST and ``sallyport token``, psql, revocation, a restart;
what is kept and recorded.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from sallyport.core.clock import unix_seconds
from sallyport.demo.issuer import DevIssuer
from tests.server.test_locks import ADAM, OLGA, House, listens, running
from tests.support.gateway import AGENT, DBA
from tests.support.postgres import Server
from tests.support.psql import Psql, run_psql
from tests.support.waiting import wait_for
from tests.web.helpers import choose


@pytest.fixture
def house(issuer: DevIssuer, postgres: Server) -> Iterator[House]:
    with running(issuer, postgres) as house:
        yield house


def exchange(house: House, *words: str, client: str = AGENT) -> str:
    done = house.cli("token", "exchange", *words, client=client)
    assert done.returncode == 0, done.stderr
    secret = done.stdout.strip()
    house.gateway._tokens.add(secret)  # the log must not have it
    return secret


def with_token(house: House, method: str, token: str, **options: Any) -> httpx2.Response:
    """``/tokens`` over REST, as whoever has ``token``."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.request(
        method,
        f"{house.url}/api/v1/tokens",
        headers=headers,
        trust_env=False,
        timeout=60,
        **options,
    )


def said(house: House, token: str, **options: str) -> str:
    done = run_psql(house.gateway.dsn(token, **options), "SELECT 'let' || ' in';")
    return done.stdout + done.stderr


def test_it_opens_what_its_identity_opens_and_ends_when_revoked(house: House) -> None:
    secret = exchange(house)
    assert secret.startswith("spt_") and len(secret) == 36 and secret[4:].isalnum()
    assert "let in" in said(house, secret)
    # REST takes it too, as the same subject with the same (missing) role.
    listed = with_token(house, "GET", secret).json()["tokens"]
    assert [entry["subject"] for entry in listed] == ["claude-agent"]
    id_ = listed[0]["id"]
    assert "claude-agent" in house.cli("token", "list", client=AGENT).stdout
    with Psql(house.gateway.port, secret) as psql:
        psql.send("SELECT 'he' || 're';").wait_for("here")
        done = house.cli("token", "revoke", id_, client=AGENT)
        assert (done.returncode, "1 live session ended" in done.stdout) == (0, True), done.stderr
        psql.send("SELECT 1;").wait_for(
            r"FATAL: +28000: .*\[SP1610\] the session token was revoked"
        )
        assert psql.finish() == 2
    assert "SP1601" in (refused := said(house, secret)) and "let in" not in refused
    house.gateway.restart()
    wait_for(lambda: listens(house.url))
    assert "let in" not in said(house, secret), "a restart does not bring it back"
    assert "let in" in house.log_in(), "the identity itself is not revoked"


def test_a_revocation_that_cannot_be_stored_is_stored_later(house: House) -> None:
    secret = exchange(house)
    (listed,) = with_token(house, "GET", secret).json()["tokens"]
    database = sqlite3.connect(house.gateway.home / "var" / "sallyport.db", timeout=30)
    fails = "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    database.execute(f"CREATE TRIGGER full BEFORE UPDATE ON session_tokens {fails}")
    done = house.cli("token", "revoke", listed["id"], client=AGENT)
    assert done.returncode != 0
    assert "let in" not in said(house, secret), "it is in force all the same"
    revoked = "SELECT revoked_at FROM session_tokens"
    assert database.execute(revoked).fetchall() == [(None,)]
    database.execute("DROP TRIGGER full")
    wait_for(lambda: database.execute(revoked).fetchall() != [(None,)])
    database.close()
    house.gateway.restart()
    wait_for(lambda: listens(house.url))
    assert "let in" not in said(house, secret)


def test_it_survives_a_restart_and_its_text_is_nowhere(house: House) -> None:
    secret = exchange(house, "--minutes", "30")
    house.gateway.restart()
    wait_for(lambda: listens(house.url))
    assert "let in" in said(house, secret)
    wait_for(lambda: len(house.actions()) >= 1)
    (action,) = [action for action in house.actions() if action["action"] == "tokens.issue"]
    assert (action["subject"], action["outcome"]) == ("claude-agent", "done")
    assert action["object"].startswith("tok_")
    house.gateway.stop()
    for path in house.gateway.home.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    house.gateway.start()


def test_it_is_bound_to_target_and_network(house: House) -> None:
    body = {"target": "shop", "networks": ["10.9.0.0/16"]}
    away = house.rest("POST", "/tokens", AGENT, json=body).json()["secret"]
    assert "not accepted from this address" in said(house, away)
    here = exchange(house, "--target", "shop", "--network", "127.0.0.0/8")
    assert "let in" in said(house, here)
    assert "for the target shop only" in said(house, here, target="postgres")
    # What opens one target does not open the console's interface.
    assert with_token(house, "GET", here).status_code == 401
    for bad in (
        {"target": "nowhere"},
        {"networks": ["10.9.0.0/99"]},
        {"minutes": -1},
        {"subject": "dana"},
    ):
        assert house.rest("POST", "/tokens", AGENT, json=bad).status_code == 422, bad


def test_it_never_lives_longer_than_what_it_came_from(house: House) -> None:
    long = house.rest("POST", "/tokens", AGENT, json={"minutes": 500_000}).json()["token"]
    # The development issuer's tokens live for an hour; the clock skew is 30 seconds.
    assert unix_seconds(long["expires_at"]) - unix_seconds(long["created"]) <= 3600 + 31
    short = house.rest("POST", "/tokens", AGENT, json={"minutes": 1}).json()["token"]
    assert 59 <= unix_seconds(short["expires_at"]) - unix_seconds(short["created"]) <= 61


def test_a_session_token_buys_no_other(house: House) -> None:
    answer = with_token(house, "POST", exchange(house), json={})
    assert (answer.status_code, "cannot be exchanged" in answer.json()["detail"]) == (422, True)


def test_others_see_and_revoke_only_with_a_role(house: House) -> None:
    secret = exchange(house)
    (token,) = house.rest("GET", "/tokens", AGENT).json()["tokens"]
    assert house.rest("GET", "/tokens", DBA).json()["tokens"] == []
    assert house.rest("GET", "/tokens?of=everybody", AGENT).status_code == 403
    for client in (DBA, ADAM):  # neither may lock: for them it is not there
        assert house.rest("POST", f"/tokens/{token['id']}/revoke", client).status_code == 404
    assert "let in" in said(house, secret)
    seen = house.rest("GET", "/tokens?of=everybody", ADAM).json()["tokens"]
    assert [entry["id"] for entry in seen] == [token["id"]] and "digest" not in seen[0]
    assert house.rest("POST", f"/tokens/{token['id']}/revoke", OLGA).status_code == 200
    assert "let in" not in said(house, secret)


def test_a_lock_on_its_identity_holds_for_it(house: House) -> None:
    secret = exchange(house)
    assert house.cli("lock", "--subject", "claude-agent", "--reason", "stop").returncode == 0
    assert '[SP1608] the subject "claude-agent" is locked' in said(house, secret)


def test_the_console_gives_one_with_its_connection_string(house: House) -> None:
    with httpx2.Client(base_url=house.url, trust_env=False, timeout=60) as browser:
        started = browser.get("/sign-in/start", params={"next": "/connect"})
        browser.get(choose(started.headers["Location"], OLGA))

        def post(path: str, **form: str) -> httpx2.Response:
            match = re.search(r'name="csrf" value="([^"]+)"', browser.get("/connect").text)
            assert match is not None
            return browser.post(path, data={"csrf": match[1], **form})

        made = post("/connect", target="shop", minutes="10")
        assert made.status_code == 200, made.text
        assert "no-store" in made.headers["Cache-Control"]
        match = re.search(r"postgresql://me:(spt_\w+)@127\.0\.0\.1:(\d+)/shop", made.text)
        assert match is not None and int(match[2]) == house.gateway.port
        secret = match[1]
        house.gateway._tokens.add(secret)
        assert secret not in browser.get("/connect").text, "it is shown once"
        # It is olga's, to whom no rule opens the target: the token is good, the policy decides.
        assert "SP1603" in said(house, secret)
        (token,) = house.rest("GET", "/tokens", OLGA).json()["tokens"]
        assert post(f"/connect/{token['id']}/revoke").status_code == 303
        assert "SP1601" in said(house, secret)
        assert post("/connect", target="nowhere").status_code == 422
        assert browser.post("/connect", data={"target": "shop"}).status_code == 403, "no CSRF token"
