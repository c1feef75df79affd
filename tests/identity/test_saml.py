"""SAML responses of a real provider, and what attackers make of them. Judged by who gets in."""

from __future__ import annotations

import asyncio
import base64
import copy
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from cryptography.exceptions import InvalidSignature
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import XMLVerifier

from sallyport.core.clock import ManualClock
from sallyport.core.subject import Subject
from sallyport.identity.claims import ClaimMapping, cel
from sallyport.identity.replay import UsedMessages
from sallyport.identity.saml.xml import NAMESPACES, SamlError, parse, tag
from tests.identity.saml_provider import (
    ACS,
    SP,
    Pair,
    SamlIdp,
    ServiceProvider,
    new_pair,
    opened,
    packed,
    saml_idp,
    secret,
)


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamlIdp]:
    with saml_idp(tmp_path_factory.mktemp("samlidp")) as running:
        yield running


@pytest.fixture
def now() -> ManualClock:
    return ManualClock(time.time())


@pytest.fixture
def sp(idp: SamlIdp, now: ManualClock) -> ServiceProvider:
    return ServiceProvider(idp, now)


@pytest.fixture
def our_pair(idp: SamlIdp) -> Pair:
    """The one that the provider knows."""
    return idp.sp_pair


# -- what must get in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signed",
    [
        {"signResponse": True, "signAssertion": False},
        {"signResponse": False, "signAssertion": True},
        {"signResponse": True, "signAssertion": True},
    ],
)
def test_who_it_is(idp: SamlIdp, sp: ServiceProvider, signed: dict[str, bool]) -> None:
    subject = sp.subject(idp.response(**signed))
    assert (subject.id, subject.issuer, subject.email) == ("ada", idp.entity_id, "ada@example.com")
    assert subject.groups == {"dba", "Domain Users"}
    assert subject.claims["email"] == ["ada@example.com"]


def test_both_must_be_signed_where_that_is_set(idp: SamlIdp, now: ManualClock) -> None:
    sp = ServiceProvider(idp, now, signed="both")
    assert "response is not signed" in sp.refusal(idp.response())
    assert "assertion is not signed" in sp.refusal(
        idp.response(signResponse=True, signAssertion=False)
    )
    assert sp.subject(idp.response(signResponse=True)).id == "ada"


@pytest.mark.parametrize("size", ["128", "256"])
def test_encrypted_assertions(idp: SamlIdp, now: ManualClock, our_pair: Pair, size: str) -> None:
    public = public_key(our_pair)
    response = idp.response(
        encryptionPublicKey=public,
        encryptionCert=our_pair.certificate,
        encryptionAlgorithm=f"http://www.w3.org/2009/xmlenc11#aes{size}-gcm",
    )
    assert b"EncryptedAssertion" in base64.b64decode(response)
    assert "no 'key'" in ServiceProvider(idp, now).refusal(response)
    assert ServiceProvider(idp, now, key=secret(our_pair)).subject(response).groups == {
        "dba",
        "Domain Users",
    }
    assert "cannot be decrypted" in ServiceProvider(idp, now, key=secret(new_pair("x"))).refusal(
        response
    )


def test_cbc_only_inside_a_signed_response(idp: SamlIdp, now: ManualClock, our_pair: Pair) -> None:
    options = {
        "encryptionPublicKey": public_key(our_pair),
        "encryptionCert": our_pair.certificate,
        "encryptionAlgorithm": "http://www.w3.org/2001/04/xmlenc#aes256-cbc",
        "disallowEncryptionWithInsecureAlgorithm": False,
    }
    sp = ServiceProvider(idp, now, key=secret(our_pair))
    assert "AES-CBC" in sp.refusal(idp.response(**options))
    assert sp.subject(idp.response(signResponse=True, **options)).id == "ada"


def test_what_was_encrypted_must_be_signed_too(
    idp: SamlIdp, now: ManualClock, our_pair: Pair
) -> None:
    sp = ServiceProvider(idp, now, key=secret(our_pair))
    options = {
        "encryptionPublicKey": public_key(our_pair),
        "encryptionCert": our_pair.certificate,
        "encryptionAlgorithm": "http://www.w3.org/2009/xmlenc11#aes256-gcm",
        "signAssertion": False,
    }
    assert "not signed" in sp.refusal(idp.response(**options))
    assert sp.subject(idp.response(signResponse=True, **options)).id == "ada"


