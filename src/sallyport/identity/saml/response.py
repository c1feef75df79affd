"""From a provider's response to a subject (SAML profiles, section 4.1.4; core, section 2).

Fails closed in this order: form (bounded, no DOCTYPE, one assertion at its place, no id twice),
signatures, decryption, then what the verified bytes say: status, issuer, audience, recipient,
request, times, conditions; and last whether the assertion was used before.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.x509 import Certificate
from lxml import etree

from sallyport.core.clock import Clock
from sallyport.core.subject import Subject
from sallyport.identity.claims import require_problem
from sallyport.identity.problems import IdentityProblem, printable, shown_label
from sallyport.identity.replay import MessageUse, UsedMessages
from sallyport.identity.saml.encryption import decrypted
from sallyport.identity.saml.metadata import instant
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
from sallyport.identity.subjects import mapped

_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
_EMAIL = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
_CONDITIONS = frozenset(
    tag(name) for name in ("saml:AudienceRestriction", "saml:OneTimeUse", "saml:ProxyRestriction")
)
_ENTITY = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"


@dataclass(frozen=True, slots=True)
class ResponseCheck:
    """What a response is checked with."""

    settings: SamlSettings
    certificates: Sequence[Certificate]
    clock: Clock
    used: UsedMessages

    def subject(self, text: str, request_id: str, label: str = "") -> tuple[Subject, MessageUse]:
        """Whose response it is, and which assertion this process used for it. text: base64, as it
        was posted. request_id: of our request, "" when there was none.

        Raises SamlError.
        """
        response = parse(decoded(text))
        _check_form(response)
        assertion = self._assertion(response, request_id)
        claims, lists, ends = self._read(assertion, request_id)
        problem = require_problem(lists, self.settings.require)
        who = mapped(claims, self.settings.claims, self.settings.entity_id, lists)
        if problem is not None or isinstance(who, IdentityProblem):
            reason = (
                problem.reason
                if problem is not None
                else who.reason
                if isinstance(who, IdentityProblem)
                else ""
            )
            raise SamlError(f"the assertion: {reason}")
        until = min(ends.usable, self.clock.now() + self.settings.session_seconds)
        use = MessageUse(self.settings.entity_id, assertion.get("ID", ""), ends.acceptable)
        if not self.used.use(use.issuer, use.id, use.until):
            raise SamlError("the assertion was used before, or too many are in use")
        subject = Subject(
            id=who.id,
            issuer=self.settings.entity_id,
            groups=who.groups,
            agent=who.agent,
            actors=who.actors,
            client=who.client,
            label=shown_label(label),
            email=_email(claims),
            expires_at=until,
            claims=lists,
        )
        return subject, use

    def _assertion(self, response: Element, request_id: str) -> Element:
        """The assertion, from verified bytes."""
        now, is_authentic = self.clock.now(), is_signed(response)
        if is_authentic:
            response = verified(response, self.certificates, now)
        elif self.settings.signed == "both":
            raise SamlError("the response is not signed")
        self._check_response(response, request_id)
        encrypted = children(response, "saml:EncryptedAssertion")
        if encrypted:
            assertion = decrypted(encrypted[0], self.settings.key, is_authentic=is_authentic)
            _check_signatures(assertion)
            check_ids(assertion)
        else:
            assertion = child(response, "saml:Assertion")
        if is_signed(assertion):
            return verified(assertion, self.certificates, now)
        if not is_authentic or self.settings.signed == "both":
            raise SamlError("the assertion is not signed")
        return assertion

    def _check_response(self, response: Element, request_id: str) -> None:
        settings = self.settings
        code = child(child(response, "samlp:Status"), "samlp:StatusCode").get("Value", "")
        if code != _SUCCESS:
            inner = [element.get("Value", "") for element in response.iter(tag("samlp:StatusCode"))]
            raise SamlError(
                "the provider said:"
                f" {printable(', '.join(c.rpartition(':')[2] for c in inner), 200)}"
            )
        if response.get("Destination", settings.acs_url) != settings.acs_url:
            raise SamlError("the response is for another address (Destination)")
        for issuer in children(response, "saml:Issuer"):
            check_issuer(issuer, self.settings)
        if response.get("InResponseTo", request_id) != request_id:
            raise SamlError("the response answers another request (InResponseTo)")

    def _read(
        self, assertion: Element, request_id: str
    ) -> tuple[dict[str, Any], dict[str, Any], _Ends]:
        """Claims with single values and as lists, and when they end."""
        settings, now = self.settings, self.clock.now()
        if assertion.get("Version") != "2.0" or not assertion.get("ID"):
            raise SamlError("the assertion is not one of SAML 2.0")
        check_issuer(child(assertion, "saml:Issuer"), settings)
        issued = instant(assertion.get("IssueInstant", ""))
        if issued > now + settings.clock_skew:
            raise SamlError("the assertion was issued in the future")
        if not request_id and (not settings.idp_initiated or issued < self.used.started):
            raise SamlError("the response answers no request of ours")
        acceptable = min(self._conditions(assertion), self._confirmed(assertion, request_id))
        usable = self._session_end(assertion)
        name_id = child(child(assertion, "saml:Subject"), "saml:NameID")
        lists = _attributes(assertion)
        single = {name: values[0] if len(values) == 1 else values for name, values in lists.items()}
        kind = name_id.get("Format", "")
        if "name_id" in settings.claims.subject and kind == _TRANSIENT:
            raise SamlError(
                "the NameID is transient: have the provider send a persistent one, or set"
                " claims.subject"
            )
        # Always all of them, so that no attribute stands in for one.
        own = {
            "name_id": value_of(name_id),
            "name_id_format": kind,
            "name_qualifier": name_id.get("NameQualifier", ""),
            "sp_name_qualifier": name_id.get("SPNameQualifier", ""),
            "session_index": _session_indexes(assertion),
            "issue_instant": issued,
        }
        return {**single, **own}, {**lists, **own}, _Ends(acceptable, usable)

    def _conditions(self, assertion: Element) -> float:
        """When the conditions end."""
        conditions = child(assertion, "saml:Conditions")
        if any(element.tag not in _CONDITIONS for element in conditions):
            raise SamlError("the assertion has a condition that is not understood")
        end = self._in_time(conditions)
        restrictions = children(conditions, "saml:AudienceRestriction")
        if not restrictions:
            raise SamlError("the assertion has no audience")
        for restriction in restrictions:
            if self.settings.sp_entity_id not in [
                text_of(a) for a in children(restriction, "saml:Audience")
            ]:
                raise SamlError("the assertion is for another audience")
        return end

    def _confirmed(self, assertion: Element, request_id: str) -> float:
        """When the bearer's confirmation ends. One that holds is enough (core, section 2.4.1.1)."""
        problem = "there is no bearer confirmation"
        for confirmation in children(child(assertion, "saml:Subject"), "saml:SubjectConfirmation"):
            if confirmation.get("Method") != _BEARER:
                continue
            try:
                data = child(confirmation, "saml:SubjectConfirmationData")
                if data.get("Recipient") != self.settings.acs_url:
                    raise SamlError("it is for another address (Recipient)")
                if data.get("InResponseTo", "") != request_id:
                    raise SamlError("it answers another request (InResponseTo)")
                if not data.get("NotOnOrAfter"):
                    raise SamlError("it does not end (NotOnOrAfter)")
                return self._in_time(data)
            except SamlError as error:
                problem = str(error)
        raise SamlError(f"the subject is not confirmed: {problem}")

    def _in_time(self, element: Element) -> float:
        """Unix seconds at which the element's time is over, with the clock skew."""
        now, skew = self.clock.now(), self.settings.clock_skew
        if element.get("NotBefore") and now + skew < instant(element.get("NotBefore", "")):
            raise SamlError("the assertion is not valid yet (NotBefore)")
        if not element.get("NotOnOrAfter"):
            raise SamlError("the assertion has no end (NotOnOrAfter)")
        end = instant(element.get("NotOnOrAfter", "")) + skew
        if now >= end:
            raise SamlError("the assertion has expired (NotOnOrAfter)")
        return end

    def _session_end(self, assertion: Element) -> float:
        statements = children(assertion, "saml:AuthnStatement")
        if not statements:
            raise SamlError("the assertion does not say that anybody signed in (AuthnStatement)")
        ends = [
            instant(s.get("SessionNotOnOrAfter", ""))
            for s in statements
            if s.get("SessionNotOnOrAfter")
        ]
        end = min(ends, default=math.inf)
        if end <= self.clock.now():
            raise SamlError("the provider's session is over (SessionNotOnOrAfter)")
        return end


