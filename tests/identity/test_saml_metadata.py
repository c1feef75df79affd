"""Signed metadata, the provider's and ours: nothing that was not signed is read where the operator
has the certificate.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

from sallyport.core.clock import ManualClock
from sallyport.identity.saml.metadata import IdpMetadata
from sallyport.identity.saml.signature import verified
from sallyport.identity.saml.xml import NAMESPACES, SamlError, parse, tag
from tests.identity.saml_provider import Pair, SamlIdp, ServiceProvider, new_pair, saml_idp, secret

NOT_SIGNED = "metadata_certificate wants it signed"
OTHERS = "not signed by metadata_certificate"


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamlIdp]:
    with saml_idp(tmp_path_factory.mktemp("samlidp")) as running:
        yield running


@pytest.fixture(scope="module")
def pair() -> Pair:
    """What the operator has the certificate of."""
    return new_pair("federation")


@pytest.fixture
def now() -> ManualClock:
    return ManualClock(time.time())


@pytest.fixture
def read(idp: SamlIdp, pair: Pair, now: ManualClock, tmp_path: Path) -> Callable[..., IdpMetadata]:
    """The metadata as the gateway takes it from a file."""

    def read(document: etree._Element, **options: Any) -> IdpMetadata:
        file = tmp_path / "metadata.xml"
        file.write_bytes(etree.tostring(document))
        signers = (load_pem_x509_certificate(pair.certificate.encode()),)
        sp = ServiceProvider(idp, now, metadata=str(file), metadata_signers=signers, **options)
        return asyncio.run(sp.provider.metadata.current())

    return read


def refusal(read: Callable[..., IdpMetadata], document: etree._Element) -> str:
    with pytest.raises(SamlError) as refused:
        read(document)
    return str(refused.value)


def published(idp: SamlIdp) -> etree._Element:
    """What samlp publishes."""
    root = etree.fromstring(httpx2.get(f"{idp.url}/metadata", trust_env=False).content)
    root.set("ID", "_metadata")
    return root


def signed(root: etree._Element, pair: Pair) -> etree._Element:
    place = etree.Element(tag("ds:Signature"), nsmap={"ds": NAMESPACES["ds"]})
    place.set("Id", "placeholder")
    root.insert(0, place)
    signer = XMLSigner(c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0)
    return signer.sign(
        root,
        key=pair.key.encode(),
        cert=pair.certificate,
        reference_uri=f"#{root.get('ID')}",
        id_attribute="ID",
    )


def aggregate(*entities: etree._Element, **attributes: str) -> etree._Element:
    """By text: lxml gives a moved element other prefixes, which its signature is over."""
    written = "".join(f' {name}="{value}"' for name, value in attributes.items())
    inner = b"".join(etree.tostring(entity) for entity in entities).decode()
    place = NAMESPACES["md"]
    return etree.fromstring(
        f'<m:EntitiesDescriptor xmlns:m="{place}" ID="_all"{written}>{inner}</m:EntitiesDescriptor>'
    )


def test_signed_metadata_is_read(
    idp: SamlIdp, pair: Pair, read: Callable[..., IdpMetadata]
) -> None:
    for document in (
        signed(published(idp), pair),
        signed(aggregate(published(idp)), pair),
        aggregate(signed(published(idp), pair)),
    ):
        metadata = read(document)
        assert metadata.endpoints["redirect"] == f"{idp.url}/sso"
        assert metadata.logouts["post"] == f"{idp.url}/slo"


def test_unsigned_metadata_is_refused(
    idp: SamlIdp, pair: Pair, read: Callable[..., IdpMetadata]
) -> None:
    assert NOT_SIGNED in refusal(read, published(idp))
    assert NOT_SIGNED in refusal(read, aggregate(published(idp)))
    # Another provider's signed part does not vouch for this one.
    neighbour = published(idp)
    neighbour.set("entityID", "https://other.example")
    neighbour.set("ID", "_neighbour")
    document = aggregate(signed(neighbour, pair), published(idp))
    assert NOT_SIGNED in refusal(read, document)


def test_metadata_of_somebody_else_is_refused(
    idp: SamlIdp, read: Callable[..., IdpMetadata]
) -> None:
    eve = new_pair("federation")
    assert OTHERS in refusal(read, signed(published(idp), eve))
    # The provider's own certificate, which stands in the document, says nothing about it.
    assert OTHERS in refusal(read, signed(published(idp), idp.pair))
    # Nor does a good signature inside when the one around it is bad.
    assert OTHERS in refusal(read, signed(aggregate(published(idp)), eve))


def test_changed_and_wrapped_metadata_is_refused(
    idp: SamlIdp, pair: Pair, read: Callable[..., IdpMetadata]
) -> None:
    genuine = signed(published(idp), pair)
    changed = copy.deepcopy(genuine)
    for service in changed.iter(tag("md:SingleSignOnService")):
        service.set("Location", "https://evil.example/sso")
    assert OTHERS in refusal(read, changed)
    wrapped = copy.deepcopy(changed)
    wrapped.set("ID", "_evil")
    wrapped.append(genuine)
    with pytest.raises(SamlError):
        read(wrapped)
    beside = aggregate(copy.deepcopy(genuine), published(idp))
    assert "describes 2 providers" in refusal(read, beside)


def test_valid_until_ends_signed_metadata(
    idp: SamlIdp, pair: Pair, now: ManualClock, read: Callable[..., IdpMetadata]
) -> None:
    past = "2020-01-01T00:00:00Z"
    document = published(idp)
    document.set("validUntil", past)
    assert "validUntil" in refusal(read, signed(document, pair))
    assert "validUntil" in refusal(read, aggregate(signed(published(idp), pair), validUntil=past))
    ending = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now.now() + 60))
    document = published(idp)
    document.set("validUntil", ending)
    metadata = read(signed(document, pair))
    assert metadata.until == pytest.approx(now.now() + 60, abs=1)


def test_a_signer_whose_time_is_over(
    idp: SamlIdp, pair: Pair, now: ManualClock, read: Callable[..., IdpMetadata]
) -> None:
    document = signed(published(idp), pair)
    read(document)
    now.advance(40 * 86_400)
    assert OTHERS in refusal(read, document)


def test_a_sign_in_needs_metadata_that_is_signed(
    idp: SamlIdp, pair: Pair, now: ManualClock
) -> None:
    """The real provider publishes unsigned metadata: with the certificate nobody comes in."""
    response = idp.response()
    sp = ServiceProvider(idp, now)
    signers = (load_pem_x509_certificate(pair.certificate.encode()),)
    strict = ServiceProvider(idp, now, metadata_signers=signers)
    assert NOT_SIGNED in strict.refusal(response)
    assert sp.subject(response).id == "ada"


def test_our_metadata_is_signed_where_there_is_a_key(idp: SamlIdp, now: ManualClock) -> None:
    ours = idp.sp_pair
    sp = ServiceProvider(idp, now, key=secret(ours), certificate=ours.certificate)
    root = parse(sp.provider.descriptor())
    certificate = load_pem_x509_certificate(ours.certificate.encode())
    document = verified(root, [certificate], now.now())
    assert document.get("entityID") == sp.settings.sp_entity_id
    logouts = [s.get("Location") for s in document.iter(tag("md:SingleLogoutService"))]
    assert logouts == [sp.settings.slo_url] * 2
    assert root[0].tag == tag("ds:Signature"), "where the schema has it"
    again = parse(sp.provider.descriptor())
    assert again.get("ID") == root.get("ID"), "the same document has the same id"
    with pytest.raises(SamlError):
        verified(root, [load_pem_x509_certificate(new_pair("sp").certificate.encode())], now.now())
    unsigned = replace(sp.settings, key=None, certificate="")
    assert (
        b"Signature"
        not in ServiceProvider(idp, now, key=unsigned.key, certificate="").provider.descriptor()
    )


def test_a_certificate_of_an_unknown_curve_does_not_hinder_another(
    idp: SamlIdp, now: ManualClock, tmp_path: Path
) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
    key, begins = ec.generate_private_key(ec.SECP256R1()), datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, begins)
    der = made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    p256, unsupported = (bytes.fromhex(f"2a8648ce3d0301{last}") for last in ("07", "63"))
    assert p256 in der
    certificate = base64.b64encode(der.replace(p256, unsupported)).decode()
    text = httpx2.get(f"{idp.url}/metadata", trust_env=False).text
    strong_key = "".join(idp.pair.certificate.split("-----")[2].split())
    file = tmp_path / "idp.xml"
    both = f"{certificate}</X509Certificate></X509Data><X509Data><X509Certificate>{strong_key}"
    file.write_text(text.replace(strong_key, both))
    assert ServiceProvider(idp, now, metadata=str(file)).subject(idp.response()).id == "ada"


def test_weak_keys_in_the_metadata_check_nothing(
    idp: SamlIdp, now: ManualClock, tmp_path: Path
) -> None:
    weak, file = new_pair("idp", 1024), tmp_path / "idp.xml"
    text = httpx2.get(f"{idp.url}/metadata", trust_env=False).text
    strong_key = "".join(idp.pair.certificate.split("-----")[2].split())
    weak_key = "".join(weak.certificate.split("-----")[2].split())
    assert strong_key in text
    file.write_text(text.replace(strong_key, weak_key))
    alone = ServiceProvider(idp, now, metadata=str(file))
    response = idp.response(key=weak.key, cert=weak.certificate)
    assert "strong key" in alone.refusal(response)
    both = f"{strong_key}</X509Certificate></X509Data><X509Data><X509Certificate>{weak_key}"
    file.write_text(text.replace(strong_key, both))
    beside = ServiceProvider(idp, now, metadata=str(file))
    assert "not one of the provider's certificates" in beside.refusal(response)
    assert beside.subject(idp.response()).id == "ada"
