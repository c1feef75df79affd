"""Two consoles of one store: who is signed in at one is at the other, until they sign out at
either.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from sallyport.core.clock import ManualClock
from sallyport.core.errors import RefusedError, refuse
from sallyport.core.sealing import SealedBox
from sallyport.core.subject import Subject
from sallyport.web.auth.shared_signins import SharedSignIns
from sallyport.web.auth.signin import SignIn
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


def at(console: SignIns, id_: str, *, touch: bool = True) -> SignIn | None:
    """Who that is there."""
    return asyncio.run(console.get(id_, touch=touch))


def test_the_other_console_knows_who_it_is(here: SignIns, there: SignIns) -> None:
    id_ = here.open(VERA)
    signin, seen = at(here, id_), at(there, id_)
    assert signin is not None and seen is not None
    assert seen.subject == VERA and seen.subject.claims == VERA.claims
    assert seen.csrf_matches(signin.csrf), "a form of one page goes to the other console"
    assert at(there, id_ + "x") is None and at(there, "") is None


def test_signing_out_counts_at_both(here: SignIns, there: SignIns, rows: Rows) -> None:
    id_ = here.open(VERA)
    assert at(there, id_) is not None
    there.close(id_)
    assert at(here, id_) is None and at(there, id_) is None
    assert not rows.rows
    id_ = here.open(VERA)
    there.close(id_)  # it has not seen that one
    assert at(here, id_) is None


def test_a_page_that_refreshes_itself_hears_of_it_soon(
    here: SignIns, there: SignIns, clock: ManualClock
) -> None:
    id_ = here.open(VERA)
    assert at(here, id_, touch=False) is not None
    there.close(id_)
    clock.advance(5)
    assert at(here, id_, touch=False) is None


def test_it_ends_at_both_alike(
    here: SignIns, there: SignIns, clock: ManualClock, rows: Rows
) -> None:
    id_ = here.open(VERA)
    for _ in range(3):
        clock.advance(300)
        assert at(here, id_) is not None
    assert at(there, id_, touch=False) is not None, "the person was at the other one"
    clock.advance(100)
    assert at(there, id_) is None, "absolute"
    id_ = here.open(VERA)
    clock.advance(400)
    assert at(there, id_) is None, "idle"
    id_ = here.open(VERA, clock.now() + 50)
    assert at(there, id_) is not None
    clock.advance(50)
    assert at(there, id_) is None, "the provider's end"
    assert not rows.rows


def test_being_there_is_told_now_and_then(here: SignIns, rows: Rows, clock: ManualClock) -> None:
    id_ = here.open(VERA)
    for _ in range(120):
        clock.advance(1)
        assert at(here, id_) is not None
    assert rows.touches == 2


def test_without_the_store_a_console_goes_on_with_whom_it_knows(
    here: SignIns, there: SignIns, rows: Rows
) -> None:
    id_ = here.open(VERA)
    rows.is_away = True
    assert at(here, id_) is not None
    assert at(there, id_) is None, "it cannot know who that is"
    rows.is_away = False
    assert at(there, id_) is not None


def test_what_happened_without_the_store_is_told_later(
    clock: ManualClock, there: SignIns, rows: Rows
) -> None:
    shared = SharedSignIns(rows, BOX)
    here = SignIns(clock, absolute=1000.0, idle=400.0, shared=shared)
    stays = here.open(VERA)
    assert at(there, stays) is not None
    rows.is_away = True
    opened = here.open(VERA)
    here.close(stays)
    assert at(here, opened) is not None and at(here, stays) is None
    rows.is_away = False
    shared.settle()
    assert at(there, stays) is None
    assert at(there, opened) is None
    assert at(here, opened) is not None
    assert at(there, opened) is not None
    assert at(there, stays) is None and at(here, stays) is None


def test_who_writes_the_store_signs_nobody_in(
    here: SignIns, there: SignIns, clock: ManualClock, rows: Rows
) -> None:
    forged = console(clock, rows, SealedBox(b"x" * 32, "sallyport console")).open(VERA)
    assert at(here, forged) is None
    own, stolen = here.open(VERA), here.open(Subject("olga", "i", frozenset({"ops"})))
    rows.rows[name_of(own)] = rows.rows[name_of(stolen)]
    assert at(there, own) is None, "a row that was moved"
    rows.rows[name_of(own)] = b"{}", clock.now(), clock.now() + 100
    assert at(there, own) is None, "a row without a seal"


def test_the_store_has_no_id_and_no_claim(here: SignIns, rows: Rows) -> None:
    id_ = here.open(VERA)
    for name, (body, _, _) in rows.rows.items():
        assert id_ not in name and id_.encode() not in body
        assert b"vera" not in body


def test_a_slow_store_does_not_stop_the_loop(
    here: SignIns, there: SignIns, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is somebody signed in by what it said before they signed out."""
    stays, leaves = here.open(VERA), here.open(VERA)
    asked, go_on = threading.Semaphore(0), threading.Event()
    answer = rows.get

    def slow(id_: str) -> tuple[bytes, float] | None:
        row = answer(id_)
        asked.release()
        assert go_on.wait(30), "the loop did not go on"
        return row

    async def work() -> None:
        monkeypatch.setattr(rows, "get", slow)
        async with asyncio.TaskGroup() as group:
            still, gone = (group.create_task(there.get(id_)) for id_ in (stays, leaves))
            for _ in range(2):
                await asyncio.to_thread(asked.acquire, timeout=30)
            there.close(leaves)
            go_on.set()
        assert still.result() is not None and gone.result() is None

    asyncio.run(work())
    assert at(there, leaves) is None and len(there) == 1


def test_others_who_sign_out_keep_nobody_waiting(
    here: SignIns, there: SignIns, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is asked once, however many sign out meanwhile."""
    stays, leaving = here.open(VERA), [here.open(VERA) for _ in range(3)]
    answer, questions = rows.get, list[str]()

    async def work() -> None:
        loop = asyncio.get_running_loop()

        def closed_meanwhile(name: str) -> tuple[bytes, float] | None:
            questions.append(name)
            if leaving:
                asyncio.run_coroutine_threadsafe(sign_out(leaving.pop()), loop).result(30)
            return answer(name)

        monkeypatch.setattr(rows, "get", closed_meanwhile)
        assert await there.get(stays) is not None

    async def sign_out(id_: str) -> None:
        there.close(id_)

    asyncio.run(work())
    assert questions == [name_of(stays)]
