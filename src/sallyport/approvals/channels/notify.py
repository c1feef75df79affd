"""Telling people outside: signed webhooks and e-mail. They learn that something waits, never what
is in it.

A message has the request's id, who asked, target, rule, kind, status and the console's address;
never the statement, its values or a preview: those are read in the console, behind a sign-in.
Nothing is decided by what comes back.

Webhook: ``POST`` of a JSON body with ``Sallyport-Timestamp`` (Unix seconds), ``Sallyport-Delivery``
(an id, the same for every retry) and ``Sallyport-Signature: v1=<hex>``, the HMAC-SHA256 of
``<timestamp>.<body>`` with the shared secret. A receiver compares it in constant time
(:func:`signature`) and drops old timestamps. Answers other than 2xx are tried again with growing
pauses.

Both work on one thread each behind a bounded queue: when it is full the message is dropped and the
log says so; approvals never wait.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Final

import httpx2
import structlog

from sallyport.approvals.states import Request, plain
from sallyport.core.errors import SallyportError
from sallyport.core.ids import new_id
from sallyport.core.secret import Secret
from sallyport.core.tls import harden

_log = structlog.get_logger("sallyport.approvals")

#: What is told: a request, and what became of it. Claims under a grant happen too often to be news.
EVENTS: Final = frozenset({"asked", "approved", "denied", "expired", "withdrawn", "voided"})
_QUEUE: Final = 1000
#: Seconds before each further attempt.
PAUSES: Final = (1.0, 5.0, 30.0, 120.0)
_TIMEOUT: Final = 10.0
_LAST_SECONDS: Final = 2.0


def message(event: str, request: Request, console: str) -> dict[str, Any]:
    """What goes out. ``console``: its address, "" when there is none."""
    who = request.subject
    return {
        "event": event,
        "id": request.id,
        "status": request.status.value,
        "kind": request.kind,
        "target": request.binding.target,
        "rule": request.rule,
        "rules": [requirement.rule for requirement in request.requirements],
        "wants": request.wants,
        "subject": who.id,
        "email": who.email,
        "agent": who.agent,
        "actors": list(who.actors),
        "reviewers": list(request.may_decide),
        "quorum": request.minimum,
        "approvals": request.approvals,
        "expires_at": request.expires_at,
        "url": f"{console.rstrip('/')}/approvals/{request.id}" if console else "",
    }


#: News that is no request's: ``event``, ``id``, ``text`` (one line), ``url`` (or ""), and more.
Announcement = Mapping[str, str]


def signature(secret: Secret, timestamp: int, body: bytes) -> str:
    """``v1=`` and the hex HMAC-SHA256 of ``<timestamp>.<body>``."""
    signed = str(timestamp).encode() + b"." + body
    return "v1=" + hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()


class Sender(threading.Thread):
    """One thread, one bounded queue. ``send`` returns True when there is nothing more to do; False,
    or seconds to wait at least, is tried again. What is queued when it is closed has a moment to go
    out.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[dict[str, Any], str], bool | float],
        pauses: Sequence[float],
    ) -> None:
        super().__init__(name=f"sallyport-{name}", daemon=True)
        self._kind, self._send, self._pauses = name, send, pauses
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(_QUEUE)
        self._stop_asked = threading.Event()

    def put(self, body: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(body)
        except queue.Full:
            _log.error(
                "notification dropped: too many wait", channel=self._kind, request=body["id"]
            )

    def run(self) -> None:
        while not self._stop_asked.is_set():
            body = self._queue.get()
            if body is None:
                return
            self._deliver(body)

    def _deliver(self, body: dict[str, Any]) -> None:
        delivery, asked = new_id("dlv"), 0.0
        for pause in (0.0, *self._pauses):
            if self._stop_asked.wait(max(pause, asked)):
                return
            answer = self._send(body, delivery)
            if answer is True:
                return
            asked = float(answer)
        _log.error(
            "notification not delivered",
            channel=self._kind,
            request=body["id"],
            event_=body["event"],
        )

    def close(self) -> None:
        """Stop; what is not delivered within a moment is not."""
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            pass
        if self.is_alive():
            self.join(_LAST_SECONDS)
        self._stop_asked.set()
        if self.is_alive():
            self.join(_TIMEOUT + 1)


class Webhook:
    """Posts to one address. ``events`` are those of :data:`EVENTS` that it wants. Raises
    SallyportError for an address that is neither https nor this machine.
    """

    def __init__(
        self,
        url: str,
        secret: Secret,
        *,
        console: str = "",
        pauses: Sequence[float] = PAUSES,
        allow_http: bool = False,
        events: Collection[str] = EVENTS,
    ) -> None:
        parts = httpx2.URL(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and allow_http):
            raise SallyportError(f"the webhook {url} is not https")
        if not secret:
            raise SallyportError(
                f"the webhook {url} has no secret: what cannot be signed is not sent"
            )
        self._url, self._secret, self._console = url, secret, console
        self._events = EVENTS & frozenset(events)
        self._client = httpx2.Client(
            verify=harden(httpx2.create_ssl_context(trust_env=False)),
            trust_env=False,
            timeout=_TIMEOUT,
            follow_redirects=False,
        )
        self._sender = Sender("webhook", self._post, pauses)
        self._sender.start()

    def notify(self, event: str, request: Request) -> None:
        """:class:`sallyport.approvals.ports.Notifier`."""
        if event in self._events and not request.grant:
            self._sender.put(message(event, request, self._console))

    def announce(self, body: Announcement) -> None:
        """Send news that is no request's."""
        self._sender.put(dict(body))

    def close(self) -> None:
        self._sender.close()
        self._client.close()

    def _post(self, body: dict[str, Any], delivery: str) -> bool:
        data, now = json.dumps(body).encode(), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "Sallyport-Timestamp": str(now),
            "Sallyport-Delivery": delivery,
            "Sallyport-Signature": signature(self._secret, now, data),
        }
        try:
            answer = self._client.post(self._url, content=data, headers=headers)
        except (httpx2.HTTPError, OSError) as error:
            _log.warning("webhook not answered", error=type(error).__name__, request=body["id"])
            return False
        if not answer.is_success:
            _log.warning("webhook refused", status=answer.status_code, request=body["id"])
        return answer.is_success


