"""Which statements of two-phase commit may be sent, by session."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sallyport.core.subject import Subject
from sallyport.session.identity_settings import prepared_prefix
from sallyport.session.machine import Session, SessionLimits
from sallyport.session.two_phase import refusal_of, with_own_prefix
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.wire.frontend import query
from tests.session.playbook import (
    AGENT,
    IDLE,
    IN_BLOCK,
    Recording,
    Stage,
    client,
    does,
    done,
    play,
    server,
)
from tests.session.test_holding import APPROVED, DELETE, HOLDS, POLICY, WAITS


@pytest.fixture
def session(stage: Stage) -> Session:
    session = Session(AGENT, stage.judge, Recording(), ("public",), SessionLimits())
    session.settings.told["session_authorization"] = stage.judge.catalog.role
    return session


def test_own_identifiers_only(session: Session) -> None:
    assert refusal_of(f"{prepared_prefix(AGENT)}x", session) is None
    for stranger in (replace(AGENT, id="other"), replace(AGENT, issuer="https://other.test")):
        assert refusal_of(f"{prepared_prefix(stranger)}x", session) is not None
    assert refusal_of("x", session) is not None


def test_a_transaction_with_an_approved_statement_is_not_prepared(session: Session) -> None:
    session.pipeline.approved = True
    assert refusal_of(f"{prepared_prefix(AGENT)}x", session) is not None


def test_a_role_that_ends_with_the_session_prepares_nothing(session: Session) -> None:
    session.settings.told["session_authorization"] = "of_this_session"
    assert refusal_of(f"{prepared_prefix(AGENT)}x", session) is not None


def test_a_subject_that_the_server_is_not_told_has_no_prefix(session: Session) -> None:
    session.names.subject = Subject("x" * 5000, "https://idp.test", frozenset())
    assert prepared_prefix(session.names.subject) == ""
    assert refusal_of("x", session) is not None


@pytest.mark.parametrize(
    "sql", [b"prepare transaction 'a''b'", b" COMMIT\n PREPARED 'x' ; ", b"Rollback prepared ''"]
)
def test_one_plain_statement_gets_the_prefix(sql: bytes) -> None:
    prefix = prepared_prefix(AGENT).encode()
    assert with_own_prefix(sql, AGENT).replace(prefix, b"") == sql
    assert with_own_prefix(sql, AGENT).count(prefix) == 1


@pytest.mark.parametrize(
    "sql", [b"COMMIT PREPARED 'x'; SELECT 1", b"SELECT 'x'", b"COMMIT PREPARED E'x'", b"COMMIT"]
)
def test_others_stay_as_they_are(sql: bytes) -> None:
    assert with_own_prefix(sql, AGENT) is sql


def test_until_its_transaction_ends_a_session_with_an_approval_is_not_plain(
    catalog: CatalogSnapshot,
) -> None:
    """Outside the session nothing knows that what was approved must not be prepared."""
    states: list[tuple[bool, bool]] = []
    looks = does(lambda run: states.append((run.session.pipeline.approved, run.session.is_plain)))
    began = (server >> (done("BEGIN"), IN_BLOCK), client << (done("BEGIN"), IN_BLOCK))
    play(
        lambda: Stage(catalog, POLICY),
        HOLDS,
        client >> query("BEGIN"),
        server << query("BEGIN"),
        *began,
        looks,
        client >> query(DELETE),
        WAITS,
        APPROVED,
        server << query(DELETE),
        server >> (done("DELETE 1"), IN_BLOCK),
        client << (done("DELETE 1"), IN_BLOCK),
        looks,
        client >> query("COMMIT"),
        server << query("COMMIT"),
        server >> (done("COMMIT"), IDLE),
        client << (done("COMMIT"), IDLE),
        looks,
    )
    assert states[:3] == [(False, True), (True, False), (False, True)]
