"""Where a command gets the token for the gateway: a file, an issuer (client credentials), or what
``sallyport login`` kept; or a person who signs in for it.

A file is read anew each time: pods and CI jobs find another token in it when the old one is about
to expire.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from sallyport.cli.kepttoken import kept
from sallyport.cli.persontokens import PersonTokens, person_tokens
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.identity.oidc.client import Grant, GrantError, TokenClient


@dataclass(frozen=True, slots=True)
class TokenSource:
    """What the command line says of it. ``sign_in``: how a person signs in ("browser" or "device");
    "": nobody does.
    """

    token_file: Path | None = None
    issuer: str = ""
    client_id: str = ""
    secret: Secret | None = None
    scope: str = ""
    resource: str = ""
    audience: str = ""
    ca_file: str = ""
    sign_in: str = ""

    def tokens(self) -> TokenSource | PersonTokens:
        """What brings them. Raises SallyportError."""
        if not self.sign_in:
            return self
        if not self.issuer or not self.client_id:
            raise SallyportError("--sign-in needs --issuer and --client-id")
        show = partial(typer.echo, err=True)
        return person_tokens(self._client(self.scope or "openid"), self.sign_in, show)

    async def fetch(self) -> Grant:
        """A token that is good now. Raises SallyportError, whose text never holds it."""
        if self.token_file is not None:
            return _from_file(self.token_file)
        if not self.client_id:
            return kept()
        if not self.issuer:
            raise SallyportError(
                "--issuer is missing: the identity provider's address, as in the gateway's"
                " configuration"
            )
        if self.secret is None:
            raise SallyportError(
                "the client's secret is missing: set SALLYPORT_CLIENT_SECRET, or name a file with"
                " --secret-file; a person signs in with --sign-in browser or device"
            )
        return await self._client(self.scope).client_credentials()

    async def renew(self) -> Grant:
        """As :meth:`fetch`: nobody is asked for it."""
        return await self.fetch()

    def fetch_now(self) -> Grant:
        """The same, for callers without an event loop."""
        try:
            return asyncio.run(self.fetch())
        except GrantError as error:
            raise SallyportError(str(error)) from None

    def _client(self, scope: str) -> TokenClient:
        wants = {"scope": scope, "resource": self.resource, "audience": self.audience}
        return TokenClient(
            self.issuer, self.client_id, self.secret, wants=wants, ca_file=self.ca_file
        )


def _from_file(path: Path) -> Grant:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SallyportError(
            f"the token file {path} cannot be read: {getattr(error, 'strerror', 'not UTF-8')}"
        ) from None
    if not text or not text.isascii() or not text.isprintable():
        raise SallyportError(f"the token file {path} has no token in it")
    return Grant(Secret(text), _expiry(text))


def _expiry(token: str) -> float:
    """``exp`` of a JWT, which is the gateway's to check; 0 where there is none to be read."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return 0.0