@dataclass(frozen=True, slots=True)
class _Ends:
    """Unix seconds. acceptable: of the assertion. usable: of the sign-in that it makes."""

    acceptable: float
    usable: float


def check_issuer(issuer: Element, settings: SamlSettings) -> None:
    """Raises SamlError."""
    if text_of(issuer) != settings.entity_id or issuer.get("Format", _ENTITY) != _ENTITY:
        raise SamlError("the issuer is another provider")


def _session_indexes(assertion: Element) -> list[str]:
    statements = children(assertion, "saml:AuthnStatement")
    indexes = [statement.get("SessionIndex", "") for statement in statements]
    return [index for index in indexes if index]


def decoded(text: str) -> bytes:
    """base64, bounded. Raises SamlError."""
    if len(text) > MAX_RESPONSE_BYTES * 4 // 3 + 4096:
        raise SamlError(f"the response is longer than {MAX_RESPONSE_BYTES} bytes")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise SamlError("the response is not base64") from None


def _check_form(response: Element) -> None:
    if response.tag != tag("samlp:Response") or response.get("Version") != "2.0":
        raise SamlError("this is not a response of SAML 2.0")
    carried = [*response.iter(tag("saml:Assertion"), tag("saml:EncryptedAssertion"))]
    if len(carried) != 1 or carried[0].getparent() is not response:
        raise SamlError("the response has not exactly one assertion, at its place")
    _check_signatures(response)
    check_ids(response)


