"""Logins, and renewals of sessions' tokens, that were refused: counted by code, and recorded with
the operator's reason, which no client gets. Logins that were not are counted here as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sallyport.audit.refusedlogins import LOGIN, RENEWAL, RefusedLogin
from sallyport.core.errors import Refusal, RefusedError
from sallyport.core.subject import Subject
from sallyport.identity.authenticate import LockedError, LoginRefused
from sallyport.identity.problems import printable, shown_label
from sallyport.session.login.client import ClientLogin

#: Characters of a target's name and of a reason that are recorded.
_TARGET: Final = 100
_REASON: Final = 1000
#: The entrance of clients that speak PostgreSQL's protocol themselves.
WIRE: Final = "wire"


@dataclass(frozen=True, slots=True)
class Why:
    """What the operator may know. ``subject``: whom a valid token names. ``whose``: what a signed
    token says that is not valid.
    """

    reason: str
    subject: Subject | None = None
    whose: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: RefusedError, subject: Subject | None) -> Why:
        """Why a login raised it. ``subject``: whose token had been verified by then."""
        reason = getattr(error, "reason", "") or error.refusal.message
        if isinstance(error, LockedError):
            return cls(reason, error.subject)
        return cls(reason, subject, error.whose if isinstance(error, LoginRefused) else {})


@dataclass(slots=True)
class LoginRefusals:
    """``codes``: how many since the start. ``entrances``: the same by entrance (wire, mcp) and
    code, with "accepted" for those that were not refused. ``record``: where each goes.
    """

    codes: Counter[str] = field(default_factory=Counter)
    entrances: Counter[tuple[str, str]] = field(default_factory=Counter)
    record: Callable[[RefusedLogin], object] = lambda refused: None

    def add(
        self,
        refusal: Refusal,
        why: Why | None,
        login: ClientLogin,
        address: str,
        entrance: str = WIRE,
    ) -> None:
        """``why`` None: the client is told all there is to say. ``address``: the client's."""
        asked = {"target": printable(login.target, _TARGET), "label": shown_label(login.label)}
        self._add(LOGIN, refusal, why or Why(refusal.text), asked, address, entrance)

    def add_request(self, refused: RefusedLogin) -> None:
        """A request of another entrance than the wire, whose token was refused."""
        self._count(refused.code, refused.channel)
        self.record(refused)

    def accepted(self, entrance: str) -> None:
        """A session begins."""
        self.entrances[entrance, "accepted"] += 1

    def add_renewal(
        self, refusal: Refusal, why: Why, session: str, target: str, address: str
    ) -> None:
        """The live ``session`` keeps the token that it has, or has ended. ``address``: the
        client's.
        """
        self._add(RENEWAL, refusal, why, {"target": target, "session": session}, address)

    def _count(self, code: str, entrance: str) -> None:
        self.codes[code] += 1
        self.entrances[entrance, code] += 1

    def _add(
        self,
        name: str,
        refusal: Refusal,
        why: Why,
        asked: Mapping[str, str],
        address: str,
        entrance: str = WIRE,
    ) -> None:
        self._count(refusal.code.id, entrance)
        whose = {key: printable(text, _TARGET) for key, text in why.whose.items()}
        details = {key: text for key, text in {**asked, **whose}.items() if text}
        reason = printable(why.reason, _REASON)
        self.record(
            RefusedLogin(address, entrance, refusal.code.id, reason, why.subject, details, name)
        )
