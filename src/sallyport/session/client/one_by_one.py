"""Sends the statements of one simple Query one at a time: see
:mod:`sallyport.session.client.series`.
"""

from __future__ import annotations

from itertools import takewhile

from sallyport.core.errors import Refusal
from sallyport.judge import Part
from sallyport.session import questions
from sallyport.session.clearance import clearance
from sallyport.session.client import simple
from sallyport.session.client.input import Blocked
from sallyport.session.client.series import Series
from sallyport.session.name_context import Catalog, SearchPath
from sallyport.session.server.entries import Entry
from sallyport.session.state import SessionState
from sallyport.session.states import ClientState, Expect, Handled, Own
from sallyport.wire import frontend

#: They begin or end a block themselves, or fail where there is none, so none is opened for them.
_CONTROL = frozenset({"begin", "commit", "rollback", "savepoint", "release", "rollback_to"})
#: Most parts that are sent as one message: about what is judged at once (View.judge_soon).
_TOGETHER = 40
_FREE = frozenset({Blocked.NO, Blocked.DRAIN})


def advance(session: SessionState) -> None:
    """Send what is next, once nothing is outstanding and nothing is waited for."""
    while (
        (series := session.series) is not None
        and session.client_state is ClientState.READY
        and not session.pipeline.entries
        and session.input.blocked in _FREE
        and not session.input.holds
    ):
        session.input.unblock()
        if _step(session, series) is Handled.LATER:
            return


def _step(session: SessionState, series: Series) -> Handled:
    if series.failed or series.is_over:
        return _end(session, series)
    part = series.parts[series.index]
    if session.transaction_status == b"I" and part.kind not in _CONTROL:
        _send(session, series, Own.BEGIN)
        return Handled.DONE
    if series.is_canceled:
        series.is_canceled, session.input.is_canceled = False, True
    if (
        series.is_ours
        and part.kind in _CONTROL
        and part.kind != "begin"
        and _may_go(session, series, part)
    ):
        series.is_outside = True
        commits = part.kind == "commit" and not part.chains
        _send(session, series, Own.COMMIT if commits else Own.ROLLBACK)
        return Handled.DONE
    return _send_part(session, series, part)


def _end(session: SessionState, series: Series) -> Handled:
    """End our block."""
    if series.failed:
        what = f"what the message up to statement {series.number} did"
        session.recorder.note("rolled back", what)
    elif session.names.temporary.must_precede_end and questions.settle_temporary(session):
        return Handled.LATER
    _send(session, series, Own.ROLLBACK if series.failed else Own.COMMIT)
    return Handled.DONE


def _may_go(session: SessionState, series: Series, part: Part) -> bool:
    """Whether nothing stands against a statement for which our block is to be ended first: what is
    refused rolls that back.
    """
    if session.input.is_canceled:
        return False
    script = session.names.subject_judge.judge(series.sql[part.start : part.end])
    if script.refused >= 0 or not script.statements:
        return False
    return not isinstance(clearance(session, script.statements[0], may_wait=False), Refusal)


def _send_part(session: SessionState, series: Series, part: Part) -> Handled:
    count = _alike(session, series)
    message = frontend.query(_text(series, count))
    parts = series.parts
    if simple.query(session, message, 0, len(message)) is Handled.LATER:
        return Handled.LATER
    if series.parts is not parts:  # others are sent before it
        return Handled.DONE
    entry = session.pipeline.entries[-1]
    entry.shift = series.shift_to(part)
    entry.drops = part.drops or ()
    series.running = part
    series.number = session.number
    series.begins = part.kind == "begin" and series.is_ours
    series.index += count
    return Handled.DONE


def _text(series: Series, count: int) -> bytes:
    """That of so many parts, with what stands between them."""
    first, last = series.parts[series.index], series.parts[series.index + count - 1]
    return series.sql[first.start : last.end]


def _alike(session: SessionState, series: Series) -> int:
    """How many parts can be sent as one message: those that mean the same in any order of sending
    and judging, and all of which may run.
    """
    if session.names.catalog is not Catalog.CURRENT or session.names.path is SearchPath.UNKNOWN:
        return 1
    rest = series.parts[series.index : series.index + _TOGETHER]
    count = sum(1 for _ in takewhile(lambda part: part.is_plain, rest))
    if (
        count < 2
        or session.input.is_canceled
        or session.names.generation != session.names.judge.generation
    ):
        return 1
    script = session.names.subject_judge.judge_soon(_text(series, count))
    return count if script is not None and script.refused < 0 and script.count == count else 1


def _send(session: SessionState, series: Series, what: Own) -> None:
    session.to_server.own(what)
    entry = Entry(Expect.OWN, series.number)
    entry.own = what
    session.pipeline.entries.append(entry)
    session.pipeline.on_query()
    if what is not Own.BEGIN:
        session.names.on_end_forwarded()
        session.settings.on_transaction_end()
