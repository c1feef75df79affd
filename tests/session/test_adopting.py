"""A Bind that the server bound to the statement which had the name before."""

from __future__ import annotations

import pytest

from sallyport.core.errors import ProtocolError
from sallyport.session.machine import Session, SessionLimits
from sallyport.session.server.acknowledgements import bind_complete
from sallyport.session.server.entries import Entry
from sallyport.session.statements import Portal, Prepared
from sallyport.session.states import Expect
from sallyport.wire import backend
from tests.session.playbook import AGENT, Recording, Stage

BOUND = backend.bind_complete()


def _prepared(session: Session, sql: bytes) -> Prepared:
    script = session.names.subject_judge.judge(sql)
    return Prepared(sql, script.statements[0], session.names.subject_judge, script_verdict=script)


def _binds(stage: Stage, actual: bytes) -> Session:
    session = Session(AGENT, stage.judge, Recording(), ("public",), SessionLimits())
    before, judged = _prepared(session, actual), _prepared(session, b"SELECT 1")
    verdict = before.verdict
    assert verdict is not None and verdict.plain
    portal = Portal(judged, judged.verdict, session.names.subject_judge, statement=b"s")
    session.statements.confirm(b"s", before)
    session.pipeline.entries.append(
        Entry(Expect.BIND, 0, judged.verdict, None, None, 0.0, b"", judged, portal)
    )
    session.pipeline.entries.append(
        Entry(Expect.DESCRIBE_PORTAL, 0, judged.verdict, None, None, 0.0, b"", None, portal)
    )
    bind_complete(session, session.pipeline.entries[0], BOUND, 0, len(BOUND))
    assert portal.prepared is before
    return session


def test_what_reads_is_taken_as_it_is(stage: Stage) -> None:
    (described,) = _binds(stage, b"SELECT").pipeline.entries
    assert described.verdict is not None and described.verdict.sql == b"SELECT"


def test_what_changes_anything_is_not(stage: Stage) -> None:
    with pytest.raises(ProtocolError, match="not the one that was judged"):
        _binds(stage, b"DELETE FROM orders WHERE id = 5")
