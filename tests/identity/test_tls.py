"""Issuers over https: which certificates are trusted, and no way back to http."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sallyport.core.clock import SystemClock
from sallyport.demo.issuer import DevIssuer
from tests.identity.door import UNREACHABLE, Door
from tests.support.certificates import Authority

MakeDoor = Callable[..., Door]


@pytest.fixture
def tls_issuer(tmp_path: Path) -> Any:
    authority = Authority(tmp_path)
    files = authority.issue("issuer", ("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    issuer = DevIssuer()
    issuer._server.socket = context.wrap_socket(issuer._server.socket, server_side=True)
    https = issuer.url.replace("http:", "https:")
    original = issuer.discovery
    issuer.discovery = lambda: json.loads(json.dumps(original()).replace("http:", "https:"))
    with issuer:
        yield issuer, https, authority.file


def test_ca_file_is_what_is_trusted(tls_issuer: Any, make_door: MakeDoor, tmp_path: Path) -> None:
    issuer, url, ca = tls_issuer
    now = int(time.time())
    token = issuer.sign({"iss": url, "sub": "ada", "aud": "sallyport", "exp": now + 60})
    make_door(url, ca_file=str(ca), at=SystemClock()).login(token)
    untrusting = make_door(url, at=SystemClock())
    assert untrusting.refusal(token) == UNREACHABLE
    assert "CERTIFICATE_VERIFY_FAILED" in untrusting.reason
    missing = make_door(url, ca_file=str(tmp_path / "absent.pem"), at=SystemClock())
    assert missing.refusal(token) == UNREACHABLE
    assert "absent.pem cannot be used: No such file" in missing.reason


def test_https_issuers_do_not_fall_back_to_http(tls_issuer: Any, make_door: MakeDoor) -> None:
    issuer, url, ca = tls_issuer
    issuer.discovery = lambda: {"issuer": url, "jwks_uri": "http://127.0.0.1:1/jwks"}
    door = make_door(url, ca_file=str(ca), at=SystemClock())
    token = issuer.sign(
        {"iss": url, "sub": "ada", "aud": "sallyport", "exp": int(time.time()) + 60}
    )
    assert door.refusal(token) == UNREACHABLE
    assert "https is required" in door.reason
