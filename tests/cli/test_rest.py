"""How commands reach a console whose certificate is of a house's own authority."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sallyport.cli.rest import RestClient
from sallyport.core.errors import SallyportError
from tests.support.certificates import Authority


@dataclass
class Console:
    url: str
    authority: Path


class _Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    authority = Authority(tmp_path)
    files = authority.issue("console", ("localhost",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Empty) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Console(f"https://localhost:{server.server_port}", authority.file)
        server.shutdown()
        thread.join()


def test_its_authority_is_named_by_a_variable(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = RestClient(console.url, token=None)
    with pytest.raises(SallyportError, match=r"is not trusted: put .* into SALLYPORT_URL_CA"):
        client.get("/approvals")
    monkeypatch.setenv("SALLYPORT_URL_CA", str(console.authority))
    assert client.get("/approvals") == {}
    by_address = RestClient(console.url.replace("localhost", "127.0.0.1"), token=None)
    with pytest.raises(SallyportError, match=r"cannot be accepted: .*127\.0\.0\.1"):
        by_address.get("/approvals")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("SALLYPORT_URL_CA", str(Authority(elsewhere).file))
    with pytest.raises(SallyportError, match="is not trusted"):
        client.get("/approvals")
    for text in ("missing.pem", str(console.authority.with_name("console.key"))):
        monkeypatch.setenv("SALLYPORT_URL_CA", text)
        with pytest.raises(SallyportError, match=f"SALLYPORT_URL_CA: {text} cannot be used"):
            client.get("/approvals")
