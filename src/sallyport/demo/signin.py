"""The demo issuer's authorization endpoint: code flow with PKCE (RFC 6749 section 4.1, RFC 7636),
on a page that lists who lives in the demo.

There are no passwords: whoever sees the page chooses who to be. That is the point of a demo, and
why the issuer serves loopback only. The rest is real: the client and its redirect address are
checked first (an error is never sent to an address that was not), codes are for one use within a
minute, and only S256 is accepted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

#: The console's client at this issuer. Public: PKCE proves that code and token go to the same
#: browser.
CONSOLE_CLIENT = "sallyport-console"
_CALLBACK = "/sign-in/callback"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_CODE_SECONDS = 60.0
_MAX_CODES = 1000


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on the page. ``client``: their name at the issuer. ``groups``, ``about``: what is
    said about them.
    """

    client: str
    name: str
    groups: tuple[str, ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """What a code stands for."""

    person: str
    redirect_uri: str
    challenge: str
    nonce: str
    made: float


class BadRequestError(Exception):
    """The request cannot be answered at its redirect address; the text is for the person."""


class CodeFlow:
    """``now``: Unix seconds. Safe to call from several threads."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._codes: OrderedDict[str, Code] = OrderedDict()

    def page(self, query: str, people: tuple[Person, ...]) -> str:
        """HTML with a button for everybody. Raises BadRequestError."""
        asked = _checked(query)
        rows = "".join(
            f'<li><a href="/authorize/as?{escape(urlencode({**asked, "as": person.client}))}">'
            f"<b>{escape(person.name)}</b> <span>{escape(person.about)}</span><small>groups:"
            f" {escape(', '.join(person.groups) or 'none')}</small></a></li>"
            for person in people
        )
        return page_with(rows)

    def answer(self, query: str, people: tuple[Person, ...], issuer: str) -> str:
        """Where the browser goes after somebody was chosen. Raises BadRequestError."""
        asked = _checked(query)
        person = dict(parse_qsl(query)).get("as", "")
        if person not in {candidate.client for candidate in people}:
            raise BadRequestError("Nobody here has that name.")
        code = secrets.token_urlsafe(32)
        with self._lock:
            self._codes[code] = Code(
                person,
                asked["redirect_uri"],
                asked["code_challenge"],
                asked.get("nonce", ""),
                self._now(),
            )
            while len(self._codes) > _MAX_CODES:
                self._codes.popitem(last=False)
        back = {"code": code, "state": asked.get("state", ""), "iss": issuer}
        return f"{asked['redirect_uri']}?{urlencode(back)}"

    def redeem(self, form: Mapping[str, str]) -> Code | None:
        """The code of a token request, once; None when anything about it is wrong."""
        with self._lock:
            code = self._codes.pop(form.get("code", ""), None)
        if code is None or self._now() - code.made > _CODE_SECONDS:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        same = (
            hmac.compare_digest(challenge.encode(), code.challenge.encode())
            and form.get("client_id") == CONSOLE_CLIENT
            and form.get("redirect_uri") == code.redirect_uri
        )
        return code if same else None


def page_with(rows: str) -> str:
    """The page with these list items, which are HTML."""
    return _PAGE.replace("ROWS", rows)


def _checked(query: str) -> dict[str, str]:
    asked = dict(parse_qsl(query))
    if asked.get("client_id") != CONSOLE_CLIENT:
        raise BadRequestError("This issuer does not know the client.")
    parts = urlsplit(asked.get("redirect_uri", ""))
    if (
        parts.scheme not in ("http", "https")
        or parts.hostname not in _LOOPBACK
        or parts.path != _CALLBACK
    ):
        raise BadRequestError("The client may not be answered at that address.")
    # urlsplit drops line ends; in a header they would not be dropped.
    plain = all(33 <= ord(char) < 127 for char in asked["redirect_uri"])
    if not plain or parts.query or parts.fragment or parts.username is not None:
        raise BadRequestError("The client may not be answered at that address.")
    if asked.get("response_type") != "code" or asked.get("code_challenge_method") != "S256":
        raise BadRequestError("Only the code flow with PKCE (S256) is offered.")
    if len(asked.get("code_challenge", "")) != 43 or "openid" not in asked.get("scope", "").split():
        raise BadRequestError("The request needs a code_challenge and the scope openid.")
    return {name: value for name, value in asked.items() if name != "as"}


STYLE = """\
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; max-width: 34rem; margin: 6vh auto;
  padding: 0 1rem }
ul { list-style: none; padding: 0 }
li { margin: .6rem 0 }
a { display: block; padding: .7rem 1rem; border: 1px solid #8888; border-radius: 10px;
  color: inherit; text-decoration: none }
a:hover, a:focus { border-color: #2f6f5e; outline: 2px solid #2f6f5e }
span { margin-left: .4rem }
small { display: block; opacity: .75 }
.note { border-left: 4px solid #d99a24; padding: .2rem .8rem }
"""

_PAGE = """\
<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Development sign-in</title><link rel="stylesheet" href="/authorize/style.css"></head>
<body><main><h1>Who are you today?</h1>
<p class="note">This issuer is for development. There are no passwords here: choose a person, and
Sallyport sees you as them.</p>
<ul>ROWS</ul></main></body></html>"""