def test_attributes_are_mapped_as_claims_are(idp: SamlIdp, now: ManualClock) -> None:
    name = "http://schemas.example/claims/role"
    mapping = ClaimMapping(
        subject=("email",), groups=(name, cel("['from:' + claims.name_id]")), agent=(), actor=()
    )
    sp = ServiceProvider(
        idp, now, claims=mapping, require=(cel("'ada@example.com' in claims.email"),)
    )
    subject = sp.subject(
        idp.response(
            user={"id": "ada", "claims": {name: "Domain Users", "email": "ada@example.com"}}
        )
    )
    assert (subject.id, subject.groups) == ("ada@example.com", {"Domain Users", "from:ada"})
    other = idp.response(user={"id": "eve", "claims": {"email": "eve@example.com"}})
    assert "require" in sp.refusal(other)
    assert "require" in sp.refusal(idp.response(user={"id": "eve", "claims": {}}))


def test_an_attribute_cannot_stand_in_for_the_name_id(idp: SamlIdp, sp: ServiceProvider) -> None:
    response = idp.response(user={"id": "ada", "claims": {"name_id": "root", "groups": ["dba"]}})
    assert sp.subject(response).id == "ada"


def test_the_providers_session_ends_ours(idp: SamlIdp, now: ManualClock) -> None:
    sp = ServiceProvider(idp, now, session_seconds=3600.0)
    assert sp.subject(idp.response()).expires_at == pytest.approx(now.now() + 3600)


def test_without_a_request_only_where_that_is_allowed(idp: SamlIdp, now: ManualClock) -> None:
    unsolicited = idp.response(inResponseTo=None)
    assert "no request of ours" in ServiceProvider(idp, now).refusal(unsolicited, "")
    sp = ServiceProvider(idp, now, idp_initiated=True)
    now.advance(-60)
    sp.used.started = now.now()  # the process is older than the assertion
    now.advance(60)
    assert sp.subject(unsolicited, "").id == "ada"
    assert "used before" in sp.refusal(unsolicited, "")
    # An answer to somebody's request is not one to nobody's.
    assert "InResponseTo" in sp.refusal(idp.response(), "")
    # What the process before this one may have taken already.
    sp.used.started = now.now() + 60
    assert "no request of ours" in sp.refusal(idp.response(inResponseTo=None), "")


# -- requests --------------------------------------------------------------------------------------


def test_a_request_is_understood_by_the_provider(
    idp: SamlIdp, now: ManualClock, our_pair: Pair
) -> None:
    for options in ({}, {"key": secret(our_pair), "certificate": our_pair.certificate}):
        sp = ServiceProvider(idp, now, **options)
        request = asyncio.run(sp.provider.request("_request"))
        answer = httpx2.get(request.url, trust_env=False).json()
        assert answer["acs"] == ACS
        assert sp.subject(answer["SAMLResponse"]).id == "ada"
        query = parse_qs(urlsplit(request.url).query)
        sent = etree.fromstring(zlib.decompress(base64.b64decode(query["SAMLRequest"][0]), -15))
        assert (sent.get("ID"), sent.get("AssertionConsumerServiceURL")) == ("_request", ACS)
        assert ("Signature" in query) == bool(options)


def test_a_posted_request(idp: SamlIdp, now: ManualClock, our_pair: Pair) -> None:
    for options in ({}, {"key": secret(our_pair), "certificate": our_pair.certificate}):
        sp = ServiceProvider(idp, now, binding="post", **options)
        request = asyncio.run(sp.provider.request("_request"))
        assert request.url == f"{idp.url}/sso"
        assert (b"SignatureValue" in base64.b64decode(request.fields["SAMLRequest"])) == bool(
            options
        )
        answer = httpx2.post(request.url, data=request.fields, trust_env=False).json()
        assert sp.subject(answer["SAMLResponse"]).id == "ada"


# -- what must not ---------------------------------------------------------------------------------


def test_unsigned(idp: SamlIdp, sp: ServiceProvider) -> None:
    assert "not signed" in sp.refusal(idp.response(signAssertion=False))


