"""Session tokens: what Sallyport issues in exchange for a verified identity, short enough for any
password field.

A token is opaque: :data:`PREFIX` and 32 characters of 190 random bits. Only its SHA-256 is kept,
which with so many bits nobody can search. It stands for the subject it was issued to, with the
groups that subject had then, never for longer than the identity it came from, and perhaps for one
target and some networks only.

What is valid is held in memory, so that asking costs a look-up; :class:`SessionTokenStore` keeps it
for the next start.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sallyport.core.address import Networks
from sallyport.core.clock import Clock
from sallyport.core.errors import SallyportError
from sallyport.core.ids import new_id
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.problems import IdentityProblem

#: How session tokens begin: no JWT does, and scanners of leaked secrets find them by it.
PREFIX: Final = "spt_"
_ALPHABET: Final = string.ascii_letters + string.digits
_SIGNS: Final = frozenset(_ALPHABET)
_LENGTH: Final = 32
_AGAIN: Final = "Get a fresh token."


class IssueError(SallyportError):
    """No session token is issued; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class SessionToken:
    """One of them, without its text. digest: SHA-256 of that, hex. subject: whom it stands for,
    with ``token_id`` and ``expires_at`` of the session token. target "": any. networks (CIDR) ():
    from anywhere. Times are Unix seconds. address: who asked for it.
    """

    id: str
    digest: str
    subject: Subject
    target: str
    networks: tuple[str, ...]
    created: float
    address: str
    revoked_at: float | None = None
    revoked_by: str = ""

    def is_valid(self, now: float) -> bool:
        return self.revoked_at is None and now < self.subject.expires_at


class SessionTokenStore(Protocol):
    """Where they outlive the process. Each call is on the disk when it returns; RefusedError
    (SP1801) otherwise.
    """

    def add(self, token: SessionToken) -> None: ...

    def revoke(self, token: SessionToken) -> None:
        """``revoked_at`` and ``revoked_by`` of a token that is stored."""
        ...

    def valid(self, now: float) -> list[SessionToken]:
        """Neither revoked nor expired. RefusedError (SP1801) when that cannot be read."""
        ...

    def get(self, digest: str) -> SessionToken | None:
        """Any thread. Raises RefusedError (SP1807) when the store cannot be read."""
        ...

    def forget(self, before: float) -> None:
        """Delete those that expired before that moment."""
        ...


