"""Who is signed in: sessions of the console, kept on the server, in memory.

A browser holds nothing but a random id (256 bits), of which the store keeps only the SHA-256. A
sign-in ends after ``absolute`` seconds, after ``idle`` seconds without a request, by signing out,
or with the process. Beside them :class:`Pending`: sign-ins that went to the issuer and have not
come back. Both are bounded; the oldest goes first.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from sallyport.core.clock import Clock
from sallyport.core.subject import Subject

_MAX_SIGNINS = 5_000
_MAX_PENDING = 1_000
_PENDING_SECONDS = 600.0
_TICKET_SECONDS = 60.0
_MAX_TICKETS = 64  # of at most a megabyte each


@dataclass(slots=True)
class SignIn:
    """One person in one browser. ``csrf``: must come back with every POST. ``streams``: that are
    open now. Times are monotonic seconds. ``ends``: where the provider says so.
    """

    subject: Subject
    started: float
    seen: float
    ends: float = math.inf
    streams: int = 0
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def csrf_matches(self, token: str) -> bool:
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in on its way: what must come back (state, nonce), what proves it (verifier), and
    where it goes afterwards. provider: the name of a SAML provider, "" for the issuer. With SAML
    the nonce is part of the request's ID.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    onward: str
    started: float
    provider: str = ""


class SignIns:
    """Seconds. For one event loop."""

    def __init__(self, clock: Clock, *, absolute: float, idle: float) -> None:
        self._clock, self._absolute, self._idle = clock, absolute, idle
        self._signins: OrderedDict[bytes, SignIn] = OrderedDict()
        self._pending: OrderedDict[bytes, Pending] = OrderedDict()

    def begin(self, onward: str, provider: str = "") -> tuple[str, Pending]:
        """A new sign-in on its way to the issuer: its id for the cookie, and what to ask with."""
        pending = Pending(
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(48),
            onward,
            self._clock.monotonic(),
            provider,
        )
        id_ = secrets.token_urlsafe(32)
        self._pending[_digest(id_)] = pending
        while len(self._pending) > _MAX_PENDING:
            self._pending.popitem(last=False)
        return id_, pending

    def take(self, id_: str) -> Pending | None:
        """The pending sign-in, once; None when there is none or it took too long."""
        pending = self._pending.pop(_digest(id_), None)
        if pending is None or self._clock.monotonic() - pending.started > _PENDING_SECONDS:
            return None
        return pending

    def open(self, subject: Subject, ends: float = math.inf) -> str:
        """Sign somebody in: the new id for the cookie. ends: Unix seconds at which the provider's
        session is over.
        """
        now, id_ = self._clock.monotonic(), secrets.token_urlsafe(32)
        self._sweep(now)
        self._signins[_digest(id_)] = SignIn(subject, now, now, now + (ends - self._clock.now()))
        while len(self._signins) > _MAX_SIGNINS:
            self._signins.popitem(last=False)
        return id_

    def get(self, id_: str, *, touch: bool = True) -> SignIn | None:
        """The sign-in of a cookie, or None when there is none any more. ``touch`` False: nobody did
        anything, a page refreshed itself.
        """
        digest = _digest(id_)
        signin = self._signins.get(digest)
        if signin is None:
            return None
        now = self._clock.monotonic()
        if self._over(signin, now):
            del self._signins[digest]
            return None
        if touch:
            signin.seen = now
        return signin

    def close(self, id_: str) -> None:
        self._signins.pop(_digest(id_), None)

    def close_where(self, is_over: Callable[[Subject], bool]) -> list[Subject]:
        """Sign everybody out of whom that holds; whom it was."""
        over = {d: s.subject for d, s in self._signins.items() if is_over(s.subject)}
        for digest in over:
            del self._signins[digest]
        return list(over.values())

    def __len__(self) -> int:
        return len(self._signins)

    def _over(self, signin: SignIn, now: float) -> bool:
        is_idle = now - signin.seen >= self._idle
        return is_idle or now >= signin.ends or now - signin.started >= self._absolute

    def _sweep(self, now: float) -> None:
        for digest in [d for d, signin in self._signins.items() if self._over(signin, now)]:
            del self._signins[digest]


def _digest(id_: str) -> bytes:
    return hashlib.sha256(id_.encode("utf-8", "replace")).digest()


@dataclass(frozen=True, slots=True)
class _Handover:
    subject: Subject
    challenge: str
    made: float


class Handovers:
    """Identities that go from a browser to a terminal on the same machine: by a code that counts
    once, for a minute, and only with the verifier that the terminal keeps (PKCE, RFC 7636, S256).
    Bounded; the oldest goes first.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: OrderedDict[bytes, _Handover] = OrderedDict()

    def put(self, subject: Subject, challenge: str) -> str:
        """The code."""
        code = secrets.token_urlsafe(32)
        self._waiting[_digest(code)] = _Handover(subject, challenge, self._clock.monotonic())
        while len(self._waiting) > _MAX_PENDING:
            self._waiting.popitem(last=False)
        return code

    def take(self, code: str, verifier: str) -> Subject | None:
        """Whose code it is; None when there is none any more. A wrong verifier uses it up."""
        handover = self._waiting.pop(_digest(code), None)
        if handover is None or self._clock.monotonic() - handover.made > _TICKET_SECONDS:
            return None
        proved = hmac.compare_digest(handover.challenge.encode(), challenge_of(verifier).encode())
        return handover.subject if proved else None


def challenge_of(verifier: str) -> str:
    """RFC 7636, section 4.2: base64url of its SHA-256, without padding."""
    return base64.urlsafe_b64encode(_digest(verifier)).decode().rstrip("=")


class Logouts:
    """Requests to sign out that a provider has not answered yet. Bounded; the oldest goes first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def begin(self, provider: str) -> str:
        """The id of a new request, an NCName that nobody can guess."""
        id_ = f"_{secrets.token_hex(20)}"
        self._waiting[id_] = self._clock.monotonic(), provider
        while len(self._waiting) > _MAX_PENDING:
            self._waiting.popitem(last=False)
        return id_

    def take(self, id_: str, provider: str) -> bool:
        """Whether that provider was asked so, and has not answered; once."""
        began, name = self._waiting.pop(id_, (0.0, ""))
        return name == provider and self._clock.monotonic() - began <= _PENDING_SECONDS


class Tickets:
    """Responses that wait for their browser. Bounded; the oldest goes first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: OrderedDict[str, tuple[float, str, str]] = OrderedDict()

    def put(self, provider: str, response: str) -> str:
        ticket = secrets.token_urlsafe(32)
        self._waiting[ticket] = self._clock.monotonic(), provider, response
        while len(self._waiting) > _MAX_TICKETS:
            self._waiting.popitem(last=False)
        return ticket

    def take(self, ticket: str, provider: str) -> str:
        """The response, once; "" when there is none any more."""
        put, name, response = self._waiting.pop(ticket, (0.0, "", ""))
        in_time = self._clock.monotonic() - put <= _TICKET_SECONDS
        return response if name == provider and in_time else ""
