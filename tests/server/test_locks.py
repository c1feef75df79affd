"""Locks through the front door: ``sallyport serve``, psql, ``sallyport lock``, REST, a restart; and
what is recorded of it.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sallyport.core.clock import unix_seconds
from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.server.conftest import backends
from tests.support.forked import SALLYPORT, run
from tests.support.gateway import AGENT, DBA, SHOP_POLICY, Gateway
from tests.support.postgres import Server
from tests.support.proxy import Fault, FaultProxy
from tests.support.psql import Psql, run_psql
from tests.support.waiting import wait_for

OLGA, ADAM = "olga-operator", "adam-auditor"
LOCKED = r"28000: .*\[SP1608\] the {} \"{}\" is locked"


@dataclass
class House:
    gateway: Gateway
    url: str

    def rest(self, method: str, path: str, client: str, **options: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.gateway.token(client)}"}
        options |= {"headers": headers, "trust_env": False, "timeout": 60}
        return httpx2.request(method, f"{self.url}/api/v1{path}", **options)

    def cli(self, *words: str, client: str = OLGA) -> subprocess.CompletedProcess[str]:
        """``sallyport ...`` as somebody, over REST."""
        env = {"SALLYPORT_URL": self.url, "SALLYPORT_TOKEN": self.gateway.token(client)}
        return run([SALLYPORT, *words], env)

    def reading(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command that reads the data directory."""
        return self.gateway.run(*words)

    def actions(self, *words: str) -> list[dict[str, Any]]:
        done = self.reading("audit", "actions", "--json", *words)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def psql(self, client: str = AGENT, **options: Any) -> Psql:
        return Psql(self.gateway.port, self.gateway.token(client), **options)

    def log_in(self, client: str = AGENT) -> str:
        """What psql prints of one short session."""
        done = run_psql(self.gateway.dsn(self.gateway.token(client)), "SELECT 'let' || ' in';")
        return done.stdout + done.stderr


def _seconds(text: str | None) -> float:
    return unix_seconds(text) if text else 0.0


@pytest.fixture
def house(issuer: DevIssuer, postgres: Server) -> Iterator[House]:
    with running(issuer, postgres) as house:
        yield house


@contextmanager
def running(
    issuer: DevIssuer,
    server: Any,
    policy: str = SHOP_POLICY,
    approvals: dict[str, Any] | None = None,
) -> Iterator[House]:
    port = free_port()
    roles = {"reviewer": ["dba"], "auditor": ["audit"], "operator": ["ops"]}
    console = {"listen": f"127.0.0.1:{port}", "client_id": "sallyport-console", "roles": roles}
    gateway = Gateway(
        issuer,
        {"shop": server},
        policy=policy,
        extra={"console": console, **({"approvals": approvals} if approvals else {})},
    ).start()
    try:
        house = House(gateway, f"http://127.0.0.1:{port}")
        wait_for(lambda: listens(house.url))
        yield house
    finally:
        gateway.stop()


