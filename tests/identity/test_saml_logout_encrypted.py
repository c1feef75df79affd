"""Single logout of a name that the provider encrypted for us."""

# ruff: noqa: F811 - the fixtures are those of another module

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from lxml import etree

from sallyport.core.clock import ManualClock
from sallyport.identity.saml.xml import NAMESPACES, tag
from tests.identity.saml_provider import Pair, SamlIdp, ServiceProvider, new_pair
from tests.identity.test_saml_logout import (  # noqa: F401 - fixtures
    FORMAT,
    ends,
    idp,
    now,
    refusal,
    request_of,
    signed_form,
    signed_query,
    sp,
)


def encrypted_id(content: bytes, pair: Pair, size: int = 32) -> etree._Element:
    """As XML Encryption 1.1 and SAML core, section 2.2.4, write it: AES-GCM, RSA-OAEP."""
    saml, xenc = NAMESPACES["saml"], NAMESPACES["xenc"]
    content_key, nonce = os.urandom(size), os.urandom(12)
    certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
    public = certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    cipher = base64.b64encode(nonce + AESGCM(content_key).encrypt(nonce, content, None)).decode()
    wrapped = base64.b64encode(public.encrypt(content_key, oaep)).decode()
    aes = f"http://www.w3.org/2009/xmlenc11#aes{size * 8}-gcm"
    return etree.fromstring(
        f'''<s:EncryptedID xmlns:s="{saml}" xmlns:e="{xenc}"><e:EncryptedData>
        <e:EncryptionMethod Algorithm="{aes}"/>
        <e:CipherData><e:CipherValue>{cipher}</e:CipherValue></e:CipherData></e:EncryptedData>
        <e:EncryptedKey><e:EncryptionMethod
        Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"/>
        <e:CipherData><e:CipherValue>{wrapped}</e:CipherValue></e:CipherData></e:EncryptedKey>
        </s:EncryptedID>'''
    )


def name_id(text: str = "ada", kind: str = "NameID") -> bytes:
    return f'<a:{kind} xmlns:a="{NAMESPACES["saml"]}">{text}</a:{kind}>'.encode()


def with_encrypted(root: etree._Element, *encrypted: etree._Element) -> etree._Element:
    """In place of the NameID."""
    plain = root.find(tag("saml:NameID"))
    assert plain is not None
    for element in encrypted:
        plain.addprevious(element)
    root.remove(plain)
    return root


@pytest.mark.parametrize("carry", [signed_form, signed_query])
@pytest.mark.parametrize("size", [16, 32])
def test_an_encrypted_name_ends_its_sessions(
    idp: SamlIdp, sp: ServiceProvider, now: ManualClock, carry: Callable[..., Any], size: int
) -> None:
    ada = sp.subject(idp.response(sessionIndex="_index"))
    eve = sp.subject(idp.response(user={"id": "eve", "claims": {}}, sessionIndex="_index"))
    later = time.strftime(FORMAT, time.gmtime(time.time() + 2))  # than both assertions
    root = request_of(now, issuer=idp.entity_id, IssueInstant=later)
    ends(sp, carry(with_encrypted(root, encrypted_id(name_id(), idp.sp_pair, size)), idp.pair))
    assert (sp.provider.is_over(ada), sp.provider.is_over(eve)) == (True, False)


@pytest.mark.parametrize("carry", [signed_form, signed_query])
def test_what_was_encrypted_must_be_one_name_for_us(
    idp: SamlIdp, sp: ServiceProvider, now: ManualClock, carry: Callable[..., Any]
) -> None:
    ours = idp.sp_pair

    def refused(*encrypted: etree._Element, pair: Pair = idp.pair) -> str:
        root = with_encrypted(request_of(now, issuer=idp.entity_id), *encrypted)
        return refusal(sp, carry(root, pair))

    good = name_id()
    assert "not of the kind" in refused(encrypted_id(name_id(kind="Issuer"), ours))
    assert "more than one" in refused(*(encrypted_id(good, ours) for _ in range(2)))
    assert "cannot be decrypted" in refused(encrypted_id(good, new_pair("eve")))
    assert refused(encrypted_id(b"<!DOCTYPE a []><a/>", ours))
    assert refused(encrypted_id(name_id("a<!-- -->da"), ours))
    assert "certificates" in refused(encrypted_id(good, ours), pair=new_pair("idp"))
    both = request_of(now, issuer=idp.entity_id)
    both.insert(1, encrypted_id(good, ours))
    assert "more than one" in refusal(sp, carry(both, idp.pair))