class SessionTokens:
    """Those that are valid. For one event loop; the store is called from other threads.

    lifetime: seconds, at most; 0: none are issued or accepted. per_subject: valid at once, at most.
    """

    def __init__(
        self, store: SessionTokenStore, clock: Clock, lifetime: float, per_subject: int
    ) -> None:
        self.store = store
        self.lifetime, self.per_subject = lifetime, per_subject
        self._clock = clock
        self.is_shared = False  # other processes issue and revoke as well
        self.announce: Callable[[str], None] = lambda token_id: None  # one was revoked
        #: Told the id of a token that another process revoked and nobody announced.
        self.on_missed: Callable[[str], None] = lambda token_id: None
        self._tokens: dict[str, SessionToken] = {}
        self._revoked: set[str] = set()
        self._unstored: dict[str, SessionToken] = {}  # by id, revocations
        self.reload()

    def reload(self) -> None:
        """Take those that are valid from the store, but none that is being revoked."""
        now = self._clock.now()
        valid = self.store.valid(now) if self.lifetime else []
        before = self._tokens
        self._tokens = {t.digest: t for t in valid if t.id not in self._revoked}
        for digest, token in before.items():
            if digest not in self._tokens and token.is_valid(now):
                self._revoked.add(token.id)
                self.on_missed(token.id)

    def reread(self) -> None:
        """As :meth:`reload`, where other processes issue and revoke as well. Raises RefusedError
        (SP1801).
        """
        if self.is_shared:
            self.reload()

    def issue(
        self,
        subject: Subject,
        *,
        target: str = "",
        networks: tuple[str, ...] = (),
        seconds: float = 0.0,
        address: str = "",
    ) -> tuple[Secret, SessionToken]:
        """Make one; the caller stores it, then :meth:`add` makes it valid. seconds 0: as long as it
        may live.

        Raises IssueError.
        """
        now = self._clock.now()
        if not self.lifetime:
            raise IssueError(
                "This gateway issues no session tokens (identity.session_tokens.lifetime is 0)."
            )
        if subject.token_id:
            raise IssueError(
                "A session token cannot be exchanged for another one: send the identity token."
            )
        if subject.expires_at <= now:
            raise IssueError("The identity for this session token has expired: sign in again.")
        theirs = [
            t
            for t in self.active()
            if (t.subject.issuer, t.subject.id) == (subject.issuer, subject.id)
        ]
        if len(theirs) >= self.per_subject:
            raise IssueError(
                f"You have {len(theirs)} valid session tokens, which is the limit: revoke those "
                "that you no longer use."
            )
        try:
            Networks(networks)
        except ValueError as error:
            raise IssueError(
                f"networks: {error}. Write addresses or networks, like 10.1.0.0/16."
            ) from None
        ends = min(subject.expires_at, now + self.lifetime, now + (seconds or self.lifetime))
        text = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        id_ = new_id("tok")
        bound = replace(subject, token_id=id_, expires_at=ends, label="")
        return Secret(text), SessionToken(
            id_, digest_of(text), bound, target, networks, now, address
        )

    def add(self, token: SessionToken) -> None:
        """Valid from now on."""
        self._tokens[token.digest] = token

    def revoke(self, token: SessionToken, by: str) -> SessionToken:
        """Not valid from now on; the caller stores it, and says so (:meth:`stored`)."""
        revoked = replace(token, revoked_at=self._clock.now(), revoked_by=by)
        self._unstored[token.id] = revoked
        self.forget(token.id)
        self.announce(token.id)
        return revoked

    def unstored(self) -> list[SessionToken]:
        """Revoked by this process, and not stored yet. Those that have expired need not be."""
        now = self._clock.now()
        self._unstored = {id_: t for id_, t in self._unstored.items() if now < t.subject.expires_at}
        return list(self._unstored.values())

    def stored(self, token: SessionToken) -> None:
        """Its revocation is in the store."""
        self._unstored.pop(token.id, None)

    def forget(self, token_id: str) -> None:
        """Somebody revoked it."""
        self._revoked.add(token_id)
        self._tokens = {digest: t for digest, t in self._tokens.items() if t.id != token_id}

    def active(self) -> Sequence[SessionToken]:
        """Newest first."""
        now = self._clock.now()
        for token in [token for token in self._tokens.values() if not token.is_valid(now)]:
            del self._tokens[token.digest]
        return sorted(self._tokens.values(), key=lambda token: token.created, reverse=True)

    def holds(self, token_id: str) -> bool:
        """Whether a token of that id is valid now."""
        return any(token.id == token_id for token in self.active())

    def needs_look(self, text: str) -> bool:
        """Whether another process may have issued ``text``, so that :meth:`look_up` can tell."""
        is_token = len(text) == len(PREFIX) + _LENGTH and not set(text[len(PREFIX) :]) - _SIGNS
        return self.is_shared and bool(self.lifetime) and is_token and self._of(text) is None

    async def look_up(self, text: str) -> None:
        """Take the token from the store, where it is there and valid. Raises RefusedError (SP1807)
        when the store cannot be read.
        """
        token = await asyncio.to_thread(self.store.get, digest_of(text))
        # It may have been revoked while it was read.
        if token and token.id not in self._revoked and token.is_valid(self._clock.now()):
            self._tokens[token.digest] = token

    def _of(self, text: str) -> SessionToken | None:
        return self._tokens.get(digest_of(text))

    def verify(self, text: str, address: str, target: str | None) -> Subject | IdentityProblem:
        """Whom ``text`` stands for. address: the client's, "" for a Unix socket. target: what is to
        be opened, None where that is not a target. Whoever does not have a valid one learns
        nothing.
        """
        token = self._of(text)
        if token is None or not token.is_valid(self._clock.now()):
            return IdentityProblem(
                "no such session token, or it was revoked or has expired", "", _AGAIN
            )
        whose = {"issuer": token.subject.issuer, "subject": token.subject.id, "token": token.id}
        if token.target and token.target != target:
            reason = f"the session token is for the target {token.target} only"
            return IdentityProblem(f"{reason} ({token.id})", reason, whose=whose)
        if token.networks and address not in Networks(token.networks):
            reason = "the session token is not accepted from this address"
            return IdentityProblem(f"{reason} ({token.id})", reason, whose=whose)
        return token.subject


def digest_of(text: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
