"""Slack: one message for every request, with buttons; and proof that what comes back is Slack's.

Built from Slack's public documentation (docs.slack.dev): ``chat.postMessage``, ``chat.update``,
``chat.postEphemeral``, ``views.open``, Block Kit, and "Verifying requests from Slack" (signature
``v0``). What it promises:

- A request counts as Slack's when its signature is right (constant time), its timestamp is within
  five minutes and not from before the gateway started, and it was not seen before.
- Slack cannot prove groups. Who a Slack user is, is only what configuration says: subject, issuer,
  e-mail and groups. Anybody else is nobody. The person then passes the same authorization as
  everywhere (:mod:`sallyport.operations.approvals`).
- Messages go out on one thread behind a bounded queue, in order. 429, 5xx and silence are tried
  again with growing pauses, never before ``Retry-After``. What Slack refuses for good is logged.
  Approvals never wait for any of it.

Where messages are is kept in memory: one from before a restart is brought up to date when somebody
uses its buttons.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import structlog

from sallyport.approvals.channels import slack_blocks
from sallyport.approvals.channels.notify import PAUSES, Announcement, Sender
from sallyport.approvals.states import Request
from sallyport.core.clock import Clock, SystemClock
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.core.tls import harden

_log = structlog.get_logger("sallyport.approvals")

API: Final = "https://slack.com/api"
#: Seconds: age of a signed request, either way.
MAX_AGE: Final = 300
_MAX_SEEN: Final = 10_000
_TIMEOUT: Final = 10.0
#: Slack waits three seconds for an answer to a click, and a trigger is good for as long.
_QUICK: Final = 2.0
_LONGEST_PAUSE: Final = 600.0
#: Errors of the Web API that pass by themselves.
_PASSING: Final = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
    }
)


@dataclass(frozen=True, slots=True)
class SlackPerson:
    """Who a Slack user is. Nothing of it is asked of Slack."""

    subject: str
    issuer: str
    email: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class SlackSettings:
    """channel: id (or name) where messages go. team: the workspace's id; "" accepts any that the
    app is installed in. people: by Slack user id.
    """

    signing_secret: Secret
    bot_token: Secret
    channel: str
    people: Mapping[str, SlackPerson] = field(default_factory=dict)
    team: str = ""
    api: str = API


class Slack:
    """Raises SallyportError for settings that could not be safe."""

    def __init__(
        self,
        settings: SlackSettings,
        *,
        console: str = "",
        pauses: Sequence[float] = PAUSES,
        clock: Clock | None = None,
        allow_http: bool = False,
    ) -> None:
        if httpx2.URL(settings.api).scheme != "https" and not allow_http:
            raise SallyportError(f"Slack's address {settings.api} is not https")
        if not settings.signing_secret or not settings.bot_token:
            raise SallyportError("Slack: signing_secret and bot_token must not be empty")
        self._settings, self._console = settings, console.rstrip("/")
        self._signatures = Signatures(settings.signing_secret, clock or SystemClock())
        self._client = httpx2.Client(
            verify=harden(httpx2.create_ssl_context(trust_env=False)),
            trust_env=False,
            timeout=_TIMEOUT,
            follow_redirects=False,
        )
        self._latest: dict[str, Request] = {}
        self._posted: dict[str, tuple[str, str]] = {}  # request -> channel id and ts of its message
        self._sender = Sender("slack", self._send, pauses)
        self._sender.start()

    def close(self) -> None:
        self._sender.close()
        self._client.close()

    # -- going out ---------------------------------------------------------------------------------

    def notify(self, event: str, request: Request) -> None:
        """:class:`sallyport.approvals.ports.Notifier`."""
        if request.grant or (event != "asked" and request.id not in self._latest):
            return
        self._latest[request.id] = request
        self._sender.put({"event": event, "id": request.id})

    def announce(self, body: Announcement) -> None:
        """Post news that is no request's."""
        self._sender.put(dict(body))

    def refresh(self, request: Request, channel: str, ts: str) -> None:
        """Bring the message at this place up to date: somebody used its buttons."""
        if channel and ts:
            self._posted[request.id] = channel, ts
            self._latest[request.id] = request
            self._sender.put({"event": "refresh", "id": request.id})

    def _send(self, body: dict[str, Any], delivery: str) -> bool | float:
        if "text" in body:
            return self._call("chat.postMessage", {**self._quiet(), **_announced(body)})[0]
        request = self._latest.get(body["id"])
        if request is None:
            return True  # an earlier job has said its last word already
        place, done = self._posted.get(request.id), request.status.final
        shown = slack_blocks.message(request, self._address(request.id))
        answer: bool | float = True
        if place is not None:
            answer = self._call("chat.update", {"channel": place[0], "ts": place[1], **shown})[0]
        elif not done and body["event"] == "asked":
            answer, said = self._call("chat.postMessage", {**self._quiet(), **shown})
            channel, ts = said.get("channel"), said.get("ts")
            if answer is True and isinstance(channel, str) and isinstance(ts, str):
                self._posted[request.id] = channel, ts
        if done and answer is True:
            self._latest.pop(request.id, None)
            self._posted.pop(request.id, None)
        return answer

    def _quiet(self) -> dict[str, Any]:
        """Nothing in a message is looked up, linked or unfolded."""
        return {
            "channel": self._settings.channel, "parse": "none", "link_names": False,
            "mrkdwn": False,
            "unfurl_links": False, "unfurl_media": False,
        }  # fmt: skip

    def _address(self, request_id: str) -> str:
        return f"{self._console}/approvals/{request_id}" if self._console else ""

    def _call(
        self, method: str, values: dict[str, Any], timeout: float = _TIMEOUT
    ) -> tuple[bool | float, dict[str, Any]]:
        """(True, the answer) when there is nothing to try again; (False or seconds to wait, {})
        when there is.
        """
        headers = {"Authorization": f"Bearer {self._settings.bot_token.reveal()}"}
        try:
            answer = self._client.post(
                f"{self._settings.api.rstrip('/')}/{method}",
                json=values,
                headers=headers,
                timeout=timeout,
            )
            said = answer.json() if answer.is_success else {}
        except (httpx2.HTTPError, OSError, ValueError) as error:
            _log.warning("Slack did not answer", method=method, error=type(error).__name__)
            return False, {}
        said = said if isinstance(said, dict) else {}
        if answer.is_success and said.get("ok") is True:
            return True, said
        problem = str(said.get("error", ""))[:100]
        if answer.status_code == 429 or answer.status_code >= 500 or problem in _PASSING:
            wait = _seconds(answer.headers.get("Retry-After", ""))
            _log.warning(
                "Slack wants a pause", method=method, status=answer.status_code, seconds=wait
            )
            return wait or False, {}
        _log.error("Slack refused", method=method, status=answer.status_code, error=problem)
        return True, {}

    # -- coming in ---------------------------------------------------------------------------------

    def verify(self, timestamp: str, signature: str, body: bytes) -> str:
        """ "" when the request is Slack's and new; else why not, for the log."""
        return self._signatures.check(timestamp, signature, body)

    def subject(self, user: str, team: str) -> Subject | None:
        """The person behind a Slack user, None when configuration knows none."""
        settings = self._settings
        person = settings.people.get(user)
        if person is None or (settings.team and team != settings.team):
            return None
        return Subject(
            person.subject,
            person.issuer,
            person.groups,
            agent="slack",
            label=user,
            email=person.email,
        )

    def ask_reason(self, trigger: str, request_id: str) -> bool:
        """Open the form for the reason; False when Slack did not. Blocks for at most about two
        seconds.
        """
        view = slack_blocks.modal(request_id)
        done, said = self._call("views.open", {"trigger_id": trigger, "view": view}, _QUICK)
        return done is True and said.get("ok") is True

    def tell(self, channel: str, user: str, text: str) -> None:
        """Say something that only this person sees. Blocks for at most about two seconds; not tried
        again.
        """
        blocks = [
            {"type": "section", "text": {"type": "plain_text", "text": text[:2900], "emoji": False}}
        ]
        values = {
            "channel": channel,
            "user": user,
            "text": "Sallyport refused this.",
            "blocks": blocks,
        }
        self._call("chat.postEphemeral", values, _QUICK)


