"""Talking to an OIDC provider as a client: its discovery document, and its endpoints with the
client's authentication.

One place for the gateway's keys, the console's sign-in and the command line. Sources: OpenID
Connect Discovery 1.0 sections 3 and 4, RFC 6749 section 2.3.1, RFC 9700 section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import httpx2

from sallyport.core.secret import Secret
from sallyport.identity.oidc.fetch import FetchError, fetch_json, post_form
from sallyport.identity.problems import printable
from sallyport.identity.settings import url_problem

MAX_BYTES = 262_144


def discovery_url(issuer: str) -> str:
    """Where an issuer describes itself (OpenID Connect Discovery 1.0, section 4.1)."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


async def discover(
    http: httpx2.AsyncClient,
    issuer: str,
    *,
    timeout: float,  # noqa: ASYNC109
    max_bytes: int = MAX_BYTES,
) -> ProviderDocument:
    """The document of ``issuer``. Raises FetchError, also when it is about another issuer."""
    document = await fetch_json(http, discovery_url(issuer), timeout=timeout, max_bytes=max_bytes)
    # Section 4.3: the document must be about the very issuer that was asked, or one tenant could
    # speak for another.
    if document.value.get("issuer") != issuer:
        about = printable(str(document.value.get("issuer")), 200)
        raise FetchError(
            f"the discovery document of {issuer} is about {about!r}: set the issuer to exactly the"
            " value in the document"
        )
    return ProviderDocument(issuer, document.value)


@dataclass(frozen=True, slots=True)
class ProviderDocument:
    """What an issuer says about itself."""

    issuer: str
    fields: Mapping[str, Any]

    def endpoint(self, name: str) -> str:
        """A URL that may be used. Raises FetchError when there is none."""
        url = self.fields.get(name)
        if not isinstance(url, str):
            raise FetchError(f"the issuer {self.issuer} has no {name}: it does not offer this")
        if url_problem(url) or (self.issuer.startswith("https:") and not url.startswith("https:")):
            raise FetchError(f"the issuer {self.issuer} has no usable {name} (https is required)")
        return url

    async def post(
        self,
        http: httpx2.AsyncClient,
        name: str,
        form: Mapping[str, str],
        client: ClientIdentity,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[int, dict[str, Any]]:
        """POST to the endpoint ``name`` as ``client``: status and JSON object. Raises
        FetchError.
        """
        url, basic, form = self.endpoint(name), None, dict(form)
        methods = self.fields.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if client.secret is None:
            form["client_id"] = client.id
        elif isinstance(methods, list) and "client_secret_basic" not in methods:
            form |= {"client_id": client.id, "client_secret": client.secret.reveal()}
        else:
            # RFC 6749 section 2.3.1: both halves are form-encoded before they go into the header.
            basic = quote_plus(client.id), quote_plus(client.secret.reveal())
        return await post_form(http, url, form, basic, timeout=timeout, max_bytes=MAX_BYTES)


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """An OAuth client. secret None: a public client."""

    id: str
    secret: Secret | None = None
