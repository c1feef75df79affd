"""The part of a cluster's API server that identities need, built from Kubernetes' documents:
projected service-account tokens ("Configure Service Accounts for Pods", "Managing Service
Accounts"), the issuer's discovery document and keys ("Service account issuer discovery"), and
TokenReview (authentication.k8s.io/v1). It serves TLS by a CA of its own, and answers whoever has a
token of the cluster only.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from sallyport.core.ids import new_id
from sallyport.demo.issuer import SigningKey, new_signing_key
from tests.support.certificates import Authority

ISSUER = "https://kubernetes.default.svc.cluster.local"
#: What tokens are for that a pod did not ask for by name.
API = ISSUER
KEYS = "/openid/v1/jwks"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_GATEWAY = "system:serviceaccount:sallyport:gateway"


@dataclass
class Cluster:
    """``files``: where its CA is, and what a pod of the gateway has in its directory of the service
    account. ``pods``: those that there are, by namespace, account and name. ``delegators``: who may
    have tokens reviewed (system:auth-delegator). ``asked``: by path.
    """

    files: Path
    host: str = "127.0.0.1"
    port: int = 0
    pods: set[tuple[str, str, str]] = field(default_factory=set)
    delegators: set[str] = field(default_factory=lambda: {_GATEWAY})
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys: list[SigningKey] = [new_signing_key("RS256")]
        self.pods.add(("sallyport", "gateway", "gateway-0"))
        authority = Authority(self.files, "kubernetes")
        (self.files / "ca.crt").write_bytes(authority.file.read_bytes())
        names = (self.host, "kubernetes.default.svc")
        served = authority.issue("apiserver", names)
        self.renew_token_of_the_gateway()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(served.certificate, served.key)
        self._server = ThreadingHTTPServer((self.host, self.port), self._handler())
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    @property
    def jwks(self) -> dict[str, Any]:
        return {
            "keys": [
                {**key.as_dict(private=False), "use": "sig", "alg": "RS256"} for key in self.keys
            ]
        }

    def __enter__(self) -> Cluster:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def rotate(self) -> None:
        """Sign with another key from now on; tokens of the one before no longer count."""
        self.keys = [new_signing_key("RS256")]
        self.renew_token_of_the_gateway()

    def renew_token_of_the_gateway(self) -> None:
        token = self.token("sallyport", "gateway", "gateway-0", audience=API)
        draft = self.files / "token.new"
        draft.write_text(token)
        draft.rename(self.files / "token")

    def token(
        self,
        namespace: str,
        account: str,
        pod: str,
        *,
        audience: str = "sallyport",
        lifetime: float = 3600.0,
    ) -> str:
        """What the kubelet puts into the pod's projected volume."""
        now = int(time.time())
        bound = {
            "namespace": namespace,
            "node": {"name": "node-1", "uid": "4a2d9d7f-6e1e-4ef1-8a52-6ad0b6c37d20"},
            "pod": {"name": pod, "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
            "serviceaccount": {"name": account, "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
            "warnafter": now + 3607,
        }
        return self.sign(
            {
                "aud": [audience],
                "exp": now + int(lifetime),
                "iat": now,
                "iss": ISSUER,
                "jti": new_id("jti"),
                "kubernetes.io": bound,
                "nbf": now,
                "sub": f"system:serviceaccount:{namespace}:{account}",
            }
        )

    def token_of_a_secret(self, namespace: str, account: str) -> str:
        """The kind before: without an end, an audience and a pod."""
        names = {"namespace": namespace, "secret.name": f"{account}-token-x9z8y"}
        names["service-account.name"] = account
        claims = {f"kubernetes.io/serviceaccount/{name}": value for name, value in names.items()}
        sub = f"system:serviceaccount:{namespace}:{account}"
        return self.sign({"iss": "kubernetes/serviceaccount", "sub": sub, **claims})

    def sign(self, claims: dict[str, Any]) -> str:
        header = {"alg": "RS256", "kid": self.keys[0].kid}
        return str(jwt.encode(header, claims, self.keys[0], algorithms=["RS256"]))

    def _claims(self, token: str) -> dict[str, Any] | None:
        """Of a token that counts: its key, its time and its pod are there."""
        try:
            claims = jwt.decode(token, KeySet(list(self.keys)), algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return None
        bound = claims.get("kubernetes.io", {})
        account, name = bound.get("serviceaccount", {}), bound.get("pod", {})
        pod = bound.get("namespace"), account.get("name"), name.get("name")
        is_good = claims.get("exp", 0) > time.time() and pod in self.pods
        return claims if is_good else None

    def answer(self, method: str, path: str, bearer: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Status and JSON."""
        self.asked.append(path)
        asks = self._claims(bearer)
        if asks is None or API not in asks["aud"]:
            return _status(401, "Unauthorized")
        if (method, path) == ("GET", "/.well-known/openid-configuration"):
            # jwks_uri names an address of a node, with another certificate than the service's
            return 200, {"issuer": ISSUER, "jwks_uri": "https://172.18.0.2:6443/openid/v1/jwks"}
        if (method, path) == ("GET", KEYS):
            return 200, self.jwks
        if (method, path) != ("POST", REVIEWS):
            return _status(404, "the server could not find the requested resource")
        if asks["sub"] not in self.delegators:
            return _status(
                403, 'tokenreviews.authentication.k8s.io is forbidden: User "' + asks["sub"] + '"'
            )
        return 201, {**body, "metadata": {}, "status": self._review(body["spec"])}

    def _review(self, spec: dict[str, Any]) -> dict[str, Any]:
        claims = self._claims(spec["token"])
        shared = [name for name in spec["audiences"] if claims and name in claims["aud"]]
        if claims is None or not shared:
            return {"user": {}, "error": "[invalid bearer token]"}
        bound = claims["kubernetes.io"]
        groups = [
            "system:serviceaccounts",
            f"system:serviceaccounts:{bound['namespace']}",
            "system:authenticated",
        ]
        user = {
            "username": claims["sub"],
            "uid": bound["serviceaccount"]["uid"],
            "groups": groups,
            "extra": {"authentication.kubernetes.io/pod-name": [bound["pod"]["name"]]},
        }
        return {"authenticated": True, "user": user, "audiences": shared}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
                status, value = cluster.answer(self.command, self.path, bearer, body)
                text = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _status(code: int, message: str) -> tuple[int, dict[str, Any]]:
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "code": code,
    }
