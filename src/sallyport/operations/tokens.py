"""What people do with session tokens: exchange an identity for one, list, revoke. Console and REST
call these, nothing else.

Everybody has their own; those of others are listed by whoever may see locks, and revoked by whoever
may lock, whichever gateway of the store issued them. A token is stored before it is given out. A
revocation is in force, and the sessions that it ends are over, before it is stored; one that cannot
be stored is tried again for as long as the process lives. Errors: ForbiddenError, TokenError,
RefusedError (SP1801: not stored).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from sallyport.core.clock import with_times
from sallyport.core.errors import RefusedError, SallyportError
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.session_tokens import IssueError, SessionToken, SessionTokens
from sallyport.operations.access import Principal
from sallyport.operations.ports import LiveGateway

log = structlog.get_logger("sallyport.tokens")

MAX_MINUTES: Final = 525_600
MAX_NETWORKS: Final = 20


class TokenError(SallyportError):
    """Not issued, or not revoked; the text says why. ``missing``: there is no such token."""

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """target "": any. networks: addresses or CIDR; (): from anywhere. minutes 0: as long as it may
    live.
    """

    target: str = ""
    networks: tuple[str, ...] = ()
    minutes: int = 0


@dataclass(frozen=True, slots=True)
class EndedTokens:
    """How many tokens were revoked, and how many live sessions ended with them. is_stored: else the
    revocations are in force, and stored later.
    """

    tokens: int = 0
    sessions: int = 0
    is_stored: bool = True


@dataclass(frozen=True, slots=True)
class TokenOperations:
    """Session tokens: one's own for everybody, others' for who has the role."""

    tokens: SessionTokens
    live: LiveGateway

    def list(self, who: Principal, *, everybody: bool = False) -> Sequence[SessionToken]:
        """Valid now, newest first: one's own, or those of ``everybody``."""
        who.require("tokens.list")
        if everybody:
            who.require("locks.read")
        with contextlib.suppress(RefusedError):  # it is logged; what is in force here is shown
            self.tokens.reread()
        return [token for token in self.tokens.active() if everybody or _is_own(who, token)]

    async def issue(self, who: Principal, request: TokenRequest) -> tuple[Secret, SessionToken]:
        """A token for whoever asks. Nobody gets one for somebody else."""
        who.require("tokens.issue")
        self.tokens.reread()
        if who.subject.issuer not in self.live.issuers():
            raise TokenError(
                "Tokens of your issuer do not open this gateway, so neither would this."
            )
        if request.target and request.target not in {target.name for target in self.live.targets()}:
            raise TokenError(f"There is no target {request.target[:100]!r}.")
        try:
            secret, token = self.tokens.issue(
                who.subject,
                target=request.target,
                networks=request.networks,
                seconds=request.minutes * 60.0,
                address=who.address,
            )
        except IssueError as error:
            raise TokenError(str(error)) from None
        await asyncio.to_thread(self.tokens.store.add, token)
        self.tokens.add(token)
        log.info(
            "session token issued",
            token=token.id,
            subject=who.subject.id,
            issuer=who.subject.issuer,
        )
        return secret, token

    async def revoke(self, who: Principal, token_id: str) -> tuple[SessionToken, int]:
        """The token, and how many live sessions it ended."""
        who.require("tokens.revoke")
        token = self._active(token_id)
        if token is not None and not _is_own(who, token) and not who.may("locks.lock"):
            token = None  # who may not see it does not learn that it is there
        if token is None:
            raise TokenError(f"No session token {token_id[:100]} of yours is valid.", missing=True)
        by = who.subject.email or who.subject.id
        revoked = self.tokens.revoke(token, by)
        ended = self.live.end_token(token.id, by)
        log.warning("session token revoked", token=token.id, by=who.subject.id, sessions=ended)
        await self._store(revoked)
        return revoked, ended

    async def end(self, is_theirs: Callable[[Subject], bool], by: str) -> EndedTokens:
        """Revoke every token of such a subject, with the sessions that it opened: the identity that
        they stand for is over.
        """
        with contextlib.suppress(RefusedError):  # it is logged; what this process knows is revoked
            self.tokens.reread()
        sessions, theirs = 0, [t for t in self.tokens.active() if is_theirs(t.subject)]
        revoked = [self.tokens.revoke(token, by) for token in theirs]
        for token in revoked:
            sessions += self.live.end_token(token.id, by)
            log.warning("session token revoked", token=token.id, by=by)
        is_stored = True
        for token in revoked:
            try:
                await self._store(token)
            except RefusedError:  # it is logged, and tried again
                is_stored = False
        return EndedTokens(len(revoked), sessions, is_stored)

    async def _store(self, revoked: SessionToken) -> None:
        await asyncio.to_thread(self.tokens.store.revoke, revoked)
        self.tokens.stored(revoked)

    def _active(self, token_id: str) -> SessionToken | None:
        """One that is valid. Where the store is away, one that this process knows can be revoked;
        TokenError for another.
        """
        if not self.tokens.holds(token_id):
            try:
                self.tokens.reread()
            except RefusedError as error:
                raise TokenError(str(error), missing=True) from None
        return next((token for token in self.tokens.active() if token.id == token_id), None)


def _is_own(who: Principal, token: SessionToken) -> bool:
    return (token.subject.issuer, token.subject.id) == (who.subject.issuer, who.subject.id)


def token_data(token: SessionToken) -> dict[str, Any]:
    """A session token as JSON values. Neither its text nor the hash of that."""
    subject = token.subject
    data = {
        "id": token.id,
        "subject": subject.id,
        "issuer": subject.issuer,
        "agent": subject.agent,
        "groups": sorted(subject.groups),
        "target": token.target,
        "networks": list(token.networks),
        "created": token.created,
        "expires_at": subject.expires_at,
        "address": token.address,
        "revoked_at": token.revoked_at,
        "revoked_by": token.revoked_by,
    }
    return with_times(data, "created", "expires_at", "revoked_at")
