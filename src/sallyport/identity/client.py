"""Getting a token from an issuer, as a client: for ``sallyport token``, ``sallyport login`` and the
demo.

Two grants: client credentials (RFC 6749 section 4.4), for programs that have a secret, and the
device grant (RFC 8628), for people: the issuer's page is opened in any browser, the password never
comes near this machine. The gateway itself uses the second, for clients that have no token
(:mod:`sallyport.server.device_logins`). Tokens travel as
:class:`~sallyport.core.secret.Secret`; failures are :class:`GrantError`, whose text says what the
issuer said and never holds a token or a secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from sallyport.core.clock import Clock, SystemClock
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.identity.discovery import ClientIdentity, ProviderDocument, discover
from sallyport.identity.fetch import FetchError, new_client
from sallyport.identity.problems import printable
from sallyport.identity.settings import url_problem

_TIMEOUT = 30.0
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_DEFAULT_INTERVAL, _MAX_INTERVAL, _MAX_WAIT = 5.0, 60.0, 1800.0


class GrantError(SallyportError):
    """The issuer gave no token. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token and until when it is good (Unix seconds; 0 when the issuer does not say)."""

    token: Secret
    expires_at: float


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
            raise GrantError(f"the issuer {problem}")
        self._issuer, self._client = issuer, ClientIdentity(client_id, secret)
        self._wants = {name: value for name, value in (wants or {}).items() if value}
        self._ca_file = ca_file
        self._clock = clock or SystemClock()

    async def client_credentials(self) -> Grant:
        """A token for the program itself. Raises GrantError."""
        try:
            async with new_client(self._ca_file) as http:
                provider = await discover(http, self._issuer, timeout=_TIMEOUT)
                form = {"grant_type": "client_credentials", **self._wants}
                status, answer = await provider.post(
                    http, "token_endpoint", form, self._client, timeout=_TIMEOUT
                )
        except FetchError as error:
            raise GrantError(f"no token: {error}") from None
        if status != 200:
            raise GrantError(_complaint(answer))
        return self._grant(answer)

    async def device(self, show: Callable[[DevicePrompt], None]) -> Grant:
        """A token for a person, who is told what to do by ``show``; waits for them. Raises
        GrantError.
        """
        try:
            async with new_client(self._ca_file) as http:
                provider = await discover(http, self._issuer, timeout=_TIMEOUT)
                status, started = await provider.post(
                    http,
                    "device_authorization_endpoint",
                    self._wants,
                    self._client,
                    timeout=_TIMEOUT,
                )
                if status != 200:
                    raise GrantError(_complaint(started))
                show(_prompt(started))
                return await self._poll(http, provider, started)
        except FetchError as error:
            raise GrantError(f"no token: {error}") from None

    async def _poll(
        self, http: httpx2.AsyncClient, provider: ProviderDocument, started: Mapping[str, Any]
    ) -> Grant:
        form = {"grant_type": _DEVICE_GRANT, "device_code": str(started.get("device_code", ""))}
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
        lifetime = _number(answer, "expires_in", 0.0)
        return Grant(Secret(token), self._clock.now() + lifetime if lifetime else 0.0)


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


def _complaint(answer: Mapping[str, Any]) -> str:
    what = printable(str(answer.get("error", "unknown error")), 100)
    more = printable(str(answer.get("error_description", "")), 300)
    return f"the issuer refused: {what}{f' ({more})' if more else ''}"
