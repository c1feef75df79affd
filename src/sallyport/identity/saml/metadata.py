"""What an identity provider says about itself (SAML metadata, sections 2.3 and 2.4): certificates
and where requests go.

A :class:`MetadataSource` reads it from a URL or a file, keeps it for an hour, and serves what it
has for a day while the provider cannot be reached; ``validUntil`` ends it earlier. Where the
operator has the certificate that metadata is signed with, nothing that it did not sign is read.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import Certificate, load_der_x509_certificate

from sallyport.core.clock import Clock
from sallyport.identity.oidc.fetch import FetchError, fetch_bytes, new_client
from sallyport.identity.saml.settings import SamlSettings
from sallyport.identity.saml.signature import is_signed, verified
from sallyport.identity.saml.xml import (
    Element,
    SamlError,
    children,
    parse,
    tag,
    text_of,
)
from sallyport.identity.settings import MAX_RSA_BITS, MIN_RSA_BITS, url_problem

_log = structlog.get_logger("sallyport.identity")
_BINDINGS = {
    "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect": "redirect",
    "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST": "post",
}
_PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
_MAX_BYTES = 4 * 1024 * 1024  # federations publish aggregates
_MIN_EC_BITS = 256
_FRESH, _STALE, _RETRY, _TIMEOUT = 3600.0, 86_400.0, 5.0, 10.0


@dataclass(frozen=True, slots=True)
class IdpMetadata:
    """certificates: for signatures. endpoints: where requests go, by binding (redirect, post);
    logouts and logout_responses: those of single logout. until: Unix seconds.
    """

    certificates: tuple[Certificate, ...]
    endpoints: dict[str, str]
    wants_signed_requests: bool
    until: float
    logouts: dict[str, str] = field(default_factory=dict)
    logout_responses: dict[str, str] = field(default_factory=dict)


def parse_metadata(
    data: bytes, entity_id: str, signers: Sequence[Certificate] = (), now: float = 0.0
) -> IdpMetadata:
    """The provider ``entity_id`` in a document. signers: one of them must have signed the document
    or the provider's part of it; (): nobody. now: Unix seconds, for their validity. Raises
    SamlError.
    """
    root = parse(data, _MAX_BYTES)
    is_signed_whole = bool(signers) and is_signed(root)
    if is_signed_whole:
        root = _verified(root, signers, now)
    entity = _entity(root, entity_id)
    around = [*entity.iterancestors()]
    if signers and not is_signed_whole:
        entity = _verified(entity, signers, now)
    roles = [
        role
        for role in children(entity, "md:IDPSSODescriptor")
        if _PROTOCOL in role.get("protocolSupportEnumeration", "").split()
    ]
    if len(roles) != 1:
        raise SamlError(f"the metadata of {entity_id} has no identity provider role for SAML 2.0")
    role = roles[0]
    certificates = _signing_certificates(role, entity_id)
    endpoints = _places(role, "md:SingleSignOnService")
    if not certificates or not endpoints:
        raise SamlError(
            f"the metadata of {entity_id} has no signing certificate or no usable"
            " SingleSignOnService"
        )
    until = min(
        [
            instant(element.get("validUntil", ""))
            for element in (*around, entity, role)
            if element.get("validUntil")
        ]
        or [math.inf]
    )
    wants = role.get("WantAuthnRequestsSigned", "false") in ("true", "1")
    logouts = _places(role, "md:SingleLogoutService")
    responses = _places(role, "md:SingleLogoutService", "ResponseLocation")
    return IdpMetadata(certificates, endpoints, wants, until, logouts, logouts | responses)


def _signing_certificates(role: Element, entity_id: str) -> tuple[Certificate, ...]:
    """Those with a strong key; () where there are none at all."""
    certificates = [
        _certificate(text_of(element))
        for key in children(role, "md:KeyDescriptor")
        if key.get("use", "signing") == "signing"
        for element in key.findall(f".//{tag('ds:X509Certificate')}")
    ]
    strong = tuple(certificate for certificate in certificates if _is_strong(certificate))
    if certificates and not strong:
        raise SamlError(
            f"the metadata of {entity_id} has no signing certificate with a strong key: RSA of"
            f" {MIN_RSA_BITS} bits or more, or an elliptic curve"
        )
    return strong


def _entity(root: Element, entity_id: str) -> Element:
    is_single = root.tag == tag("md:EntityDescriptor")
    entities = [root] if is_single else root.findall(f".//{tag('md:EntityDescriptor')}")
    named = [entity for entity in entities if entity.get("entityID") == entity_id]
    if len(named) != 1:
        raise SamlError(
            f"the metadata describes {len(named)} providers {entity_id!r}; set entity_id to the one"
            " that is there"
        )
    return named[0]


def _verified(element: Element, signers: Sequence[Certificate], now: float) -> Element:
    """From the signed bytes."""
    if not is_signed(element):
        raise SamlError(
            "the metadata is not signed, and metadata_certificate wants it signed: have the"
            " provider sign it, or remove that key"
        )
    try:
        return verified(element, signers, now, max_bytes=_MAX_BYTES)
    except SamlError as error:
        raise SamlError(f"the metadata is not signed by metadata_certificate: {error}") from None


def _places(role: Element, name: str, attribute: str = "Location") -> dict[str, str]:
    """Usable addresses of a service, by binding; the first of each counts."""
    places: dict[str, str] = {}
    for service in children(role, name):
        binding, url = _BINDINGS.get(service.get("Binding", "")), service.get(attribute, "")
        if binding is not None and not url_problem(url):
            places.setdefault(binding, url)
    return places


def instant(text: str) -> float:
    """An xs:dateTime in UTC (SAML core, section 1.3.3) as Unix seconds. Raises SamlError."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise SamlError("a time is not an xs:dateTime") from None
    if moment.tzinfo is None:
        raise SamlError("a time has no time zone")
    return moment.timestamp()


