"""What a browser brings back counts once, in time, and at every gateway that has the key."""

from __future__ import annotations

import asyncio

import pytest

from sallyport.core.clock import ManualClock
from sallyport.core.errors import RefusedError, refuse
from sallyport.core.sealing import SealedBox
from sallyport.identity.pkce import challenge_of
from sallyport.identity.replay import UsedMessages
from sallyport.web.auth.begun import Begun, Pending

BOX = SealedBox(b"k" * 32, "sallyport console")


class Store:
    """What all gateways have used; ``is_away`` now and then."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.is_away = False

    def use(self, id_: str, until: float, now: float) -> bool:
        if self.is_away:
            raise RefusedError(refuse("SP1801", "away"))
        is_new = id_ not in self.used
        self.used.add(id_)
        return is_new


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def here(clock: ManualClock, store: Store) -> Begun:
    return Begun(clock, BOX, UsedMessages(clock, store=store))


@pytest.fixture
def there(clock: ManualClock, store: Store) -> Begun:
    return Begun(clock, BOX, UsedMessages(clock, store=store))


def pending_of(begun: Begun, cookie: str) -> Pending | None:
    return asyncio.run(begun.pending_of(cookie))


def test_a_sign_in_is_answered_elsewhere_once(here: Begun, there: Begun) -> None:
    pending = Pending("/sessions?x=1", "corp")
    cookie = here.cookie_of(pending)
    assert pending_of(there, cookie) == pending
    assert pending_of(here, cookie) is None
    assert pending_of(there, cookie) is None


def test_without_a_store_it_counts_once_at_each_gateway(clock: ManualClock) -> None:
    alone = Begun(clock, BOX, UsedMessages(clock))
    cookie = alone.cookie_of(Pending("/"))
    assert pending_of(alone, cookie) is not None
    assert pending_of(alone, cookie) is None


def test_it_takes_ten_minutes_at_most(here: Begun, there: Begun, clock: ManualClock) -> None:
    first, second, third = (here.cookie_of(Pending("/")) for _ in range(3))
    clock.advance(600)
    assert pending_of(there, first) is not None
    clock.advance(1)
    assert pending_of(there, second) is None
    clock.advance(-601 - 60)
    assert pending_of(there, second) is not None, "a clock may be a minute behind"
    clock.advance(-1)
    assert pending_of(there, third) is None


def test_the_cookie_tells_nothing_and_cannot_be_changed(here: Begun, clock: ManualClock) -> None:
    pending = Pending("/")
    cookie = here.cookie_of(pending)
    for secret in (pending.state, pending.nonce, pending.verifier):
        assert secret not in cookie and secret.encode().hex() not in cookie
        assert secret not in repr(pending)
    strange = Begun(clock, SealedBox(b"x" * 32, "sallyport console"), UsedMessages(clock))
    for changed in (
        "",
        "00",
        "not hex",
        "é",
        cookie[:-2],
        cookie[:-2] + ("00" if cookie[-2:] != "00" else "01"),
        strange.cookie_of(pending),
        here.logout_id("corp")[1:],
        here.handover_code("a", "b"),
    ):
        assert pending_of(here, changed) is None, changed
    assert pending_of(here, cookie.upper()) == pending
    assert pending_of(here, cookie) is None, "written otherwise it is still the same one"


def test_the_longest_address_fits_a_cookie(here: Begun) -> None:
    """RFC 6265, section 6.1: 4096 bytes with name and attributes."""
    assert len(here.cookie_of(Pending("/" + "a" * 1000, "p" * 60))) < 3500


def test_requests_to_sign_out(here: Begun, there: Begun, clock: ManualClock) -> None:
    id_ = here.logout_id("corp")
    assert id_.startswith("_") and id_[1:].isalnum(), "an NCName"
    assert not asyncio.run(there.is_logout_id(id_, "another"))
    assert asyncio.run(there.is_logout_id(id_, "corp"))
    assert not asyncio.run(here.is_logout_id(id_, "corp"))
    late = here.logout_id("corp")
    clock.advance(601)
    assert not asyncio.run(here.is_logout_id(late, "corp"))
    assert not asyncio.run(here.is_logout_id("_" + "0" * 40, "corp"))


def test_a_terminal_takes_over_once_with_its_verifier(
    here: Begun, there: Begun, clock: ManualClock
) -> None:
    def taken(code: str, verifier: str = "v") -> str:
        return asyncio.run(there.handed_over(code, verifier))

    code = here.handover_code("name", challenge_of("v"))
    assert taken(code) == "name"
    assert taken(code) == ""
    code = here.handover_code("name", challenge_of("v"))
    assert taken(code, "wrong") == ""
    assert taken(code) == "", "a wrong verifier uses it up"
    code = here.handover_code("name", challenge_of("v"))
    clock.advance(61)
    assert taken(code) == ""
    assert len(code) <= 400


def test_without_the_store(here: Begun, there: Begun, store: Store) -> None:
    """A sign-in goes on, once at a gateway; a terminal does not."""
    store.is_away = True
    cookie, code = here.cookie_of(Pending("/")), here.handover_code("name", challenge_of("v"))
    assert pending_of(there, cookie) is not None
    assert pending_of(there, cookie) is None
    assert asyncio.run(there.handed_over(code, "v")) == ""
