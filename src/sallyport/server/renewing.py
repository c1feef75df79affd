"""Checks the token that a session is to go on under: the same identity, still let in, at the same
target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.renewal import is_same_identity
from sallyport.judge import Judge
from sallyport.server.databases import Database
from sallyport.server.gateway import Gateway
from sallyport.server.loginrefusals import Why
from sallyport.session.identity_settings import identity_settings
from sallyport.sql.utility.custom_settings import ANY

log = structlog.get_logger("sallyport.session")

_GROUPS = "sallyport.groups"
_AGAIN = "The session continues under its old token until that expires."


@dataclass(frozen=True, slots=True)
class Renewal:
    """One try to renew the token of a live ``session`` of ``subject``. ``address``: the
    client's. ``shut`` ends the session; ``is_over``: it has ended. Each refusal is recorded.
    """

    gateway: Gateway
    database: Database
    judge: Judge
    subject: Subject
    session: str
    address: str
    shut: Callable[[Refusal, str], None]
    is_over: Callable[[], bool]

    async def check(self, token: Secret, role: str) -> Subject | Refusal | None:
        """Whom ``token`` makes of the subject, or why it may not be; None: the session is over.
        ``role``: its own in the database, "" when it has none.
        """
        outcome = await self._checked(token)
        if isinstance(outcome, Subject) and not self.is_over():
            outcome = await self.database.renew_session(role, self.judge, outcome)
            if isinstance(outcome, Refusal) and not self.is_over():
                self._record(outcome, Why(outcome.detail, self.subject))
        if self.is_over() or (isinstance(outcome, Subject) and self._was_locked(outcome)):
            return None
        return outcome

    async def _checked(self, token: Secret) -> Subject | Refusal:
        try:
            renewed = await self.gateway.authenticator.authenticate(
                token,
                label=self.subject.label,
                entrance="wire",
                address=self.address,
                target=self.database.name,
            )
        except RefusedError as error:
            refusal = error.refusal
            refused = refuse(
                "SP1611",
                f"the token is not accepted: {refusal.message}",
                refusal.detail or _AGAIN,
                refusal.hint,
            )
            self._record(refused, Why.of(error, self.subject))
            return refused
        if not is_same_identity(self.subject, renewed):
            return self._of_another(renewed)
        problem = _binding_problem(self.judge, self.subject, renewed)
        if problem is not None:
            self._record(problem, Why(problem.detail, self.subject))
        return problem or renewed

    def _of_another(self, renewed: Subject) -> Refusal:
        refused = refuse(
            "SP1611",
            "the token is of another identity",
            "Issuer, subject, agent and delegation must be those of the session's first token."
            f" {_AGAIN}",
            "Connect again to use another identity.",
        )
        whose = {"issuer": renewed.issuer, "subject": renewed.id, "agent": renewed.agent}
        why = Why("a valid token of another identity", self.subject, whose)
        log.warning("token of somebody else in a session", session=self.session, **whose)
        self._record(refused, why)
        return refused

    def _was_locked(self, renewed: Subject) -> bool:
        """Whether the subject was locked or its token revoked since the token was checked, and so
        the session is shut: it was not among those that the lock ended, and its database role may
        have the new privileges already.
        """
        try:
            self.gateway.authenticator.refuse_retired(renewed)
            self.gateway.authenticator.refuse_locked(renewed, entrance="wire")
        except RefusedError as error:
            self._record(error.refusal, Why.of(error, renewed))
            self.shut(error.refusal, "the token of a renewal was locked or revoked meanwhile")
            return True
        return False

    def _record(self, refusal: Refusal, why: Why) -> None:
        self.gateway.refused_logins.add_renewal(
            refusal, why, self.session, self.database.name, self.address
        )


def _binding_problem(judge: Judge, subject: Subject, renewed: Subject) -> Refusal | None:
    """Why the groups of the new token cannot be bound to this session: what was settled at its
    login would be another.
    """
    policy = judge.subject_policy(renewed)
    if not policy.may_connect:
        why = "No rule of the policy allows you anything with the groups of the new token."
    elif (
        judge.mask_settings(subject) != judge.mask_settings(renewed)
        or judge.subject_policy(subject).limits.statement_timeout != policy.limits.statement_timeout
    ):
        why = "With the groups of the new token the session would have other settings."
    elif _told(subject) != _told(renewed) and not judge.catalog.read_settings.isdisjoint(
        (_GROUPS, ANY)
    ):
        why = (
            f"The database decides by {_GROUPS}, which has the groups of the session's first token."
        )
    else:
        return None
    return refuse(
        "SP1611",
        "the token cannot go on in this session",
        f"{why} {_AGAIN}",
        "Connect again with the new token.",
    )


def _told(subject: Subject) -> str | None:
    """The groups as the target was told them at the login, where nothing changes them until the
    session ends.
    """
    return identity_settings(subject, "").get(_GROUPS)
