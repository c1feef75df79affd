"""Every refused login stands in the signed record, with the reason that no client is told; storms,
texts of strangers and tokens in the wrong field do not harm it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.audit.refusedlogins import LOGIN, MOST_OF_ONE, RENEWAL, REPEATED
from sallyport.demo.issuer import DevIssuer
from sallyport.wire import frontend
from tests.server.raw import Raw
from tests.server.test_locks import ADAM, OLGA, House, running
from tests.server.test_renewal import connect, renew, token
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for

HOSTILE = "eve\nlogin done\x1b]0;owned\x07\u202e|a=b <script>"


@pytest.fixture
def house(issuer: DevIssuer, postgres: Server) -> Iterator[House]:
    with running(issuer, postgres) as house:
        yield house


def refused(gateway: Gateway, password: str, user: str = "claude", target: str = "shop") -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(
            host="127.0.0.1", port=gateway.port, user=user, dbname=target, password=password
        )
    return str(caught.value)


def without_token(gateway: Gateway, user: str) -> str:
    """libpq would not send that."""
    with Raw(gateway) as raw:
        raw.send(frontend.startup_message({"user": user, "database": "shop"}))
        raw.message()
        raw.send(b"p\x00\x00\x00\x05\x00")
        return raw.message().decode()


def logins(house: House, *words: str) -> list[dict[str, Any]]:
    """Oldest first. ``words`` may name another action."""
    return house.actions("--action", LOGIN, "--limit", "1000", *words)[::-1]


def codes(actions: list[dict[str, Any]]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for action in actions:
        if action["action"] == REPEATED:
            for entry in action["details"]["codes"].split(", "):
                code, number = entry.split(": ")
                counted[code] += int(number)
        else:
            counted[action["details"]["code"]] += 1
    return counted


def metric(house: House) -> Counter[str]:
    text = httpx2.get(f"{house.url}/metrics", trust_env=False, timeout=60).text
    lines = [line for line in text.splitlines() if line.startswith("sallyport_logins_total{")]
    values = {line.split('"')[1]: int(float(line.split()[-1])) for line in lines}
    return Counter({code: n for code, n in values.items() if code != "accepted"})


def test_what_became_of_each_login_is_in_one_stream(house: House) -> None:
    gateway = house.gateway
    expired = token(gateway, -600)
    strange = token(gateway, iss="https://elsewhere.example")
    told = [
        refused(gateway, expired),
        refused(gateway, strange),
        refused(gateway, gateway.token(AGENT), target="no-such"),
        without_token(gateway, "carl"),
    ]
    assert "SP1601" in told[1] and "elsewhere" not in told[1], "the reason is the operator's"
    psycopg.connect(gateway.dsn()).close()
    answer = httpx2.get(
        f"{house.url}/api/v1/targets",
        headers={"Authorization": f"Bearer {strange}"},
        trust_env=False,
        timeout=60,
    )
    assert (answer.status_code, "elsewhere" in answer.text) == (401, False)
    wait_for(lambda: len(logins(house)) == 5)
    expected = [
        ("wire", "SP1601", "", "claude", "shop", "expired"),
        ("wire", "SP1601", "", "claude", "shop", "elsewhere"),
        ("wire", "SP1603", "claude-agent", "claude", "no-such", "no-such"),
        ("wire", "SP1601", "", "carl", "shop", "no token was sent"),
        ("rest", "SP1601", "", None, None, "elsewhere"),
    ]
    for action, (channel, code, subject, label, target, why) in zip(
        logins(house, "--outcome", "refused", "--address", "127.0.0.1"), expected, strict=True
    ):
        details = action["details"]
        assert (action["channel"], action["subject"]) == (channel, subject)
        assert [details.get(name) for name in ("code", "label", "target")] == [code, label, target]
        assert why in action["reason"]
    assert logins(house, "--address", "192.0.2.1") == []
    export = house.reading("audit", "export", "--kind", "login")
    lines = [json.loads(line) for line in export.stdout.splitlines()]
    assert Counter(line["outcome"] for line in lines) == {"done": 1, "refused": 5}
    assert house.reading("audit", "verify").returncode == 0


def test_a_refused_renewal_stands_there_with_its_session(house: House) -> None:
    """Its reason is the operator's; the session goes on, and a renewal that is let in adds
    nothing.
    """
    gateway = house.gateway
    with connect(gateway, token(gateway)) as connection:
        (session,) = connection.execute(
            "SELECT current_setting('sallyport.session')"
        ).fetchone() or ("",)
        for bad in (
            token(gateway, iss="https://elsewhere.example"),
            token(gateway, sub="mallory"),
            token(gateway, groups=[]),
        ):
            with pytest.raises(psycopg.Error, match="SP1611") as told:
                renew(connection, bad)
            assert "elsewhere" not in str(told.value) and "mallory" not in str(told.value)
        renew(connection, token(gateway))
        assert connection.execute("SELECT 1").fetchone() == (1,)
    wait_for(lambda: len(logins(house, "--action", RENEWAL)) == 3)
    refusals = logins(house, "--action", RENEWAL)
    fields = {"channel": "wire", "subject": "claude-agent", "address": "127.0.0.1"}
    asked = {"code": "SP1611", "target": "shop", "session": session}
    for action in refusals:
        assert fields.items() <= action.items() and asked.items() <= action["details"].items()
    strange, mallory, bound = refusals
    assert "elsewhere" in strange["reason"]
    assert mallory["details"]["subject"] == "mallory"
    assert "No rule of the policy allows you anything" in bound["reason"]
    assert metric(house)["SP1611"] == 3
    export = house.reading("audit", "export", "--kind", "login")
    outcomes = Counter(json.loads(line)["outcome"] for line in export.stdout.splitlines())
    assert outcomes == {"done": 1, "refused": 3}, "the session's login, and the three"


def test_a_storm_of_renewals_is_counted(house: House) -> None:
    """Whoever has a session can be refused as often as they like."""
    gateway, attempts = house.gateway, 40
    with connect(gateway, token(gateway)) as connection:
        for number in range(attempts):
            with pytest.raises(psycopg.Error, match="SP1611"):
                renew(connection, f"not-a-token-{number}")
    gateway.stop()
    actions = house.actions("--limit", "1000", "--outcome", "refused")
    assert [action["action"] for action in actions].count(REPEATED) == 1
    assert len(actions) <= MOST_OF_ONE + 1
    assert codes(actions) == Counter({"SP1611": attempts})


def test_a_locked_subject_is_named(house: House) -> None:
    body = {"kind": "agent", "name": "claude-code", "reason": "gone", "minutes": 5}
    assert house.rest("POST", "/locks", OLGA, json=body).status_code == 200
    assert "SP1608" in refused(house.gateway, house.gateway.token(AGENT))
    wait_for(lambda: logins(house))
    (locked,) = logins(house)
    assert (locked["subject"], locked["details"]["code"]) == ("claude-agent", "SP1608")
    answer = house.rest("GET", "/actions?name=login&address=127.0.0.1", ADAM).json()
    assert [action["subject"] for action in answer["actions"]] == ["claude-agent"]


def test_a_storm_is_counted_and_not_written_out(house: House) -> None:
    """Also where each attempt names itself otherwise; the record, its metric and the clients
    agree.
    """
    gateway, attempts = house.gateway, 150

    def attempt(n: int) -> str:
        return refused(gateway, f"not-a-token-{n}", user=f"eve-{n}")

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(attempt, range(attempts)))
    assert len(told) == attempts
    wait_for(lambda: len(logins(house)) == MOST_OF_ONE)
    counted = metric(house)
    assert counted.total() == attempts
    gateway.stop()
    actions = logins(house)
    assert len(actions) == MOST_OF_ONE + 1
    assert codes(actions) == counted, "the end of the gateway writes what was counted"


def test_texts_of_strangers_are_harmless(house: House) -> None:
    """Nobody forges a line, and who sends the token as the user name does not find it in the
    record.
    """
    gateway = house.gateway
    secret = gateway.token(AGENT)
    refused(gateway, "x", user=HOSTILE, target=HOSTILE)
    refused(gateway, "x", user=secret)
    refused(gateway, "x", user="spt_" + "a" * 32, target="other")
    wait_for(lambda: len(logins(house)) == 3)
    first, second, third = logins(house)
    assert first["details"]["label"] == "eve?login done?]0;owned??|a=b <script>"
    assert second["details"]["label"] == third["details"]["label"] == "(a token)"
    for form in ("jsonl", "cef", "ocsf"):
        done = house.reading("audit", "export", "--kind", "login", "--format", form)
        assert done.returncode == 0 and len(done.stdout.splitlines()) == 3
        assert secret not in done.stdout and "spt_a" not in done.stdout
        assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    assert secret not in gateway.output() and "spt_aaa" not in gateway.output()


def test_a_token_in_the_place_of_a_name_is_shown_nowhere(house: House) -> None:
    """Without a database name, libpq sends the user name as one."""
    gateway = house.gateway
    token = gateway.token(AGENT)
    signature = token.rpartition(".")[2]
    for password in ("x", token):
        said = refused(gateway, password, user=token, target=token)
        assert signature not in said
    with psycopg.connect(gateway.dsn(token), autocommit=True, application_name=token) as db:
        row = db.execute("SELECT application_name FROM pg_stat_activity").fetchone()
        assert row is not None and signature not in row[0]
    wait_for(lambda: len(logins(house)) == 2)
    wait_for(lambda: "session ended" in gateway.output())
    words = ("sessions", "list", "--json")
    wait_for(lambda: token.partition(".")[0] in house.reading(*words).stdout)  # whose it was
    shown = house.reading(*words).stdout
    for text in (shown, gateway.output(), str(logins(house))):
        assert signature not in text


def test_what_the_protocol_refuses_counts_as_well(house: House) -> None:
    with Raw(house.gateway) as raw:
        raw.send(frontend.startup_message({"user": "x", "database": "shop"}))
        raw.message()
        raw.send(b"Q\x00\x00\x00\x08abc\x00")
        assert b"SP1501" in raw.message() and raw.closed()
    wait_for(lambda: logins(house))
    assert codes(logins(house)) == metric(house) == Counter({"SP1501": 1})
