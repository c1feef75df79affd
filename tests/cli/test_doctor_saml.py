"""What ``sallyport doctor`` says of SAML providers."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sallyport.demo.issuer import DevIssuer
from tests.cli.test_doctor import findings
from tests.identity.saml_provider import Pair, SamlIdp, new_pair, saml_idp
from tests.support.gateway import Gateway
from tests.support.postgres import Server


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamlIdp]:
    with saml_idp(tmp_path_factory.mktemp("samlidp")) as running:
        yield running


def ending(days: float) -> Pair:
    """A pair whose certificate ends then."""
    pair = new_pair("sp")
    key = x509.load_pem_x509_certificate(pair.certificate.encode())
    private = rsa.generate_private_key(65537, 2048)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(key.subject, key.issuer)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(private, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = private.private_bytes(pem, form, serialization.NoEncryption())
    return replace(pair, key=text.decode(), certificate=made.public_bytes(pem).decode())


def said(issuer: DevIssuer, server: Server, **entry: Any) -> dict[str, str]:
    """By state."""
    saml = {"name": "corp", **entry}
    identity = {"oidc": [{"issuer": issuer.url, "audience": issuer.audience}], "saml": [saml]}
    console = {"listen": "127.0.0.1:8642", "roles": {"operator": ["ops"]}}
    gateway = Gateway(issuer, {"shop": server}, extra={"identity": identity, "console": console})
    about = ("SAML provider corp", "identity.saml")
    ours = [finding for finding in findings(gateway) if finding["about"] in about]
    return {finding["state"]: finding["said"] for finding in ours}


def test_providers(issuer: DevIssuer, postgres: Server, idp: SamlIdp, tmp_path: Path) -> None:
    good = {"entity_id": idp.entity_id, "metadata": f"{idp.url}/metadata"}
    assert said(issuer, postgres, **good) == {"ok": f"{idp.entity_id}, 1 signing certificates"}
    nobody = said(issuer, postgres, **{**good, "metadata": "http://127.0.0.1:1/metadata"})
    assert "cannot be fetched" in nobody["problem"]
    wrong = said(issuer, postgres, **{**good, "entity_id": "https://somebody.else"})
    assert "describes 0 providers" in wrong["problem"]

    def ours(certificate: str, key: str) -> dict[str, Any]:
        for name, text in (("sp.crt", certificate), ("sp.key", key)):
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o600)
        return {
            **good,
            "certificate": str(tmp_path / "sp.crt"),
            "key": {"file": str(tmp_path / "sp.key")},
        }

    soon, fresh = ending(5.5), ending(300)
    assert set(said(issuer, postgres, **ours(fresh.certificate, fresh.key))) == {"ok"}
    warned = said(issuer, postgres, **ours(soon.certificate, soon.key))
    assert warned["warning"] == "our certificate ends in 5 days"
    mixed = said(issuer, postgres, **ours(fresh.certificate, soon.key))
    assert "of another key" in mixed["problem"]
