"""What we sign: our messages and our metadata (SAML core, section 5; bindings, section 3.4.4.1)."""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import quote_plus

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

from sallyport.core.secret import Secret
from sallyport.identity.saml.xml import NAMESPACES, Element, SamlError, tag

_RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


def signed(element: Element, key: Secret, certificate: str, position: int) -> Element:
    """The element with an enveloped signature as its child number ``position``, where its schema
    has it: behind the Issuer of a message (core, section 3.2.1), first in metadata. Raises
    SamlError.
    """
    place = etree.Element(tag("ds:Signature"), nsmap={"ds": NAMESPACES["ds"]})
    place.set("Id", "placeholder")
    element.insert(position, place)
    signer = XMLSigner(c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0)
    return signer.sign(
        element,
        key=_private_key(key),
        cert=certificate,
        reference_uri=f"#{element.get('ID')}",
        id_attribute="ID",
    )


def signed_query(query: str, key: Secret) -> str:
    """The query of a redirect with its signature, which is over the query as it stands. Raises
    SamlError.
    """
    query += f"&SigAlg={quote_plus(_RSA_SHA256)}"
    signature = _private_key(key).sign(query.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{query}&Signature={quote_plus(base64.b64encode(signature))}"


def _private_key(key: Secret) -> rsa.RSAPrivateKey:
    try:
        private = serialization.load_pem_private_key(key.reveal().encode(), None)
    except (ValueError, TypeError):
        raise SamlError("the configured key is not a PEM private key") from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise SamlError("the configured key is not an RSA key")
    return private
