"""A record worth handing over, made by a gateway before PostgreSQL: reads under masks, hostile
texts, refusals, an approval, a denial, a lock, a kill and a change of policy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg
from click.testing import Result
from typer.testing import CliRunner

from sallyport.cli.main import build
from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.support import requests
from tests.support.approvals import Desk, Waiter
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for

OPERATOR, AUDITOR = "olga-operator", "adam-auditor"
#: Markup, a formula of a spreadsheet, CEF's own characters; a terminal's title, C1, bidi,
#: zero-width, a line separator, line feeds.
HOSTILE = (
    "=HYPERLINK(\"http://x/\")|a=b\\ <script>alert('sql')</script><img src=x onerror=alert(1)>"
    " {{7*7}} \x1b]0;owned\x07\x9b2J\u202egpj.exe\u2066\u200b\u2028\x7f\r\nCEF:0|forged|line"
)
#: A value behind a mask, and one in a bind.
SECRET_SSN, SECRET_EMAIL = "078-05-1120", "nobody-knows-me@secret.example"
REASON = f"ticket 4711 {HOSTILE[:90]}"
HOLD = """\
  - name: deletions wait for a DBA
    subjects: {groups: [claude-postgres]}
    targets: [shop]
    hold: [delete]
    relations: ["public.orders"]
    reviewers: {groups: [dba]}
    expires: 2m
"""
POLICY = SHOP_POLICY.replace("masks:\n", HOLD + "masks:\n")
CHANGED = POLICY + "# <b>changed</b> on purpose\n"


@dataclass
class Handed:
    """``session``: the id of the agent's session. ``until``: Unix seconds after all of it."""

    gateway: Gateway
    session: str
    approved: str
    denied: str

    def run(self, *words: object, code: int = 0) -> Result:
        """A sallyport command on this gateway's data, in this process."""
        told = ["--config", str(self.gateway.config_file)]
        done = CliRunner().invoke(build(), [*map(str, words), *told], env=self.gateway.environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    def lines(self, *words: object) -> list[dict[str, Any]]:
        """Of ``audit export``."""
        return [
            json.loads(line)
            for line in self.run("audit", "export", *words).stdout_bytes.splitlines()
        ]


def gateway_with_console(issuer: DevIssuer, server: Server) -> Gateway:
    """Not started yet."""
    roles = {"reviewer": ["dba"], "operator": ["ops"], "auditor": ["audit"]}
    extra = {
        "console": {"listen": f"127.0.0.1:{free_port()}", "roles": roles},
        "catalog": {"check_seconds": 0.5},
    }
    return Gateway(issuer, {"shop": server}, policy=POLICY, extra=extra)


def make_record(gateway: Gateway) -> Handed:
    """Everything that the tests look for, and wait until it is recorded."""
    desk, operator = Desk(gateway), Desk(gateway, OPERATOR)
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        _work(db)
        session = str(db.execute("SELECT current_setting('sallyport.session')").fetchone()[0])
    ids = []
    for decide in (
        lambda id_: desk.approve(id_, REASON),
        lambda id_: desk.deny(id_, "not in business hours"),
    ):
        with Waiter(gateway) as waiter:
            waiter.run("DELETE FROM orders WHERE id = 0")
            decide(waiter.id)
            ids.append(waiter.id)
            waiter.end()
    _change_policy(gateway)
    _lock_out(gateway, operator)
    handed = Handed(gateway, session, *ids)
    wait_for(lambda: len(handed.lines("--kind", "end")) >= 4)
    return handed


def _work(db: psycopg.Connection[Any]) -> None:
    db.execute("SELECT id, email, ssn FROM customers ORDER BY id LIMIT 3")
    db.execute(f"SELECT name FROM customers WHERE ssn = '{SECRET_SSN}'")  # type: ignore[arg-type]
    db.execute("SELECT name FROM customers WHERE email = %s", [SECRET_EMAIL])
    db.execute('SELECT %s::text AS value, 1 AS "<b>&"', [HOSTILE])
    literal = HOSTILE.replace("'", "''")
    db.execute(f"SELECT '{literal}' AS said, count(*) FROM orders -- <script>alert(2)</script>")
    db.execute("UPDATE products SET name = name WHERE id = 1")
    for refused in (
        "DROP TABLE orders",
        "SELECT usename FROM pg_shadow",
        "SELECT 1/0",
        f"SELEC '{literal}'",
    ):
        try:
            db.execute(refused)  # type: ignore[arg-type]
        except psycopg.Error:
            continue


def _change_policy(gateway: Gateway) -> None:
    gateway.write(CHANGED)
    wait_for(lambda: "changed" in gateway.run("policy", "history", "0").stdout)


def _lock_out(gateway: Gateway, operator: Desk) -> None:
    """A session is ended by hand, and one by a lock that is released again."""
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        session = db.execute("SELECT current_setting('sallyport.session')").fetchone()[0]
        _post(operator, f"/sessions/{session}/kill", {})
        wait_for(lambda: _is_over(db))
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        body = {
            "kind": "agent",
            "name": "claude-code",
            "reason": "it <i>deleted</i> orders",
            "minutes": 5,
        }
        lock = _post(operator, "/locks", body)
        wait_for(lambda: _is_over(db))
    _post(operator, f"/locks/{lock['lock']['id']}/release", {})


def _post(desk: Desk, path: str, body: dict[str, Any]) -> Any:
    answer = requests.post(desk._base + path, headers=desk._headers, json=body, timeout=60)
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def _is_over(db: psycopg.Connection[Any]) -> bool:
    try:
        db.execute("SELECT 1")
    except psycopg.Error:
        return True
    return False
