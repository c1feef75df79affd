"""Who is locked with whom: by the names that the configuration ties together, and by those that
tokens tell.
"""

from __future__ import annotations

from collections.abc import Collection

from sallyport.approvals.people import Identities
from sallyport.core.clock import ManualClock
from sallyport.core.subject import Subject
from sallyport.identity.locks import AGENT, SUBJECT, Lock, Locks

ISSUERS = ("https://a.example", "https://b.example")


class Forgetful:
    """A store that keeps nothing."""

    def add(self, lock: Lock) -> bool:
        return True

    def release(self, lock: Lock) -> None: ...

    def unreleased(self) -> list[Lock]:
        return []

    def stored(self, ids: Collection[str]) -> set[str]:
        return set()

    def recent(self, limit: int) -> list[Lock]:
        return []


def subject(id_: str, issuer: str = ISSUERS[0], **more: object) -> Subject:
    return Subject(id_, issuer, frozenset(), **more)  # type: ignore[arg-type]


def locks_by(identities: Identities, name: str, kind: str = SUBJECT, issuer: str = "") -> Locks:
    clock = ManualClock()
    locks = Locks(Forgetful(), clock, links=identities.links, issuers=ISSUERS)
    locks.add(Lock("lck_1", kind, name, issuer, "gone", clock.now(), None, "olga", ISSUERS[0], ""))
    return locks


def test_aliases_and_claims_are_one_person() -> None:
    identities = Identities(
        ("act.sub",), {"dana": "dana", "d-1": "dana", f"{ISSUERS[1]}|77": "dana", "d@x.io": "dana"}
    )
    locks = locks_by(identities, "dana")
    for same in (
        subject("d-1"),
        subject("77", ISSUERS[1]),
        subject("unheard-of", email="d+tag@X.io"),
        subject("a-bot", claims={"act": {"sub": "dana"}}),
    ):
        assert locks.of(same) is not None, same
    for stranger in (
        subject("77"),
        subject("eve", email="e@x.io"),
        subject("a-bot", claims={"act": {"sub": "eve"}}),
    ):
        assert locks.of(stranger) is None, stranger


def test_an_address_is_learned_from_a_token_and_forgotten_with_the_lock() -> None:
    locks = locks_by(Identities(), "dana", issuer=ISSUERS[0])
    elsewhere = subject("4711", ISSUERS[1], email="dana@x.io")
    assert locks.of(elsewhere) is None, "nothing ties them yet"
    assert locks.of(subject("dana", email="dana@x.io")) is not None
    assert locks.of(elsewhere) is not None
    assert locks.of(subject("dana", ISSUERS[1])) is None, "another issuer's dana"
    (lock,) = locks.active()
    locks.remove(lock)
    assert locks.of(elsewhere) is None


def test_an_agent_is_no_person() -> None:
    locks = locks_by(Identities((), {"ci": "ci", "dana": "ci"}), "ci", AGENT)
    assert locks.of(subject("dana")) is None
    assert locks.of(subject("x", agent="ci")) is not None