def listens(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", timeout=60, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


HOLDS = """\
version: 1
rules:
  - {name: read, allow: [read], relations: ["public.*"]}
  - {name: updates wait, hold: [update], relations: ["public.*"], reviewers: {groups: [dba]}}
"""


def test_what_a_locked_reviewer_granted_runs_no_more(issuer: DevIssuer, postgres: Server) -> None:
    with running(issuer, postgres, HOLDS) as house, house.psql() as psql:

        def waiting() -> list[dict[str, Any]]:
            found = house.rest("GET", "/approvals?status=pending", DBA).json()["approvals"]
            return list(found)

        psql.send("UPDATE products SET stock = stock WHERE id = 1;")
        wait_for(lambda: bool(waiting()))
        (request,) = waiting()
        body = {"approve": True, "reason": "for today", "minutes": 30, "scope": "rule"}
        assert (
            house.rest("POST", f"/approvals/{request['id']}/decision", DBA, json=body).status_code
            == 200
        )
        psql.wait_for("UPDATE 1")
        psql.send("UPDATE products SET stock = stock WHERE id IN (2, 3);").wait_for("UPDATE 2")
        decided = house.rest("GET", f"/approvals/{request['id']}", DBA).json()["decisions"][0]
        lock = house.cli("lock", "--subject", decided["reviewer"], "--reason", "a stolen laptop")
        assert lock.returncode == 0, lock.stderr
        psql.send("UPDATE products SET stock = stock WHERE id IN (4, 5, 6);")
        psql.wait_for(
            "this update waits for approval apr_\\w+ until .*[\\s\\S]*this update waits for"
            " approval"
        )


@pytest.mark.parametrize("busy", [True, False])
def test_an_agent_is_locked_and_let_in_again(house: House, postgres: Server, busy: bool) -> None:
    name = f"to-be-locked-{busy}"
    with house.psql(application=name) as psql:
        psql.send("BEGIN; SELECT 'here' AS it;").wait_for("here")
        if busy:
            psql.send("SELECT count(*) FROM generate_series(1, 1000000000);")
            wait_for(
                lambda: (
                    backends(postgres, f"application_name LIKE '{name} %' AND state = 'active'")
                    == 1
                )
            )
        done = house.cli(
            "lock", "--agent", "claude-code", "--reason", "it deleted orders", "--minutes", "60"
        )
        assert done.returncode == 0, done.stderr
        assert "agent claude-code  until 20" in done.stdout
        assert "1 live session ended." in done.stdout
        if not busy:
            psql.send("SELECT 1;")
        psql.wait_for(f"FATAL: +{LOCKED.format('agent', 'claude-code')} until 20")
        psql.wait_for("Reason: it deleted orders")
        assert psql.finish() == 2
    wait_for(lambda: backends(postgres, f"application_name LIKE '{name} %'") == 0)

    refused = house.log_in()
    assert '[SP1608] the agent "claude-code" is locked until 20' in refused
    assert "Reason: it deleted orders" in refused and "let in" not in refused
    assert "let in" not in house.log_in(DBA), "no rule lets her in"
    assert "SP1608" not in house.log_in(DBA), "and she is not locked"
    answer = house.rest("GET", "/targets", AGENT)
    assert (answer.status_code, answer.json()["code"]) == (403, "SP1608")

    assert "agent claude-code" in house.cli("lock").stdout
    done = house.cli("lock", "--release", "--agent", "claude-code")
    assert (done.returncode, "released 20" in done.stdout) == (0, True), done.stderr
    assert "let in" in house.log_in()
    assert house.cli("lock").stdout == "No locks are in force.\n"
    assert "released 20" in house.cli("lock", "--all").stdout
    assert house.cli("lock", "--release", "--agent", "claude-code").returncode == 1


def test_a_lock_survives_a_restart_and_ends_by_itself(house: House, postgres: Server) -> None:
    body = {"kind": "subject", "name": "claude-agent", "reason": "stolen"}
    answer = house.rest("POST", "/locks", OLGA, json=body)
    assert answer.status_code == 200, answer.text
    id_ = answer.json()["lock"]["id"]
    assert '[SP1608] the subject "claude-agent" is locked' in house.log_in()
    house.gateway.restart()
    wait_for(lambda: listens(house.url))
    assert '[SP1608] the subject "claude-agent" is locked' in house.log_in()
    (lock,) = house.rest("GET", "/locks", ADAM).json()["locks"]
    assert (lock["id"], lock["reason"], lock["expires_at"]) == (id_, "stolen", None)
    # The same once more, with another reason and an end: it takes the place of the first.
    replaced = house.rest(
        "POST", "/locks", OLGA, json={**body, "reason": "for a while", "minutes": 1}
    )
    assert replaced.status_code == 200
    (lock,) = house.rest("GET", "/locks", ADAM).json()["locks"]
    assert (lock["reason"], lock["id"] != id_) == ("for a while", True)
    house.gateway.stop()
    # An hour later, in the store's eyes.
    _age(house.gateway.home / "var" / "sallyport.db", lock["id"])
    house.gateway.start()
    wait_for(lambda: listens(house.url))
    assert "let in" in house.log_in(), "the earlier lock does not come back"
    assert [
        one["in_force"] for one in house.rest("GET", "/locks?status=all", ADAM).json()["locks"]
    ] == [False] * 2


def test_a_lost_index_releases_nobody(house: House) -> None:
    def lock(name: str, **more: Any) -> str:
        body = {"kind": "subject", "name": name, "reason": "stolen", **more}
        return str(house.rest("POST", "/locks", OLGA, json=body).json()["lock"]["id"])

    issuer = house.gateway.issuer.url
    lock("claude-agent", reason="a first time")
    lock("claude-agent", minutes=50)
    lock("dana", issuer=issuer)
    over = lock("eve")
    assert house.rest("POST", f"/locks/{over}/release", OLGA).status_code == 200
    before = house.rest("GET", "/locks?status=all", ADAM).json()["locks"]
    assert [one["in_force"] for one in before] == [False, True, True, False]
    house.gateway.stop()
    for path in (house.gateway.home / "var").glob("sallyport.db*"):
        path.unlink()
    done = house.reading("audit", "reindex")
    assert (done.returncode, "4 locks made anew" in done.stdout) == (0, True), (
        done.stdout + done.stderr
    )
    assert "0 sessions kept" in done.stdout
    house.gateway.start()
    wait_for(lambda: listens(house.url))
    assert '[SP1608] the subject "claude-agent" is locked until' in house.log_in()
    after = house.rest("GET", "/locks?status=all", ADAM).json()["locks"]
    times = {"created", "released_at", "expires_at"}
    for old, new in zip(before, after, strict=True):
        assert {k: v for k, v in old.items() if k not in times} == {
            k: v for k, v in new.items() if k not in times
        }
        assert all(abs(_seconds(old[k]) - _seconds(new[k])) < 5 for k in times), (old, new)
    house.gateway.stop()
    assert "locks made anew" not in house.reading("audit", "reindex").stdout
    house.gateway.start()


def _age(store: Path, lock_id: str) -> None:
    import sqlite3

    with sqlite3.connect(store) as db:
        db.execute(
            "UPDATE locks SET created = created - 3600, expires_at = expires_at - 3600 WHERE"
            " id = ?",
            [lock_id],
        )


def test_a_label_is_no_agent_and_an_issuer_may_be_named(house: House) -> None:
    """The label is what a client calls itself: locking that name locks nobody who only says so."""
    # psql's -U
    assert house.cli("lock", "--agent", "claude", "--reason", "a label").returncode == 0
    assert "let in" in house.log_in()
    # Of an issuer that is written otherwise than configured it would keep nobody out.
    issuer = house.gateway.issuer.url
    done = house.cli(
        "lock", "--agent", "claude-code", "--issuer", f"{issuer}/", "--reason", "a slash"
    )
    assert done.returncode != 0
    assert f"It is one of {issuer}, as they are written" in done.stdout + done.stderr
    assert "let in" in house.log_in()
    assert (
        house.cli("lock", "--agent", "claude-code", "--issuer", issuer, "--reason", "so").returncode
        == 0
    )
    assert '[SP1608] the agent "claude-code" is locked' in house.log_in()
    released = house.cli("lock", "--release", "--agent", "claude-code", "--issuer", issuer)
    assert released.returncode == 0, released.stderr
    assert "let in" in house.log_in()
    # The issuer's own name for the client, whatever azp says.
    assert house.cli("lock", "--agent", AGENT, "--reason", "by client_id").returncode == 0
    assert f'[SP1608] the agent "{AGENT}" is locked' in house.log_in()


def test_a_login_that_is_under_way_is_refused(issuer: DevIssuer, postgres: Server) -> None:
    """Its token was good when it was checked; the session must not begin all the same."""
    with FaultProxy(postgres.host, postgres.port) as proxy:
        behind = Behind(postgres, proxy.port)
        with running(issuer, behind) as house:
            assert "let in" in house.log_in()
            proxy.from_server = Fault(stall_after=0)
            before = proxy.accepted
            with house.psql() as psql:
                wait_for(
                    lambda: proxy.accepted > before
                )  # the token was accepted: the target is being dialed
                assert (
                    house.cli("lock", "--agent", "claude-code", "--reason", "too late").returncode
                    == 0
                )
                proxy.from_server = Fault()
                psql.wait_for(r"\[SP1608\] the agent \"claude-code\" is locked")
                assert psql.finish() == 2


class Behind:
    """A server as the gateway reaches it through a proxy."""

    def __init__(self, server: Server, port: int) -> None:
        self.host, self.port, self.database = server.host, port, server.database
        self.user, self.password, self.ca = server.user, server.password, None


def test_a_statement_that_waits_for_approval_ends_with_its_session(
    issuer: DevIssuer, postgres: Server
) -> None:
    policy = """\
version: 1
rules:
  - {name: reads, subjects: {groups: [claude-postgres]}, allow: [read], relations: ["public.*"]}
  - {name: waits, subjects: {groups: [claude-postgres]}, hold: [update], relations: ["public.*"],
     reviewers: {groups: [dba]}, expires: 2m}
"""
    with running(issuer, postgres, policy) as house, house.psql() as psql:
        psql.send("UPDATE orders SET status = status WHERE id = 1;")
        request = psql.wait_for(r"waits for approval (apr_\w+)").group(1)
        assert house.cli("lock", "--subject", "claude-agent", "--reason", "stop").returncode == 0
        psql.wait_for(LOCKED.format("subject", "claude-agent"))
        assert psql.finish() == 2
        decided = house.rest("POST", f"/approvals/{request}/decision", DBA, json={"approve": True})
        assert decided.status_code == 409, decided.text
        assert house.rest("GET", f"/approvals/{request}", DBA).json()["status"] == "withdrawn"


def test_every_identity_of_a_person_is_locked(issuer: DevIssuer, postgres: Server) -> None:
    people = {"identities": {"aliases": [["claude-agent", "dana"], ["olga", "olga-at-home"]]}}
    with running(issuer, postgres, approvals=people) as house:
        with house.psql() as psql:
            psql.send("SELECT 'here' AS it;").wait_for("here")
            done = house.cli("lock", "--subject", "dana", "--reason", "a stolen laptop")
            assert (done.returncode, "1 live session ended." in done.stdout) == (
                0,
                True,
            ), done.stderr
            psql.send("SELECT 1;").wait_for(LOCKED.format("subject", "dana"))
        assert "[SP1608]" in house.log_in() and "[SP1608]" in house.log_in(DBA)
        house.gateway.restart()
        wait_for(lambda: listens(house.url))
        assert "[SP1608]" in house.log_in()
        itself = house.cli("lock", "--subject", "olga-at-home", "--reason", "by mistake")
        assert (itself.returncode, "cannot lock yourself" in itself.stderr) == (1, True)
        assert house.cli("lock", "--release", "--subject", "dana").returncode == 0
        assert "let in" in house.log_in()


def test_what_a_locked_subject_was_granted_does_not_come_back(
    issuer: DevIssuer, postgres: Server
) -> None:
    with running(issuer, postgres, HOLDS) as house:
        with house.psql() as psql:
            psql.send("UPDATE products SET stock = stock WHERE id = 1;")
            request = psql.wait_for(r"waits for approval (apr_\w+)").group(1)
            body = {"approve": True, "reason": "for today", "minutes": 30, "scope": "rule"}
            assert (
                house.rest("POST", f"/approvals/{request}/decision", DBA, json=body).status_code
                == 200
            )
            psql.wait_for("UPDATE 1")
            assert (
                house.cli("lock", "--subject", "claude-agent", "--reason", "stop").returncode == 0
            )
        assert house.cli("lock", "--release", "--subject", "claude-agent").returncode == 0
        with house.psql() as psql:
            psql.send("UPDATE products SET stock = stock WHERE id IN (2, 3);")
            psql.wait_for(r"this update waits for approval apr_\w+")


@pytest.mark.parametrize("client", [ADAM, DBA, AGENT])
def test_who_may_not_end_sessions_may_not_lock(house: House, client: str) -> None:
    done = house.cli("lock", "--subject", "dana", "--reason", "no", client=client)
    assert (done.returncode, done.stdout) == (1, "")
    assert "locks.lock needs one of the roles: operator" in done.stderr
    assert house.rest("GET", "/locks", OLGA).json()["locks"] == []


def test_nobody_locks_themselves_out(house: House) -> None:
    done = house.cli("lock", "--subject", "olga", "--reason", "by mistake")
    assert (done.returncode, "cannot lock yourself" in done.stderr) == (1, True)
    done = house.cli("lock", "--agent", OLGA, "--reason", "by mistake")
    assert (done.returncode, "cannot lock yourself" in done.stderr) == (1, True)
    for words in (
        ("--subject", "x"),
        ("--reason", "whom?"),
        ("--release",),
        ("--subject", "x", "--agent", "y", "--reason", "z"),
    ):
        done = house.cli("lock", *words)
        assert (done.returncode, done.stdout) == (2, ""), words
    assert house.cli("lock").stdout == "No locks are in force.\n"


def test_what_people_do_is_recorded(house: House) -> None:
    assert "let in" in house.log_in()
    wait_for(lambda: len(house.rest("GET", "/sessions", ADAM).json()["sessions"]) == 1)
    (session,) = house.rest("GET", "/sessions", ADAM).json()["sessions"]
    path = f"/sessions/{session['id']}"
    assert house.rest("GET", f"{path}/events", ADAM).status_code == 200
    assert house.rest("GET", f"{path}/events", OLGA).status_code == 403
    assert house.rest("GET", "/sessions?text=let", ADAM).status_code == 200
    explained = {
        "target": "shop",
        "sql": "select 1",
        "subject": {"id": "x", "claims": {"key": "s3cret"}},
    }
    assert house.rest("POST", "/policy/explain", DBA, json=explained).status_code == 200
    assert house.rest("POST", f"{path}/kill", OLGA).status_code == 404
    lock = {"kind": "subject", "name": "claude-agent", "reason": "stolen", "minutes": 5}
    locked = house.rest("POST", "/locks", OLGA, json=lock).json()["lock"]
    assert house.rest("GET", "/targets", AGENT).status_code == 403
    assert house.rest("GET", "/targets", OLGA).status_code == 200
    assert house.rest("POST", f"/locks/{locked['id']}/release", OLGA).status_code == 200

    wait_for(lambda: len(house.actions()) == 8)
    actions = house.actions()[::-1]
    seen = [(one["subject"], one["action"], one["object"], one["outcome"]) for one in actions]
    assert (
        seen
        == [
            ("adam", "sessions.replay", session["id"], "done"),
            ("olga", "sessions.replay", session["id"], "refused"),
            ("adam", "sessions.list", "", "done"),
            ("dana", "policy.explain", "", "done"),
            ("olga", "sessions.kill", session["id"], "failed"),
            ("olga", "locks.lock", locked["id"], "done"),
            ("claude-agent", "targets.read", "", "refused"),
            ("olga", "locks.release", locked["id"], "done"),
        ][: len(seen)]
        or len(seen) == 9
    )
    assert {(one["channel"], one["address"]) for one in actions} == {("rest", "127.0.0.1")}
    assert actions[2]["details"] == {"text": "let"}
    assert actions[3]["details"]["sql"] == "select 1"
    assert (
        actions[5]["details"]["reason"] == "stolen"
        and actions[5]["details"]["name"] == "claude-agent"
    )
    assert "SP1608" in actions[6]["reason"]
    everything = b"".join(
        f.read_bytes() for f in (house.gateway.home / "var" / "recordings").rglob("*.sprec")
    )
    assert b"s3cret" not in everything and b"let in" not in json.dumps(actions).encode()
    assert [one["action"] for one in house.actions("--subject", "dana")] == ["policy.explain"]
    assert {one["subject"] for one in house.actions("--object", session["id"])} == {"adam", "olga"}
    assert len(house.actions("--outcome", "refused", "--action", "sessions")) == 1
    listed = house.rest("GET", "/actions?name=locks&limit=1", ADAM).json()
    assert [one["action"] for one in listed["actions"]] == ["locks.release"]
    older = house.rest("GET", f"/actions?name=locks&after={listed['next']}", ADAM).json()
    assert [one["action"] for one in older["actions"]] == ["locks.lock"] and older["next"] is None
    assert house.rest("GET", "/actions", OLGA).status_code == 403


def test_recordings_of_actions_are_apart_and_verified(house: House) -> None:
    assert "let in" in house.log_in()
    for _ in range(3):
        assert house.rest("GET", "/sessions?text=x", ADAM).status_code == 200
    assert house.rest("GET", "/sessions", DBA).status_code == 200  # quiet
    wait_for(lambda: len(house.actions()) == 3)
    house.gateway.stop()
    (session,) = json.loads(house.reading("sessions", "list", "--json").stdout)
    assert session["subject"] == "claude-agent"
    (recording,) = json.loads(
        house.reading("sessions", "list", "--kind", "actions", "--json").stdout
    )
    assert recording["id"].startswith("act_") and (
        recording["statements"],
        recording["refused"],
    ) == (3, 0)
    shown = house.reading("sessions", "show", recording["id"]).stdout
    assert shown.count("adam@example.com") == 3 and shown.count("sessions.list") == 3
    assert "text=x" in house.reading("audit", "actions").stdout
    assert (
        "adam@example.com"
        in house.reading("sessions", "replay", "--instant", recording["id"]).stdout
    )
    assert house.reading("audit", "verify").returncode == 0
    file = house.gateway.home / "var" / "recordings" / recording["file"]
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for broken in (flipped, whole[:-40], None):
        if broken is None:
            file.unlink()
        else:
            file.write_bytes(broken)
        done = house.reading("audit", "verify")
        assert done.returncode == 1, done.stdout
        assert f"{recording['id']}  FAILED" in done.stdout
        file.write_bytes(whole)
    house.gateway.start()


def test_a_token_is_locked_and_another_of_the_same_subject_is_not(house: House) -> None:
    def jti(token: str) -> str:
        part = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["jti"])

    stolen, fresh = house.gateway.token(), house.gateway.token()
    with Psql(house.gateway.port, stolen) as psql, Psql(house.gateway.port, fresh) as other:
        psql.send("SELECT 'he' || 're';").wait_for("here")
        other.send("SELECT 'he' || 're';").wait_for("here")
        done = house.cli("lock", "--token", jti(stolen), "--reason", "in a log")
        assert (done.returncode, "1 live session ended." in done.stdout) == (0, True), done.stderr
        psql.send("SELECT 1;").wait_for(LOCKED.format("token", jti(stolen)))
        assert psql.finish() == 2
        other.send("SELECT 'still ' || 'here';").wait_for("still here")
    assert "[SP1608] the token" in run_psql(house.gateway.dsn(stolen), "SELECT 1").stderr
    assert "let in" in house.log_in()
    assert house.cli("lock", "--release", "--token", jti(stolen)).returncode == 0
    assert run_psql(house.gateway.dsn(stolen), "SELECT 1").returncode == 0


def test_an_issuer_is_locked_but_not_ones_own(house: House) -> None:
    """All tokens of this gateway are one issuer's, the operator's too."""
    with house.psql() as psql:
        psql.send("SELECT 'he' || 're';").wait_for("here")
        done = house.cli("lock", "--issuer", house.gateway.issuer.url, "--reason", "its key leaked")
        assert (done.returncode, "cannot lock yourself" in done.stderr) == (1, True)
        done = house.cli("lock", "--issuer", "https://elsewhere.example", "--reason", "who?")
        assert (done.returncode, "It is one of" in done.stderr) == (1, True)
        psql.send("SELECT 'still ' || 'here';").wait_for("still here")
