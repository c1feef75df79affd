"""The verdict on a text that a client sent, or the wait for it."""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.core.errors import UNKNOWN_NAMES
from sallyport.judge import ScriptVerdict
from sallyport.session.clearance import CATALOG_UNKNOWN
from sallyport.session.commands import JudgeElsewhere, RefreshCatalog
from sallyport.session.name_context import Catalog
from sallyport.session.state import SessionState
from sallyport.sql.values.void_parameters import void_parameters


def judge_script(
    session: SessionState, sql: bytes, declared: Sequence[int] = ()
) -> ScriptVerdict | None:
    """The verdict on a text, or None when the session must wait first (the caller returns LATER).
    ``declared``: as in SubjectJudge.judge.
    """
    names, judgement = session.names, session.judgement
    if names.generation != names.judge.generation:
        session.rebind()
    script = _verdict(session, sql, declared)
    if script is None or _waits_for_catalog(session, script):
        return None
    if names.ddl_open and script.refused >= 0 and names.take_unreadable():
        return ScriptVerdict(sql, (), 0, CATALOG_UNKNOWN)
    if names.transaction_judge is None and _may_be_newer(session, script, sql):
        relation = _missing_relation(script) if names.catalog is Catalog.CURRENT else ""
        session.block(RefreshCatalog(relation=relation))
        return None
    judgement.retried = judgement.elsewhere = None
    return script


def _verdict(session: SessionState, sql: bytes, declared: Sequence[int]) -> ScriptVerdict | None:
    """As :func:`_judge_soon`, of any text. ``declared``: as in SubjectJudge.judge."""
    subject_judge = session.names.subject_judge
    if declared and void_parameters(declared):
        return subject_judge.judge(sql, declared)
    script = subject_judge.cache.get(sql)
    if script is None:
        script = _judge_soon(session, sql)
    if declared and script is not None and script.asks_types:
        script = subject_judge.judge(sql, declared)
    return script


def _judge_soon(session: SessionState, sql: bytes) -> ScriptVerdict | None:
    """The verdict on a text that was not judged before. None: it is judged on another thread."""
    subject_judge, judgement = session.names.subject_judge, session.judgement
    failure, judgement.failure = judgement.failure, None
    if judgement.elsewhere == (subject_judge, sql):
        return failure or subject_judge.judge(sql)
    script = subject_judge.judge_soon(sql)
    if script is None:
        judgement.elsewhere = subject_judge, sql
        session.block(JudgeElsewhere(subject_judge, sql))
    return script


def _waits_for_catalog(session: SessionState, script: ScriptVerdict) -> bool:
    """After DDL the catalog is read again before a refusal, too, is believed. In an open
    transaction names mean what only this transaction sees: it is asked itself.
    """
    names, pipeline = session.names, session.pipeline
    if names.catalog is not Catalog.STALE or pipeline.unsynced:
        return False
    if script.refusal is None and not any(verdict.resolves_names for verdict in script.statements):
        return False
    if names.ddl_open and (session.transaction_status == b"T" or pipeline.entries):
        command = RefreshCatalog(own=True)
    elif script.refused >= 0 and not names.ddl_open:
        command = RefreshCatalog(force=True)
    else:
        return False
    if pipeline.entries:
        session.drain()
    else:
        session.block(command)
    return True


def _may_be_newer(session: SessionState, script: ScriptVerdict, sql: bytes) -> bool:
    """An unknown name may be newer than our snapshot: look once before saying no, and before
    saying that there is nothing to alter.
    """
    refusal = script.refusal
    if script.refused >= 0 and script.statements:
        refusal = script.statements[script.refused].refusal
    is_unknown = refusal is not None and refusal.code.id in UNKNOWN_NAMES
    if not is_unknown and not any(verdict.facts.absent for verdict in script.statements):
        return False
    if session.judgement.retried == sql:
        return False
    session.judgement.retried = sql
    return True


def _missing_relation(script: ScriptVerdict) -> str:
    """The name of a relation that the refused statement wants and that is not there; "" where that
    is not why.
    """
    is_judged = script.refused >= 0 and script.statements
    unknowns = script.statements[script.refused].facts.unknowns if is_judged else ()
    return next((unknown.relation for unknown in unknowns if unknown.relation), "")
