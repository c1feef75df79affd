"""A double of Vault and OpenBao, built from their API documentation: KV version 2, the database
engine with real roles at a real server, AppRole and Kubernetes logins, token and lease times.

test_openbao.py and, behind a whole gateway, tests/server/test_secret_managers.py meet a real one.
"""

from __future__ import annotations

import base64
import json
import math
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

ROOT = "root-token-of-the-test"
Answer = tuple[int, dict[str, Any]]


@dataclass
class Lease:
    user: str
    token: str
    began: float
    ends: float


@dataclass
class VaultDouble:
    """``execute``: runs SQL at the database server as its administrator. ``now``: seconds.
    ``down``: it answers 503, as when sealed.
    """

    now: Callable[[], float]
    execute: Callable[[str], None] | None = None
    kv: dict[str, dict[str, str]] = field(default_factory=dict)
    static: dict[str, tuple[str, str]] = field(default_factory=dict)
    transit: dict[str, list[bytes]] = field(default_factory=dict)
    ttl: float = 3600.0
    max_ttl: float = 7200.0
    token_ttl: float = 3600.0
    token_max_ttl: float = math.inf
    role_id: str = "role-1"
    secret_id: str = "secret-1"
    jwt: str = "pod-token-1"
    namespace: str = ""
    denied: set[str] = field(default_factory=set)
    down: bool = False
    tokens: dict[str, float] = field(default_factory=lambda: {ROOT: math.inf})
    last: dict[str, float] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def answer(self, method: str, path: str, headers: Any, body: dict[str, Any]) -> Answer:
        with self.lock:
            self.requests.append(f"{method} {path}")
            self.expire()
            if self.down:
                return self._error(503, "Vault is sealed")
            if headers.get("X-Vault-Namespace", "") != self.namespace:
                return self._error(404)
            match path.split("/"):
                case ["auth", "approle", "login"]:
                    proof = (body.get("role_id"), body.get("secret_id"))
                    if proof == (self.role_id, self.secret_id):
                        return self._login()
                    return self._error(400, "invalid role or secret ID")
                case ["auth", "kubernetes", "login"]:
                    if (body.get("role"), body.get("jwt")) == ("sallyport", self.jwt):
                        return self._login()
                    return self._error(403, "permission denied")
            token = headers.get("X-Vault-Token", "")
            if token not in self.tokens or any(path.startswith(place) for place in self.denied):
                return self._error(403, "permission denied")
            return self._with_token(method, path.split("/"), token, body)

    def _with_token(self, method: str, path: list[str], token: str, body: dict[str, Any]) -> Answer:
        match method, path:
            case "GET", ["auth", "token", "lookup-self"]:
                left = self.tokens[token] - self.now()
                ttl = 0 if left == float("inf") else left
                return 200, {"data": {"ttl": ttl, "renewable": True}}
            case "POST", ["auth", "token", "renew-self"]:
                self.tokens[token] = min(self.now() + self.token_ttl, self.last[token])
                return 200, self._auth(token)
            case "POST", ["auth", "token", "revoke-self"]:
                self.tokens.pop(token)
                self.expire()
                return 204, {}
            case "GET", [mount, "data", *rest] if f"{mount}/{'/'.join(rest)}" in self.kv:
                values = self.kv[f"{mount}/{'/'.join(rest)}"]
                return 200, {"data": {"data": values, "metadata": {"version": 1}}}
            case "POST", ["transit", verb, name] if name in self.transit:
                return self._transit(verb, name, body)
            case "GET", ["database", "creds", "shop"]:
                return self._lease(token)
            case "GET", ["database", "static-creds", name] if name in self.static:
                user, password = self.static[name]
                data = {"username": user, "password": password, "ttl": self.ttl}
                return 200, {"data": data}
            case "PUT", ["sys", "leases", "renew"]:
                return self._renew(body["lease_id"], body["increment"])
            case "PUT", ["sys", "leases", "revoke"]:
                self._end(body["lease_id"])
                return 204, {}
        return self._error(404)

    def _transit(self, verb: str, name: str, body: dict[str, Any]) -> Answer:
        """Encrypts with the newest version of a key, decrypts with any (API: Transit)."""
        versions = self.transit[name]
        if verb == "encrypt":
            plain = base64.b64encode(base64.b64decode(body["plaintext"]))
            sealed = Fernet(versions[-1]).encrypt(plain).decode()
            return 200, {"data": {"ciphertext": f"vault:v{len(versions)}:{sealed}"}}
        _, version, sealed = body["ciphertext"].split(":")
        try:
            plain = Fernet(versions[int(version[1:]) - 1]).decrypt(sealed.encode())
        except (InvalidToken, IndexError):
            return self._error(400, "cipher: message authentication failed")
        return 200, {"data": {"plaintext": plain.decode()}}

    def _login(self) -> Answer:
        token = f"hvs.{uuid.uuid4().hex}"
        self.tokens[token] = self.now() + self.token_ttl
        self.last[token] = self.now() + self.token_max_ttl
        return 200, self._auth(token)

    def _auth(self, token: str) -> dict[str, Any]:
        left = self.tokens[token] - self.now()
        auth = {"client_token": token, "lease_duration": left, "renewable": True}
        return {"auth": auth}

    def _lease(self, token: str) -> Answer:
        user, password = f"v-approle-shop-{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
        if self.execute is not None:
            made = f"CREATE ROLE \"{user}\" LOGIN PASSWORD '{password}'"
            self.execute(f"{made} IN ROLE sallyport_agent")
        id_ = f"database/creds/shop/{uuid.uuid4().hex}"
        self.leases[id_] = Lease(user, token, self.now(), self.now() + self.ttl)
        answer = {"lease_id": id_, "lease_duration": self.ttl, "renewable": True}
        return 200, {**answer, "data": {"username": user, "password": password}}

    def _renew(self, id_: str, increment: float) -> Answer:
        lease = self.leases.get(id_)
        if lease is None:
            return self._error(400, "lease not found")
        lease.ends = min(self.now() + increment, lease.began + self.max_ttl)
        left = lease.ends - self.now()
        return 200, {"lease_id": id_, "lease_duration": left, "renewable": True}

    def expire(self) -> None:
        for token, ends in list(self.tokens.items()):
            if ends <= self.now():
                del self.tokens[token]
        for id_, lease in list(self.leases.items()):
            if lease.ends <= self.now() or lease.token not in self.tokens:
                self._end(id_)

    def _end(self, id_: str) -> None:
        lease = self.leases.pop(id_, None)
        if lease is not None and self.execute is not None:
            self.execute(f'DROP ROLE "{lease.user}"')

    @staticmethod
    def _error(status: int, text: str = "") -> Answer:
        return status, {"errors": [text] if text else []}


@contextmanager
def vault_running(double: VaultDouble) -> Iterator[VaultDouble]:
    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.removeprefix("/v1/")
            value = json.loads(body) if body else {}
            status, answer = double.answer(self.command, path, self.headers, value)
            data = json.dumps(answer).encode() if status != 204 else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _handle

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
