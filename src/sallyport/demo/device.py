"""The demo issuer's device grant (RFC 8628), for `sallyport login`: a page where somebody chooses
who to be, as in :mod:`sallyport.demo.signin`.

Codes are for one use within ten minutes; the device code, which brings the token, is never on the
page.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode

from sallyport.demo.signin import BadRequestError, Person, page_with
from sallyport.identity.pkce import challenge_of

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SECONDS = 600.0
_MAX_WAITING = 1000
#: Without vowels and what looks alike (RFC 8628 section 6.1).
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass(slots=True)
class _Login:
    user_code: str
    made: float
    challenge: str  # of PKCE
    person: str = ""


class DeviceFlow:
    """``now``: Unix seconds. Safe to call from several threads."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._logins: OrderedDict[str, _Login] = OrderedDict()  # by device code

    def start(self, url: str, challenge: str = "") -> tuple[int, dict[str, Any]]:
        """Status and answer to a device authorization request. ``url``: of the issuer.
        ``challenge``: of PKCE, which is asked for, as Keycloak does.
        """
        if not challenge:
            return 400, {"error": "invalid_request", "error_description": "PKCE is needed"}
        letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
        device_code, user_code = secrets.token_urlsafe(32), f"{letters[:4]}-{letters[4:]}"
        with self._lock:
            self._logins[device_code] = _Login(user_code, self._now(), challenge)
            while len(self._logins) > _MAX_WAITING:
                self._logins.popitem(last=False)
        return 200, {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": f"{url}/device",
            "verification_uri_complete": f"{url}/device?{urlencode({'user_code': user_code})}",
            "expires_in": int(_SECONDS),
            "interval": 1,
        }

    def page(self, query: str, people: tuple[Person, ...]) -> str:
        """HTML with a button for everybody, or a field for the code. Raises BadRequestError."""
        code = dict(parse_qsl(query)).get("user_code", "").strip().upper()
        if not code:
            return page_with(
                '<form action="/device"><p><label>Code <input name="user_code" required'
                " autofocus></label> <button>Next</button></p></form>"
            )
        self._waiting(code)
        links = {
            person.client: escape(urlencode({"user_code": code, "as": person.client}))
            for person in people
        }
        return page_with(
            "".join(
                f'<li><a href="/device/as?{links[person.client]}"><b>{escape(person.name)}</b> '
                f"<small>groups: {escape(', '.join(person.groups) or 'none')}; code"
                f" {escape(code)}</small></a></li>"
                for person in people
            )
        )

    def choose(self, query: str, people: tuple[Person, ...]) -> str:
        """HTML that says it is done. Raises BadRequestError."""
        asked = dict(parse_qsl(query))
        person = asked.get("as", "")
        if person not in {candidate.client for candidate in people}:
            raise BadRequestError("Nobody here has that name.")
        self._waiting(asked.get("user_code", "")).person = person
        return page_with("<li>Done. Go back to the terminal.</li>")

    def _waiting(self, user_code: str) -> _Login:
        with self._lock:
            for login in self._logins.values():
                if login.user_code == user_code and not login.person and not self._is_over(login):
                    return login
        raise BadRequestError("No login waits for this code: run the command again.")

    def _is_over(self, login: _Login) -> bool:
        return self._now() - login.made > _SECONDS

    def poll(self, device_code: str, verifier: str = "") -> tuple[str, str]:
        """(person, error): one of them is "". A person is told once."""
        with self._lock:
            login = self._logins.get(device_code)
            if login is None or self._is_over(login):
                return "", "expired_token"
            if login.challenge != challenge_of(verifier):
                return "", "invalid_grant"
            if not login.person:
                return "", "authorization_pending"
            del self._logins[device_code]
            return login.person, ""
