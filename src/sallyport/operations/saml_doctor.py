"""What stands between a SAML identity provider and a sign-in: findings of ``sallyport doctor``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509 import Certificate, load_pem_x509_certificate

from sallyport.core.errors import SallyportError
from sallyport.operations.doctor import SOON_SECONDS, Finding, ends_in

if TYPE_CHECKING:
    from sallyport.identity.saml.provider import SamlProvider

_DER: Final = serialization.Encoding.DER
_SPKI: Final = serialization.PublicFormat.SubjectPublicKeyInfo


async def saml(provider: SamlProvider) -> list[Finding]:
    """Its metadata as read now, a request to it, the certificates of both sides."""
    about, settings, now = f"SAML provider {provider.name}", provider.settings, time.time()
    try:
        metadata = await provider.metadata.current()
    except SallyportError as error:
        return [Finding(about, "problem", str(error), "look at 'metadata', 'entity_id' and 'ca'")]
    ends = [certificate.not_valid_after_utc.timestamp() for certificate in metadata.certificates]
    usable = [end for end in ends if end > now]
    if not usable:
        said = "every signing certificate of its metadata has expired"
        return [Finding(about, "problem", said, "have the provider publish its new one")]
    said = f"{settings.entity_id}, {len(usable)} signing certificates"
    findings = [Finding(about, "ok", said)]
    if max(usable) - now < SOON_SECONDS:
        said = f"its signing certificate ends in {_days(max(usable) - now)}"
        findings.append(Finding(about, "warning", said, "have the provider publish the next one"))
    if metadata.until - now < SOON_SECONDS:
        said = f"its metadata is valid for {_days(metadata.until - now)} more"
        findings.append(Finding(about, "warning", said, "is it published anew (validUntil)?"))
    try:
        await provider.request("_doctor")
    except SallyportError as error:
        do = "look at 'binding', 'certificate' and 'key'"
        findings.append(Finding(about, "problem", f"no sign-in can begin: {error}", do))
        return findings
    if settings.signs_out and not metadata.logouts:
        said = "its metadata has no SingleLogoutService: signing out ends nothing there"
        findings.append(Finding(about, "warning", said, "or set single_logout: false"))
    return [*findings, *_our_certificate(provider, about)]


def _our_certificate(provider: SamlProvider, about: str) -> Iterator[Finding]:
    settings = provider.settings
    if not settings.certificate:
        return
    do = "make a new pair, and give the provider our metadata again"
    try:
        certificate = load_pem_x509_certificate(settings.certificate.encode())
    except ValueError:
        yield Finding(about, "problem", "our 'certificate' is not a certificate in PEM", do)
        return
    if settings.key is None:
        said = "'certificate' without 'key': requests go unsigned, nothing can be decrypted"
        yield Finding(about, "problem", said, "add 'key'")
    elif _key_of(certificate) != _public(settings.key.reveal()):
        yield Finding(about, "problem", "our 'certificate' is of another key than 'key'", do)
    if ends := ends_in(certificate):
        yield Finding(about, "warning", f"our certificate {ends}", do)


def _key_of(certificate: Certificate) -> bytes:
    return _encoded(certificate.public_key())


def _public(pem: str) -> bytes:
    try:
        return _encoded(serialization.load_pem_private_key(pem.encode(), None).public_key())
    except (ValueError, TypeError):
        return b""


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(_DER, _SPKI)


def _days(seconds: float) -> str:
    return f"{max(0, int(seconds // 86_400))} days"
