"""A real OpenBao, or HashiCorp Vault, in its development mode: in memory, unsealed, with KV version
2 at ``secret``. Neither is in the package registries that the tests use, so it must be on the PATH
(``bao``, or ``vault``); OpenBao's repository makes it with ``go build``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from sallyport.demo.postgres import free_port
from tests.support.waiting import wait_for


def program() -> str:
    """Its path; "" where there is none."""
    return shutil.which("bao") or shutil.which("vault") or ""


@dataclass
class OpenBao:
    """``root``: a token that may do everything."""

    url: str
    root: str = field(repr=False)

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

    def is_up(self) -> bool:
        try:
            return self.answer("GET", "sys/health").status_code == 200
        except httpx2.TransportError:
            return False


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
        bao = OpenBao(f"http://127.0.0.1:{port}", root)
        try:
            wait_for(lambda: bao.is_up() or running.poll() is not None, 60)
            assert running.poll() is None, log.read_text()
            yield bao
        finally:
            running.terminate()
            running.wait(30)
