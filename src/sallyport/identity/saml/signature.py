"""XML signatures of one narrow shape: enveloped, over the very element they stand in, by a
certificate of the metadata.

:func:`verified` gives the element that was parsed again from the bytes whose digest was signed.
Callers read that and nothing else, so that what is read and what was signed cannot differ
(signature wrapping). Source: SAML core, section 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature as CryptoInvalidSignature
from cryptography.x509 import Certificate
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from sallyport.identity.saml.xml import (
    MAX_RESPONSE_BYTES,
    Element,
    SamlError,
    child,
    children,
    parse,
    serialized,
    tag,
)

#: No SHA-1, no HMAC (with which whoever can check could sign), no DSA.
METHODS = frozenset(
    {
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
        SignatureMethod.SHA256_RSA_MGF1,
        SignatureMethod.SHA384_RSA_MGF1,
        SignatureMethod.SHA512_RSA_MGF1,
    }
)
DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"


def is_signed(element: Element) -> bool:
    """Whether a signature stands directly in the element; it is not checked."""
    return bool(children(element, "ds:Signature"))


def verified(
    element: Element,
    certificates: Sequence[Certificate],
    now: float,
    *,
    max_bytes: int = MAX_RESPONSE_BYTES,
) -> Element:
    """The signed element, from the signed bytes, without its signature. now: Unix seconds, for the
    certificates' validity. max_bytes: of what was signed.

    Raises SamlError.
    """
    _check_shape(element)
    data, problem = serialized(element), "the provider's metadata has no certificate"
    for certificate in certificates:
        config = SignatureConfiguration(
            location="./",
            expect_references=1,
            signature_methods=METHODS,
            digest_algorithms=DIGESTS,
            verification_time=datetime.fromtimestamp(now, UTC),
        )
        try:
            result = XMLVerifier().verify(
                data,
                x509_cert=certificate,
                id_attribute="ID",
                expect_config=config,
                validate_schema=True,
            )
        except (
            SignXMLException,
            CryptoInvalidSignature,
            etree.LxmlError,
            ValueError,
            TypeError,
        ) as error:
            problem = f"{type(error).__name__}"
            continue
        if isinstance(result, list):
            raise SamlError("the signature has several references")
        # From the bytes that were hashed, by our own parser.
        signed = parse(result.signed_data, max_bytes)
        if signed.tag != element.tag or signed.get("ID") != element.get("ID") or is_signed(signed):
            raise SamlError("the signature is over another element")
        return signed
    raise SamlError(f"the signature is not one of the provider's certificates ({problem})")


def _check_shape(element: Element) -> None:
    info = child(child(element, "ds:Signature"), "ds:SignedInfo")
    if child(info, "ds:CanonicalizationMethod").get("Algorithm") != _EXCLUSIVE:
        raise SamlError("the signature's canonicalization is not exclusive C14N")
    reference = child(info, "ds:Reference")
    if not element.get("ID") or reference.get("URI") != f"#{element.get('ID')}":
        raise SamlError("the signature is over another element")
    transforms = [entry.get("Algorithm") for entry in child(reference, "ds:Transforms")]
    if transforms != [_ENVELOPED, _EXCLUSIVE]:
        raise SamlError("the signature has transforms that are not expected")
    if element.findall(f".//{tag('ds:Object')}"):
        raise SamlError("the signature has an Object")
