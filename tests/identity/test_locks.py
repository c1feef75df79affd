"""Whom a lock keeps out: golden rows of lock and subject."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from sallyport.core.clock import ManualClock
from sallyport.core.subject import Subject
from sallyport.identity.locks import Lock, Locks, is_locked_by

HERE, THERE = "https://idp.example.com", "https://other.example.com"
DANA = Subject("dana", HERE, frozenset(), agent="cli", token_id="tok_1", claims={"jti": "j-1"})


class NoStore:
    def add(self, lock: Lock) -> bool:
        return True

    def release(self, lock: Lock) -> None: ...
    def unreleased(self) -> list[Lock]:
        return []

    def stored(self, ids: Collection[str]) -> set[str]:
        return set()

    def recent(self, limit: int) -> list[Lock]:
        return []


@pytest.mark.parametrize(
    ("kind", "name", "issuer", "is_hit"),
    [
        ("subject", "dana", "", True),
        ("subject", "dana", THERE, False),
        ("agent", "cli", HERE, True),
        ("token", "tok_1", "", True),  # the session token
        ("token", "j-1", "", True),  # what it was exchanged for
        ("token", "j-1", THERE, False),  # jti are unique within an issuer only
        ("token", "dana", "", False),
        ("issuer", HERE, "", True),
        ("issuer", THERE, "", False),
        ("issuer", "dana", "", False),
    ],
)
def test_whom_a_lock_keeps_out(kind: str, name: str, issuer: str, is_hit: bool) -> None:
    lock = Lock("lck_1", kind, name, issuer, "why", 1.0, None, "olga", "", "")
    locks = Locks(NoStore(), ManualClock())
    locks.add(lock)
    assert is_locked_by(DANA, lock) is is_hit
    assert (locks.of(DANA) is lock) is is_hit
    # At the console's sign-in the agent is the console itself.
    assert (locks.of(DANA, agents=False) is lock) is (is_hit and kind != "agent")
