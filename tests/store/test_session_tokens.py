"""What is stored of a session token comes back as it was: a subject that changed on the way would
be somebody else.
"""

from __future__ import annotations

from dataclasses import asdict, fields

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from sallyport.core.clock import ManualClock
from sallyport.core.ids import new_id
from sallyport.core.subject import Subject
from sallyport.identity.renewal import is_same_identity
from sallyport.identity.session_tokens import SessionToken, SessionTokens, digest_of
from sallyport.store.session_tokens import SqlSessionTokenStore
from tests.support.sampling import examples

#: What identity/subjects.py lets through: printable texts, in any script.
NAMES = st.text(
    st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=20
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
SUBJECTS = st.builds(
    Subject,
    id=NAMES,
    issuer=NAMES,
    groups=st.frozensets(NAMES, max_size=4),
    agent=NAMES,
    label=st.just(""),
    email=NAMES | st.just(""),
    expires_at=st.floats(2e9, 4e9),
    token_id=NAMES,
    claims=st.dictionaries(NAMES, VALUES, max_size=4),
    actors=st.lists(NAMES, max_size=8).map(tuple),
    client=NAMES | st.just(""),
)


@settings(
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(subject=SUBJECTS, networks=st.lists(NAMES, max_size=3).map(tuple))
def test_it_comes_back_as_it_was(
    engine: Engine, subject: Subject, networks: tuple[str, ...]
) -> None:
    store = SqlSessionTokenStore(engine)
    token = SessionToken(
        new_id("tok"), digest_of(new_id("t")), subject, "shop", networks, 1.0, "127.0.0.1"
    )
    store.add(token)
    (back,) = [stored for stored in store.valid(0.0) if stored.id == token.id]
    assert back == token
    assert asdict(back.subject) == asdict(subject)  # claims too, which a comparison leaves out
    assert {f.name: type(getattr(back.subject, f.name)) for f in fields(Subject)} == {
        f.name: type(getattr(subject, f.name)) for f in fields(Subject)
    }
    assert hash(back.subject) == hash(subject)
    assert is_same_identity(back.subject, subject)
    store.forget(5e9)


def test_a_revocation_that_nobody_announced_is_missed_no_longer(engine: Engine) -> None:
    """Two processes of one store, one of which was cut off from the other's messages."""
    clock = ManualClock(1000.0)
    here, there = (SessionTokens(SqlSessionTokenStore(engine), clock, 600, 9) for _ in range(2))
    missed: list[str] = []
    here.on_missed = missed.append
    _, token = there.issue(Subject("ada", "https://a.example", frozenset(), expires_at=2000.0))
    _, ending = there.issue(Subject("ada", "https://a.example", frozenset(), expires_at=1100.0))
    for each in (token, ending):
        there.store.add(each)
        there.add(each)
    here.reload()
    assert here.holds(token.id) and there.unstored() == []
    revoked = there.revoke(token, "olga")
    here.reload()
    assert here.holds(token.id) and missed == [], "it is not stored yet"
    assert there.unstored() == [revoked]
    there.store.revoke(revoked)
    there.stored(revoked)
    clock.advance(200)  # the other one expired, which is no revocation
    here.reload()
    assert not here.holds(token.id) and missed == [token.id] and there.unstored() == []
