"""Checks the token that a session is to go on under: the same identity, still let in, at the same
target.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.renewal import is_same_identity
from sallyport.judge import Judge
from sallyport.server.databases import Database
from sallyport.server.gateway import Gateway
from sallyport.session.identity_settings import identity_settings
from sallyport.sql.utility.custom_settings import ANY

log = structlog.get_logger("sallyport.session")

_GROUPS = "sallyport.groups"
_AGAIN = "The session continues under its old token until that expires."


async def check_renewal(
    gateway: Gateway,
    judge: Judge,
    subject: Subject,
    token: Secret,
    database: Database,
    address: str,
) -> Subject | Refusal:
    """Whom ``token`` makes of ``subject``, or why it may not be. ``address``: the client's."""
    target = database.name
    try:
        renewed = await gateway.authenticator.authenticate(
            token, label=subject.label, entrance="wire", address=address, target=target
        )
    except RefusedError as error:
        refusal = error.refusal
        return refuse(
            "SP1611",
            f"the token is not accepted: {refusal.message}",
            refusal.detail or _AGAIN,
            refusal.hint,
        )
    if not is_same_identity(subject, renewed):
        log.warning(
            "token of somebody else in a session", subject=subject.id, token_subject=renewed.id
        )
        return refuse(
            "SP1611",
            "the token is of another identity",
            "Issuer, subject, agent and delegation must be those of the session's first token."
            f" {_AGAIN}",
            "Connect again to use another identity.",
        )
    return _binding_problem(judge, subject, renewed) or renewed


def was_locked(
    gateway: Gateway,
    outcome: Subject | Refusal,
    shut: Callable[[Refusal, str], None],
) -> bool:
    """Whether the subject of a renewal was locked or its token revoked since :func:`check_renewal`,
    and so the session is ``shut``: it was not among those that the lock ended, and its database
    role may have the new privileges already.
    """
    if isinstance(outcome, Subject):
        try:
            gateway.authenticator.refuse_retired(outcome)
            gateway.authenticator.refuse_locked(outcome, entrance="wire")
        except RefusedError as error:
            shut(error.refusal, "the token of a renewal was locked or revoked meanwhile")
            return True
    return False


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
