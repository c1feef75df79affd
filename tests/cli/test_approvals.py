"""``sallyport approvals`` against the real operations behind a small HTTP server of the REST
interface's form.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from sallyport.approvals.problems import DecisionError
from sallyport.approvals.states import Preview, Status
from sallyport.cli.approvals import register
from sallyport.operations.access import Access, ForbiddenError
from sallyport.operations.approvals import (
    HTTP_STATUS,
    ApprovalOperations,
    request_data,
    sample_data,
)
from tests.approvals.helpers import AGENT, BINDING, DANA, MALLORY, House, Unmasked

PEOPLE = {"dana": DANA, "mallory": MALLORY, "agent": replace(AGENT, groups=frozenset({"dba"}))}
ACCESS = Access({"reviewer": frozenset({"dba"}), "viewer": frozenset({"admin"})})


@dataclass
class Rest:
    house: House
    url: str = ""

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        subject = PEOPLE.get(token.removeprefix("Bearer "))
        if subject is None:
            return 401, {"title": "sign in"}
        who, ops = (
            ACCESS.principal(subject, "127.0.0.1"),
            ApprovalOperations(self.house.service, "rest", Unmasked()),
        )
        path, _, query = path.removeprefix("/api/v1/approvals").partition("?")
        words = path.strip("/").split("/")
        try:
            if words == [""]:
                requests = asyncio.run(ops.list(who, pending="status=pending" in query))
                return 200, {
                    "approvals": [request_data(request, details=False) for request in requests]
                }
            if words[1:] == ["sample"]:
                return 200, sample_data(asyncio.run(ops.sample(who, words[0])))
            if method == "GET":
                return 200, request_data(asyncio.run(ops.show(who, words[0])))
            if body.get("minutes"):
                ops.grant(who, words[0], body["minutes"], scope=body["scope"])
                return 200, request_data(asyncio.run(ops.show(who, words[0])))
            return 200, request_data(ops.decide(who, words[0], body["approve"], body["reason"]))
        except DecisionError as error:
            return HTTP_STATUS[error.problem], {"detail": error.refusal.message}
        except ForbiddenError as error:
            return 403, {"detail": str(error)}


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[Rest]:
    rest = Rest(House.open(tmp_path))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size) or b"{}")
            status, value = rest.answer(
                self.command, self.path, self.headers["Authorization"], body
            )
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        rest.url = f"http://127.0.0.1:{server.server_port}"
        yield rest
        server.shutdown()
        thread.join()
    rest.house.close()


def run(rest: Rest, *words: str, who: str = "dana", code: int = 0, url: str = "") -> Result:
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)  # a second command: the group keeps its name
    result = CliRunner().invoke(
        app,
        ["approvals", *words, "--url", url or rest.url],
        env={"SALLYPORT_TOKEN": who},
        catch_exceptions=False,
    )
    assert result.exit_code == code, result.output
    assert who == "mallory" or who not in result.output.replace("dana@example.com", ""), (
        "the token is not shown"
    )
    return result


def test_show_has_the_text_with_masks_where_it_differs(rest: Rest) -> None:
    heading = "Sent to the database (masks applied):"
    assert heading not in run(rest, "show", rest.house.ask().id).output
    sent = f"{BINDING.sql}\n AND note = '[redacted]\x1b]0;own\x07'"
    request = rest.house.ask(replace(BINDING, sent=sent))
    shown = run(rest, "show", request.id).output
    assert (
        "[redacted]" in shown.partition(heading)[2]
        and "[redacted]" not in shown.partition(heading)[0]
    )
    assert "\x1b" not in shown
    assert json.loads(run(rest, "show", request.id, "--json").output)["sent"] == sent


def test_list_show_approve(rest: Rest) -> None:
    assert "No approvals are waiting" in run(rest, "list").output
    request = rest.house.ask(replace(BINDING, sql="UPDATE t\nSET x = '\x1b]0;own\x07\u202e'"))
    rest.house.service.previewed(request.id, Preview(rows=3, problems=("no \x1b[2J",)))
    line = run(rest, "list").output
    assert request.id in line and "alice@example.com through claude-code" in line and "left" in line
    shown = run(rest, "show", request.id).output
    assert "Rows it would change: 3" in shown and "$1 = " in shown and "dba must approve" in shown
    assert (
        "Some of the rows, as the policy shows them to you (masked: note):\n  id=7, note=NULL\n"
        in shown
    )
    assert "\x1b" not in shown and "\u202e" not in shown and "UPDATE t\nSET" in shown
    assert (
        "approved by dana@example.com" in run(rest, "approve", request.id, "--reason", "ok").output
    )
    reviewed = rest.house.service.get(request.id)
    assert (
        reviewed is not None
        and reviewed.status is Status.APPROVED
        and reviewed.decisions[0].address == "127.0.0.1"
    )
    assert "No approvals are waiting" in run(rest, "list").output
    assert json.loads(run(rest, "list", "--all", "--json").output)["status"] == "approved"


def test_deny_needs_a_reason(rest: Rest) -> None:
    request = rest.house.ask()
    run(rest, "deny", request.id, code=2)
    assert "needs a reason" in run(rest, "deny", request.id, "--reason", " ", code=1).stderr
    assert (
        "denied by dana@example.com: not today"
        in run(rest, "deny", request.id, "--reason", "not today").output
    )
    assert "no longer pending" in run(rest, "approve", request.id, code=1).stderr


def test_grants(rest: Rest) -> None:
    request = rest.house.ask()
    run(rest, "approve", request.id, "--minutes", "30")
    assert len(rest.house.service.grants()) == 1


def test_the_gateway_says_who_may(rest: Rest) -> None:
    request = rest.house.ask()
    assert "of your own" in run(rest, "approve", request.id, who="agent", code=1).stderr
    assert (
        "needs one of the roles" in run(rest, "approve", request.id, who="mallory", code=1).stderr
    )
    assert "no such approval" in run(rest, "show", "apr_../../x", code=1).stderr
    assert rest.house.service.pending() == [request]


def test_watch_ends_with_the_decision(rest: Rest) -> None:
    request = rest.house.ask()
    timer = threading.Timer(0.3, rest.house.approve, (request,))
    timer.start()
    assert "approved by" in run(rest, "show", request.id, "--watch").output
    timer.join()


def test_tokens_go_nowhere_in_the_clear(rest: Rest) -> None:
    assert "not https" in run(rest, "list", url="http://gateway.example.com", code=2).stderr
    assert "is not an address" in run(rest, "list", url="ftp://x", code=2).stderr
    assert "cannot be reached" in run(rest, "list", url="http://127.0.0.1:1", code=2).stderr
    assert "not accepted" in run(rest, "list", who="nobody-knows", code=2).stderr
