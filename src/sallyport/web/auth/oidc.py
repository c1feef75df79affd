"""Signing in with an issuer: authorization code with PKCE (OpenID Connect Core 1.0 section 3.1, RFC
7636, RFC 9700).

:class:`CodeClient` makes the address to send a browser to, and turns what comes back into a
:class:`~sallyport.core.subject.Subject`. The ID token passes the same checks as every token here
(:mod:`sallyport.identity.authenticate`), with the console's client as its audience, and its nonce
must be that of this very sign-in. Every failure is :class:`SignInError`, whose text holds no token,
code or secret.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode, urlsplit

from sallyport.core.clock import Clock
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.authenticate import Authenticator, LockedError, LoginRefused
from sallyport.identity.locks import Locks
from sallyport.identity.oidc.discovery import ClientIdentity, ProviderDocument, discover
from sallyport.identity.oidc.fetch import FetchError, new_client
from sallyport.identity.pkce import challenge_of
from sallyport.identity.problems import printable
from sallyport.identity.settings import IssuerSettings
from sallyport.web.auth.begun import Pending
from sallyport.web.settings import ConsoleSettings

_TIMEOUT = 10.0
_DISCOVERY_SECONDS = 600.0


class SignInError(SallyportError):
    """Nobody was signed in. The text is fit for the person who tried. ``subject``: who it was, when
    that is certain. ``reason``: for the operator alone; "": the text says it.
    """

    def __init__(self, text: str, subject: Subject | None = None, reason: str = "") -> None:
        super().__init__(text)
        self.subject, self.reason = subject, reason or text


class CodeClient:
    """The console's client at its issuer. For one event loop."""

    def __init__(self, settings: ConsoleSettings, clock: Clock, locks: Locks) -> None:
        self._settings, self._clock = settings, clock
        self._provider: ProviderDocument | None = None
        self._until = 0.0
        # An ID token's audience is the client; azp then names the console, which is not the agent
        # of anybody.
        self._authenticator = Authenticator(
            (
                [replace(settings.issuer, audience=settings.client_id)]
                if settings.client_id and settings.issuer
                else []
            ),
            clock,
            only_id_tokens=True,
            locks=locks,
        )

    async def authorization_url(self, pending: Pending) -> str:
        """Where the browser goes. Raises SignInError."""
        try:
            url = (await self._discovered()).endpoint("authorization_endpoint")
        except FetchError as error:
            raise _unreachable(error) from None
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._settings.redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": challenge_of(pending.verifier),
            "code_challenge_method": "S256",
        }
        return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}"

    async def finish(self, pending: Pending, answer: Mapping[str, str]) -> Subject:
        """Who came back with ``answer``, the query of the callback. Raises SignInError."""
        if not hmac.compare_digest(pending.state.encode(), answer.get("state", "").encode()):
            raise SignInError(
                "This sign-in was not begun in this browser, or was begun again since."
            )
        if answer.get("iss", self._issuer.issuer) != self._issuer.issuer:
            raise SignInError("The answer comes from another issuer (RFC 9207).")
        if "error" in answer:
            what = printable(answer["error"], 100)
            raise SignInError(
                f"The identity provider said: {what}."
                f" {printable(answer.get('error_description', ''), 300)}"
            )
        if not answer.get("code"):
            raise SignInError("The identity provider sent no code.")
        token = await self._redeem(answer["code"], pending.verifier)
        try:
            subject = await self._authenticator.authenticate(token, label="", entrance="web")
        except LockedError as error:
            refusal = error.refusal
            raise SignInError(
                f"{refusal.text}. {refusal.detail}. {refusal.hint}", error.subject
            ) from None
        except LoginRefused as error:
            raise SignInError(
                f"The identity provider's token was refused: {error.refusal.message}.",
                reason=error.reason,
            ) from None
        nonce = subject.claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(
            nonce.encode(), pending.nonce.encode()
        ):
            raise SignInError(
                "The identity provider's token was not made for this sign-in (nonce)."
            )
        return replace(subject, agent="")

    @property
    def _issuer(self) -> IssuerSettings:
        if self._settings.issuer is None:
            raise SignInError("Nobody signs in with OpenID Connect here.")
        return self._settings.issuer

    async def close(self) -> None:
        await self._authenticator.close()

    async def _redeem(self, code: str, verifier: str) -> Secret:
        """The ID token for a code."""
        settings = self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "code_verifier": verifier,
        }
        client = ClientIdentity(settings.client_id, settings.client_secret)
        try:
            provider = await self._discovered()
            async with new_client(self._issuer.ca_file) as http:
                status, answer = await provider.post(
                    http, "token_endpoint", form, client, timeout=_TIMEOUT
                )
        except FetchError as error:
            raise _unreachable(error) from None
        token = answer.get("id_token")
        if status != 200 or not isinstance(token, str):
            what = printable(str(answer.get("error", "no ID token")), 100)
            raise SignInError(f"The identity provider gave no ID token: {what}.")
        return Secret(token)

    async def _discovered(self) -> ProviderDocument:
        """Raises FetchError."""
        issuer = self._issuer
        if self._provider is None or self._clock.monotonic() >= self._until:
            async with new_client(issuer.ca_file) as http:
                self._provider = await discover(http, issuer.issuer, timeout=_TIMEOUT)
            self._until = self._clock.monotonic() + _DISCOVERY_SECONDS
        return self._provider


def _unreachable(error: FetchError) -> SignInError:
    return SignInError(f"The identity provider cannot be used: {error}")
