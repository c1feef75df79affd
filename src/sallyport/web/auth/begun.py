"""What a browser takes elsewhere and brings back, at whichever gateway of the store: sign-ins on
their way to a provider, our requests to sign out there, and sign-ins that a terminal takes over.

No gateway keeps any of it. It goes along with the browser, sealed under a key that all gateways of
the store have, with the time at which it began. Each counts once, at one of them, and for minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sallyport.core.clock import Clock
from sallyport.core.errors import RefusedError
from sallyport.core.sealing import SealedBox
from sallyport.identity.pkce import challenge_of
from sallyport.identity.replay import MessageUse, UsedMessages

#: Seconds: for a person at a provider's page, and for a terminal that waits for its code.
PENDING_SECONDS: Final = 600
_HANDOVER_SECONDS: Final = 60
#: Seconds by which the clock of another gateway may be ahead.
_CLOCKS_APART: Final = 60
_TIME: Final = struct.Struct(">d")


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in on its way: what must come back (state, nonce), what proves it (verifier), and
    where it goes afterwards. provider: the name of a SAML provider, "" for the issuer. With SAML
    the nonce is part of the request's ID.
    """

    onward: str
    provider: str = ""
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)


class _Handover(msgspec.Struct, frozen=True, array_like=True):
    """``challenge``: of PKCE (RFC 7636, S256)."""

    signin: str
    challenge: str


class Begun:
    """For one event loop. ``box``: the same at all gateways of a store."""

    def __init__(self, clock: Clock, box: SealedBox, used: UsedMessages) -> None:
        self._clock, self._box, self._used = clock, box, used

    def cookie_of(self, pending: Pending) -> str:
        """For the browser alone: who has it can answer the sign-in."""
        return self._sealed(msgspec.msgpack.encode(pending), "pending")

    async def pending_of(self, cookie: str) -> Pending | None:
        """The sign-in that was begun with this cookie, once; None when there is none, or it took
        too long. Without the store this gateway's memory has to do: the issuer's code counts once
        by itself, and no SAML response is accepted then.
        """
        value = await self._opened(cookie, "pending", PENDING_SECONDS, alone=True)
        return None if value is None else msgspec.msgpack.decode(value, type=Pending)

    def logout_id(self, provider: str) -> str:
        """The ID of a new request to sign out, an NCName that only we can make."""
        return f"_{self._sealed(b'', f'logout {provider}')}"

    async def is_logout_id(self, id_: str, provider: str) -> bool:
        """Whether that provider was asked so, and has not answered; once."""
        name = f"logout {provider}"
        sealed = id_.removeprefix("_")
        return await self._opened(sealed, name, PENDING_SECONDS, alone=True) is not None

    def handover_code(self, signin: str, challenge: str) -> str:
        """With which a terminal takes over the sign-in of that name."""
        value = msgspec.msgpack.encode(_Handover(signin, challenge))
        return self._sealed(value, "handover")

    async def handed_over(self, code: str, verifier: str) -> str:
        """The name of the sign-in whose code it is, for who has the verifier; "" when there is none
        any more. A wrong verifier uses the code up.
        """
        value = await self._opened(code, "handover", _HANDOVER_SECONDS)
        if value is None:
            return ""
        handover = msgspec.msgpack.decode(value, type=_Handover)
        proved = hmac.compare_digest(handover.challenge.encode(), challenge_of(verifier).encode())
        return handover.signin if proved else ""

    def _sealed(self, value: bytes, belongs_to: str) -> str:
        return self._box.close(_TIME.pack(self._clock.now()) + value, belongs_to).hex()

    async def _opened(
        self, sealed: str, belongs_to: str, seconds: int, *, alone: bool = False
    ) -> bytes | None:
        """What was sealed for that, which uses it. ``alone``: this gateway's memory of what was
        used suffices while the store cannot be asked.
        """
        try:
            data = bytes.fromhex(sealed)
            value = self._box.open(data, belongs_to)
        except ValueError:
            return None
        began, now = _TIME.unpack_from(value)[0], self._clock.now()
        if not -_CLOCKS_APART <= now - began <= seconds:
            return None
        use = MessageUse("", hashlib.sha256(data).hexdigest(), began + seconds + _CLOCKS_APART)
        if not self._used.use(use.issuer, use.id, use.until):
            return None
        try:
            is_new = await self._used.use_everywhere(use)
        except RefusedError:  # the store logs it
            is_new = alone
        return value[_TIME.size :] if is_new else None
