"""A real SAML identity provider (npm samlp), and our side of it with a clock that the test
moves.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lxml import etree

from sallyport.core.clock import ManualClock
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.problems import IdentityProblem
from sallyport.identity.replay import UsedMessages
from sallyport.identity.saml.provider import SamlProvider
from sallyport.identity.saml.settings import SamlSettings
from tests.support.npm import npm_install

IDP = Path(__file__).parent / "samlidp"
SP, ACS = "https://console.example/saml/corp", "https://console.example/saml/corp/acs"
SLO = "https://console.example/saml/corp/slo"


@dataclass(frozen=True)
class Pair:
    """A key and a certificate of its own, PEM."""

    key: str
    certificate: str


def new_pair(name: str, bits: int = 2048) -> Pair:
    key = rsa.generate_private_key(65537, bits)
    who = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode())


@dataclass(frozen=True)
class SamlIdp:
    """samlp, running."""

    url: str
    pair: Pair
    sp_pair: Pair

    @property
    def entity_id(self) -> str:
        return f"{self.url}/saml"

    def response(self, **options: Any) -> str:
        """A response that samlp makes, base64."""
        body = {
            "user": {
                "id": "ada",
                "claims": {"groups": ["dba", "Domain Users"], "email": "ada@example.com"},
            },
            "audience": SP,
            "recipient": ACS,
            "destination": ACS,
            "inResponseTo": "_request",
            "lifetimeInSeconds": 300,
            **options,
        }
        answer = httpx2.post(f"{self.url}/response", json=body, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.text

    def takes_part(self, *participants: dict[str, str]) -> None:
        """Who takes part in the provider's session, in the place of whoever did."""
        answer = httpx2.post(f"{self.url}/participants", json=participants, trust_env=False)
        assert answer.status_code == 200, answer.text

    def logout(self, **changes: str) -> httpx2.Response:
        """Somebody signs out at the provider: its request to one participant, as a redirect or as a
        page with a form.
        """
        participant = {
            "serviceProviderId": SP,
            "nameId": "ada",
            "sessionIndex": "_index",
            "serviceProviderLogoutURL": SLO,
            "binding": "redirect",
        }
        self.takes_part({**participant, **changes})
        return httpx2.get(f"{self.url}/logout", trust_env=False)


def form_of(page: str) -> dict[str, str]:
    """The fields of samlp's page that posts itself."""
    return dict(re.findall(r'name="(\w+)"\s+value="([^"]*)"', page))


@contextmanager
def saml_idp(directory: Path) -> Iterator[SamlIdp]:
    pair, ours, place = new_pair("idp"), new_pair("sp"), npm_install(IDP)
    copy = place / f"server-{os.getpid()}.mjs"
    shutil.copy(IDP / "server.mjs", copy)  # Node resolves packages beside the script
    (directory / "key.pem").write_text(pair.key)
    (directory / "cert.pem").write_text(pair.certificate)
    (directory / "sp.pem").write_text(ours.certificate)
    process = subprocess.Popen(
        ["node", str(copy), *(str(directory / name) for name in ("key.pem", "cert.pem", "sp.pem"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the provider did not start; try: node {copy}"
        yield SamlIdp(json.loads(line)["url"], pair, ours)
    finally:
        process.kill()
        process.communicate()
        copy.unlink(missing_ok=True)


class ServiceProvider:
    """Our side."""

    def __init__(self, idp: SamlIdp, clock: ManualClock, **options: Any) -> None:
        settings = SamlSettings("corp", idp.entity_id, f"{idp.url}/metadata", SP, ACS, slo_url=SLO)
        self.clock, self.used = clock, UsedMessages(clock)
        self.settings = replace(settings, **options)
        self.provider = SamlProvider(self.settings, clock, self.used)

    def outcome(self, response: str, request_id: str = "_request") -> Subject | IdentityProblem:
        return asyncio.run(self.provider.verify_response(response, request_id))

    def subject(self, response: str, request_id: str = "_request") -> Subject:
        outcome = self.outcome(response, request_id)
        assert isinstance(outcome, Subject), outcome
        return outcome

    def refusal(self, response: str, request_id: str = "_request") -> str:
        """Why it is refused, for the log."""
        outcome = self.outcome(response, request_id)
        assert isinstance(outcome, IdentityProblem), outcome
        assert "ada@" not in outcome.message
        return outcome.reason


def secret(pair: Pair) -> Secret:
    return Secret(pair.key)


def opened(response: str) -> etree._Element:
    return etree.fromstring(base64.b64decode(response))


def packed(root: etree._Element | bytes) -> str:
    return base64.b64encode(root if isinstance(root, bytes) else etree.tostring(root)).decode()
