"""Slack, as far as Sallyport talks to it, written from its public documentation (docs.slack.dev):
four methods of the Web API with their errors and the bounds of Block Kit, and a workspace whose
people click and submit, with requests that are signed as Slack signs them.

It is strict where Slack is: a token, a known channel, blocks within their bounds, triggers that are
good once and for three seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import httpx2

TOKEN, SIGNING_SECRET = "xoxb-double-0001", "8f742231b10e8888abcd99yyyzzz85a5"
CHANNEL, TEAM, APP = "C0123456789", "T0123456789", "A0123456789"


class SlackError(Exception):
    """The Web API's ``error``."""


class SlackDouble:
    """``calls``: method and body of everything that arrived. ``failures``: (status, headers, body)
    to answer with first, in turn.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[tuple[int, dict[str, str], dict[str, Any]]] = []
        self.arrived: list[float] = []
        self.messages: dict[str, dict[str, Any]] = {}
        self.ephemerals: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.url = ""
        self._triggers: dict[str, float] = {}
        self._lock = threading.Lock()

    # -- the Web API -------------------------------------------------------------------------------

    def handle(
        self, method: str, headers: Any, body: bytes
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        with self._lock:
            self.arrived.append(time.monotonic())
            if self.failures:
                return self.failures.pop(0)
            try:
                if headers["Authorization"] != f"Bearer {TOKEN}":
                    raise SlackError("invalid_auth")
                if not headers["Content-Type"].startswith("application/json"):
                    raise SlackError("invalid_form_data")
                values = json.loads(body)
                self.calls.append((method, values))
                methods = {
                    "chat.postMessage": self._post, "chat.update": self._update,
                    "chat.postEphemeral": self._ephemeral, "views.open": self._open,
                }  # fmt: skip
                if method not in methods:
                    raise SlackError("unknown_method")
                return 200, {}, {"ok": True, **methods[method](values)}
            except SlackError as error:
                self.problems.append(f"{method}: {error}")
                return 200, {}, {"ok": False, "error": str(error)}

    def _post(self, values: dict[str, Any]) -> dict[str, Any]:
        if values["channel"] not in (CHANNEL, "#approvals"):
            raise SlackError("channel_not_found")
        check_blocks(values["blocks"])
        if not values.get("text"):
            raise SlackError("no_text")
        ts = f"{time.time():.6f}"
        self.messages[ts] = values
        return {"channel": CHANNEL, "ts": ts}

    def _update(self, values: dict[str, Any]) -> dict[str, Any]:
        if values["channel"] != CHANNEL:
            raise SlackError("channel_not_found")  # an id is needed, not a name
        if values["ts"] not in self.messages:
            raise SlackError("message_not_found")
        check_blocks(values["blocks"])
        self.messages[values["ts"]] = values
        return {"channel": CHANNEL, "ts": values["ts"]}

    def _ephemeral(self, values: dict[str, Any]) -> dict[str, Any]:
        if not values.get("user") or not values.get("text"):
            raise SlackError("user_not_in_channel")
        check_blocks(values["blocks"])
        self.ephemerals.append(values)
        return {"message_ts": f"{time.time():.6f}"}

    def _open(self, values: dict[str, Any]) -> dict[str, Any]:
        made = self._triggers.pop(values["trigger_id"], None)
        if made is None or time.monotonic() - made > 3:
            raise SlackError("expired_trigger_id" if made else "invalid_trigger_id")
        check_modal(values["view"])
        self.views.append({"id": f"V{len(self.views)}", **values["view"]})
        return {"view": self.views[-1]}

    # -- the people --------------------------------------------------------------------------------

    @property
    def last(self) -> str:
        """The newest message's ts."""
        return max(self.messages)

    def buttons(self, ts: str) -> dict[str, dict[str, Any]]:
        """What can be clicked, by action id."""
        rows = [
            block["elements"] for block in self.messages[ts]["blocks"] if block["type"] == "actions"
        ]
        return {element["action_id"]: element for row in rows for element in row}

    def shown(self, ts: str) -> str:
        return json.dumps(self.messages[ts], ensure_ascii=False)

    def click(
        self, user: str, action_id: str, ts: str = "", button: dict[str, Any] | None = None
    ) -> bytes:
        """The body of the request that a click makes. ``button``: one that is not in the message
        any more.
        """
        ts = ts or self.last
        button = button or self.buttons(ts)[action_id]
        trigger = secrets.token_hex(8)
        self._triggers[trigger] = time.monotonic()
        return self._body({
            "type": "block_actions", "user": {"id": user, "team_id": TEAM}, "team": {"id": TEAM},
            "api_app_id": APP,
            "trigger_id": trigger, "channel": {"id": CHANNEL, "name": "approvals"},
            "container": {"type": "message", "message_ts": ts, "channel_id": CHANNEL,
            "is_ephemeral": False},
            "actions": [{"type": "button", "block_id": "decide", "action_ts": "1.0",
                         **{k: button[k] for k in ("action_id", "value", "url") if k in button}}],
            "response_url": "https://hooks.slack.invalid/actions/1",
        })  # fmt: skip

    def submit(self, user: str, reason: str | None) -> bytes:
        """The body of the request that the last form makes."""
        view = self.views[-1]
        (field,) = view["blocks"]
        state = {
            field["block_id"]: {
                field["element"]["action_id"]: {"type": "plain_text_input", "value": reason}
            }
        }
        return self._body({
            "type": "view_submission", "user": {"id": user, "team_id": TEAM}, "team": {"id": TEAM},
            "api_app_id": APP,
            "view": {**view, "state": {"values": state}},
        })  # fmt: skip

    def _body(self, payload: dict[str, Any]) -> bytes:
        return urlencode({"payload": json.dumps(payload)}).encode()

    @staticmethod
    def headers(
        body: bytes, at: float | None = None, secret: str = SIGNING_SECRET
    ) -> dict[str, str]:
        stamp = str(int(time.time() if at is None else at))
        digest = hmac.new(
            secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256
        ).hexdigest()
        return {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": f"v0={digest}",
        }

    def send(self, console: str, body: bytes) -> httpx2.Response:
        """To the interactivity request URL; Slack waits three seconds."""
        url = f"{console}/slack/interactions"
        return httpx2.post(
            url, content=body, headers=self.headers(body), timeout=3.0, trust_env=False
        )


