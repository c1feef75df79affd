"""The answer that ends a transaction with schema changes waits until all are judged by them."""

from __future__ import annotations

from sallyport.session.client.input import Blocked
from sallyport.session.commands import CloseSession, RefreshCatalog
from sallyport.session.machine import Session, SessionLimits
from sallyport.wire import backend
from sallyport.wire.frontend import query, terminate
from tests.session.playbook import AGENT, IDLE, Recording, Stage, done


def test_an_answer_waits_no_longer_than_the_owner_wants(stage: Stage) -> None:
    """What comes next waits all the same."""
    session = _changed(stage)
    session.release_answer()
    assert not session.holds_answer
    session.receive_from_client(query("SELECT id FROM products"))
    assert not session.to_server.pending
    session.resume(refreshed=True)
    assert session.to_server.pending and not session.holds_answer
    session.release_answer()
    assert session.blocked is Blocked.NO


def test_the_answer_waits_too_where_more_was_sent_behind_it(stage: Stage) -> None:
    """The catalog is read once, for it and for what stands behind it."""
    session = Session(AGENT, stage.judge, Recording(), ("public",), SessionLimits())
    session.receive_from_client(query("CREATE TABLE made (n int)") + query("SELECT 1"))
    session.to_server.take()
    session.receive_from_server(done("CREATE TABLE") + IDLE)
    assert session.commands == [RefreshCatalog(force=True, publishes=True)] and session.holds_answer
    session.commands.clear()
    assert not session.to_server.pending
    session.resume(refreshed=True)
    assert session.to_server.pending and not session.commands


def test_who_has_changed_nothing_that_could_be_read_is_let_go_once(stage: Stage) -> None:
    """The catalog could not be read: the answer passes, and it is not asked again before the client
    wants something.
    """
    session = _changed(stage)
    session.resume(refreshed=False)
    assert not session.holds_answer and not session.commands
    assert session.to_client.endswith(IDLE)
    session.receive_from_client(query("SELECT id FROM products"))
    assert session.commands == [RefreshCatalog(force=True)]


def test_what_comes_by_itself_stays_behind_the_answer(stage: Stage) -> None:
    session = _changed(stage)
    status = backend.parameter_status("TimeZone", "UTC")
    session.receive_from_server(status)
    assert session.holds_answer and session.to_client == done("CREATE TABLE") + IDLE + status


def test_an_end_takes_the_answer_along(stage: Stage) -> None:
    """Whoever ends the session: the client is told what was done, then that it is over."""
    session = _changed(stage)
    session.close(None, "killed")
    assert not session.holds_answer and session.to_client == done("CREATE TABLE") + IDLE
    session = _changed(stage)
    session.receive_from_client(terminate())
    assert session.holds_answer
    session.resume(refreshed=True)
    assert not session.holds_answer and isinstance(session.commands[-1], CloseSession)


def _changed(stage: Stage) -> Session:
    session = Session(AGENT, stage.judge, Recording(), ("public",), SessionLimits())
    session.receive_from_client(query("CREATE TABLE made (n int)"))
    session.receive_from_server(done("CREATE TABLE") + IDLE)
    assert session.holds_answer and session.commands == [RefreshCatalog(force=True, publishes=True)]
    session.commands.clear()
    session.to_server.take()
    return session
