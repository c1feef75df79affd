"""What may stand between an allowed statement and the server: a recording that failed, a limit, names that may have moved."""

from __future__ import annotations

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import AFTER_DDL, AFTER_SEARCH_PATH, Verdict
from sallyport.session.commands import RefreshCatalog
from sallyport.session.name_context import Catalog, SearchPath
from sallyport.session.state import SessionState
from sallyport.session.states import Clearance
from sallyport.session.withhold import spent

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


def clearance(session: SessionState, verdict: Verdict | None, may_wait: bool = True) -> Refusal | Clearance:
    """Whether an allowed statement may go now. WAIT: its message is read again later, for which the session is blocked.

    ``verdict``: None for what carries no statement. Without ``may_wait`` the answer is never WAIT. Only worth calling when
    :attr:`SessionState.needs_clearance`.
    """
    if session.recorder.failed:
        return RECORDING_FAILED
    if session.recorder.journal_failed and verdict is not None and (verdict.changes or verdict.runs_named):
        return RECORDING_FAILED
    if verdict is None or not verdict.resolves_names:
        return Clearance.GO
    if session.recorder.handover_late:
        return HANDOVER_LATE
    if session.allowance is not None:
        limit = session.allowance.spent()
        if limit:
            return spent(limit)
    if session.names.is_certain:
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
    return _catalog_clearance(session, may_wait)


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
