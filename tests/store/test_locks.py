"""Locks between memory and the store, on both stores."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine, delete

from sallyport.core.clock import ManualClock
from sallyport.identity.locks import SUBJECT, Lock, Locks, released
from sallyport.store.locks import SqlLockStore
from sallyport.store.tables import locks as table

NOW = 1000.0
LOCK = Lock("lck_1", SUBJECT, "dana", "", "looks odd", NOW, None, "olga", "", "")


def locks_of(engine: Engine) -> Locks:
    return Locks(SqlLockStore(engine), ManualClock(NOW))


def test_what_is_not_stored_yet_is_not_undone_by_reading(engine: Engine) -> None:
    own, elsewhere = locks_of(engine), locks_of(engine)
    for locks in (own, elsewhere):  # announced before it is stored
        locks.add(LOCK, is_stored=False)
        assert locks.reload() == [] and locks.active() == [LOCK] == locks.unstored()
    own.store.add(LOCK)
    own.stored(LOCK)
    for locks in (own, elsewhere):
        assert locks.reload() == [] and locks.active() == [LOCK] and locks.unstored() == []
    own.store.release(released(LOCK, NOW, "olga"))
    for locks in (own, elsewhere):
        assert locks.reload() == [] and locks.active() == []
    told: list[Lock] = []
    elsewhere.announce = told.append
    elsewhere.add(LOCK, is_stored=False)  # a message that came late
    elsewhere.stored(LOCK, is_new=elsewhere.store.add(LOCK))
    assert elsewhere.reload() == [] and elsewhere.active() == [] and told == []


def test_a_lock_that_the_store_has_lost_stays_and_is_stored_again(engine: Engine) -> None:
    """A standby that took over lacks the last transactions."""
    locks = locks_of(engine)
    expired = replace(LOCK, id="lck_2", name="dora", expires_at=NOW)
    ended = replace(LOCK, id="lck_3", name="dave")
    for lock in (LOCK, expired, ended):
        locks.store.add(lock)
        locks.add(lock)
    with engine.begin() as connection:
        connection.execute(delete(table).where(table.c.id != ended.id))
    locks.store.release(released(ended, NOW, "olga"))
    assert locks.reload() == [] and locks.active() == [LOCK] == locks.unstored()
    locks.stored(LOCK, is_new=locks.store.add(LOCK))
    assert locks.reload() == [] and locks.active() == [LOCK] and locks.unstored() == []
    assert locks_of(engine).store.unreleased() == [LOCK]


def test_a_lock_may_be_stored_by_whoever_has_it(engine: Engine) -> None:
    store = SqlLockStore(engine)
    earlier = replace(LOCK, id="lck_0", created=NOW - 1)
    later = replace(LOCK, id="lck_2", created=NOW + 1)
    for lock in (earlier, LOCK, LOCK):
        store.add(lock)
    assert store.unreleased() == [LOCK], "the end of the one before"
    store.release(released(LOCK, NOW, "olga"))
    store.add(LOCK)
    assert store.unreleased() == [], "what was released stays so"
    store.add(later)
    store.add(earlier)
    assert store.unreleased() == [later]
    store.add(replace(LOCK, id="lck_3"))
    assert later in store.unreleased(), "a later one is not ended by an earlier one"


def test_the_newest_of_a_key_is_in_force_until_it_ends(engine: Engine) -> None:
    store, clock = SqlLockStore(engine), ManualClock(NOW)
    later = replace(LOCK, id="lck_2", created=NOW + 1, expires_at=NOW + 60)
    store.add(later)
    store.add(LOCK)
    locks = Locks(store, clock)
    for _ in range(2):
        locks.reload()
        assert locks.active() == [later]
    clock.advance(60)
    assert locks.reload() == [LOCK] and locks.active() == [LOCK]


def test_a_lock_that_changed_in_the_store_is_taken_as_it_is_there(engine: Engine) -> None:
    locks = locks_of(engine)
    locks.store.add(LOCK)
    locks.add(replace(LOCK, expires_at=NOW + 1))
    assert locks.reload() == [] and locks.active() == [LOCK]


def test_a_newer_lock_that_is_not_stored_stays_beside_the_stored_one(engine: Engine) -> None:
    locks, newer = locks_of(engine), replace(LOCK, id="lck_2", created=NOW + 1)
    locks.store.add(LOCK)
    locks.add(newer, is_stored=False)
    assert locks.reload() == [] and locks.active() == [newer] == locks.unstored()
