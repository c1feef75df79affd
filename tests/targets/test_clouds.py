"""Google Cloud and Azure, against doubles built from their documentation: what gives tokens to a
service account and a managed identity, Secret Manager v1 and Key Vault 7.4. The real
clients of both find the credentials.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("google.auth")
pytest.importorskip("azure.identity")

from sallyport.targets.managers.azure import AzureClient
from sallyport.targets.managers.google import GoogleClient
from sallyport.targets.secret_source import (
    CredentialError,
    ManagerUnavailableError,
)
from tests.support.google import service_account

TOKEN = "token-of-the-double"


class Cloud:
    """``secrets``: by path. ``asked``: for tokens, what for. ``status``: in place of 200."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.asked: list[str] = []
        self.status = 200
        self.url = ""

    def answer(self, path: str, query: dict[str, list[str]], headers: Any) -> tuple[int, Any]:
        if path == "/metadata/identity/oauth2/token" and headers.get("Metadata") == "true":
            self.asked.append(query["resource"][0])
            ends = int(time.time()) + 86_400
            kept = {"expires_in": "86400", "expires_on": str(ends), "token_type": "Bearer"}
            return 200, {"access_token": TOKEN, "resource": query["resource"][0], **kept}
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": {"code": 401}}
        if self.status != 200:
            return self.status, {"error": {"code": self.status}}
        if path not in self.secrets:
            return 404, {"error": {"code": 404}}
        if path.startswith("/v1/"):
            data = base64.b64encode(self.secrets[path].encode()).decode()
            return 200, {"name": path, "payload": {"data": data}}
        if query.get("api-version") != ["7.4"]:
            return 400, {}
        return 200, {"value": self.secrets[path], "id": path}

    def google_token(self, form: dict[str, list[str]]) -> tuple[int, Any]:
        """A service account's assertion for a token (RFC 7523)."""
        if form["grant_type"] != ["urn:ietf:params:oauth:grant-type:jwt-bearer"]:
            return 400, {"error": "unsupported_grant_type"}
        part = form["assertion"][0].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        self.asked.append(claims["scope"])
        return 200, {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._say(*cloud.answer(parts.path, parse_qs(parts.query), self.headers))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._say(*cloud.google_token(parse_qs(body)))

        def _say(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    cloud.url = f"http://127.0.0.1:{server.server_port}"
    file = service_account(tmp_path, cloud.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", cloud.url)
    yield cloud
    server.shutdown()
    server.server_close()


Read = Callable[..., str]


def from_google(cloud: Cloud, secret: str, version: str = "latest", key: str = "") -> str:
    async def run() -> str:
        client = GoogleClient("my-project", cloud.url)
        try:
            return (await client.secret(secret, version, key)).reveal()
        finally:
            await client.close()

    return asyncio.run(run())


def from_azure(cloud: Cloud, secret: str, version: str = "", key: str = "") -> str:
    async def run() -> str:
        client = AzureClient(cloud.url)
        try:
            return (await client.secret(secret, version, key)).reveal()
        finally:
            await client.close()

    return asyncio.run(run())


def test_google_secrets(cloud: Cloud) -> None:
    cloud.secrets["/v1/projects/my-project/secrets/shop/versions/latest:access"] = "first"
    cloud.secrets["/v1/projects/p/secrets/s/versions/3:access"] = '{"password": "of-json"}'
    assert from_google(cloud, "shop") == "first"
    assert from_google(cloud, "projects/p/secrets/s", "3", "password") == "of-json"
    assert set(cloud.asked) == {"https://www.googleapis.com/auth/cloud-platform"}


def test_a_token_for_cloud_sql(cloud: Cloud) -> None:
    async def run() -> None:
        client = GoogleClient("", cloud.url)
        for _ in range(3):
            assert (await client.sql_token()).reveal() == TOKEN
        await client.close()

    asyncio.run(run())
    assert cloud.asked == ["https://www.googleapis.com/auth/sqlservice.login"], "it is kept"


def test_azure_secrets(cloud: Cloud) -> None:
    cloud.secrets["/secrets/shop"] = "first"
    cloud.secrets["/secrets/shop/0123abcd"] = '{"password": "of-json"}'
    assert from_azure(cloud, "shop") == "first"
    assert from_azure(cloud, "shop", "0123abcd", "password") == "of-json"
    assert set(cloud.asked) == {"https://vault.azure.net"}


def test_a_token_for_azure_database(cloud: Cloud) -> None:
    async def run() -> None:
        client = AzureClient("")
        for _ in range(3):
            assert (await client.entra_token()).reveal() == TOKEN
        await client.close()

    asyncio.run(run())
    assert cloud.asked == ["https://ossrdbms-aad.database.windows.net"]


@pytest.mark.parametrize("read", [from_google, from_azure])
def test_secrets_that_cannot_be_used(cloud: Cloud, read: Read) -> None:
    cloud.secrets["/secrets/shop"] = "first"
    cloud.secrets["/v1/projects/my-project/secrets/shop/versions/latest:access"] = "first"
    for secret, key, said in (
        ("none", "", "404: is there such a secret"),
        ("shop", "password", "not a JSON object"),
    ):
        with pytest.raises(CredentialError, match=said) as caught:
            read(cloud, secret, key=key)
        assert TOKEN not in str(caught.value) and "first" not in str(caught.value)
    cloud.status = 403
    with pytest.raises(CredentialError, match="403: give the gateway"):
        read(cloud, "shop")
    cloud.status = 503
    with pytest.raises(ManagerUnavailableError, match="503"):
        read(cloud, "shop")
