"""A small OIDC issuer for demonstrations and tests: real discovery, keys and tokens, for this
machine only.

It serves ``/.well-known/openid-configuration``, ``/jwks`` and ``POST /token`` (client_credentials,
RFC 6749 section 4.4) from a thread of its own, on a loopback address and a port that the system
picks. Tokens are access tokens as in RFC 9068. ``/authorize`` lets people sign in to the console
(:mod:`sallyport.demo.signin`).

Whoever can reach it and knows a client's secret gets that client's groups, and the secrets of the
demo are printed in its documentation. It refuses to listen anywhere but on loopback, and nothing
but the demo, the command ``sallyport issuer`` (for development, and it says so) and tests may start
it.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote_plus

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from sallyport.core.errors import ConfigError
from sallyport.core.ids import new_id
from sallyport.core.secret import Secret
from sallyport.demo.device import GRANT as DEVICE_GRANT
from sallyport.demo.device import DeviceFlow
from sallyport.demo.signin import (
    CONSOLE_CLIENT,
    STYLE,
    BadRequestError,
    CodeFlow,
    Person,
)

_MAX_BODY = 16_384
_OUR_HOST = re.compile(r"(?:127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?", re.IGNORECASE)
_HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class DemoClient:
    """Someone who may ask for a token. subject: the ``sub`` of the tokens; groups: their groups
    claim.

    name: of a person, who may then sign in to the console; "" for a program. about: a few words on
    them.
    """

    subject: str
    secret: Secret
    groups: tuple[str, ...]
    email: str = ""
    agent: str = ""
    name: str = ""
    about: str = ""


#: Who lives in the demo. The secrets are public on purpose: see the module's contract.
DEMO_CLIENTS: Mapping[str, DemoClient] = {
    "claude-agent": DemoClient(
        "claude-agent", Secret("demo"), ("claude-postgres",), agent="claude-code"
    ),
    "dana-dba": DemoClient(
        "dana",
        Secret("demo"),
        ("dba",),
        "dana@example.com",
        name="Dana",
        about="DBA; reviewer: decides",
    ),
    "paul-privacy": DemoClient(
        "paul",
        Secret("demo"),
        ("privacy",),
        "paul@example.com",
        name="Paul",
        about="privacy; no role: is told so",
    ),
    "vera-viewer": DemoClient(
        "vera",
        Secret("demo"),
        ("staff",),
        "vera@example.com",
        name="Vera",
        about="viewer: looks on",
    ),
    "adam-auditor": DemoClient(
        "adam",
        Secret("demo"),
        ("audit",),
        "adam@example.com",
        name="Adam",
        about="auditor: replays sessions",
    ),
    "olga-operator": DemoClient(
        "olga",
        Secret("demo"),
        ("ops",),
        "olga@example.com",
        name="Olga",
        about="operator: ends sessions",
    ),
}

SigningKey = RSAKey | ECKey | OKPKey

_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def new_signing_key(algorithm: str) -> SigningKey:
    """A fresh private key for ``algorithm``; its ``kid`` is its thumbprint. ValueError for an
    unknown algorithm.
    """
    key: SigningKey
    if algorithm[:2] in ("RS", "PS"):
        key = RSAKey.generate_key(2048)
    elif algorithm in _CURVES:
        key = ECKey.generate_key(_CURVES[algorithm])
    elif algorithm in ("EdDSA", "Ed25519"):
        key = OKPKey.generate_key("Ed25519")
    else:
        raise ValueError(f"no key for algorithm {algorithm}")
    key.ensure_kid()
    return key


class DevIssuer:
    """The issuer. ``with DevIssuer() as issuer:`` or ``start()`` and ``stop()``; ``url`` is the
    issuer identifier.

    clients: by client id. audience: of every token. lifetime: of a token, seconds. algorithm: of
    its signatures. now: the issuer's clock, Unix seconds. Raises ConfigError for a host that is not
    loopback.
    """

    def __init__(
        self,
        clients: Mapping[str, DemoClient] | None = None,
        *,
        audience: str = "sallyport",
        lifetime: float = 3600.0,
        algorithm: str = "ES256",
        host: str = "127.0.0.1",
        port: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        if host not in ("127.0.0.1", "localhost", "::1"):
            raise ConfigError(f"the demo's issuer listens on loopback only, not on {host!r}")
        self.clients = dict(DEMO_CLIENTS if clients is None else clients)
        self.audience, self.lifetime, self.algorithm = audience, lifetime, algorithm
        self._now = now
        self._keys: list[SigningKey] = [new_signing_key(algorithm)]
        self.flow = CodeFlow(now)
        self.device = DeviceFlow(now)
        self._lock = threading.Lock()
        self._server = _Server((host, port), self)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> Self:
        """Begin to serve; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(0.05,), name="dev-issuer", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def rotate(self, *, keep_old: bool = True) -> None:
        """Sign with a new key from now on. keep_old: go on publishing the keys before it."""
        key = new_signing_key(self.algorithm)
        with self._lock:
            self._keys = [key, *(self._keys if keep_old else [])]

    @property
    def signing_key(self) -> SigningKey:
        return self._keys[0]

    def discovery(self) -> dict[str, Any]:
        """The discovery document (OpenID Connect Discovery 1.0, section 3)."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "token_endpoint": f"{self.url}/token",
            "authorization_endpoint": f"{self.url}/authorize",
            "device_authorization_endpoint": f"{self.url}/device_authorization",
            "grant_types_supported": ["client_credentials", "authorization_code", DEVICE_GRANT],
            "token_endpoint_auth_methods_supported": [
                "client_secret_basic",
                "client_secret_post",
                "none",
            ],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
        }

    def jwks(self) -> dict[str, Any]:
        """The public keys, newest first."""
        with self._lock:
            keys = list(self._keys)
        return {
            "keys": [
                {**key.as_dict(private=False), "use": "sig", "alg": self.algorithm} for key in keys
            ]
        }

    def token(self, client_id: str) -> Secret:
        """A token for a client, without asking for its secret. KeyError for an unknown client."""
        client, now = self.clients[client_id], int(self._now())
        claims: dict[str, Any] = {
            "iss": self.url,
            "sub": client.subject,
            "aud": self.audience,
            "client_id": client_id,
            "azp": client.agent or client_id,
            "iat": now,
            "nbf": now,
            "exp": now + int(self.lifetime),
            "jti": new_id("jti"),
            "groups": list(client.groups),
        }
        if client.email:
            claims["email"] = client.email
        return self.sign(claims)

    def sign(self, claims: Mapping[str, Any], **header: Any) -> Secret:
        """A token with exactly these claims, signed with the current key. ``header`` adds to or
        replaces its header.
        """
        key = self.signing_key
        full = {"alg": self.algorithm, "typ": "at+jwt", "kid": key.kid, **header}
        registry = JWSRegistry(algorithms=[self.algorithm], strict_check_header=False)
        return Secret(jwt.encode(full, dict(claims), key, registry=registry))

    def grant(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Answer a token request: HTTP status and JSON body (RFC 6749 sections 4.1.3, 4.4, 5.1,
        5.2).
        """
        if form.get("grant_type") == "authorization_code":
            return self._redeem(form)
        if form.get("grant_type") == DEVICE_GRANT:
            person, error = self.device.poll(
                form.get("device_code", ""), form.get("code_verifier", "")
            )
            return (400, {"error": error}) if error else (200, self._bearer(person))
        if form.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        client_id, secret = _basic(authorization) or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        client = self.clients.get(client_id)
        expected = client.secret.reveal() if client else ""
        if (
            not hmac.compare_digest(expected.encode(), secret.encode())
            or client is None
            or not expected
        ):
            return 401, {
                "error": "invalid_client",
                "error_description": "unknown client or wrong secret",
            }
        return 200, self._bearer(client_id)

    def _bearer(self, client_id: str) -> dict[str, Any]:
        token = self.token(client_id).reveal()
        return {"access_token": token, "token_type": "Bearer", "expires_in": int(self.lifetime)}

    @property
    def people(self) -> tuple[Person, ...]:
        """Who may sign in to the console."""
        return tuple(
            Person(client_id, client.name, client.groups, client.about)
            for client_id, client in self.clients.items()
            if client.name
        )

    def _redeem(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        code = self.flow.redeem(form)
        if code is None:
            return 400, {"error": "invalid_grant"}
        client, now = self.clients[code.person], int(self._now())
        claims = {
            "iss": self.url,
            "sub": client.subject,
            "aud": CONSOLE_CLIENT,
            "azp": CONSOLE_CLIENT,
            "iat": now,
            "exp": now + int(self.lifetime),
            "groups": list(client.groups),
            "email": client.email,
            "name": client.name,
            **({"nonce": code.nonce} if code.nonce else {}),
        }
        return 200, {
            "access_token": self.token(code.person).reveal(),
            "id_token": self.sign(claims, typ="JWT").reveal(),
            "token_type": "Bearer",
            "expires_in": int(self.lifetime),
        }


def _basic(authorization: str) -> tuple[str, str] | None:
    """Client id and secret of an HTTP Basic header (form-encoded first, RFC 6749 section 2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], issuer: DevIssuer) -> None:
        self.issuer = issuer
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10

    def parse_request(self) -> bool:
        """Only under a name of this machine: a page of the web whose name turns into 127.0.0.1 (DNS
        rebinding) could read tokens.
        """
        if not super().parse_request():
            return False
        if _OUR_HOST.fullmatch(self.headers.get("Host", "")):
            return True
        self.close_connection = True
        self._answer(421, {"error": "this issuer answers to 127.0.0.1, ::1 and localhost only"})
        return False

    def do_GET(self) -> None:
        issuer = self.server.issuer
        if self.path == "/.well-known/openid-configuration":
            self._answer(200, issuer.discovery())
        elif self.path == "/jwks":
            self._answer(200, issuer.jwks())
        elif self.path == "/authorize/style.css":
            self._send(200, "text/css", STYLE)
        elif self.path.startswith(("/authorize", "/device")):
            self._authorize(issuer)
        else:
            self._answer(404, {"error": "not_found"})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if (
            self.path not in ("/token", "/device_authorization")
            or not length.isdigit()
            or int(length) > _MAX_BODY
        ):
            self._answer(404, {"error": "not_found"})
            return
        fields = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
        form = {name: values[0] for name, values in fields.items() if len(values) == 1}
        issuer = self.server.issuer
        if self.path == "/device_authorization":
            self._answer(*issuer.device.start(issuer.url, form.get("code_challenge", "")))
            return
        self._answer(*issuer.grant(form, self.headers.get("Authorization", "")))

    def _authorize(self, issuer: DevIssuer) -> None:
        path, _, query = self.path.partition("?")
        try:
            if path == "/authorize":
                self._send(200, _HTML, issuer.flow.page(query, issuer.people))
            elif path == "/authorize/as":
                self._send(
                    303, "text/plain", "", issuer.flow.answer(query, issuer.people, issuer.url)
                )
            elif path == "/device":
                self._send(200, _HTML, issuer.device.page(query, issuer.people))
            elif path == "/device/as":
                self._send(200, _HTML, issuer.device.choose(query, issuer.people))
            else:
                self._answer(404, {"error": "not_found"})
        except BadRequestError as error:
            self._send(400, "text/plain; charset=utf-8", f"{error}\n")

    def _send(self, status: int, kind: str, text: str, location: str = "") -> None:
        data = text.encode()
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'self'; frame-ancestors 'none'",
        )
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store" if self.command == "POST" else "max-age=300")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: requests are nobody's business, and token requests carry secrets."""
