"""What a session asks the server, or its owner, before names mean what the judge takes them to:
the search_path, what the temporary schema holds, the pinned settings, the catalog.
"""

from __future__ import annotations

from sallyport.core.errors import ProtocolError
from sallyport.session.client.input import Blocked
from sallyport.session.commands import RefreshCatalog
from sallyport.session.name_context import SearchPath
from sallyport.session.server.entries import Entry
from sallyport.session.state import SessionState
from sallyport.session.states import ClientState, Expect, Question
from sallyport.sql.names.search_path import split_search_path


def on_settled(session: SessionState) -> None:
    """Called at every ReadyForQuery that leaves nothing outstanding."""
    session.statements.settle()
    session.portals.settle()
    session.settings.on_settled()
    session.pipeline.on_settled(is_outside=session.transaction_status == b"I")
    if not session.input.awaits_owner:  # else when that is done
        ask_what_is_due(session)


def ask_what_is_due(session: SessionState) -> None:
    """Where nothing is outstanding: ask the server for what may have moved of what names mean,
    or the owner for the catalog.
    """
    names, blocked = session.names, session.input.blocked
    question = names.question if session.transaction_status != b"E" else None
    if question is not None and blocked is not Blocked.PROBE:
        _probe(session, question)
    elif blocked is not Blocked.PROBE:  # else when the server has answered
        _refresh_if_due(session)


def settle_temporary(session: SessionState) -> bool:
    """Wait until the session's temporary schema was listed. False: this is no place to ask."""
    pipeline = session.pipeline
    if pipeline.entries:
        if pipeline.unsynced:
            session.to_server.flush()
        session.drain()
    elif pipeline.unsynced:
        _ask(session, Question.TEMPORARY)
        session.drain()
    elif session.transaction_status != b"E":
        _probe(session, session.names.code_question)
    return bool(pipeline.entries) or pipeline.unsynced


def settle_before_sync(session: SessionState) -> bool:
    """:func:`settle_temporary` where Sync ends a transaction in which the session's own
    temporary objects are still to be told from those of code whose effects are not known.
    """
    is_end = session.transaction_status == b"I" and session.client_state is ClientState.READY
    return is_end and session.names.temporary.must_precede_end and settle_temporary(session)


def settle_names(session: SessionState) -> bool:
    """Wait, inside a pipeline, until the server told which search_path it has set, and what
    code that was not read has left. False: it is known, or this is no place to ask.
    """
    names, pipeline = session.names, session.pipeline
    if not pipeline.unsynced:
        return False
    if names.path is not SearchPath.UNKNOWN:
        return names.temporary.must_be_listed and settle_temporary(session)
    if pipeline.entries:
        session.to_server.flush()
    else:
        _ask(session, Question.SEARCH_PATH)
    session.drain()
    return True


def on_asked(session: SessionState, question: Question, value: str | None) -> None:
    """The server answered in a pipeline, whose end may change things back. Raises
    ProtocolError.
    """
    if question is Question.TEMPORARY:
        _on_listed(session, value)
    else:
        _on_path(session, value, in_transaction=True)


def on_probed(session: SessionState, question: Question, value: str | None) -> None:
    """The server answered (None: it could not). Raises ProtocolError."""
    session.input.unblock()
    if value is None and question is not Question.SEARCH_PATH:
        session.names.on_temporary_unread()
    elif value is not None and question is Question.PINS:
        session.names.check_pins(session.pins, value)
    elif question is Question.TEMPORARY:
        _on_listed(session, value)
    elif value is not None:
        _on_path(session, value, in_transaction=session.transaction_status != b"I")
    _refresh_if_due(session)


def _refresh_if_due(session: SessionState) -> None:
    if session.names.refresh_due:
        session.names.refresh_due = False
        session.block(RefreshCatalog(force=True, publishes=True))


def _probe(session: SessionState, question: Question) -> None:
    session.input.blocked = Blocked.PROBE
    _expect(session, Expect.PROBE, question)
    session.to_server.probe(question, session.pins)


def _ask(session: SessionState, question: Question) -> None:
    _expect(session, Expect.ASK, question)
    session.to_server.ask(question, session.pins)


def _expect(session: SessionState, kind: Expect, question: Question) -> None:
    session.pipeline.entries.append(Entry(kind))
    session.pipeline.entries[-1].question = question


def _on_path(session: SessionState, text: str | None, in_transaction: bool) -> None:
    path = split_search_path(text) if text is not None else None
    if path is None:
        raise ProtocolError("the server's search_path is not a list of names")
    if session.names.on_probed(path, in_transaction):
        session.rebind()


def _on_listed(session: SessionState, answer: str | None) -> None:
    if answer is None:
        raise ProtocolError("the server did not list its temporary objects")
    if session.names.on_temporary_listed(session.names.check_pins(session.pins, answer)):
        session.rebind()
