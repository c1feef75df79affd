"""SAML messages of the shape that Keycloak sends (its server administration guide, "SAML clients";
``saml-core`` and ``SAML2LoginResponseBuilder``): both response and assertion signed with a KeyName,
persistent names, one Attribute element for each role, SessionIndex ``user session::client``.

The text is Keycloak's, the key is a test's: no Keycloak runs here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

from sallyport.core.clock import ManualClock
from sallyport.identity.claims import ClaimMapping
from sallyport.identity.saml.xml import NAMESPACES, tag
from sallyport.identity.single_logout import LogoutRequest
from tests.identity.saml_provider import (
    ACS,
    SLO,
    SP,
    Pair,
    SamlIdp,
    ServiceProvider,
    new_pair,
    packed,
    secret,
)

REALM = "https://sso.example/realms/shop"
INDEX = "d1c4b7a8-9f61-4f0e-8a55-0a6f6d1f2a11::6a5f0e61-2c4b-4a39-b4de-1d5b3a3f7c02"
NAME = "G-0c6f6a5e-8d6f-4b43-a6a1-2a9a4c1f0b77"
METADATA = """<md:EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata"
 xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"
 xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="{realm}">
<md:IDPSSODescriptor WantAuthnRequestsSigned="true"
 protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:KeyName>kid-1</ds:KeyName><ds:X509Data>
<ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
<md:ArtifactResolutionService Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP"
 Location="{realm}/protocol/saml/resolve" index="0"/>
<md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
 Location="{realm}/protocol/saml"/>
<md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
 Location="{realm}/protocol/saml"/>
<md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</md:NameIDFormat>
<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
 Location="{realm}/protocol/saml"/>
<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
 Location="{realm}/protocol/saml"/>
</md:IDPSSODescriptor></md:EntityDescriptor>"""
RESPONSE = """<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"
 xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Destination="{acs}" ID="ID_1"
 InResponseTo="_request" IssueInstant="{now}" Version="2.0"><saml:Issuer>{realm}</saml:Issuer>
<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
<saml:Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="ID_2" IssueInstant="{now}"
 Version="2.0"><saml:Issuer>{realm}</saml:Issuer><saml:Subject><saml:NameID
 Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">{name}</saml:NameID>
<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
<saml:SubjectConfirmationData InResponseTo="_request" NotOnOrAfter="{soon}" Recipient="{acs}"/>
</saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{now}" NotOnOrAfter="{soon}">
<saml:AudienceRestriction><saml:Audience>{sp}</saml:Audience></saml:AudienceRestriction>
</saml:Conditions><saml:AuthnStatement AuthnInstant="{now}" SessionIndex="{index}"
 SessionNotOnOrAfter="{later}"><saml:AuthnContext><saml:AuthnContextClassRef
>urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml:AuthnContextClassRef></saml:AuthnContext>
</saml:AuthnStatement><saml:AttributeStatement><saml:Attribute FriendlyName="email" Name="email"
 NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic"><saml:AttributeValue
 xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:type="xs:string">ada@example.com</saml:AttributeValue></saml:Attribute>{roles}
</saml:AttributeStatement></saml:Assertion></samlp:Response>"""
ROLE = """<saml:Attribute Name="Role"
 NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic"><saml:AttributeValue
 xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:type="xs:string">{role}</saml:AttributeValue></saml:Attribute>"""
LOGOUT = """<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"
 xmlns="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"
 Destination="{slo}" ID="ID_3" IssueInstant="{now}" NotOnOrAfter="{soon}" Version="2.0">
<saml:Issuer>{realm}</saml:Issuer><saml:NameID
 Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">{name}</saml:NameID>
<samlp:SessionIndex>{index}</samlp:SessionIndex></samlp:LogoutRequest>"""


@pytest.fixture(scope="module")
def pair() -> Pair:
    return new_pair("shop")


@pytest.fixture
def now() -> ManualClock:
    return ManualClock(time.time())


@pytest.fixture
def sp(pair: Pair, now: ManualClock, tmp_path: Path) -> Iterator[ServiceProvider]:
    lines = [line for line in pair.certificate.splitlines() if "-----" not in line]
    file = tmp_path / "descriptor.xml"
    file.write_text(METADATA.format(realm=REALM, certificate="".join(lines)))
    ours = new_pair("sp")
    yield ServiceProvider(
        SamlIdp("unused", pair, ours),
        now,
        entity_id=REALM,
        metadata=str(file),
        key=secret(ours),
        certificate=ours.certificate,
        signed="both",
        claims=ClaimMapping(subject=("name_id",), groups=("Role",), agent=(), actor=()),
    )


def written(text: str, now: ManualClock) -> etree._Element:
    def at(seconds: float) -> str:
        moment = now.now() + seconds
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + ".000Z"

    roles = "".join(ROLE.format(role=role) for role in ("dba", "uma_authorization"))
    filled = text.format(
        realm=REALM, acs=ACS, slo=SLO, sp=SP, name=NAME, index=INDEX, roles=roles,
        now=at(0), soon=at(60), later=at(3600),
    )  # fmt: skip
    return etree.fromstring(filled)


def sign(element: etree._Element, pair: Pair) -> etree._Element:
    """As Keycloak does: behind the Issuer, exclusive C14N, RSA_SHA256, KeyName and certificate."""
    place = etree.Element(tag("ds:Signature"), nsmap={"ds": NAMESPACES["ds"]})
    place.set("Id", "placeholder")
    element.insert(1, place)
    signer = XMLSigner(c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0)
    return signer.sign(
        element,
        key=pair.key.encode(),
        cert=pair.certificate,
        key_name="kid-1",
        reference_uri=f"#{element.get('ID')}",
        id_attribute="ID",
    )


def response(pair: Pair, now: ManualClock) -> str:
    root = written(RESPONSE, now)
    assertion = root.find(tag("saml:Assertion"))
    root.replace(assertion, sign(assertion, pair))
    return packed(sign(root, pair))


def test_a_sign_in_and_its_single_logout(pair: Pair, sp: ServiceProvider, now: ManualClock) -> None:
    ada = sp.subject(response(pair, now))
    assert (ada.id, ada.issuer, ada.email) == (NAME, REALM, "ada@example.com")
    assert ada.groups == {"dba", "uma_authorization"}
    assert ada.claims["session_index"] == [INDEX]
    assert ada.expires_at == pytest.approx(now.now() + 3600, abs=1)
    onward = asyncio.run(sp.provider.logout_request(ada, "_bye"))
    assert onward.url.startswith(f"{REALM}/protocol/saml?SAMLRequest=")
    form = [("SAMLRequest", packed(sign(written(LOGOUT, now), pair)))]
    message = asyncio.run(sp.provider.read_logout("", form))
    assert isinstance(message, LogoutRequest)
    sp.provider.end(message.ended)
    assert sp.provider.is_over(ada)
    answer = asyncio.run(sp.provider.logout_response(message, is_done=True))
    assert (answer.url, set(answer.fields)) == (f"{REALM}/protocol/saml", {"SAMLResponse"})


def test_requests_are_signed_as_its_metadata_wants(sp: ServiceProvider) -> None:
    assert "&Signature=" in asyncio.run(sp.provider.request("_request")).url
