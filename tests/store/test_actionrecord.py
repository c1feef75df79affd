"""Locks and containments survive the way through the record of actions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sallyport.app.containment_record import ContainmentRecord
from sallyport.audit.actions import CONTAIN, LOCK, RELEASE_CONTAINMENT, ActionLog
from sallyport.audit.recorder import Recorder
from sallyport.core.clock import ManualClock
from sallyport.core.subject import Subject
from sallyport.identity.locks import SUBJECT, Lock
from sallyport.judge import Containments, UntrustedRead
from sallyport.policy.containment import COLUMN, Containment
from sallyport.store.actionrecord import done_actions
from sallyport.store.containmentrecord import recorded_containments
from sallyport.store.containments import SqlContainmentStore
from sallyport.store.lockrecord import lock_details, recorded_locks

NAMES = {CONTAIN, RELEASE_CONTAINMENT, LOCK}
READ = UntrustedRead("public.tickets.body", "shop", "ses_1", 3, 3600.0, COLUMN)
OLGA = Subject("olga", "https://idp", frozenset())


def agent(*actors: str) -> Subject:
    return Subject("dana", "https://idp", frozenset(), actors=actors, claims={"azp": "a, b"})


class Record:
    """A record of actions that is being written, and what is read back of it."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock(1_800_000_000.0)
        self.recorder = Recorder(directory, clock=self.clock)
        self.actions = ActionLog(self.recorder)
        self.containments = Containments(self.clock.now)
        ContainmentRecord(self.actions, self.containments)

    def read(self) -> tuple[list[Containment], list[Lock], list[str]]:
        self.recorder.start()
        self.recorder.close()
        doubtful: list[str] = []
        done = list(done_actions(self.recorder.directory, NAMES, doubtful))
        contained = recorded_containments(done, doubtful)
        return contained, recorded_locks(done), doubtful


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path)


@pytest.mark.parametrize("who", [agent(), agent("claude", "ci"), Subject("x", "", frozenset())])
def test_what_is_read_back_covers_whom_it_covered(record: Record, who: Subject) -> None:
    made = record.containments.note_read(who, READ)
    assert made is not None
    (read,), _, doubtful = record.read()
    assert doubtful == []
    assert replace(read, until=made.until) == made
    assert made.until < read.until <= made.until + 600.0


def test_it_is_recorded_for_as_long_as_reads_go_on(record: Record) -> None:
    for _ in range(120):
        record.containments.note_read(agent(), READ)
        record.clock.advance(61.0)
    (made,) = record.containments.active()
    (read,), _, _ = record.read()
    assert made.until <= read.until <= made.until + 600.0
    done = list(done_actions(record.recorder.directory, NAMES, []))
    assert 12 <= len(done) <= 13, "one entry in ten minutes"


def test_a_release_is_one_and_what_cannot_be_read_is_told(record: Record) -> None:
    first = record.containments.note_read(agent("claude"), READ)
    second = record.containments.note_read(agent("ci"), READ)
    assert first is not None and second is not None
    record.actions.record(RELEASE_CONTAINMENT, OLGA, "", "rest", object_id=first.id)
    broken = {"agents": json.dumps("all"), "read_at": "today", "until": "tomorrow"}
    record.actions.record(CONTAIN, OLGA, "", "gateway", object_id="con_x", details=broken)
    contained, _, doubtful = record.read()
    assert [(read.id, read.released_by) for read in contained] == [
        (first.id, "olga"),
        (second.id, ""),
    ]
    assert doubtful == [record.actions.recording]


def test_restoring_ends_nothing_earlier(engine: Engine, record: Record) -> None:
    made = record.containments.note_read(agent(), READ)
    assert made is not None
    store = SqlContainmentStore(engine)
    assert store.restore([made]) == 1
    later, released = replace(made, until=made.until + 9), replace(made, released_at=5.0)
    assert store.restore([later, made]) == 0
    assert store.unreleased() == [later]
    assert store.restore([released, later]) == 0
    assert store.unreleased() == []


def test_a_lock_of_the_gateway_is_read_back(record: Record) -> None:
    now = record.clock.now()
    lock = Lock(
        "lck_1", SUBJECT, "dana", "https://idp", "finding", now, now + 60, "gateway", "", ""
    )
    who = Subject("gateway", "", frozenset())
    record.actions.record(LOCK, who, "", "gateway", object_id=lock.id, details=lock_details(lock))
    _, locks, _ = record.read()
    assert locks == [lock]
