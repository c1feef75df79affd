"""Tokens of a person who signs in when a command starts: in a browser on this machine (RFC 8252) or
on any other (device flow, RFC 8628). What buys the next token stays in memory.
"""

from __future__ import annotations

import asyncio
import time
import webbrowser
from collections.abc import Callable
from typing import Literal

from sallyport.cli.loopback import LoopbackListener
from sallyport.core.errors import SallyportError
from sallyport.identity.oidc.client import DevicePrompt, Grant, GrantError, TokenClient

SignIn = Literal["browser", "device"]
#: A token with so little left of its life is not handed out, if another can be had: a share, and
#: seconds.
_SHARE, _MARGIN = 0.5, 10.0


async def sign_in(client: TokenClient, how: SignIn, show: Callable[[str], None]) -> Grant:
    """A token for who signs in. ``show`` gets what is to be done. Raises SallyportError."""
    if how == "device":
        return await client.device(lambda prompt: show(_told(prompt)))
    # The state is the request's, which needs the listener's port: nothing is answered until then.
    with LoopbackListener("") as listener:
        request = await client.begin_code(f"http://127.0.0.1:{listener.server_port}/")
        listener.state = request.state
        show(f"Open {request.url}\nand sign in there, in a browser on this machine")
        webbrowser.open(request.url)
        answer = await asyncio.to_thread(listener.wait)
    return await client.finish_code(request, answer)


def _told(prompt: DevicePrompt) -> str:
    return f"Open {prompt.complete_uri or prompt.uri}\nand confirm the code {prompt.code}"


class PersonTokens:
    """Of one person, for as long as the program runs. ``show`` gets what the person is to do."""

    def __init__(self, client: TokenClient, how: SignIn, show: Callable[[str], None]) -> None:
        self._client, self._how, self._show = client, how, show
        self._grant: Grant | None = None
        self._fetched = 0.0
        self._lock = asyncio.Lock()  # several connections share one sign-in

    async def fetch(self) -> Grant:
        """A token that is good now; has the person sign in where nothing else brings one. Raises
        SallyportError.
        """
        async with self._lock:
            grant = self._grant
            if grant is not None and not self._is_stale(grant):
                return grant
            try:
                return await self._refreshed()
            except GrantError:
                if grant is not None and not self._is_over(grant):
                    return grant
                return self._keep(await sign_in(self._client, self._how, self._show))

    async def renew(self) -> Grant:
        """Another token without asking anybody. Raises SallyportError."""
        async with self._lock:
            if self._grant is not None and not self._is_stale(self._grant):
                return self._grant
            return await self._refreshed()

    def fetch_now(self) -> Grant:
        """As :meth:`fetch`, for callers without an event loop."""
        return asyncio.run(self.fetch())

    async def _refreshed(self) -> Grant:
        if self._grant is None:
            raise GrantError("nobody has signed in")
        return self._keep(await self._client.refresh(self._grant))

    def _keep(self, grant: Grant) -> Grant:
        self._grant, self._fetched = grant, time.time()
        return grant

    def _is_stale(self, grant: Grant) -> bool:
        lifetime = grant.expires_at - self._fetched
        return bool(grant.expires_at) and time.time() > self._fetched + lifetime * _SHARE

    def _is_over(self, grant: Grant) -> bool:
        return bool(grant.expires_at) and time.time() > grant.expires_at - _MARGIN


def person_tokens(client: TokenClient, how: str, show: Callable[[str], None]) -> PersonTokens:
    """``how``: as it was written on the command line. Raises SallyportError."""
    if how == "browser":
        return PersonTokens(client, "browser", show)
    if how == "device":
        return PersonTokens(client, "device", show)
    raise SallyportError(f"--sign-in {how}: write browser or device")
