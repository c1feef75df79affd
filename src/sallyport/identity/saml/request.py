"""Our requests (SAML core, section 3.4.1; bindings, sections 3.4 and 3.5): where a browser goes to
sign in.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote_plus, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree
from lxml.builder import ElementMaker
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

from sallyport.core.secret import Secret
from sallyport.identity.saml.metadata import IdpMetadata
from sallyport.identity.saml.settings import SamlSettings
from sallyport.identity.saml.xml import NAMESPACES, Element, SamlError, tag

_POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


@dataclass(frozen=True, slots=True)
class SamlRequest:
    """Where the browser goes: by GET to ``url``, or with a form of ``fields`` by POST when there
    are any.
    """

    url: str
    fields: dict[str, str]


def authn_request(
    settings: SamlSettings, metadata: IdpMetadata, id_: str, now: float
) -> SamlRequest:
    """A request whose answer must name ``id_``, an NCName that nobody can guess. now: Unix seconds.
    Raises SamlError.
    """
    url = metadata.endpoints.get(settings.binding)
    if url is None:
        offered = ", ".join(sorted(metadata.endpoints))
        raise SamlError(
            f"the provider has no {settings.binding} binding; set 'binding' to one of: {offered}"
        )
    if metadata.wants_signed_requests and settings.key is None:
        raise SamlError("the provider wants signed requests: set 'certificate' and 'key'")
    request = _element(settings, id_, url, now)
    if settings.binding == "post":
        signed = (
            request
            if settings.key is None
            else _signed(request, settings.key, settings.certificate)
        )
        return SamlRequest(url, {"SAMLRequest": base64.b64encode(etree.tostring(signed)).decode()})
    deflate = zlib.compressobj(wbits=-15)
    packed = deflate.compress(etree.tostring(request)) + deflate.flush()
    query = f"SAMLRequest={quote_plus(base64.b64encode(packed))}"
    # Bindings, section 3.4.4.1: the signature is over the query as it stands.
    if settings.key is not None:
        query += f"&SigAlg={quote_plus(_RSA_SHA256)}"
        signature = _private_key(settings.key).sign(
            query.encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        query += f"&Signature={quote_plus(base64.b64encode(signature))}"
    return SamlRequest(f"{url}{'&' if urlsplit(url).query else '?'}{query}", {})


def _element(settings: SamlSettings, id_: str, url: str, now: float) -> Element:
    samlp = ElementMaker(
        namespace=NAMESPACES["samlp"], nsmap={name: NAMESPACES[name] for name in ("samlp", "saml")}
    )
    saml = ElementMaker(namespace=NAMESPACES["saml"])
    request: Element = samlp.AuthnRequest(
        saml.Issuer(settings.sp_entity_id),
        ID=id_,
        Version="2.0",
        IssueInstant=datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        Destination=url,
        AssertionConsumerServiceURL=settings.acs_url,
        ProtocolBinding=_POST,
    )
    return request


def _signed(request: Element, key: Secret, certificate: str) -> Element:
    # Core, section 3.2.1: the signature stands behind the Issuer.
    place = etree.SubElement(request, tag("ds:Signature"), nsmap={"ds": NAMESPACES["ds"]})
    place.set("Id", "placeholder")
    signer = XMLSigner(c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0)
    return signer.sign(
        request,
        key=_private_key(key),
        cert=certificate,
        reference_uri=f"#{request.get('ID')}",
        id_attribute="ID",
    )


def _private_key(key: Secret) -> rsa.RSAPrivateKey:
    try:
        private = serialization.load_pem_private_key(key.reveal().encode(), None)
    except (ValueError, TypeError):
        raise SamlError("the configured key is not a PEM private key") from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise SamlError("the configured key is not an RSA key")
    return private
