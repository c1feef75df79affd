"""What we send by a browser (SAML core, sections 3.4.1 and 3.7; bindings, sections 3.4 and 3.5):
requests to sign in or out, and answers to the provider's requests to sign out.
"""

from __future__ import annotations

import base64
import secrets
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote_plus, urlsplit

from lxml import etree
from lxml.builder import ElementMaker

from sallyport.core.subject import Subject
from sallyport.identity.saml.metadata import IdpMetadata
from sallyport.identity.saml.settings import SamlSettings
from sallyport.identity.saml.signing import signed, signed_query
from sallyport.identity.saml.xml import NAMESPACES, Element, SamlError
from sallyport.identity.single_logout import name_of, session_indexes

_POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_LOGGED_OUT = "urn:oasis:names:tc:SAML:2.0:logout:user"
SUCCESS: Final = "urn:oasis:names:tc:SAML:2.0:status:Success"
RESPONDER: Final = "urn:oasis:names:tc:SAML:2.0:status:Responder"
#: Seconds for which the provider may act on a request to sign out.
_REQUEST_SECONDS: Final = 300.0
_SAMLP = ElementMaker(
    namespace=NAMESPACES["samlp"], nsmap={name: NAMESPACES[name] for name in ("samlp", "saml")}
)
_SAML = ElementMaker(namespace=NAMESPACES["saml"])


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
    request: Element = _SAMLP.AuthnRequest(
        _SAML.Issuer(settings.sp_entity_id),
        ID=id_,
        Version="2.0",
        IssueInstant=_instant(now),
        Destination=url,
        AssertionConsumerServiceURL=settings.acs_url,
        ProtocolBinding=_POST,
    )
    return _sent(settings, settings.binding, url, "SAMLRequest", request)


def logout_request(
    settings: SamlSettings, metadata: IdpMetadata, id_: str, subject: Subject, now: float
) -> SamlRequest:
    """Asks the provider to end the session that the subject came with (core, section 3.7.1).
    Raises SamlError: it cannot be asked.
    """
    binding, url = _logout_place(settings, metadata, settings.binding)
    claims = subject.claims
    named = {
        "Format": claims.get("name_id_format"),
        "NameQualifier": claims.get("name_qualifier"),
        "SPNameQualifier": claims.get("sp_name_qualifier"),
    }
    request: Element = _SAMLP.LogoutRequest(
        _SAML.Issuer(settings.sp_entity_id),
        _SAML.NameID(name_of(subject), {key: str(value) for key, value in named.items() if value}),
        *(_SAMLP.SessionIndex(index) for index in session_indexes(subject)),
        ID=id_,
        Version="2.0",
        IssueInstant=_instant(now),
        NotOnOrAfter=_instant(now + _REQUEST_SECONDS),
        Destination=url,
        Reason=_LOGGED_OUT,
    )
    return _sent(settings, binding, url, "SAMLRequest", request)


def logout_response(
    settings: SamlSettings,
    metadata: IdpMetadata,
    binding: str,
    request_id: str,
    *,
    is_done: bool,
    relay_state: str,
    now: float,
) -> SamlRequest:
    """Answers the provider's request, by the binding that it came with where the provider has it
    (core, section 3.7.2). Raises SamlError: it cannot be answered.
    """
    binding, url = _logout_place(settings, metadata, binding, is_response=True)
    response: Element = _SAMLP.LogoutResponse(
        _SAML.Issuer(settings.sp_entity_id),
        _SAMLP.Status(_SAMLP.StatusCode(Value=SUCCESS if is_done else RESPONDER)),
        ID=f"_{secrets.token_hex(20)}",
        Version="2.0",
        IssueInstant=_instant(now),
        Destination=url,
        InResponseTo=request_id,
    )
    return _sent(settings, binding, url, "SAMLResponse", response, relay_state)


def _logout_place(
    settings: SamlSettings, metadata: IdpMetadata, binding: str, *, is_response: bool = False
) -> tuple[str, str]:
    """Binding and address. Messages of single logout are signed (profiles, section 4.4.4.1)."""
    if settings.key is None:
        raise SamlError("single logout needs 'certificate' and 'key'")
    places = metadata.logout_responses if is_response else metadata.logouts
    for candidate in (binding, "redirect", "post"):
        if candidate in places:
            return candidate, places[candidate]
    raise SamlError("the provider's metadata has no SingleLogoutService")


def _sent(
    settings: SamlSettings,
    binding: str,
    url: str,
    name: str,
    message: Element,
    relay_state: str = "",
) -> SamlRequest:
    state = {"RelayState": relay_state} if relay_state else {}
    if binding == "post":
        if settings.key is not None:
            message = signed(message, settings.key, settings.certificate, 1)
        return SamlRequest(url, {name: base64.b64encode(etree.tostring(message)).decode(), **state})
    deflate = zlib.compressobj(wbits=-15)
    packed = deflate.compress(etree.tostring(message)) + deflate.flush()
    fields = {name: base64.b64encode(packed).decode(), **state}
    query = "&".join(f"{key}={quote_plus(value)}" for key, value in fields.items())
    if settings.key is not None:
        query = signed_query(query, settings.key)
    return SamlRequest(f"{url}{'&' if urlsplit(url).query else '?'}{query}", {})


def _instant(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