def test_signed_by_somebody_else(idp: SamlIdp, sp: ServiceProvider) -> None:
    eve = new_pair("idp")
    response = idp.response(key=eve.key, cert=eve.certificate)
    assert "not one of the provider's certificates" in sp.refusal(response)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"audience": "https://other.example"}, "another audience"),
        ({"recipient": "https://other.example/acs"}, "Recipient"),
        ({"destination": "https://other.example/acs"}, "Destination"),
        ({"inResponseTo": "_other"}, "InResponseTo"),
        ({"inResponseTo": None}, "InResponseTo"),
        ({"issuer": "https://evil.example"}, "another provider"),
        ({"audience": None}, "audience"),
        ({"samlStatusCode": "urn:oasis:names:tc:SAML:2.0:status:Responder"}, "Responder"),
        ({"signatureAlgorithm": "rsa-sha1"}, "certificates"),
        ({"digestAlgorithm": "sha1"}, "certificates"),
        (
            {"user": {"id": "x1", "format": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"}},
            "transient",
        ),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_genuine_but_not_for_us(
    idp: SamlIdp, sp: ServiceProvider, options: dict[str, Any], reason: str, whole: bool
) -> None:
    assert reason in sp.refusal(
        idp.response(signResponse=whole, signAssertion=not whole, **options)
    )


def test_times(idp: SamlIdp, now: ManualClock) -> None:
    response = idp.response(lifetimeInSeconds=300)
    for seconds, accepted in ((-120, False), (-50, True), (340, True), (361, False)):
        clock = ManualClock(now.now() + seconds)
        outcome = ServiceProvider(idp, clock).outcome(response)
        assert isinstance(outcome, Subject) == accepted, (seconds, outcome)


def test_replay(idp: SamlIdp, sp: ServiceProvider, now: ManualClock) -> None:
    response = idp.response()
    sp.subject(response)
    assert "used before" in sp.refusal(response)
    now.advance(200)
    assert "used before" in sp.refusal(response)


def test_the_memory_of_used_assertions_is_bounded_and_fails_closed() -> None:
    clock = ManualClock()
    used = UsedMessages(clock, maximum=2)
    assert used.use("i", "1", clock.now() + 10)
    assert used.use("i", "2", clock.now() + 20)
    assert not used.use("i", "3", clock.now() + 20)
    clock.advance(11)
    assert used.use("i", "3", clock.now() + 20)
    assert not used.use("i", "2", clock.now() + 20)


def changed(root: etree._Element, path: str, text: str) -> None:
    element = root.find(f".//{tag(path)}")
    assert element is not None
    element.text = text


def test_changed_after_it_was_signed(idp: SamlIdp, sp: ServiceProvider) -> None:
    for whole in (True, False):
        root = opened(idp.response(signResponse=whole, signAssertion=not whole))
        changed(root, "saml:NameID", "root")
        assert "signature" in sp.refusal(packed(root))


def _evil(assertion: etree._Element, *, unsigned: bool = True) -> etree._Element:
    evil = copy.deepcopy(assertion)
    name = evil.find(f".//{tag('saml:NameID')}")
    assert name is not None
    name.text = "root"
    if unsigned:
        for signature in evil.findall(tag("ds:Signature")):
            evil.remove(signature)
    return evil


def _beside(root: etree._Element, assertion: etree._Element) -> None:
    evil = _evil(assertion)
    evil.set("ID", "_evil")
    root.insert(root.index(assertion), evil)


def _around(root: etree._Element, assertion: etree._Element) -> None:
    evil = _evil(assertion)
    evil.set("ID", "_evil")
    root.replace(assertion, evil)
    evil.append(assertion)


def _in_the_signature(root: etree._Element, assertion: etree._Element) -> None:
    evil = _evil(assertion)
    evil.set("ID", "_evil")
    root.replace(assertion, evil)
    signature = assertion.find(tag("ds:Signature"))
    assert signature is not None
    evil.insert(1, signature)
    etree.SubElement(signature, tag("ds:Object")).append(assertion)


def _in_extensions(root: etree._Element, assertion: etree._Element) -> None:
    evil = _evil(assertion)
    evil.set("ID", "_evil")
    root.replace(assertion, evil)
    extensions = etree.Element(tag("samlp:Extensions"))
    extensions.append(assertion)
    root.insert(1, extensions)


def _same_id(root: etree._Element, assertion: etree._Element) -> None:
    root.insert(root.index(assertion), _evil(assertion))


def _hidden_original(root: etree._Element, assertion: etree._Element) -> None:
    """The signed one under another name, the evil one with its signature and ID."""
    evil = _evil(assertion, unsigned=False)
    root.replace(assertion, evil)
    hidden = etree.SubElement(root, "hidden")
    hidden.append(assertion)


def _foreign_reference(root: etree._Element, assertion: etree._Element) -> None:
    """The signature stands in the evil assertion and is over the genuine one, which is somewhere
    below.
    """
    evil = _evil(assertion, unsigned=False)
    evil.set("ID", "_evil")
    data = evil.find(f".//{tag('saml:SubjectConfirmationData')}")
    assert data is not None
    root.replace(assertion, evil)
    data.append(assertion)


@pytest.mark.parametrize(
    "wrap",
    [
        _beside,
        _around,
        _in_the_signature,
        _in_extensions,
        _same_id,
        _hidden_original,
        _foreign_reference,
    ],
)
def test_signature_wrapping(
    idp: SamlIdp, sp: ServiceProvider, wrap: Callable[[etree._Element, etree._Element], None]
) -> None:
    root = opened(idp.response())
    assertion = root.find(tag("saml:Assertion"))
    assert assertion is not None
    assert sp.subject(packed(root)).id == "ada"  # the same shape, as it came
    root = opened(idp.response())
    assertion = root.find(tag("saml:Assertion"))
    assert assertion is not None
    wrap(root, assertion)
    sp.refusal(packed(root))


def _alone(idp: SamlIdp, data: bytes) -> str:
    """What signxml by itself, as its documentation has it, says is signed: the NameID in there, or
    why nothing is.
    """
    try:
        result = XMLVerifier().verify(data, x509_cert=idp.pair.certificate, id_attribute="ID")
    except (SignXMLException, InvalidSignature) as error:
        return type(error).__name__
    assert not isinstance(result, list)
    name = etree.fromstring(result.signed_data).find(f".//{tag('saml:NameID')}")
    return "" if name is None else str(name.text)


@pytest.mark.parametrize(
    ("wrap", "outcome"),
    [
        (_beside, "ada"),
        (_around, "ada"),
        (_in_the_signature, "ada"),
        (_in_extensions, "ada"),
        (_same_id, "InvalidInput"),
        (_hidden_original, "InvalidInput"),
        (_foreign_reference, "InvalidDigest"),
    ],
)
def test_signxml_alone_gives_what_was_signed(
    idp: SamlIdp, wrap: Callable[[etree._Element, etree._Element], None], outcome: str
) -> None:
    """The lock behind ours: whatever is wrapped, the signed bytes that it returns are the
    provider's.
    """
    root = opened(idp.response())
    assertion = root.find(tag("saml:Assertion"))
    assert assertion is not None
    wrap(root, assertion)
    assert b">root<" in etree.tostring(root)
    assert _alone(idp, etree.tostring(root)) == outcome


def test_signxml_alone_with_a_comment_and_without_a_signature(idp: SamlIdp) -> None:
    user = {"id": "ada.evil.example", "claims": {}}
    data = base64.b64decode(idp.response(user=user)).replace(b">ada.evil", b">ada<!-- -->.evil")
    assert _alone(idp, data) == "ada.evil.example", (
        "C14N leaves the comment out of what is returned"
    )
    root = opened(idp.response())
    for signature in root.findall(f".//{tag('ds:Signature')}"):
        parent = signature.getparent()
        assert parent is not None
        parent.remove(signature)
    assert _alone(idp, etree.tostring(root)) == "InvalidInput"
    assert (
        _alone(idp, base64.b64decode(idp.response()).replace(b">ada<", b">root<"))
        == "InvalidDigest"
    )


def test_a_wrapped_response(idp: SamlIdp, sp: ServiceProvider) -> None:
    """The signed response inside an evil one."""
    root = opened(idp.response(signResponse=True, signAssertion=False))
    evil = copy.deepcopy(root)
    evil.set("ID", "_evil")
    changed(evil, "saml:NameID", "root")
    signature = evil.find(tag("ds:Signature"))
    assert signature is not None
    etree.SubElement(signature, tag("ds:Object")).append(root)
    sp.refusal(packed(evil))


def test_an_unsigned_part_is_not_read(idp: SamlIdp, sp: ServiceProvider) -> None:
    """Attributes outside the signed assertion, and a status that nobody signed."""
    root = opened(idp.response())
    statement = etree.SubElement(root, tag("saml:AttributeStatement"))
    attribute = etree.SubElement(statement, tag("saml:Attribute"), Name="groups")
    etree.SubElement(attribute, tag("saml:AttributeValue")).text = "owner"
    outcome = sp.outcome(packed(root))
    assert not isinstance(outcome, Subject) or outcome.groups == {"dba", "Domain Users"}


@pytest.mark.parametrize("whole", [True, False])
def test_comments_in_values(idp: SamlIdp, sp: ServiceProvider, whole: bool) -> None:
    """C14N drops comments, so the signature holds; a reader of the first text node would see
    another name.
    """
    response = idp.response(
        user={"id": "ada.evil.example", "claims": {}}, signResponse=whole, signAssertion=not whole
    )
    data = base64.b64decode(response).replace(b">ada.evil.example<", b">ada<!-- -->.evil.example<")
    assert b"<!-- -->" in data
    assert "comments" in sp.refusal(packed(data))
    assert "processing instructions" in sp.refusal(packed(data.replace(b"<!-- -->", b"<?x?>")))


@pytest.mark.parametrize(
    "prefix",
    [
        b'<!DOCTYPE r [<!ENTITY e "root">]>',
        b'<!DOCTYPE r SYSTEM "http://127.0.0.1:1/evil.dtd">',
        b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        b'<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE r [<!ENTITY e "x">]>'.encode("utf-16"),
    ],
)
def test_entities(idp: SamlIdp, sp: ServiceProvider, prefix: bytes) -> None:
    text = base64.b64decode(idp.response())
    body = text.decode().encode("utf-16")[2:] if prefix.startswith(b"\xff\xfe") else text
    reason = sp.refusal(packed(prefix + body))
    assert "DOCTYPE" in reason or "well-formed" in reason


@pytest.mark.parametrize(
    "text",
    ["", "x", "%%%", packed(b"<a/>"), packed(b"\0"), "A" * 400_000, packed(b"<a>" * 300_000)],
)
def test_garbage(sp: ServiceProvider, text: str) -> None:
    sp.refusal(text)


def test_depth_is_bounded() -> None:
    parse(b"<a>" * 64 + b"</a>" * 64)
    with pytest.raises(SamlError, match="deep"):
        parse(b"<a>" * 65 + b"</a>" * 65)


def signed_by(
    idp: SamlIdp,
    root: etree._Element,
    method: SignatureMethod = SignatureMethod.RSA_SHA256,
    c14n: CanonicalizationMethod = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    key: Any = None,
) -> etree._Element:
    """A response with the provider's own key, of a form that samlp would not make."""
    for signature in root.findall(f".//{tag('ds:Signature')}"):
        parent = signature.getparent()
        assert parent is not None
        parent.remove(signature)
    signer = XMLSigner(
        signature_algorithm=method, digest_algorithm=DigestAlgorithm.SHA256, c14n_algorithm=c14n
    )
    more = {} if key else {"cert": idp.pair.certificate}
    return signer.sign(
        root, key=key or idp.pair.key, reference_uri=f"#{root.get('ID')}", id_attribute="ID", **more
    )


def test_hmac_keyed_with_the_certificate(idp: SamlIdp, sp: ServiceProvider) -> None:
    root = opened(idp.response())
    changed(root, "saml:NameID", "root")
    forged = signed_by(idp, root, SignatureMethod.HMAC_SHA256, key=idp.pair.certificate.encode())
    assert "certificates" in sp.refusal(packed(forged))


def test_only_the_transforms_that_are_expected(idp: SamlIdp, sp: ServiceProvider) -> None:
    assert sp.subject(packed(signed_by(idp, opened(idp.response())))).id == "ada"
    inclusive = signed_by(
        idp, opened(idp.response()), c14n=CanonicalizationMethod.CANONICAL_XML_1_1
    )
    assert "canonicalization" in sp.refusal(packed(inclusive))
    root = opened(idp.response())
    transforms = root.find(f".//{tag('ds:Transforms')}")
    assert transforms is not None
    xslt = etree.Element(
        tag("ds:Transform"), Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"
    )
    transforms.insert(0, xslt)
    assert "transforms" in sp.refusal(packed(root))


def without(path: str) -> Callable[[etree._Element], None]:
    def remove(root: etree._Element) -> None:
        for element in root.findall(f".//{tag(path)}"):
            parent = element.getparent()
            assert parent is not None
            parent.remove(element)

    return remove


def _attribute(path: str, name: str, value: str | None) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        element = root.find(f".//{tag(path)}")
        assert element is not None
        if value is None:
            del element.attrib[name]
        else:
            element.set(name, value)

    return change


def _condition(root: etree._Element) -> None:
    conditions = root.find(f".//{tag('saml:Conditions')}")
    assert conditions is not None
    etree.SubElement(conditions, tag("saml:Condition"))


def _second_audience(root: etree._Element) -> None:
    conditions = root.find(f".//{tag('saml:Conditions')}")
    assert conditions is not None
    more = etree.SubElement(conditions, tag("saml:AudienceRestriction"))
    etree.SubElement(more, tag("saml:Audience")).text = "https://other.example"


@pytest.mark.parametrize(
    "change",
    [
        without("saml:Conditions"),
        without("saml:AudienceRestriction"),
        without("saml:Subject"),
        without("saml:NameID"),
        without("saml:SubjectConfirmation"),
        without("saml:SubjectConfirmationData"),
        without("saml:AuthnStatement"),
        without("samlp:Status"),
        _attribute(
            "saml:SubjectConfirmation", "Method", "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"
        ),
        _attribute("saml:SubjectConfirmationData", "Recipient", None),
        _attribute("saml:SubjectConfirmationData", "NotOnOrAfter", None),
        _attribute("saml:SubjectConfirmationData", "NotOnOrAfter", "2020-01-01T00:00:00Z"),
        _attribute("saml:SubjectConfirmationData", "NotOnOrAfter", "tomorrow"),
        _attribute("saml:SubjectConfirmationData", "InResponseTo", None),
        _attribute("saml:Conditions", "NotOnOrAfter", None),
        _attribute("saml:Conditions", "NotOnOrAfter", "2100-01-01T00:00:00"),
        _attribute("saml:AuthnStatement", "SessionNotOnOrAfter", "2020-01-01T00:00:00Z"),
        _attribute("saml:Assertion", "Version", "1.1"),
        _attribute("saml:Assertion", "IssueInstant", "2100-01-01T00:00:00Z"),
        _condition,
        _second_audience,
    ],
)
def test_what_a_provider_must_say(
    idp: SamlIdp, sp: ServiceProvider, change: Callable[[etree._Element], None]
) -> None:
    root = opened(idp.response())
    change(root)
    sp.refusal(packed(signed_by(idp, root)))


# -- metadata --------------------------------------------------------------------------------------


def test_metadata_of_another_provider(idp: SamlIdp, now: ManualClock) -> None:
    reason = ServiceProvider(idp, now, entity_id="https://other.example").refusal(idp.response())
    assert "describes 0 providers" in reason


def test_metadata_from_a_file_is_read_again(idp: SamlIdp, now: ManualClock, tmp_path: Any) -> None:
    file = tmp_path / "idp.xml"
    file.write_bytes(httpx2.get(f"{idp.url}/metadata", trust_env=False).content)
    sp = ServiceProvider(idp, now, metadata=str(file))
    assert sp.subject(idp.response()).id == "ada"
    file.write_text(
        file.read_text().replace(
            "<EntityDescriptor ", '<EntityDescriptor validUntil="2020-01-01T00:00:00Z" '
        )
    )
    now.advance(60)
    assert sp.subject(idp.response()).id == "ada"
    now.advance(3600)
    assert "validUntil" in sp.refusal(idp.response())


def test_our_own_metadata_names_the_address(
    sp: ServiceProvider, our_pair: Pair, idp: SamlIdp, now: ManualClock
) -> None:
    root = etree.fromstring(
        ServiceProvider(idp, now, certificate=our_pair.certificate).provider.descriptor()
    )
    assert root.get("entityID") == SP
    assert root.find(f".//{tag('md:AssertionConsumerService')}").get("Location") == ACS
    assert len(root.findall(f".//{{{NAMESPACES['ds']}}}X509Certificate")) == 2


def public_key(pair: Pair) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    key = x509.load_pem_x509_certificate(pair.certificate.encode()).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
