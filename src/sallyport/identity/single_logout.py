"""Single logout of SAML (core, section 3.7): which sessions of a provider are over.

Whatever was signed in with such a session counts no more: sign-ins of the console, session tokens,
and assertions that arrive late. A session is known by its NameID and SessionIndex, of which only
SHA-256 is kept; without an index in the request, every session of that NameID that began before it
is over. Formats and qualifiers are not compared: what is ended too much can be begun again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from sallyport.core.clock import Clock
from sallyport.core.errors import RefusedError
from sallyport.core.subject import Subject

#: More than that of one request: all sessions of its subject.
_MOST_INDEXES: Final = 20
#: Of one NameID, at one provider.
_MOST_OF_ONE: Final = 50
#: The oldest goes first; the session tokens of its sessions are revoked in the store as well.
_MOST_SESSIONS: Final = 100_000
#: Seconds by which clocks of gateways may differ, and a write may take.
_CLOCKS_APART: Final = 600.0


class EndedSession(msgspec.Struct, frozen=True):
    """name, indexes: SHA-256, hex. indexes (): every session. at: Unix seconds by the provider's
    clock; what began later is another session. until: Unix seconds, from which it is forgotten.
    """

    issuer: str
    name: str
    indexes: tuple[str, ...]
    at: float
    until: float

    def covers(self, subject: Subject) -> bool:
        """Whether the subject came with that session, as far as can be told."""
        if (subject.issuer, _digest(name_of(subject))) != (self.issuer, self.name):
            return False
        if began_at(subject) > self.at:
            return False
        own = {_digest(index) for index in session_indexes(subject)}
        return not own or not self.indexes or not own.isdisjoint(self.indexes)


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """The provider's, verified. relay_state: to be given back. ended: which sessions are over."""

    id: str
    binding: str
    relay_state: str
    ended: EndedSession


@dataclass(frozen=True, slots=True)
class LogoutResponse:
    """The provider's answer, verified. request_id: of our request. problem: what it could not do,
    "" for nothing.
    """

    request_id: str
    problem: str


class EndedSessionStore(Protocol):
    """Where they outlast a process, for all of them. Raises RefusedError."""

    def add(self, ended: EndedSession, now: float) -> None: ...
    def kept_since(self, since: float, now: float) -> list[tuple[float, EndedSession]]: ...


class EndedSessions:
    """Those of all providers of a process; bounded, in memory. For one event loop.

    ``announce``: tells other processes. ``store``: None: they end with the process.
    """

    def __init__(self, clock: Clock, store: EndedSessionStore | None = None) -> None:
        self._clock, self._store = clock, store
        self._unstored: list[EndedSession] = []
        self._read_until = 0.0
        self._ended: OrderedDict[tuple[str, str], list[EndedSession]] = OrderedDict()
        self.announce: Callable[[EndedSession], None] = lambda ended: None

    def end(self, ended: EndedSession) -> None:
        """From now on, here and elsewhere."""
        self.take(ended)
        self.announce(ended)
        if self._store is not None:
            self._unstored.append(ended)

    async def store_all(self) -> bool:
        """Keep what this process ended where others find it. Whether all of it is kept now; what is
        not is tried again with the next call.
        """
        if self._store is None:
            return True
        while self._unstored:
            ended = self._unstored[0]
            try:
                await asyncio.to_thread(self._store.add, ended, self._clock.now())
            except RefusedError:  # the store logs it
                return False
            if ended in self._unstored:  # another call may have been faster
                self._unstored.remove(ended)
        return True

    def reload(self) -> None:
        """Take what was kept since the last call, however it was announced. Raises RefusedError."""
        if self._store is None:
            return
        for kept, ended in self._store.kept_since(
            self._read_until - _CLOCKS_APART, self._clock.now()
        ):
            self._read_until = max(self._read_until, kept)
            self.take(ended)

    def take(self, ended: EndedSession) -> None:
        """As :meth:`end`, where another process says so."""
        now, key = self._clock.now(), (ended.issuer, ended.name)
        kept = [each for each in self._ended.pop(key, ()) if each.until > now and each != ended]
        self._ended[key] = [*kept, ended][-_MOST_OF_ONE:]
        while len(self._ended) > _MOST_SESSIONS:
            self._ended.popitem(last=False)

    def covers(self, subject: Subject) -> bool:
        """Whether the session that the subject came with is over."""
        if not self._ended or not name_of(subject):
            return False
        now = self._clock.now()
        ended = self._ended.get((subject.issuer, _digest(name_of(subject))), ())
        return any(each.until > now and each.covers(subject) for each in ended)


def ended_session(
    issuer: str, name_id: str, indexes: Iterable[str], at: float, until: float
) -> EndedSession:
    """Of what a request says. Times are Unix seconds."""
    digests = tuple(sorted({_digest(index) for index in indexes}))
    every = len(digests) > _MOST_INDEXES
    return EndedSession(issuer, _digest(name_id), () if every else digests, at, until)


def name_of(subject: Subject) -> str:
    """The NameID that the subject came with; "" for others than SAML's."""
    return _text(subject.claims.get("name_id"))


def session_indexes(subject: Subject) -> list[str]:
    """The SessionIndex of each statement of the assertion that the subject came with."""
    values = subject.claims.get("session_index")
    return [v for v in values if isinstance(v, str)] if isinstance(values, (list, tuple)) else []


def began_at(subject: Subject) -> float:
    """Unix seconds at which its assertion was issued, by the provider's clock."""
    value = subject.claims.get("issue_instant")
    return float(value) if isinstance(value, (int, float)) else 0.0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
