"""Two-phase commit: identifiers of prepared transactions carry who prepared them, so that a subject
finishes its own only. Pure.

A prepared transaction outlives its session, and PostgreSQL lets anybody of the same role finish it.
So the gateway puts a prefix, made of issuer and subject
(:func:`sallyport.session.identity_settings.prepared_prefix`), before every identifier on its way to
the server, and takes it out of errors; ``pg_prepared_xacts`` shows the subject's own, without it
(:mod:`sallyport.sql.catalog.system_views`). A statement whose identifier has not this prefix when
it is about to be sent is refused, whatever it looked like before.
"""

from __future__ import annotations

import re
from typing import Final

from sallyport.core.errors import Refusal, refuse
from sallyport.core.subject import Subject
from sallyport.judge import Verdict
from sallyport.session.identity_settings import prepared_prefix
from sallyport.session.state import SessionState
from sallyport.sql.facts import EffectKind
from sallyport.wire.fields import message as wire_message

_FORM: Final = re.compile(
    rb"(\s*(?:PREPARE\s+TRANSACTION|(?:COMMIT|ROLLBACK)\s+PREPARED)\s+')((?:[^']|'')*'\s*;?\s*)",
    re.IGNORECASE,
)
_NOT_PLAIN: Final = refuse(
    "SP1107",
    "two-phase commit is not supported in this form",
    "The identifier must be a plain literal, in a statement that is sent by itself.",
    "Send PREPARE TRANSACTION 'name' alone, without comments.",
)
_ROLE_ENDS: Final = refuse(
    "SP1107",
    "two-phase commit is not supported with a role for each session",
    "What it prepares belongs to its role, which is dropped when the session ends.",
    "Use COMMIT.",
)
_HAS_APPROVED: Final = refuse(
    "SP1107",
    "a transaction with an approved statement cannot be prepared",
    "The approval is for this session; a prepared transaction could be committed by another.",
    "Use COMMIT.",
)


def with_own_prefix(sql: bytes, subject: Subject) -> bytes:
    """A text as it is judged and sent: with the prefix, where it is one plain statement of
    two-phase commit.
    """
    form = _FORM.fullmatch(sql)
    return sql if form is None else form[1] + prepared_prefix(subject).encode() + form[2]


def without_prefix(message: bytes, subject: Subject) -> bytes:
    """An ErrorResponse or NoticeResponse that may quote the identifier."""
    body = message[5:].replace(prepared_prefix(subject).encode(), b"")
    return wire_message(message[0], body)


def concerns(verdict: Verdict | None) -> bool:
    """Whether the statement prepares or finishes a transaction."""
    return verdict is not None and any(e.kind is EffectKind.TWO_PHASE for e in verdict.effects)


def refusal_of(identifier: str, session: SessionState) -> Refusal | None:
    """Why a statement with this identifier must not be sent. Several statements in one message have
    a block of the gateway's, which PostgreSQL would not know of.
    """
    prefix, series = prepared_prefix(session.names.subject), session.series
    in_ours = series is not None and series.is_ours
    if in_ours or not prefix or not identifier.startswith(prefix):
        return _NOT_PLAIN
    if session.settings.told.get("session_authorization") != session.names.judge.catalog.role:
        return _ROLE_ENDS
    return _HAS_APPROVED if session.pipeline.approved else None
