"""An issuer that misbehaves on request: keys, documents, delays and outages are the test's to
choose.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jws import JWSRegistry

from sallyport.core.clock import ManualClock
from sallyport.core.secret import Secret
from sallyport.demo.issuer import SigningKey, new_signing_key

Answer = tuple[int, dict[str, str], bytes]
DISCOVERY = "/.well-known/openid-configuration"


class Provider:
    """Serves on loopback from a thread. ``answers`` maps a path to what makes its answer; ``asked``
    counts requests.
    """

    def __init__(self, clock: ManualClock, algorithm: str = "ES256", path: str = "") -> None:
        self.clock, self.algorithm = clock, algorithm
        self.key: SigningKey = new_signing_key(algorithm)
        self.published: list[Any] = [self.public(self.key)]
        self.cache_control = "max-age=300"
        self.asked: Counter[str] = Counter()
        self.authorizations: list[str] = []
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.up()
        self.url = f"http://127.0.0.1:{self._port}{path}"
        self.answers: dict[str, Callable[[], Answer]] = {
            path + DISCOVERY: lambda: self.json(
                {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
            ),
            path + "/jwks": lambda: self.json({"keys": self.published}),
        }

    @property
    def key_fetches(self) -> int:
        return sum(count for path, count in self.asked.items() if path.endswith("/jwks"))

    def json(self, value: Any, **headers: str) -> Answer:
        return 200, {"Cache-Control": self.cache_control, **headers}, json.dumps(value).encode()

    def public(self, key: SigningKey, **extra: Any) -> dict[str, Any]:
        return {**key.as_dict(private=False), "use": "sig", **extra}

    def rotate(self) -> SigningKey:
        """Publish and sign with a new key only; returns the old one."""
        old, self.key = self.key, new_signing_key(self.algorithm)
        self.published = [self.public(self.key)]
        return old

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of a good token; a change to None removes one."""
        now = int(self.clock.now())
        claims = {
            "iss": self.url,
            "sub": "ada",
            "aud": "sallyport",
            "exp": now + 600,
            "iat": now,
            "groups": ["claude-postgres"],
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, *, key: SigningKey | None = None, header: dict[str, Any] | None = None, **claims: Any
    ) -> Secret:
        return sign(key or self.key, self.algorithm, self.claims(**claims), header)

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def up(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                provider.asked[self.path] += 1
                if "Authorization" in self.headers:
                    provider.authorizations.append(self.headers["Authorization"])
                make = provider.answers.get(self.path, lambda: (404, {}, b"{}"))
                status, headers, body = make()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass  # the client has seen enough

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients hang up on purpose

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()


def encoded(value: object) -> str:
    """base64url without padding, of bytes as they are or of anything else as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(
    key: SigningKey, algorithm: str, claims: dict[str, Any], header: dict[str, Any] | None = None
) -> Secret:
    """A signed token; header entries of None are left out."""
    full = {"alg": algorithm, "typ": "JWT", "kid": key.kid, **(header or {})}
    full = {name: value for name, value in full.items() if value is not None}
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return Secret(jwt.encode(full, claims, key, registry=registry, default_type=None))
