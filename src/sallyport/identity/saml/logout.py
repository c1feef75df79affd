"""A provider's messages of single logout (SAML core, section 3.7; profiles, section 4.4): its
requests, and its answers to ours.

Both must be signed: a redirect over its query (bindings, section 3.4.4.1), a POST inside the
message, of which only the bytes that were signed are read. Fails closed in this order: form,
signature, issuer, destination, times; a request counts once.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_plus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import Certificate

from sallyport.core.clock import Clock
from sallyport.identity.problems import printable
from sallyport.identity.replay import MessageUse, UsedMessages
from sallyport.identity.saml.encryption import decrypted
from sallyport.identity.saml.metadata import instant
from sallyport.identity.saml.response import check_ids, check_issuer, decoded
from sallyport.identity.saml.settings import SamlSettings
from sallyport.identity.saml.signature import is_signed, verified
from sallyport.identity.saml.xml import (
    MAX_RESPONSE_BYTES,
    Element,
    SamlError,
    child,
    children,
    parse,
    tag,
    text_of,
    value_of,
)
from sallyport.identity.single_logout import LogoutRequest, LogoutResponse, ended_session

REQUEST: Final = "SAMLRequest"
RESPONSE: Final = "SAMLResponse"
REDIRECT: Final = "redirect"
_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_DEFLATE = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
_PARTS = (REQUEST, RESPONSE, "RelayState", "SigAlg", "Signature", "SAMLEncoding")
#: Seconds for which a request counts that does not say when it ends, and at most.
_REQUEST_SECONDS: Final = 300.0
#: Bindings, section 3.4.3.
_MAX_RELAY_STATE: Final = 80
#: No SHA-1, no HMAC, no DSA, as in :mod:`sallyport.identity.saml.signature`.
_RSA: Mapping[str, hashes.HashAlgorithm] = {
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256": hashes.SHA256(),
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384": hashes.SHA384(),
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512": hashes.SHA512(),
}
_ECDSA: Mapping[str, hashes.HashAlgorithm] = {
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256": hashes.SHA256(),
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384": hashes.SHA384(),
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Carried:
    """A message as a browser brought it. binding: redirect | post. name: SAMLRequest |
    SAMLResponse. message: base64. signed_query, algorithm, signature: of a redirect.
    """

    binding: str
    name: str
    message: str
    relay_state: str = ""
    signed_query: str = ""
    algorithm: str = ""
    signature: str = ""

    @property
    def is_request(self) -> bool:
        """Or an answer to ours."""
        return self.name == REQUEST


def from_query(query: str) -> Carried:
    """What a redirect brought. query: the octets behind the question mark, as they came, over which
    the signature is. Raises SamlError.
    """
    pairs = [part.partition("=") for part in query.split("&")]
    written = {name: value for name, _, value in pairs if name in _PARTS}
    if len(written) != sum(name in _PARTS for name, _, _ in pairs):
        raise SamlError("the query has a parameter twice")
    name = _only_name(written)
    signed_names = [part for part in (name, "RelayState", "SigAlg") if part in written]
    values = {part: unquote_plus(value) for part, value in written.items()}
    if values.get("SAMLEncoding", _DEFLATE) != _DEFLATE:
        raise SamlError("the message has an encoding that is not DEFLATE")
    return Carried(
        REDIRECT,
        name,
        values[name],
        _relay_state(values),
        "&".join(f"{part}={written[part]}" for part in signed_names),
        values.get("SigAlg", ""),
        values.get("Signature", ""),
    )


def from_form(fields: Sequence[tuple[str, str]]) -> Carried:
    """What a form brought. Raises SamlError."""
    values = {name: value for name, value in fields if name in _PARTS}
    if len(values) != sum(name in _PARTS for name, _ in fields):
        raise SamlError("the form has a field twice")
    name = _only_name(values)
    return Carried("post", name, values[name], _relay_state(values))


def _only_name(values: Mapping[str, str]) -> str:
    names = [name for name in (REQUEST, RESPONSE) if name in values]
    if len(names) != 1:
        raise SamlError("one SAMLRequest or SAMLResponse is expected")
    return names[0]


def _relay_state(values: Mapping[str, str]) -> str:
    state = values.get("RelayState", "")
    if len(state.encode("utf-8", "replace")) > _MAX_RELAY_STATE:
        raise SamlError(f"the RelayState is longer than {_MAX_RELAY_STATE} bytes")
    return state


@dataclass(frozen=True, slots=True)
class LogoutCheck:
    """What a message is checked with."""

    settings: SamlSettings
    certificates: Sequence[Certificate]
    clock: Clock
    used: UsedMessages

    def request(self, carried: Carried) -> tuple[LogoutRequest, MessageUse]:
        """The request, and its use in this process: here it is refused a second time. Raises
        SamlError.
        """
        request = self._verified(carried, "samlp:LogoutRequest")
        issued = self._issued(request)
        ends = issued + _REQUEST_SECONDS
        if written := request.get("NotOnOrAfter"):
            ends = min(ends, instant(written))
        ends += self.settings.clock_skew
        if self.clock.now() >= ends:
            raise SamlError("the request has expired (NotOnOrAfter, IssueInstant)")
        name_id = value_of(self._name_id(request))
        if not name_id:
            raise SamlError("the request has an empty NameID")
        indexes = [text_of(index) for index in children(request, "samlp:SessionIndex")]
        id_, issuer = request.get("ID", ""), self.settings.entity_id
        use = MessageUse(issuer, id_, ends)
        if not self.used.use(use.issuer, use.id, use.until):
            raise SamlError("the request was used before, or too many are in use")
        until = self.clock.now() + self.settings.session_seconds + self.settings.clock_skew
        ended = ended_session(issuer, name_id, indexes, issued, until)
        return LogoutRequest(id_, carried.binding, carried.relay_state, ended), use

    def response(self, carried: Carried) -> LogoutResponse:
        """Whose request it answers is for the caller to compare. Raises SamlError."""
        response = self._verified(carried, "samlp:LogoutResponse")
        if self.clock.now() >= self._issued(response) + _REQUEST_SECONDS + self.settings.clock_skew:
            raise SamlError("the answer is too old (IssueInstant)")
        codes = [code.get("Value", "") for code in response.iter(tag("samlp:StatusCode"))]
        outer = child(child(response, "samlp:Status"), "samlp:StatusCode").get("Value", "")
        said = ", ".join(code.rpartition(":")[2] for code in codes)
        problem = "" if outer == _SUCCESS and len(codes) == 1 else printable(said, 200)
        return LogoutResponse(response.get("InResponseTo", ""), problem)

    def _verified(self, carried: Carried, name: str) -> Element:
        is_redirect = carried.binding == REDIRECT
        data = decoded(carried.message)
        root = parse(_inflated(data) if is_redirect else data)
        if root.tag != tag(name) or root.get("Version") != "2.0" or not root.get("ID"):
            raise SamlError(f"this is not a {name.partition(':')[2]} of SAML 2.0")
        check_ids(root)
        signatures = [*root.iter(tag("ds:Signature"))]
        if is_redirect:
            if signatures:
                raise SamlError("a redirected message has a signature inside it")
            self._check_query(carried)
        else:
            if not is_signed(root) or len(signatures) != 1:
                raise SamlError("the message is not signed, or more than it is")
            root = verified(root, self.certificates, self.clock.now())
        check_issuer(child(root, "saml:Issuer"), self.settings)
        if root.get("Destination") != self.settings.slo_url:
            raise SamlError("the message is for another address (Destination)")
        return root

    def _name_id(self, request: Element) -> Element:
        """In clear or encrypted, once in all. A signature covers it: see :meth:`_verified`."""
        encrypted = children(request, "saml:EncryptedID")
        if not encrypted:
            return child(request, "saml:NameID")
        if len(encrypted) > 1 or children(request, "saml:NameID"):
            raise SamlError("the request names more than one subject")
        key = self.settings.key
        return decrypted(encrypted[0], key, is_authentic=True, name="saml:NameID")

    def _issued(self, message: Element) -> float:
        issued = instant(message.get("IssueInstant", ""))
        if issued > self.clock.now() + self.settings.clock_skew:
            raise SamlError("the message was issued in the future")
        return issued

    def _check_query(self, carried: Carried) -> None:
        if not carried.signature or not carried.algorithm:
            raise SamlError("the message is not signed (Signature, SigAlg)")
        signature, signed_octets = decoded(carried.signature), carried.signed_query.encode()
        now = datetime.fromtimestamp(self.clock.now(), UTC)
        for certificate in self.certificates:
            in_time = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
            if in_time and _signs(certificate, carried.algorithm, signature, signed_octets):
                return
        raise SamlError("the signature is not one of the provider's certificates")


def _signs(certificate: Certificate, algorithm: str, signature: bytes, data: bytes) -> bool:
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA:
            key.verify(signature, data, padding.PKCS1v15(), _RSA[algorithm])
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm in _ECDSA:
            key.verify(_der(signature), data, ec.ECDSA(_ECDSA[algorithm]))
            return True
    except InvalidSignature:
        return False
    return False


def _der(signature: bytes) -> bytes:
    """XML signatures have r and s, each of half the length (RFC 4050, section 3.3)."""
    half = len(signature) // 2
    numbers = (int.from_bytes(part) for part in (signature[:half], signature[half:]))
    return encode_dss_signature(*numbers)


def _inflated(data: bytes) -> bytes:
    inflate = zlib.decompressobj(-15)
    try:
        text = inflate.decompress(data, MAX_RESPONSE_BYTES + 1)
    except zlib.error:
        raise SamlError("the message is not compressed with DEFLATE") from None
    if len(text) > MAX_RESPONSE_BYTES or not inflate.eof:
        raise SamlError(f"the message is longer than {MAX_RESPONSE_BYTES} bytes, or cut off")
    return text
