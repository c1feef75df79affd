"""What may stand between an allowed statement and the server: a recording that failed, a limit,
names that may have moved.
"""

from __future__ import annotations

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import AFTER_DDL, AFTER_SEARCH_PATH, AFTER_UNKNOWN_CODE, Verdict
from sallyport.session import questions
from sallyport.session.commands import RefreshCatalog
from sallyport.session.name_context import Catalog, SearchPath
from sallyport.session.server.withhold import spent
from sallyport.session.state import SessionState
from sallyport.session.states import Clearance
from sallyport.sql.facts import EffectKind

RECORDING_FAILED = refuse(
    "SP1801",
    "statements stop because the session cannot be recorded",
    "The gateway's recording could not be written (disk full, or no permission).",
    "Tell the gateway's operator. The statement can run when recording works again.",
)
HANDOVER_LATE = refuse(
    "SP1810",
    "statements stop because the record is not handed over",
    "A stream of the record that the gateway's operator requires is too late.",
    "Tell the gateway's operator; the statement will run once the receiver takes events again.",
)
CATALOG_UNKNOWN = refuse(
    "SP1102",
    "the catalog changed and cannot be read at the moment",
    "The gateway could not read the catalog or the search_path after a change.",
    "Try again. If that fails too, tell the gateway's operator: the log has the reason.",
)
MUST_BE_ALONE = refuse(
    "SP1107",
    "this statement must be sent on its own here",
    "An earlier statement in the same message changed what names mean.",
    "Send the statements one at a time.",
)

MASKS_LACK_SETTINGS = refuse(
    "SP1206",
    "the masks cannot be applied in this session",
    "They came after it began, and its connection does not have the settings that they need.",
    "Connect again.",
)


#: What is planned when it is bound; of all others the names are looked up when they run.
_PLANNED = frozenset({"select", "insert", "update", "delete", "merge"})
_ENDS = frozenset({EffectKind.COMMIT, EffectKind.ROLLBACK, EffectKind.ROLLBACK_TO})


def looks_up_names(verdict: Verdict | None) -> bool:
    """Whether a statement that was bound looks names up when it runs."""
    if verdict is None or not verdict.resolves_names:
        return False
    return verdict.facts.kind not in _PLANNED or verdict.facts.resolves_names_at_run_time


def clearance(
    session: SessionState, verdict: Verdict | None, may_wait: bool = True, is_planned: bool = False
) -> Refusal | Clearance:
    """Whether an allowed statement may go now. WAIT: its message is read again later, for which the
    session is blocked.

    ``verdict``: None for what carries no statement. Without ``may_wait`` the answer is never WAIT.
    ``is_planned``: its names were looked up before. Only worth calling when
    :attr:`SessionState.needs_clearance`.
    """
    if session.recorder.failed:
        return RECORDING_FAILED
    if (
        session.recorder.journal_failed
        and verdict is not None
        and (verdict.changes or verdict.runs_named)
    ):
        return RECORDING_FAILED
    if verdict is None:
        return Clearance.GO
    if not verdict.resolves_names:
        return _end_clearance(session, verdict, may_wait)
    if session.lacks_settings:
        return MASKS_LACK_SETTINGS
    if session.recorder.handover_late:
        return HANDOVER_LATE
    if session.allowance is not None:
        limit = session.allowance.spent()
        if limit:
            return spent(limit)
    is_due = session.names.temporary.is_unsettled and not is_planned
    if session.names.is_certain and not is_due:
        return Clearance.GO
    pipeline = session.pipeline
    if pipeline.is_waiting:
        if not may_wait:
            return MUST_BE_ALONE
        session.drain()
        return Clearance.WAIT
    is_aborted = session.transaction_status == b"E" and not pipeline.unsynced
    if session.names.path is SearchPath.UNKNOWN and (pipeline.entries or not is_aborted):
        return AFTER_SEARCH_PATH
    if is_due and not is_aborted:
        return _temporary_clearance(session, may_wait)
    return _catalog_clearance(session, may_wait)


def _end_clearance(session: SessionState, verdict: Verdict, may_wait: bool) -> Clearance:
    """Before a transaction ends, it must be known what its own statements have made."""
    if not may_wait or not session.names.temporary.must_precede_end:
        return Clearance.GO
    ends = any(effect.kind in _ENDS for effect in verdict.effects)
    return Clearance.WAIT if ends and questions.settle_temporary(session) else Clearance.GO


def _temporary_clearance(session: SessionState, may_wait: bool) -> Refusal | Clearance:
    """Code whose effects are not known may have left something that names mean now."""
    names, pipeline = session.names, session.pipeline
    if names.take_unreadable():
        return CATALOG_UNKNOWN
    if not may_wait or pipeline.entries or pipeline.unsynced:
        return AFTER_UNKNOWN_CODE
    if names.question is not None:
        return Clearance.WAIT if questions.settle_temporary(session) else AFTER_UNKNOWN_CODE
    own = names.ddl_open and session.transaction_status == b"T"
    session.block(RefreshCatalog(own=own, force=True))
    return Clearance.WAIT


def _catalog_clearance(session: SessionState, may_wait: bool) -> Refusal | Clearance:
    names = session.names
    may_read = may_wait and not session.pipeline.entries
    if names.catalog is Catalog.CURRENT:
        return Clearance.GO
    if names.ddl_open:
        if may_read and session.transaction_status == b"T" and names.catalog is Catalog.STALE:
            session.block(RefreshCatalog(own=True))
            return Clearance.WAIT
        return CATALOG_UNKNOWN if names.take_unreadable() else AFTER_DDL
    if not may_read:
        return Clearance.GO
    if names.take_unreadable():
        return CATALOG_UNKNOWN
    session.block(RefreshCatalog(force=True))
    return Clearance.WAIT
