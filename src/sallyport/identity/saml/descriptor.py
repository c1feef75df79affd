"""Our own metadata, for the provider's administrator (SAML metadata, section 2.4.4)."""

from __future__ import annotations

import hashlib

from lxml import etree
from lxml.builder import ElementMaker

from sallyport.identity.saml.settings import SamlSettings
from sallyport.identity.saml.signing import signed
from sallyport.identity.saml.xml import NAMESPACES, Element

_MD, _DS = NAMESPACES["md"], NAMESPACES["ds"]
_PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
_POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"


def descriptor(settings: SamlSettings) -> bytes:
    """The document; signed by our key where there is one. Raises SamlError."""
    md = ElementMaker(namespace=_MD, nsmap={"md": _MD, "ds": _DS})
    ds = ElementMaker(namespace=_DS, nsmap={"ds": _DS})
    parts: list[Element] = []
    if settings.certificate:
        text = "".join(line for line in settings.certificate.splitlines() if "-----" not in line)
        parts = [
            md.KeyDescriptor(ds.KeyInfo(ds.X509Data(ds.X509Certificate(text))), use=use)
            for use in ("signing", "encryption")
        ]
    if settings.signs_out:
        parts += [
            md.SingleLogoutService(Binding=binding, Location=settings.slo_url)
            for binding in (_REDIRECT, _POST)
        ]
    service = md.AssertionConsumerService(
        Binding=_POST, Location=settings.acs_url, index="0", isDefault="true"
    )
    role = md.SPSSODescriptor(
        *parts,
        service,
        protocolSupportEnumeration=_PROTOCOL,
        AuthnRequestsSigned="true" if settings.key is not None else "false",
        WantAssertionsSigned="true",
    )
    document: Element = md.EntityDescriptor(role, entityID=settings.sp_entity_id)
    if settings.key is not None:
        digest = hashlib.sha256(etree.tostring(document)).hexdigest()
        document.set("ID", f"_{digest[:40]}")
        document = signed(document, settings.key, settings.certificate, 0)
    return etree.tostring(document, xml_declaration=True, encoding="UTF-8")
