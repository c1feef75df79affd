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
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from sallyport.cli.kepttoken import kept
from sallyport.cli.persontokens import PersonTokens, person_tokens
from sallyport.cli.tokenoptions import TokenOptions, client_secret
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.identity.oidc.client import Grant, GrantError, TokenClient


@dataclass(frozen=True, slots=True)
class TokenSource:
    """What brings the tokens that ``options`` name, without a person. ``secret``: the client's."""

    options: TokenOptions
    secret: Secret | None

    async def fetch(self) -> Grant:
        """A token that is good now. Raises SallyportError, whose text never holds it."""
        if self.options.token_file is not None:
            return _from_file(self.options.token_file)
        if not self.options.client_id:
            return kept()
        if not self.options.issuer:
            raise SallyportError(
                "--issuer is missing: the identity provider's address, as in the gateway's"
                " configuration"
            )
        if self.secret is None:
            raise SallyportError(
                "the client's secret is missing: set SALLYPORT_CLIENT_SECRET, or name a file with"
                " --secret-file; a person signs in with --sign-in browser or device"
            )
        return await self.client(self.options.scope).client_credentials()

    async def renew(self) -> Grant:
        """As :meth:`fetch`: nobody is asked for it."""
        return await self.fetch()

    def fetch_now(self) -> Grant:
        """The same, for callers without an event loop."""
        try:
            return asyncio.run(self.fetch())
        except GrantError as error:
            raise SallyportError(str(error)) from None

    def client(self, scope: str) -> TokenClient:
        """The issuer's, which asks for ``scope``. Raises GrantError."""
        options = self.options
        wants = {"scope": scope, "resource": options.resource, "audience": options.audience}
        return TokenClient(
            options.issuer, options.client_id, self.secret, wants=wants, ca_file=options.ca_file
        )


def tokens_of(options: TokenOptions) -> TokenSource | PersonTokens:
    """What brings the tokens that a command line's options name. Raises SallyportError."""
    secret = client_secret(options.secret_file) if options.client_id else None
    source = TokenSource(options, secret)
    if not options.sign_in:
        return source
    if not options.issuer or not options.client_id:
        raise SallyportError("--sign-in needs --issuer and --client-id")
    client = source.client(options.scope or "openid")
    return person_tokens(client, options.sign_in, partial(typer.echo, err=True))


def own_token() -> Secret:
    """The token of whoever runs a command: of the client that the environment names, as for
    ``sallyport token``; or the one that ``sallyport login`` kept. Raises SallyportError.
    """
    names = ("SALLYPORT_ISSUER", "SALLYPORT_CLIENT_ID", "SALLYPORT_ISSUER_CA")
    issuer, client_id, ca_file = (os.environ.get(name, "") for name in names)
    secret = client_secret(None) if client_id else None
    if secret is None:
        return kept().token
    options = TokenOptions(issuer=issuer, client_id=client_id, ca_file=ca_file)
    return TokenSource(options, secret).fetch_now().token


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
