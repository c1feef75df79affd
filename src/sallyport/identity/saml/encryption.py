"""Decrypting an assertion or a NameID (XML Encryption 1.1; SAML core, section 6): RSA-OAEP for the
key, AES-GCM or AES-CBC for the data.

RSA PKCS #1 v1.5 is refused (Bleichenbacher). AES-CBC is only used where a verified signature covers
the ciphertext: without one, what an attacker learns from refusals of changed ciphertexts is the
plaintext (Jager and Somorovsky, 2011).
"""

from __future__ import annotations

import base64
import binascii
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sallyport.core.secret import Secret
from sallyport.identity.saml.xml import Element, SamlError, child, children, parse, tag, text_of

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    # in OAEP, where collisions do not matter
    "http://www.w3.org/2000/09/xmldsig#sha1": hashes.SHA1,
    "http://www.w3.org/2001/04/xmlenc#sha256": hashes.SHA256,
    "http://www.w3.org/2001/04/xmldsig-more#sha384": hashes.SHA384,
    "http://www.w3.org/2001/04/xmlenc#sha512": hashes.SHA512,
    "http://www.w3.org/2009/xmlenc11#mgf1sha1": hashes.SHA1,
    "http://www.w3.org/2009/xmlenc11#mgf1sha256": hashes.SHA256,
    "http://www.w3.org/2009/xmlenc11#mgf1sha384": hashes.SHA384,
    "http://www.w3.org/2009/xmlenc11#mgf1sha512": hashes.SHA512,
}
_FAILED = "what is encrypted cannot be decrypted"
_SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
_OAEP = (
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
    "http://www.w3.org/2009/xmlenc11#rsa-oaep",
)
_BLOCK = re.compile(
    r"http://www\.w3\.org/(?:2001/04/xmlenc|2009/xmlenc11)#aes(128|192|256)-(gcm|cbc)\Z"
)


def decrypted(
    encrypted: Element, key: Secret | None, *, is_authentic: bool, name: str = "saml:Assertion"
) -> Element:
    """What is in an EncryptedAssertion or EncryptedID, an element ``name``. is_authentic: a
    signature covers the ciphertext. Raises SamlError.
    """
    kind = name.partition(":")[2]
    if key is None:
        raise SamlError(
            f"the {kind} is encrypted, and this provider has no 'key' in the configuration"
        )
    data = child(encrypted, "xenc:EncryptedData")
    method = child(data, "xenc:EncryptionMethod").get("Algorithm", "")
    block = _BLOCK.match(method)
    if block is None:
        raise SamlError(f"the encryption {method[-40:]!r} is not accepted")
    if block[2] == "cbc" and not is_authentic:
        raise SamlError(
            "AES-CBC without a signature around it; have the provider sign the response, or use"
            " AES-GCM"
        )
    wrapped = encrypted.findall(f".//{tag('xenc:EncryptedKey')}")
    if len(wrapped) != 1:
        raise SamlError(f"the {kind} has {len(wrapped)} encrypted keys, not one")
    content_key = _unwrapped(wrapped[0], key)
    if len(content_key) * 8 != int(block[1]):
        raise SamlError(_FAILED)
    cipher = _cipher_value(data)
    try:
        plain = _gcm(content_key, cipher) if block[2] == "gcm" else _cbc(content_key, cipher)
    except (InvalidTag, ValueError):
        raise SamlError(_FAILED) from None
    element = parse(plain)
    if element.tag != tag(name):
        raise SamlError(f"what was encrypted is not of the kind {kind}")
    return element


def _unwrapped(wrapped: Element, key: Secret) -> bytes:
    method = child(wrapped, "xenc:EncryptionMethod")
    if method.get("Algorithm") not in _OAEP:
        raise SamlError("the key is not encrypted with RSA-OAEP")
    digest, mask = _algorithm(method, "ds:DigestMethod"), _algorithm(method, "xenc11:MGF")
    try:
        private = serialization.load_pem_private_key(key.reveal().encode(), None)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise SamlError("the configured key is not an RSA key")
        return private.decrypt(
            _cipher_value(wrapped), padding.OAEP(padding.MGF1(mask()), digest(), None)
        )
    except ValueError:
        raise SamlError(_FAILED) from None


def _algorithm(method: Element, name: str) -> type[hashes.HashAlgorithm]:
    elements = children(method, name)
    uri = elements[0].get("Algorithm", "") if elements else _SHA1
    if len(elements) > 1 or uri not in _HASHES:
        raise SamlError(f"the digest {uri[-40:]!r} is not accepted")
    return _HASHES[uri]


def _cipher_value(element: Element) -> bytes:
    text = text_of(child(child(element, "xenc:CipherData"), "xenc:CipherValue"))
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        raise SamlError("a cipher value is not base64") from None


def _gcm(key: bytes, data: bytes) -> bytes:
    return AESGCM(key).decrypt(data[:12], data[12:], None)


def _cbc(key: bytes, data: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(data[:16])).decryptor()
    plain = decryptor.update(data[16:]) + decryptor.finalize()
    # XML Encryption 1.1, section 5.2: only the last byte of the padding means something.
    if not plain or not 1 <= plain[-1] <= 16:
        raise ValueError("padding")
    return plain[: -plain[-1]]