def _check_signatures(root: Element) -> None:
    """A signature anywhere else would be over something that nobody reads, or be moved there."""
    for signature in root.iter(tag("ds:Signature")):
        parent = signature.getparent()
        if parent is None or parent.tag not in (tag("samlp:Response"), tag("saml:Assertion")):
            raise SamlError("a signature stands where none belongs")
        if len(children(parent, "ds:Signature")) != 1:
            raise SamlError("an element has two signatures")


def check_ids(root: Element) -> None:
    """Raises SamlError."""
    ids = [
        value
        for element in root.iter()
        for name, value in element.attrib.items()
        if etree.QName(name).localname.lower() == "id"
    ]
    if len(ids) != len(set(ids)):
        raise SamlError("two elements have the same ID")


def _attributes(assertion: Element) -> dict[str, list[str]]:
    """Values by Name. Attributes of one name are one list."""
    attributes: dict[str, list[str]] = {}
    for statement in children(assertion, "saml:AttributeStatement"):
        if children(statement, "saml:EncryptedAttribute"):
            raise SamlError("encrypted attributes are not supported")
        for attribute in children(statement, "saml:Attribute"):
            values = [value_of(value) for value in children(attribute, "saml:AttributeValue")]
            attributes.setdefault(attribute.get("Name", ""), []).extend(values)
    return attributes


def _email(claims: Mapping[str, Any]) -> str:
    for name in ("email", "mail"):
        value = claims.get(name)
        if isinstance(value, str) and "@" in value and value.isprintable():
            return value
    value = claims["name_id"]
    return value if claims["name_id_format"] == _EMAIL and value.isprintable() else ""
