"""What goes out is signed, tried again, bounded, and holds nothing of the statement."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from structlog.testing import capture_logs

from sallyport.approvals.channels.notify import (
    Mail,
    MailSettings,
    Webhook,
    letter,
    message,
    signature,
)
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from tests.approvals.helpers import AGENT, BINDING, House
from tests.support.waiting import wait_for

SECRET = Secret("shared with the receiver")
HOSTILE = replace(
    AGENT, email="x@example.com\r\nBcc: everyone@example.com", agent="a\x1b[31m\u202e"
)


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]], list[int]]]:
    """Address, what arrived, and the statuses it answers with in turn (then 204)."""
    arrived: list[tuple[dict[str, str], bytes]] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.append(({k: v for k, v in self.headers.items()}, body))
            self.send_response(statuses.pop(0) if statuses else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", arrived, statuses
        server.shutdown()
        thread.join()


def test_a_webhook_is_signed_and_tried_again(
    make_house: Callable[..., House], receiver: Any
) -> None:
    url, arrived, statuses = receiver
    statuses += [500, 302]
    hook = Webhook(
        url, SECRET, console="https://gw.example.com/", pauses=(0.01, 0.01, 0.01), allow_http=True
    )
    house = make_house(notifiers=[hook])
    request = house.ask()
    wait_for(lambda: len(arrived) == 3)
    hook.close()
    assert len({headers["Sallyport-Delivery"] for headers, _ in arrived}) == 1
    headers, body = arrived[-1]
    stamp = int(headers["Sallyport-Timestamp"])
    assert headers["Sallyport-Signature"] == signature(SECRET, stamp, body)
    assert headers["Sallyport-Signature"] != signature(SECRET, stamp + 1, body)
    assert headers["Sallyport-Signature"] != signature(SECRET, stamp, body + b" ")
    told = json.loads(body)
    assert (told["event"], told["id"], told["target"]) == ("asked", request.id, "shop")
    assert told["url"] == f"https://gw.example.com/approvals/{request.id}"


def test_nothing_of_the_statement_goes_out(house: House) -> None:
    secret = replace(
        BINDING, sql="UPDATE t SET x = 'canary-1'", binds=(b"canary-2",), search_path=("canary-3",)
    )
    request = house.deny(house.ask(secret), "canary-4")
    assert "canary" not in json.dumps(message("denied", request, ""))


def test_what_is_not_delivered_is_said(make_house: Callable[..., House], receiver: Any) -> None:
    url, arrived, statuses = receiver
    statuses += [500] * 3
    with capture_logs() as logs:
        hook = Webhook(url, SECRET, pauses=(0.01, 0.01), allow_http=True)
        make_house(notifiers=[hook]).ask()
        wait_for(lambda: any("not delivered" in log["event"] for log in logs))
        hook.close()
    assert len(arrived) == 3 and "shared with" not in repr(logs)


def test_unsafe_webhooks_are_refused() -> None:
    with pytest.raises(SallyportError, match="not https"):
        Webhook("http://hooks.example.com/x", SECRET)
    with pytest.raises(SallyportError, match="no secret"):
        Webhook("https://hooks.example.com/x", Secret(""))


def test_a_letter_cannot_be_steered(house: House) -> None:
    request = replace(house.ask(subject=HOSTILE), kind="update\r\nBcc: a@b", rule="r\r\n.\r\nQUIT")
    settings = MailSettings("127.0.0.1", 25, "sallyport@example.com", ("dba@example.com",))
    mail = letter(message("asked", request, "https://gw"), settings, "dlv_1")
    assert mail.keys() == [
        "From",
        "To",
        "Subject",
        "Message-ID",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    ]
    assert "\x1b" not in mail.get_content() and "\u202e" not in mail.get_content()
    assert "\nBcc" not in mail.as_string() and "\n.\n" not in mail.as_string()


class _Smtp(socketserver.StreamRequestHandler):
    """Enough of RFC 5321 to take one mail."""

    def handle(self) -> None:
        self.wfile.write(b"220 double\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(b"".join(lines))  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n")
            if word == b"QUIT":
                return


def test_a_letter_about_a_finding_cannot_be_steered() -> None:
    settings = MailSettings("127.0.0.1", 25, "sallyport@example.com", ("dba@example.com",))
    text = "[high] bot\r\nBcc: a@b\x1b read 9 rows"
    body = {"event": "finding", "id": "fnd_1", "text": text, "url": "https://gw/findings/fnd_1"}
    mail = letter(body, settings, "dlv_1")
    assert mail["Subject"].startswith("Finding: [high] bot")
    assert mail["Bcc"] is None
    assert "\x1b" not in mail.get_content()
    assert "https://gw/findings/fnd_1" in mail.get_content()


def test_mail_arrives(make_house: Callable[..., House]) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp) as server:
        server.mails = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        mail = Mail(
            MailSettings(
                "127.0.0.1",
                server.server_address[1],
                "s@example.com",
                ("dba@example.com",),
                tls="none",
            ),
            console="https://gw.example.com",
        )
        house = make_house(notifiers=[mail])
        request = house.ask()
        house.approve(request)
        wait_for(lambda: bool(server.mails))  # type: ignore[attr-defined]
        mail.close()
        server.shutdown()
        thread.join()
    (text,) = server.mails  # type: ignore[attr-defined]
    assert request.id.encode() in text and b"orders SET" not in text


def test_passwords_need_tls() -> None:
    with pytest.raises(SallyportError, match="TLS"):
        Mail(MailSettings("h", 25, "s@x", ("r@x",), user="u", password=Secret("p"), tls="none"))