def _certificate(text: str) -> Certificate:
    try:
        return load_der_x509_certificate(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        raise SamlError("a certificate in the metadata cannot be read") from None


def _is_strong(certificate: Certificate) -> bool:
    """As for keys of issuers. One of a kind that is not supported checks nothing."""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return False
    if isinstance(key, RSAPublicKey):
        return MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
    return isinstance(key, EllipticCurvePublicKey) and key.key_size >= _MIN_EC_BITS


class MetadataSource:
    """One provider's metadata. For one event loop."""

    def __init__(self, settings: SamlSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._metadata: IdpMetadata | None = None
        self._read_at = self._tried_at = -math.inf
        self._lock = asyncio.Lock()
        self.failures, self.error = 0, ""

    async def current(self) -> IdpMetadata:
        """Raises SamlError."""
        async with self._lock:
            now = self._clock.monotonic()
            if now - self._read_at >= _FRESH and now - self._tried_at >= _RETRY:
                self._tried_at = now
                try:
                    self._metadata, self._read_at = await self._load(), now
                    self.error = ""
                except (FetchError, SamlError) as error:
                    self.failures, self.error = self.failures + 1, str(error)
                    _log.warning(
                        "saml_metadata_unavailable", provider=self._settings.name, error=self.error
                    )
            if self._metadata is None or now - self._read_at >= _STALE:
                raise SamlError(f"no metadata of {self._settings.entity_id}: {self.error}")
            if self._clock.now() >= self._metadata.until:
                raise SamlError(
                    f"the metadata of {self._settings.entity_id} is no longer valid (validUntil)"
                )
            return self._metadata

    async def _load(self) -> IdpMetadata:
        place = self._settings.metadata
        if "://" not in place:
            data = await asyncio.to_thread(_read, place)
        else:
            async with await asyncio.to_thread(new_client, self._settings.ca_file) as client:
                data = await fetch_bytes(client, place, timeout=_TIMEOUT, max_bytes=_MAX_BYTES)
        settings = self._settings
        return await asyncio.to_thread(
            parse_metadata, data, settings.entity_id, settings.metadata_signers, self._clock.now()
        )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise FetchError(
            f"the metadata file {path} cannot be read: {error.strerror or error}"
        ) from None
