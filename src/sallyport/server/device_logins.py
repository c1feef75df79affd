"""Logins without a token: the client is told an address and a code, and its login waits until a
person has signed in there (device flow, RFC 8628).

The gateway is the client of that flow: it asks the issuer and gets the token, which never reaches
the database client. The session is that person's, whoever opened the connection (RFC 8628 section
5.4), so the texts say what is about to be opened. What a stranger can cause is bounded: logins that
wait, and flows begun in a minute, by address and altogether.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from sallyport.core.address import network_of
from sallyport.core.clock import Clock, SystemClock
from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.rate_limit import RateLimit
from sallyport.core.secret import Secret
from sallyport.identity.oidc.client import DevicePrompt, GrantError, TokenClient

_PER_NETWORK, _IN_ALL = 10, 100
_A_MINUTE = 20

log = structlog.get_logger("sallyport.identity")

#: Message, DETAIL and HINT of a NOTICE.
Tell = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class DeviceFlowSettings:
    """``user``: the user name that asks for it. ``client_id``, ``secret``: of the gateway, as a
    client of ``issuer``. ``wants``: further parameters for it (scope, audience, resource).
    ``ca_file``: of the issuer, "" for the system's. ``seconds``: how long a login waits.
    """

    user: str
    issuer: str
    client_id: str
    secret: Secret | None
    wants: Mapping[str, str]
    ca_file: str
    seconds: float


class DeviceLogins:
    """Counts the logins that wait. For one event loop. Raises GrantError for settings that no
    issuer can have.
    """

    def __init__(self, settings: DeviceFlowSettings, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self.user, self.seconds = settings.user, settings.seconds
        self._issuer = settings.issuer
        self._client = TokenClient(
            settings.issuer,
            settings.client_id,
            settings.secret,
            wants=settings.wants,
            ca_file=settings.ca_file,
            clock=clock,
        )
        self._begun = RateLimit(clock, _A_MINUTE, 60.0)
        self._waiting: Counter[str] = Counter()

    async def sign_in(self, address: str, tell: Tell) -> Secret:
        """The token of whoever signs in. ``address``: the client's. ``tell`` gets what is to be
        done. Raises RefusedError. Waits until cancelled, or for as long as the issuer's code lives.
        """
        network = network_of(address)
        if self._begun.exceeded(network) or self._is_full(network):
            raise RefusedError(_too_many())
        self._begun.count(network)
        self._waiting[network] += 1
        try:
            grant = await self._client.device(partial(self._show, tell))
        except GrantError as error:
            log.warning("sign-in failed", address=address, issuer=self._issuer, reason=str(error))
            hint = "Connect again, or send a token as the password under another user name."
            raise RefusedError(refuse("SP1601", "nobody signed in", f"{error}.", hint)) from None
        finally:
            self._waiting[network] -= 1
            self._waiting += Counter()  # those at zero are forgotten
        return grant.token

    def _is_full(self, network: str) -> bool:
        return self._waiting[network] >= _PER_NETWORK or self._waiting.total() >= _IN_ALL

    def _show(self, tell: Tell, prompt: DevicePrompt) -> None:
        tell(
            f"to sign in, open {prompt.complete_uri or prompt.uri} and confirm the code"
            f" {prompt.code}",
            f"This connection waits for {self.seconds:g} seconds, and is then that of the person"
            " who signed in.",
            "Confirm the code only for a connection that you opened yourself.",
        )


def _too_many() -> Refusal:
    return refuse(
        "SP1605",
        "too many connections are waiting for somebody to sign in",
        "The number is limited, for each address and altogether.",
        "Wait a minute, or send a token as the password under another user name.",
    )
