"""Getting a token from an issuer, as a client: for ``sallyport token``, ``sallyport login`` and the
demo.

Client credentials (RFC 6749 section 4.4) are for programs that have a secret. For people there are
the device grant (RFC 8628), with the issuer's page in any browser, and the authorization code with
PKCE (RFC 8252), with a browser on this machine; the password comes near neither. Refresh tokens
stay in memory. The gateway itself uses the device grant, for clients that have no token
(:mod:`sallyport.server.device_logins`). Tokens travel as
:class:`~sallyport.core.secret.Secret`; failures are :class:`GrantError`, whose text says what the
issuer said and never holds a token or a secret.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

import httpx2

from sallyport.core.clock import Clock, SystemClock
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.identity.oidc.discovery import ClientIdentity, ProviderDocument, discover
from sallyport.identity.oidc.fetch import FetchError, new_client
from sallyport.identity.pkce import challenge_of
from sallyport.identity.problems import printable
from sallyport.identity.settings import url_problem

_TIMEOUT = 30.0
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_DEFAULT_INTERVAL, _MAX_INTERVAL, _MAX_WAIT = 5.0, 60.0, 1800.0
#: Of the time that a token has left, how much passes before another is fetched.
_RENEWED_AT: Final = 0.8


class GrantError(SallyportError):
    """The issuer gave no token. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token and until when it is good (Unix seconds; 0 when the issuer does not say).
    ``refresh_token``: buys the next one; None: the issuer gave none.
    """

    token: Secret
    expires_at: float
    refresh_token: Secret | None = None

    def until_renewal(self) -> float:
        """Seconds from now until a fifth of the rest of its life is left, and at least one. Of one
        that has an end.
        """
        return max((self.expires_at - time.time()) * _RENEWED_AT, 1.0)


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """A sign-in that was begun in a browser. ``url``: to open there. ``verifier``: proves that the
    code comes to who asked for it (PKCE, RFC 7636).
    """

    url: str
    redirect_uri: str
    state: str
    verifier: Secret
    issuer_is_named: bool  # in the answer (RFC 9207)


@dataclass(frozen=True, slots=True)
class DevicePrompt:
    """What a person must do: open ``uri`` and enter ``code``; ``complete_uri`` (or "") has the code
    in it.
    """

    uri: str
    code: str
    complete_uri: str


class TokenClient:
    """One client of one issuer. secret: None for a public client. ca_file: CA of the issuer,
    instead of the system's.

    wants: further request parameters, such as ``scope``, ``resource`` (RFC 8707) or ``audience``;
    empty ones are left out.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        secret: Secret | None = None,
        *,
        wants: Mapping[str, str] | None = None,
        ca_file: str = "",
        clock: Clock | None = None,
    ) -> None:
        if problem := url_problem(issuer):
            raise GrantError(f"the issuer {issuer!r} {problem}")
        self._issuer, self._client = issuer, ClientIdentity(client_id, secret)
        self._wants = {name: value for name, value in (wants or {}).items() if value}
        self._ca_file = ca_file
        self._clock = clock or SystemClock()

    async def client_credentials(self) -> Grant:
        """A token for the program itself. Raises GrantError."""
        return await self._ask({"grant_type": "client_credentials", **self._wants})

    async def device(self, show: Callable[[DevicePrompt], None]) -> Grant:
        """A token for a person, who is told what to do by ``show``; waits for them. Raises
        GrantError.

        RFC 8628 has no PKCE. Keycloak asks for it where a client has it; others do not take a
        verifier whose challenge they did not keep. So it is sent to who refuses to begin without.
        """
        verifier, proof = secrets.token_urlsafe(48), {}
        endpoint = "device_authorization_endpoint"
        try:
            async with new_client(self._ca_file) as http:
                provider = await discover(http, self._issuer, timeout=_TIMEOUT)
                status, started = await provider.post(
                    http, endpoint, self._wants, self._client, timeout=_TIMEOUT
                )
                if status != 200 and started.get("error") == "invalid_request":
                    form, proof = self._wants | _challenge(verifier), {"code_verifier": verifier}
                    status, started = await provider.post(
                        http, endpoint, form, self._client, timeout=_TIMEOUT
                    )
                if status != 200:
                    raise GrantError(_complaint(started))
                show(_prompt(started))
                return await self._poll(http, provider, started, proof)
        except FetchError as error:
            raise GrantError(f"no token: {error}") from None

    async def refresh(self, grant: Grant) -> Grant:
        """The next token, by the refresh token of the last (RFC 6749 section 6), without anybody.
        Raises GrantError.
        """
        if grant.refresh_token is None:
            raise GrantError("the issuer gave no refresh token; a scope of its own may ask for one")
        form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token.reveal()}
        for name in ("resource", "audience"):
            form |= {name: self._wants[name]} if name in self._wants else {}
        fresh = await self._ask(form)
        # Where the issuer rotates them, the old one is used up (RFC 9700 section 4.14).
        return replace(fresh, refresh_token=fresh.refresh_token or grant.refresh_token)

    async def begin_code(self, redirect_uri: str) -> CodeRequest:
        """Begin the authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636, RFC 8252).
        Raises GrantError.
        """
        try:
            async with new_client(self._ca_file) as http:
                provider = await discover(http, self._issuer, timeout=_TIMEOUT)
                endpoint = provider.endpoint("authorization_endpoint")
        except FetchError as error:
            raise GrantError(f"no token: {error}") from None
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        query = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": redirect_uri,
            "state": state,
            **_challenge(verifier),
            **self._wants,
        }
        if "offline_access" in self._wants.get("scope", "").split():
            query["prompt"] = "consent"  # OpenID Connect Core 1.0 section 11
        separator = "&" if "?" in endpoint else "?"
        names = provider.fields.get("authorization_response_iss_parameter_supported") is True
        return CodeRequest(
            endpoint + separator + urlencode(query), redirect_uri, state, Secret(verifier), names
        )

    async def finish_code(self, request: CodeRequest, answer: Mapping[str, str]) -> Grant:
        """The token, for what came to the redirect address. Raises GrantError."""
        if not hmac.compare_digest(answer.get("state", "").encode(), request.state.encode()):
            raise GrantError("the answer is not for this sign-in")
        about = answer.get("iss", self._issuer if not request.issuer_is_named else "")
        if about != self._issuer:  # RFC 9207 section 2.4: of another issuer, mixed up
            raise GrantError("the answer is of another issuer")
        if not answer.get("code"):
            raise GrantError(_complaint(answer))
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": request.redirect_uri,
            "code_verifier": request.verifier.reveal(),
        }
        if "resource" in self._wants:  # RFC 8707 section 2.2
            form["resource"] = self._wants["resource"]
        return await self._ask(form)

    async def _ask(self, form: Mapping[str, str]) -> Grant:
        try:
            async with new_client(self._ca_file) as http:
                provider = await discover(http, self._issuer, timeout=_TIMEOUT)
                status, answer = await provider.post(
                    http, "token_endpoint", form, self._client, timeout=_TIMEOUT
                )
        except FetchError as error:
            raise GrantError(f"no token: {error}") from None
        if status != 200:
            raise GrantError(_complaint(answer))
        return self._grant(answer)

    async def _poll(
        self,
        http: httpx2.AsyncClient,
        provider: ProviderDocument,
        started: Mapping[str, Any],
        proof: Mapping[str, str],
    ) -> Grant:
        code = str(started.get("device_code", ""))
        form = {"grant_type": _DEVICE_GRANT, "device_code": code, **proof}
        interval = min(max(_number(started, "interval", _DEFAULT_INTERVAL), 1.0), _MAX_INTERVAL)
        deadline = self._clock.monotonic() + min(
            _number(started, "expires_in", _MAX_WAIT), _MAX_WAIT
        )
        while self._clock.monotonic() < deadline:
            await asyncio.sleep(interval)
            status, answer = await provider.post(
                http, "token_endpoint", form, self._client, timeout=_TIMEOUT
            )
            if status == 200:
                return self._grant(answer)
            if answer.get("error") == "slow_down":  # RFC 8628 section 3.5
                interval = min(interval + 5.0, _MAX_INTERVAL)
            elif answer.get("error") != "authorization_pending":
                raise GrantError(_complaint(answer))
        raise GrantError("nobody confirmed the login in time; run the command again")

    def _grant(self, answer: Mapping[str, Any]) -> Grant:
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise GrantError("the issuer's answer has no access token")
        lifetime, refresh = _number(answer, "expires_in", 0.0), answer.get("refresh_token")
        return Grant(
            Secret(token),
            self._clock.now() + lifetime if lifetime else 0.0,
            Secret(refresh) if isinstance(refresh, str) and refresh else None,
        )


