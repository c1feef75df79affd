"""A held statement of a real client is told outside, and decided there: webhook, mail and Slack,
each at the other end of a socket.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.approvals.channels.notify import signature
from sallyport.approvals.channels.slack_blocks import APPROVE, DENY
from sallyport.core.secret import Secret
from sallyport.demo.issuer import DEMO_CLIENTS, DevIssuer
from sallyport.demo.postgres import free_port
from tests.approvals.slack_double import (
    CHANNEL,
    SIGNING_SECRET,
    TEAM,
    TOKEN,
    SlackDouble,
    slack_double,
)
from tests.support import requests
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.receivers import mail_receiver
from tests.support.waiting import wait_for

HOOK_SECRET = "shared with the receiver"
POLICY = """\
version: 1
rules:
  - {name: reads, subjects: {groups: [claude-postgres]}, allow: [read], relations: ["public.*"]}
  - name: changes wait
    subjects: {groups: [claude-postgres]}
    hold: [update]
    relations: ["public.orders"]
    reviewers: {groups: [dba]}
"""
#: `WHERE id = -1`: nothing changes for the other tests.
UPDATE = "UPDATE orders SET status = 'paid' WHERE id = -1 AND status::text <> 'canary'"


@contextmanager
def web_receiver() -> Iterator[tuple[str, list[tuple[Any, bytes]]]]:
    arrived: list[tuple[Any, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", arrived
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Place:
    gateway: Gateway
    issuer: DevIssuer
    console: str
    slack: SlackDouble
    hooks: list[tuple[Any, bytes]]
    denials: list[tuple[Any, bytes]]
    mails: list[tuple[str, bytes]]

    def held(self) -> Held:
        """Send :data:`UPDATE`; back when Slack shows it."""
        before, statement = len(self.slack.messages), Held(self.gateway.dsn())
        wait_for(lambda: len(self.slack.messages) > before)
        return statement


@dataclass
class Held:
    """A client that waits. ``outcome``: rows it touched, or the error it got."""

    dsn: str
    outcome: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            with psycopg.connect(self.dsn, autocommit=True) as db:
                self.outcome.append(db.execute(UPDATE).rowcount)
        except psycopg.Error as error:
            self.outcome.append(error)

    def end(self) -> Any:
        self.thread.join(10)
        assert self.outcome, "it still waits"
        return self.outcome[0]


def wait_for_console(url: str) -> None:
    """It listens a moment after the gateway does."""

    def answers() -> bool:
        try:
            return requests.get(f"{url}/healthz").is_success
        except httpx2.TransportError:
            return False

    wait_for(answers)


def person(client: str, **changes: Any) -> dict[str, Any]:
    account = DEMO_CLIENTS[client]
    return {
        "subject": account.subject,
        "email": account.email,
        "groups": list(account.groups),
    } | changes


@pytest.fixture(scope="module")
def place(issuer: DevIssuer, postgres: Server) -> Iterator[Place]:
    with ExitStack() as stack:
        double = stack.enter_context(slack_double())
        url, hooks = stack.enter_context(web_receiver())
        second, denials = stack.enter_context(web_receiver())
        port, mails = stack.enter_context(mail_receiver())
        console = f"127.0.0.1:{free_port()}"

        def secret(text: str) -> dict[str, Any]:
            return {"command": ["printf", "%s", text]}

        people = {
            "UDANA": person("dana-dba"),
            "UVERA": person("vera-viewer"),
            # In the reviewers' group, and by subject the one who asks.
            "USELF": person("claude-agent", email="claude@example.com", groups=["dba"]),
            # Another subject, whom an alias makes the same person.
            "UALIAS": person("olga-operator", groups=["dba"]),
        }
        extra = {
            "console": {"listen": console, "roles": {"reviewer": ["dba"], "viewer": ["staff"]}},
            "approvals": {
                "webhooks": [
                    {"url": url, "secret": secret(HOOK_SECRET)},
                    {"url": second, "secret": secret(HOOK_SECRET), "events": ["denied"]},
                ],
                "mail": {"host": "127.0.0.1", "port": port, "tls": "none",
                "from": "sallyport@example.com",
                         "to": ["dba@example.com", "lead@example.com"]},
                "slack": {"signing_secret": secret(SIGNING_SECRET), "bot_token": secret(TOKEN),
                "channel": CHANNEL,
                          "team": TEAM, "api": double.url, "people": people},
                "identities": {"aliases": [["claude-agent", "olga@example.com"]]},
                "limits": {"open_per_subject": 2},
            },
        }  # fmt: skip
        gateway = Gateway(issuer, {"shop": postgres}, policy=POLICY, extra=extra).start()
        # Slack signs whole seconds, and what was signed before the gateway started does not count.
        time.sleep(1)
        stack.callback(gateway.stop)
        wait_for_console(f"http://{console}")
        yield Place(gateway, issuer, f"http://{console}", double, hooks, denials, mails)
        assert double.problems == []
        assert not any(
            text in gateway.output() for text in (HOOK_SECRET, SIGNING_SECRET, TOKEN, "canary")
        )


def test_all_are_told_and_a_click_lets_it_run(place: Place) -> None:
    hooks, mails = len(place.hooks), len(place.mails)
    statement = place.held()
    ts = place.slack.last
    wait_for(lambda: len(place.hooks) > hooks and len(place.mails) > mails)
    headers, body = place.hooks[hooks]
    stamp = int(headers["Sallyport-Timestamp"])
    assert headers["Sallyport-Signature"] == signature(Secret(HOOK_SECRET), stamp, body)
    told = json.loads(body)
    assert (told["event"], told["target"], told["subject"]) == ("asked", "shop", "claude-agent")
    envelope, text = place.mails[mails]
    assert "<dba@example.com>" in envelope and "<lead@example.com>" in envelope
    assert told["url"].encode() in text and b"canary" not in text + body
    assert UPDATE in place.slack.shown(ts) and told["url"] in place.slack.shown(ts)

    assert place.slack.send(place.console, place.slack.click("UDANA", APPROVE)).status_code == 200
    assert statement.end() == 0
    wait_for(lambda: "Approved and used" in place.slack.shown(ts))
    assert "dana@example.com" in place.slack.shown(ts) and not place.slack.buttons(ts)
    wait_for(lambda: any(json.loads(b)["event"] == "approved" for _, b in place.hooks[hooks:]))
    token = {"Authorization": f"Bearer {place.gateway.token('dana-dba')}"}
    kept = requests.get(f"{place.console}/api/v1/approvals/{told['id']}", headers=token).json()
    decision = kept["decisions"][0]
    assert (decision["channel"], decision["address"]) == ("slack", "slack:UDANA")


def test_a_denial_asks_for_the_reason_and_the_agent_reads_it(place: Place) -> None:
    denials = len(place.denials)
    statement = place.held()
    ts = place.slack.last
    assert place.slack.send(place.console, place.slack.click("UDANA", DENY)).status_code == 200
    assert place.slack.views and not statement.outcome, "a click alone denies nothing"
    for empty in ("  ", None):
        answer = place.slack.send(place.console, place.slack.submit("UDANA", empty)).json()
        assert answer["response_action"] == "errors" and "reason" in answer["errors"]["reason"]
    answer = place.slack.send(place.console, place.slack.submit("UVERA", "I say no"))
    assert answer.json()["response_action"] == "errors" and not statement.outcome
    done = place.slack.send(
        place.console, place.slack.submit("UDANA", "cancel it <!channel> in the shop")
    )
    assert (done.status_code, done.content) == (200, b"")
    error = statement.end()
    assert isinstance(error, psycopg.Error) and "cancel it <!channel> in the shop" in str(error)
    wait_for(lambda: "Denied by dana@example.com" in place.slack.shown(ts))
    wait_for(lambda: len(place.denials) > denials)
    assert {json.loads(body)["event"] for _, body in place.denials} == {"denied"}


def forged(place: Place, body: bytes) -> list[tuple[str, dict[str, str], bytes]]:
    good, old = place.slack.headers(body), place.slack.headers(body, time.time() - 400)
    bare = {"Content-Type": good["Content-Type"]}
    return [
        ("no signature", bare, body),
        ("another secret", place.slack.headers(body, secret="guessed"), body),
        ("too old", old, body),
        ("old, with a new timestamp",
        old | {"X-Slack-Request-Timestamp": good["X-Slack-Request-Timestamp"]}, body),
        ("another body", good, body.replace(b"UVERA", b"UDANA")),
        ("another body, appended", good, body + b"&payload=x"),
    ]  # fmt: skip


def test_nobody_else_decides(place: Place) -> None:
    """Forged, replayed, of strangers, without the role, by whoever asked: each is refused, and the
    statement waits on.
    """
    statement = place.held()
    ts, url = place.slack.last, f"{place.console}/slack/interactions"

    def post(headers: dict[str, str], body: bytes) -> int:
        return requests.post(url, content=body, headers=headers).status_code

    for name, headers, body in forged(place, place.slack.click("UVERA", APPROVE)):
        assert post(headers, body) == 401, name
    for user, why in {
        "USTRANGER": "does not know", "UVERA": "reviewer", "USELF": "your own",
        "UALIAS": "your own",
    }.items():  # fmt: skip
        told = len(place.slack.ephemerals)
        assert place.slack.send(place.console, place.slack.click(user, APPROVE)).status_code == 200
        assert len(place.slack.ephemerals) == told + 1
        said = place.slack.ephemerals[-1]
        assert said["user"] == user and why in json.dumps(said["blocks"]), user
    for junk in (b"payload=%7B%7D", b"payload=%7B%22type%22%3A%22block_actions%22%7D"):
        assert post(place.slack.headers(junk), junk) == 200
    for junk in (
        b"payload=nonsense",
        b"",
        b"x=1",
        b"payload=[]",
        b"payload=1&payload=2",
        b"\xff" * 9,
    ):
        assert post(place.slack.headers(junk), junk) == 400, junk
    assert not statement.outcome and place.slack.buttons(ts)

    button = place.slack.buttons(ts)[APPROVE]
    body = place.slack.click("UDANA", APPROVE)
    headers = place.slack.headers(body)
    assert [post(headers, body), post(headers, body)] == [200, 401], "the same request counts once"
    assert statement.end() == 0
    told = len(place.slack.ephemerals)
    late = place.slack.click("UDANA", APPROVE, ts, button)
    assert place.slack.send(place.console, late).status_code == 200
    assert "no longer pending" in json.dumps(place.slack.ephemerals[told:])


def test_the_configured_bound_on_open_requests_holds(place: Place) -> None:
    # Identical requests of two sessions do not join: a session is part of what an approval binds.
    first, second = place.held(), place.held()
    with (
        psycopg.connect(place.gateway.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.Error, match="SP1401"),
    ):
        db.execute(UPDATE)
    for ts in sorted(place.slack.messages)[-2:]:
        place.slack.send(place.console, place.slack.click("UDANA", APPROVE, ts))
    assert (first.end(), second.end()) == (0, 0)


def test_without_slack_there_is_nothing_to_click(make_gateway: Callable[..., Gateway]) -> None:
    console = f"127.0.0.1:{free_port()}"
    gateway = make_gateway(extra={"console": {"listen": console}})
    wait_for_console(f"http://{console}")
    body = b"payload=%7B%7D"
    url = f"http://{console}/slack/interactions"
    assert requests.post(url, content=body, headers=SlackDouble.headers(body)).status_code == 404
    assert gateway.pid
