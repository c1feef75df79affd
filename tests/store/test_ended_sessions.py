"""A logout that was announced while a gateway was away ends its sessions: it is in the store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from sqlalchemy import Engine

from sallyport.core.clock import ManualClock
from sallyport.core.errors import RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.identity.single_logout import EndedSession, EndedSessions, ended_session
from sallyport.store.ended_sessions import SqlEndedSessionStore

ISSUER = "https://idp.example.com"


def subject(name: str, index: str = "_1", began: float = 1000.0) -> Subject:
    claims = {"name_id": name, "session_index": [index], "issue_instant": began}
    return Subject(name, ISSUER, frozenset(), claims=claims)


def ended(name: str, index: str = "_1", at: float = 1010.0) -> EndedSession:
    return ended_session(ISSUER, name, [index], at, at + 3600)


@dataclass
class Flaky:
    """A store that is away now and then."""

    store: SqlEndedSessionStore
    is_away: bool = True
    calls: list[str] = field(default_factory=list)

    def add(self, ended: EndedSession, now: float) -> None:
        self.calls.append(ended.name)
        if self.is_away:
            raise RefusedError(refuse("SP1801", "away"))
        self.store.add(ended, now)

    def kept_since(self, since: float, now: float) -> list[tuple[float, EndedSession]]:
        if self.is_away:
            raise RefusedError(refuse("SP1801", "away"))
        return self.store.kept_since(since, now)


def test_who_was_away_reads_it(engine: Engine) -> None:
    clock, store = ManualClock(1020.0), SqlEndedSessionStore(engine)
    here, away = EndedSessions(clock, store), EndedSessions(clock, store)
    away.reload()
    here.end(ended("ada"))  # nobody hears it
    assert not away.covers(subject("ada"))
    assert asyncio.run(here.store_all())
    away.reload()
    assert away.covers(subject("ada"))
    assert not away.covers(subject("ada", "_2")) and not away.covers(subject("eve"))
    assert not away.covers(subject("ada", began=1011.0)), "what began later is another session"
    later = EndedSessions(clock, store)
    later.reload()
    assert later.covers(subject("ada")), "a process that begins later"


def test_what_could_not_be_stored_is_stored_later(engine: Engine) -> None:
    clock, flaky = ManualClock(1020.0), Flaky(SqlEndedSessionStore(engine))
    here = EndedSessions(clock, flaky)
    here.end(ended("ada"))
    here.end(ended("bob"))
    assert here.covers(subject("ada")), "at once, whatever the store does"
    assert not asyncio.run(here.store_all())
    flaky.is_away = False
    clock.advance(5)
    assert asyncio.run(here.store_all()) and asyncio.run(here.store_all())
    away = EndedSessions(clock, flaky)
    away.reload()
    assert away.covers(subject("ada")) and away.covers(subject("bob"))
    assert len(flaky.calls) == 3, "once each, and the attempt that failed"


def test_clocks_that_differ_and_repeats(engine: Engine) -> None:
    """A gateway whose clock is behind keeps its logout after another read the store."""
    store = SqlEndedSessionStore(engine)
    ahead, behind = ManualClock(1320.0), ManualClock(1020.0)
    reader = EndedSessions(ahead, store)
    store.add(ended("ada"), ahead.now())
    reader.reload()
    store.add(ended("bob"), behind.now())
    store.add(ended("bob"), behind.now())
    reader.reload()
    assert reader.covers(subject("ada")) and reader.covers(subject("bob"))
    assert len(store.kept_since(0.0, 1020.0)) == 2
    store.forget(1e9)
    assert store.kept_since(0.0, 0.0) == []


def test_what_counts_no_more_is_not_read(engine: Engine) -> None:
    store = SqlEndedSessionStore(engine)
    store.add(ended("ada"), 1020.0)
    assert store.kept_since(0.0, 1010.0 + 3600) == []