def _challenge(verifier: str) -> dict[str, str]:
    """What a request for authorization says of it."""
    return {"code_challenge": challenge_of(verifier), "code_challenge_method": "S256"}


def _prompt(answer: Mapping[str, Any]) -> DevicePrompt:
    uri, code = answer.get("verification_uri"), answer.get("user_code")
    complete = answer.get("verification_uri_complete", "")
    if not isinstance(uri, str) or not isinstance(code, str) or not isinstance(complete, str):
        raise GrantError("the issuer's answer to the device login is not usable")
    return DevicePrompt(printable(uri, 500), printable(code, 100), printable(complete, 1000))


def _number(answer: Mapping[str, Any], name: str, default: float) -> float:
    value = answer.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        return default
    return float(value)


#: RFC 6749 section 5.2, RFC 8628 section 3.5.
_ADVICE: Final = {
    "invalid_client": ". Are the client id and its secret the issuer's?",
    "unauthorized_client": ". May this client use this grant at the issuer?",
    "invalid_scope": ". Name the scopes that the issuer knows with --scope",
    "expired_token": ". Sign in again, and confirm the code in time",
}


def _complaint(answer: Mapping[str, Any]) -> str:
    what = printable(str(answer.get("error", "unknown error")), 100)
    more = printable(str(answer.get("error_description", "")), 300)
    return f"the issuer refused: {what}{f' ({more})' if more else ''}{_ADVICE.get(what, '')}"