# -- Block Kit -------------------------------------------------------------------------------------


def check_blocks(blocks: list[dict[str, Any]]) -> None:
    """The bounds that the reference gives for the kinds that are used."""
    _need(1 <= len(blocks) <= 50, "blocks")
    for block in blocks:
        if block["type"] == "section":
            _need("text" in block or "fields" in block, "section")
            if "text" in block:
                _text(block["text"], 3000)
            fields = block.get("fields", [])
            _need(len(fields) <= 10, "fields")
            for field in fields:
                _text(field, 2000)
        elif block["type"] == "context":
            _need(1 <= len(block["elements"]) <= 10, "context")
            for field in block["elements"]:
                _text(field, 3000)
        elif block["type"] == "actions":
            ids = [element["action_id"] for element in block["elements"]]
            _need(1 <= len(ids) <= 25 and len(set(ids)) == len(ids), "actions")
            for field in block["elements"]:
                _button(field)
        else:
            raise SlackError(f"invalid_blocks {block['type']}")


def _button(button: dict[str, Any]) -> None:
    _need(button["type"] == "button" and button["text"]["type"] == "plain_text", "button")
    _text(button["text"], 75)
    _need(button.get("style") in (None, "primary", "danger"), "style")
    _need(len(button.get("value", "")) <= 2000 and len(button.get("url", "")) <= 3000, "value")
    if confirm := button.get("confirm"):
        for key, most in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
            _text(confirm[key], most)


def check_modal(view: dict[str, Any]) -> None:
    _need(view["type"] == "modal" and len(view["callback_id"]) <= 255, "modal")
    _need(len(view["private_metadata"]) <= 3000, "private_metadata")
    for key in ("title", "submit", "close"):
        _text(view[key], 24)
    for block in view["blocks"]:
        _need(block["type"] == "input" and block["element"]["type"] == "plain_text_input", "input")
        _text(block["label"], 2000)
        _need(0 < block["element"]["max_length"] <= 3000, "max_length")


def _text(text: dict[str, Any], most: int) -> None:
    _need(
        text["type"] in ("plain_text", "mrkdwn") and 1 <= len(text["text"]) <= most, f"text {text}"
    )


def _need(good: bool, what: str) -> None:
    if not good:
        raise SlackError(f"invalid_blocks {what}")


@contextmanager
def slack_double() -> Iterator[SlackDouble]:
    """On a port of this machine; ``url`` is what stands for https://slack.com/api."""
    double = SlackDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, answer = double.handle(
                self.path.removeprefix("/api/"), self.headers, body
            )
            data = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        double.url = f"http://127.0.0.1:{server.server_port}/api"
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
