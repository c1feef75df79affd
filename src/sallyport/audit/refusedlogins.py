"""Refused logins in the record of actions: each with the operator's reason, in bounded number.

Anybody who reaches a port can be refused as often as they like. So the first refusal of each kind
from an address is recorded by itself, and the rest of its minute as one action
(:data:`REPEATED`) that counts them; addresses beyond :data:`MOST_ADDRESSES` are counted together.
A minute adds :data:`MOST_AT_ONCE` + :data:`MOST_ADDRESSES` + 1 actions at most, and every refusal
is in exactly one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sallyport.core.address import network_of
from sallyport.core.subject import Subject

#: The actions: one refused login, many, a token with which a session may not go on, and a sign-in
#: to the console, whatever came of it.
LOGIN: Final = "login"
RENEWAL: Final = "login.renewal"
REPEATED: Final = "login.repeated"
SIGN_IN: Final = "sign-in"
LOGINS: Final = frozenset({LOGIN, RENEWAL, REPEATED, SIGN_IN})
#: Seconds of the clock over which an address's refusals are counted.
SECONDS: Final = 60.0
#: Of one address in that time, and of all: refusals that are recorded one by one.
MOST_OF_ONE: Final = 5
MOST_AT_ONCE: Final = 60
#: Addresses (IPv6: /64 networks) that are counted apart in that time.
MOST_ADDRESSES: Final = 64
#: Codes that the action of many names.
_MOST_CODES: Final = 20


@dataclass(frozen=True, slots=True)
class RefusedLogin:
    """``address``: the peer's, "" for a Unix socket. ``channel``: wire, mcp, rest or web. ``code``:
    of the refusal. ``reason``: the operator's; the client may have been told less. ``subject``:
    whom a valid token names. ``details``: what was asked for, safe to print; no part of a token.
    """

    address: str
    channel: str
    code: str
    reason: str
    subject: Subject | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    name: str = LOGIN

    @property
    def kind(self) -> tuple[object, ...]:
        """What makes two of them the same but for their time."""
        who = self.subject
        identity = (who.issuer, who.id) if who is not None else None
        return self.name, self.code, self.reason, identity, tuple(sorted(self.details.items()))


@dataclass(slots=True)
class _Counted:
    """Refusals of an address since ``since``: those that were not recorded one by one."""

    since: float
    address: str
    channel: str
    kinds: set[tuple[object, ...]] = field(default_factory=set)
    codes: Counter[str] = field(default_factory=Counter)


class RefusedLogins:
    """``write`` records one. ``now``: Unix seconds. For one thread."""

    def __init__(self, write: Callable[[RefusedLogin], None], now: Callable[[], float]) -> None:
        self._write, self._now = write, now
        self._counted: dict[tuple[str, str], _Counted] = {}  # oldest first
        self._began, self._at_once = now(), 0

    def add(self, refused: RefusedLogin) -> None:
        """Record it now, or count it."""
        self.settle()
        counted = self._of(refused)
        is_new = refused.kind not in counted.kinds and len(counted.kinds) < MOST_OF_ONE
        if is_new and self._at_once < MOST_AT_ONCE:
            counted.kinds.add(refused.kind)
            self._at_once += 1
            self._write(refused)
        else:
            counted.codes[refused.code] += 1

    def settle(self) -> None:
        """Record what was counted in minutes that are over. Called again and again."""
        now = self._now()
        if not 0 <= now - self._began < SECONDS:
            self._began, self._at_once = now, 0
        while self._counted:
            key, counted = next(iter(self._counted.items()))
            if 0 <= now - counted.since < SECONDS:
                return
            self._end(key)

    def close(self) -> None:
        """Record what was counted until now."""
        for key in list(self._counted):
            self._end(key)

    def _of(self, refused: RefusedLogin) -> _Counted:
        address = network_of(refused.address)
        key = (refused.channel, address)
        if key not in self._counted and len(self._counted) >= MOST_ADDRESSES:
            key, address = ("", ""), ""
        if key not in self._counted:
            channel = refused.channel if key[0] else ""
            self._counted[key] = _Counted(self._now(), address, channel)
        return self._counted[key]

    def _end(self, key: tuple[str, str]) -> None:
        counted = self._counted.pop(key)
        number = counted.codes.total()
        if not number:
            return
        codes = ", ".join(f"{code}: {n}" for code, n in counted.codes.most_common(_MOST_CODES))
        where = "from this address" if key != ("", "") else "from other addresses"
        reason = f"{number} more {where} within {SECONDS:.0f} seconds"
        details = {"count": str(number), "codes": codes}
        self._write(
            RefusedLogin(counted.address, counted.channel, "", reason, None, details, REPEATED)
        )