class Signatures:
    """Slack's signatures, version 0: HMAC-SHA256 of ``v0:<timestamp>:<body>``. Each is good once.
    For any thread.

    Which ones were received is known since the start only: what was signed before that is refused.
    """

    def __init__(self, secret: Secret, clock: Clock) -> None:
        self._secret, self._clock = secret, clock
        self._since = clock.now()
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def check(self, timestamp: str, signature: str, body: bytes) -> str:
        """ "" or why it does not count."""
        now = self._clock.now()
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
            return "no usable timestamp"
        if abs(now - int(timestamp)) > MAX_AGE:
            return "the timestamp is more than five minutes away"
        if int(timestamp) < self._since:
            return (
                "it was signed before this gateway started, which cannot know whether it was"
                " received then"
            )
        expected = slack_signature(self._secret, timestamp, body)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            return "the signature is wrong"
        with self._lock:
            for old in [seen for seen, at in self._seen.items() if at < now]:
                del self._seen[old]
            if expected in self._seen:
                return "it was received before"
            if len(self._seen) >= _MAX_SEEN:
                return "too many requests in five minutes"
            # A timestamp may be five minutes ahead, so it is kept until it is five minutes old.
            self._seen[expected] = int(timestamp) + MAX_AGE
        return ""


def slack_signature(secret: Secret, timestamp: str, body: bytes) -> str:
    """``v0=`` and hex digits."""
    signed = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()


def _announced(body: Mapping[str, str]) -> dict[str, Any]:
    text = " ".join(filter(None, (body["text"], body["url"])))[:2900]
    block = {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}}
    return {"text": f"Sallyport: {body['event']}", "blocks": [block]}


def _seconds(retry_after: str) -> float:
    text = retry_after.strip()
    usable = text.isascii() and text.isdecimal() and len(text) < 6
    return min(float(text), _LONGEST_PAUSE) if usable else 0.0