@dataclass(frozen=True, slots=True)
class MailSettings:
    """``tls``: starttls | implicit | none (none only for a relay on this machine or network that
    takes plain mail).
    """

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    user: str = ""
    password: Secret | None = None
    tls: str = "starttls"


class Mail:
    """One mail for every new request; what becomes of it is in the console."""

    def __init__(
        self, settings: MailSettings, *, console: str = "", pauses: Sequence[float] = PAUSES
    ) -> None:
        if settings.tls not in ("starttls", "implicit", "none"):
            raise SallyportError("mail: tls is starttls, implicit or none")
        if settings.user and settings.tls == "none":
            raise SallyportError("mail: a password does not go out without TLS")
        self._settings, self._console = settings, console
        self._sender = Sender("mail", self._send, pauses)
        self._sender.start()

    def notify(self, event: str, request: Request) -> None:
        """:class:`sallyport.approvals.ports.Notifier`."""
        if event == "asked":
            self._sender.put(message(event, request, self._console))

    def announce(self, body: Announcement) -> None:
        """Send news that is no request's."""
        self._sender.put(dict(body))

    def close(self) -> None:
        self._sender.close()

    def _send(self, body: dict[str, Any], delivery: str) -> bool:
        settings = self._settings
        try:
            with _connect(settings) as smtp:
                if settings.user and settings.password is not None:
                    smtp.login(settings.user, settings.password.reveal())
                smtp.send_message(letter(body, settings, delivery))
        except (smtplib.SMTPException, OSError) as error:
            _log.warning("mail not sent", error=type(error).__name__, request=body["id"])
            return False
        return True


def _connect(settings: MailSettings) -> smtplib.SMTP:
    """With the server's certificate checked: smtplib's own default does not."""
    if settings.tls == "implicit":
        context = harden(ssl.create_default_context())
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=_TIMEOUT, context=context)
    smtp = smtplib.SMTP(settings.host, settings.port, timeout=_TIMEOUT)
    if settings.tls == "starttls":
        smtp.starttls(context=harden(ssl.create_default_context()))
    return smtp


def letter(body: dict[str, Any], settings: MailSettings, delivery: str) -> EmailMessage:
    """The mail. What came from outside is one plain line each, and cannot add headers."""
    mail = EmailMessage()
    mail["From"], mail["To"] = settings.sender, ", ".join(settings.recipients)
    if "text" in body:
        mail["Subject"] = plain(f"{body['event'].capitalize()}: {body['text']}", 150)
        mail["Message-ID"] = f"<{delivery}@sallyport.invalid>"
        lines = [body["text"], f"See {body['url']}" if body["url"] else f"Its id: {body['id']}"]
        mail.set_content("\n\n".join(plain(line, 600) for line in lines) + "\n")
        return mail
    mail["Subject"] = plain(f"Approval requested: {body['kind']} on {body['target']}", 150)
    mail["Message-ID"] = f"<{delivery}@sallyport.invalid>"
    who = body["email"] or body["subject"]
    lines = [
        f"{who} {('through ' + body['agent']) if body['agent'] else ''} requests: {body['kind']} "
        f"on {body['target']}.",
        f"Rule: {', '.join(body['rules'])}",
        f"{body['wants']} must approve it, until "
        f"{time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(body['expires_at']))}.",
        f"Decide at {body['url']}"
        if body["url"]
        else f"Decide: sallyport approvals show {body['id']}",
    ]
    mail.set_content("\n\n".join(plain(line, 600) for line in lines) + "\n")
    return mail
