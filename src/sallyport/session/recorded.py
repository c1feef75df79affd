"""A statement as recordings, the index and whoever watches may see it: its text, its bind values,
and errors about it.

:mod:`sallyport.judge.literals` says which values may stay. What was not judged (a text that cannot
be read, EXECUTE of what is not known) is shown without any value, where this subject has masks.
"""

from __future__ import annotations

from typing import Any

from sallyport.core.errors import Refusal
from sallyport.core.secret import without_tokens
from sallyport.judge import SubjectJudge, Verdict, blanked
from sallyport.session.server.entries import Entry, PendingEffect
from sallyport.session.statements import Portal
from sallyport.wire import backend
from sallyport.wire.fields import message as wire_message
from sallyport.wire.scrubbing import scrub_error

#: Refusals that may quote the text: of what cannot be read or is not known, of settings, of
#: protocol violations.
_QUOTING = ("SP11", "SP13", "SP15")
#: Bind values, their formats and the types of the parameters.
Binds = tuple[Any, Any, Any]


def hides_text(subject_judge: SubjectJudge, verdict: Verdict) -> bool:
    """Whether the text of a statement that runs is recorded in another form than it was sent in."""
    if not subject_judge.hides_values:
        return False
    return verdict.runs_named or (verdict.literals is not None and verdict.literals.hides_text)


def shown_text(
    subject_judge: SubjectJudge,
    verdict: Verdict | None,
    sql: bytes,
    refusal: Refusal | None = None,
    pending: PendingEffect | None = None,
) -> str:
    """``sql``: the statement, or the script that it is alone in. ``pending``: what it runs by name.
    A refused one is shown without tokens: it may be an attempt to give the gateway one, which is
    never recorded.
    """
    text = _without_values(subject_judge, verdict, sql, refusal, pending)
    return text if refusal is None else without_tokens(text)


def _without_values(
    subject_judge: SubjectJudge,
    verdict: Verdict | None,
    sql: bytes,
    refusal: Refusal | None,
    pending: PendingEffect | None,
) -> str:
    if not subject_judge.hides_values:
        return sql.decode("utf-8", "replace")
    if verdict is None:
        return subject_judge.take_blanked(sql)
    start = verdict.facts.start if len(sql) == verdict.facts.end - verdict.facts.start else 0
    if refusal is not None and verdict.facts.unknowns:
        unknown = {item.position - start for item in verdict.facts.unknowns}
        return blanked(sql, subject_judge.identifiers, unknown)
    if verdict.runs_named and (
        pending is None or pending.rows is None or pending.rows.literals is not None
    ):
        return blanked(sql)
    if verdict.literals is None:
        return sql.decode("utf-8", "replace")
    return verdict.literals.text(sql, start)


def shown_binds(
    subject_judge: SubjectJudge,
    verdict: Verdict | None,
    portal: Portal,
    refusal: Refusal | None = None,
) -> Binds:
    """The bind values of a portal, and their formats. ``refusal``: as for :func:`shown_text`."""
    values, formats, types = _binds(subject_judge, verdict, portal)
    if refusal is not None:
        values = tuple(_value_without_tokens(value) for value in values)
    return values, formats, types


def _value_without_tokens(value: Any) -> bytes | None:
    if value is None:
        return None
    text = bytes(value).decode("latin-1")  # tokens are ASCII; every other byte stays what it is
    return without_tokens(text).encode("latin-1")


def _binds(subject_judge: SubjectJudge, verdict: Verdict | None, portal: Portal) -> Binds:
    types = portal.prepared.types
    if subject_judge.hides_values and portal.params:
        literals = verdict.literals if verdict is not None else None
        if verdict is None or verdict.runs_named:
            hidden = tuple(None if value is None else b"[redacted]" for value in portal.params)
            return hidden, (), types
        if literals is not None and not literals.shows_binds:
            return (*literals.bind(portal.params, portal.formats, types), types)
    return portal.params, portal.formats, types


def hides_messages(subject_judge: SubjectJudge, entry: Entry | None) -> bool:
    """Whether an error or notice that answers this may quote a value that recordings do not
    show.
    """
    if not subject_judge.hides_values or entry is None:
        return subject_judge.hides_values
    verdicts = [entry.verdict]
    if entry.script is not None:
        verdicts += entry.script.statements[: entry.index + 1]
    return any(
        verdict is None or verdict.literals is not None or verdict.runs_named
        for verdict in verdicts
    )


def shown_message(subject_judge: SubjectJudge, entry: Entry | None, message: bytes) -> bytes:
    """One message of an answer, as it is recorded: an ErrorResponse or NoticeResponse of the
    database without what could quote a value.

    The gateway's own refusals stay where they name objects, and no values.
    """
    if message[:1] not in (b"E", b"N") or not hides_messages(subject_judge, entry):
        return message
    refusal = entry.refusal if entry is not None else None
    if refusal is not None and not refusal.code.id.startswith(_QUOTING):
        return message
    fields = backend.parse_error_fields(message[5:])
    code = fields.get("M", "").partition("]")[0]
    body = scrub_error(message[5:], subject_judge.identifiers)
    if fields.get("R") == backend.ORIGIN and code.startswith("[SP"):
        # the gateway's own: its code stays
        kept = backend.parse_error_fields(body)
        kept["M"] = f"{code}] {kept['M']}"
        body = backend.error_body(kept)
    return wire_message(message[0], body)
