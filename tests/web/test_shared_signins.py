"""Two consoles of one store: who is signed in at one is at the other, until they sign out at
either.
"""

from __future__ import annotations

import pytest

from sallyport.core.clock import ManualClock
from sallyport.core.errors import RefusedError, refuse
from sallyport.core.sealing import SealedBox
from sallyport.core.subject import Subject
from sallyport.web.auth.shared_signins import SharedSignIns
from sallyport.web.auth.signins import SignIns, name_of

BOX = SealedBox(b"k" * 32, "sallyport console")
VERA = Subject(
    "vera",
    "https://idp.example.com",
    frozenset({"b", "a"}),
    email="vera@example.com",
    actors=("x",),
    claims={"number": 2**70, "list": ["a"], "lone": "\ud800", "nonce": "n"},
)


class Rows:
    """A store in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[bytes, float, float]] = {}
        self.touches = 0
        self.is_away = False

    def add(self, id_: str, body: bytes, seen: float, until: float) -> None:
        self._check()
        self.rows[id_] = body, seen, until

    def get(self, id_: str) -> tuple[bytes, float] | None:
        self._check()
        row = self.rows.get(id_)
        return None if row is None else row[:2]

    def touch(self, id_: str, seen: float, until: float) -> None:
        self._check()
        self.touches += 1
        if id_ in self.rows:
            self.rows[id_] = self.rows[id_][0], seen, until

    def remove(self, id_: str) -> None:
        self._check()
        self.rows.pop(id_, None)

    def _check(self) -> None:
        if self.is_away:
            raise RefusedError(refuse("SP1801", "away"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def rows() -> Rows:
    return Rows()


def console(clock: ManualClock, rows: Rows, box: SealedBox = BOX) -> SignIns:
    return SignIns(clock, absolute=1000.0, idle=400.0, shared=SharedSignIns(rows, box))


@pytest.fixture
def here(clock: ManualClock, rows: Rows) -> SignIns:
    return console(clock, rows)


@pytest.fixture
def there(clock: ManualClock, rows: Rows) -> SignIns:
    return console(clock, rows)


def test_the_other_console_knows_who_it_is(here: SignIns, there: SignIns) -> None:
    id_ = here.open(VERA)
    signin, seen = here.get(id_), there.get(id_)
    assert signin is not None and seen is not None
    assert seen.subject == VERA and seen.subject.claims == VERA.claims
    assert seen.csrf_matches(signin.csrf), "a form of one page goes to the other console"
    assert there.get(id_ + "x") is None and there.get("") is None


def test_signing_out_counts_at_both(here: SignIns, there: SignIns, rows: Rows) -> None:
    id_ = here.open(VERA)
    assert there.get(id_) is not None
    there.close(id_)
    assert here.get(id_) is None and there.get(id_) is None
    assert not rows.rows
    id_ = here.open(VERA)
    there.close(id_)  # it has not seen that one
    assert here.get(id_) is None


def test_a_page_that_refreshes_itself_hears_of_it_soon(
    here: SignIns, there: SignIns, clock: ManualClock
) -> None:
    id_ = here.open(VERA)
    assert here.get(id_, touch=False) is not None
    there.close(id_)
    clock.advance(5)
    assert here.get(id_, touch=False) is None


def test_it_ends_at_both_alike(
    here: SignIns, there: SignIns, clock: ManualClock, rows: Rows
) -> None:
    id_ = here.open(VERA)
    for _ in range(3):
        clock.advance(300)
        assert here.get(id_) is not None
    assert there.get(id_, touch=False) is not None, "the person was at the other one"
    clock.advance(100)
    assert there.get(id_) is None, "absolute"
    id_ = here.open(VERA)
    clock.advance(400)
    assert there.get(id_) is None, "idle"
    id_ = here.open(VERA, clock.now() + 50)
    assert there.get(id_) is not None
    clock.advance(50)
    assert there.get(id_) is None, "the provider's end"
    assert not rows.rows


def test_being_there_is_told_now_and_then(here: SignIns, rows: Rows, clock: ManualClock) -> None:
    id_ = here.open(VERA)
    for _ in range(120):
        clock.advance(1)
        assert here.get(id_) is not None
    assert rows.touches == 2


def test_without_the_store_a_console_goes_on_with_whom_it_knows(
    here: SignIns, there: SignIns, rows: Rows
) -> None:
    id_ = here.open(VERA)
    rows.is_away = True
    assert here.get(id_) is not None
    assert there.get(id_) is None, "it cannot know who that is"
    rows.is_away = False
    assert there.get(id_) is not None


def test_what_happened_without_the_store_is_told_later(
    clock: ManualClock, there: SignIns, rows: Rows
) -> None:
    shared = SharedSignIns(rows, BOX)
    here = SignIns(clock, absolute=1000.0, idle=400.0, shared=shared)
    stays = here.open(VERA)
    assert there.get(stays) is not None
    rows.is_away = True
    opened = here.open(VERA)
    here.close(stays)
    assert here.get(opened) is not None and here.get(stays) is None
    rows.is_away = False
    shared.settle()
    assert there.get(stays) is None
    assert there.get(opened) is None
    assert here.get(opened) is not None
    assert there.get(opened) is not None
    assert there.get(stays) is None and here.get(stays) is None


def test_who_writes_the_store_signs_nobody_in(
    here: SignIns, there: SignIns, clock: ManualClock, rows: Rows
) -> None:
    forged = console(clock, rows, SealedBox(b"x" * 32, "sallyport console")).open(VERA)
    assert here.get(forged) is None
    own, stolen = here.open(VERA), here.open(Subject("olga", "i", frozenset({"ops"})))
    rows.rows[name_of(own)] = rows.rows[name_of(stolen)]
    assert there.get(own) is None, "a row that was moved"
    rows.rows[name_of(own)] = b"{}", clock.now(), clock.now() + 100
    assert there.get(own) is None, "a row without a seal"


def test_the_store_has_no_id_and_no_claim(here: SignIns, rows: Rows) -> None:
    id_ = here.open(VERA)
    for name, (body, _, _) in rows.rows.items():
        assert id_ not in name and id_.encode() not in body
        assert b"vera" not in body
