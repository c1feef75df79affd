"""Two processes with one store, between which every message is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sallyport.approvals.openrequests import Sharing
from sallyport.approvals.service import Approvals
from sallyport.approvals.states import FloodLimits, Grant, Recorded, Request, Status
from sallyport.core.announcements import Topic
from sallyport.core.clock import ManualClock
from sallyport.core.errors import RefusedError, refuse
from sallyport.operations.access import REVIEWER, Principal
from sallyport.operations.approvals import ApprovalOperations
from sallyport.store.approvals import SqlApprovalStore
from sallyport.store.database import open_database
from sallyport.store.sealing import Seal
from tests.approvals.helpers import BINDING, DANA, EVE, House, Unmasked

AWAY = refuse("SP1801", "the store is away")


class Lost:
    """Announcements that reach nobody."""

    def publish(self, topic: Topic, body: str) -> None: ...

    def subscribe(self, topic: Topic, receive: Callable[[str], None]) -> None: ...

    def on_resume(self, reload: Callable[[], None]) -> None: ...


class Store(SqlApprovalStore):
    """Does something once, after grants were read; or is away, for reading of grants and for
    writing of their ends.
    """

    is_away = False
    reads = 0
    after_grants: Callable[[], object] | None = None

    def open(self) -> list[Request]:
        self.reads += 1
        return super().open()

    def get(self, id_: str) -> Request | None:
        self.reads += 1
        return super().get(id_)

    def grants(self, now: float | None = None) -> list[Grant]:
        if self.is_away:
            raise RefusedError(AWAY)
        grants = super().grants(now)
        then, self.after_grants = self.after_grants, None
        if then is not None:
            then()
        return grants

    def revoke_grant(self, grant: Grant) -> bool:
        if self.is_away:
            raise RefusedError(AWAY)
        return super().revoke_grant(grant)


@pytest.fixture
def make_process(tmp_path: Path) -> Callable[..., House]:
    def make(
        owner: str, dead: frozenset[str] = frozenset(), limits: FloodLimits | None = None
    ) -> House:
        engine, clock = open_database(tmp_path), ManualClock()
        store = Store(engine, Seal(b"k" * 32))
        sharing = Sharing(Lost(), owner, lambda owner: owner in dead)
        return House(
            tmp_path,
            clock,
            engine,
            store,
            Approvals(store, clock, sharing=sharing, limits=limits),
            {},
        )

    return make


Make = Callable[..., House]


def store_of(house: House) -> Store:
    assert isinstance(house.store, Store)
    return house.store


def test_a_use_does_not_undo_what_another_process_revoked(make_process: Make) -> None:
    first, second = make_process("a-0-1"), make_process("b-0-1")
    grant = first.service.grant(first.ask().id, 30, DANA)
    store_of(first).after_grants = lambda: second.service.revoke(grant.id, EVE, "incident")
    assert first.service.claim(BINDING) is None
    for house in (first, second):
        house.service.reread()
        assert house.service.grants() == [] and house.service.claim(BINDING) is None
    (stored,) = first.store.grants()
    assert stored.revoked_by == "eve@example.com: incident" and stored.uses == 0


def test_nothing_runs_by_a_grant_that_is_revoked_at_the_last_moment(make_process: Make) -> None:
    first, second = make_process("a-0-1"), make_process("b-0-1")
    grant = first.service.grant(first.ask().id, 30, DANA)
    claimed = first.service.claim(BINDING)
    assert claimed is not None
    store_of(first).after_grants = lambda: second.service.revoke(grant.id, EVE, "incident")
    assert first.service.use(claimed.id, BINDING) is not None


def test_of_two_who_revoke_the_first_is_kept(make_process: Make) -> None:
    first, second = make_process("a-0-1"), make_process("b-0-1")
    grant = first.service.grant(first.ask().id, 30, DANA)
    store_of(first).after_grants = lambda: second.service.revoke(grant.id, EVE, "incident")
    first.service.revoke(grant.id, DANA, "too late")
    assert first.store.grants()[0].revoked_by == "eve@example.com: incident"


def test_a_disowned_grant_stays_so_until_that_is_stored(make_process: Make) -> None:
    house, elsewhere = make_process("a-0-1"), make_process("b-0-1")
    house.service.grant(house.ask().id, 30, DANA)
    store_of(house).is_away = True
    with pytest.raises(RefusedError, match="SP1801"):
        house.service.disown(lambda decision: decision.reviewer == DANA.id, "dana was locked")
    store_of(house).is_away = False
    house.service.reread()
    assert house.service.grants() == [] and house.service.claim(BINDING) is None
    house.service.void_left()
    elsewhere.service.reread()
    assert elsewhere.service.grants() == []
    assert "dana was locked" in house.store.grants()[0].revoked_by


def test_a_decision_is_heard_although_the_store_failed_between(make_process: Make) -> None:
    first, second = make_process("a-0-1"), make_process("b-0-1")
    request, told = first.ask(), list[Request]()
    first.service.watch(request.id, told.append)
    second.service.decide(request.id, DANA, False, "no", "test")
    store_of(first).is_away = True
    with pytest.raises(RefusedError):
        first.service.reread()
    assert [waiting.id for waiting in first.service.pending()] == [request.id]
    store_of(first).is_away = False
    first.service.reread()
    assert [now.status for now in told] == [Status.DENIED]


def test_whoever_lost_a_race_hears_who_won(make_process: Make) -> None:
    first, second = make_process("a-0-1"), make_process("b-0-1")
    request, told = first.ask(), list[Request]()
    first.service.watch(request.id, told.append)
    second.service.decide(request.id, DANA, False, "no", "test")
    first.clock.advance(3600)
    (ended,) = first.service.expire_due()
    assert [now.status for now in (ended, *told)] == [Status.DENIED, Status.DENIED]


def test_a_process_with_another_policy_voids_its_own_only(make_process: Make) -> None:
    first = make_process("a-0-1")
    grant = first.service.grant(first.ask().id, 30, DANA)
    living, gone = first.ask(), make_process("c-0-1").ask(replace(BINDING, session="ses_2"))
    second = make_process("b-0-1", dead=frozenset({"c-0-1"}))
    own = second.ask(replace(BINDING, session="ses_3"))
    ended = second.service.environment_moved("shop", policy_version="p2", epoch="e1")
    assert own.id in {request.id for request in ended}
    assert living.id not in {request.id for request in ended}
    stored = {request.id: request.status for request in first.service.recent()}
    assert stored[living.id] is Status.PENDING and stored[gone.id] is Status.VOIDED
    assert [kept.id for kept in first.service.grants()] == [grant.id]
    assert first.service.claim(BINDING) is not None
    assert second.service.claim(replace(BINDING, policy_version="p2")) is None


HIDING = replace(BINDING, recorded=Recorded("UPDATE orders SET status = $1", None, ()))


@pytest.mark.parametrize("pending", [True, False])
def test_a_list_reads_the_store_once_however_long_it_is(make_process: Make, pending: bool) -> None:
    house = make_process("a-0-1", limits=FloodLimits(per_subject=50))
    asked = [house.ask(replace(HIDING, session=f"ses_{number}")) for number in range(40)]
    for request in asked[::2]:
        house.deny(request)
    store, ops = store_of(house), ApprovalOperations(house.service, "test", Unmasked())
    store.reads = 0
    listing = ops.list(Principal(DANA, frozenset({REVIEWER})), pending=pending, limit=50)
    listed = asyncio.run(listing)
    assert len(listed) == (20 if pending else 40) and store.reads == 1
    shown = {request.id for request in listed if request.binding.sql == BINDING.sql}
    assert shown == {request.id for request in asked[1::2]}


def test_what_was_decided_elsewhere_is_listed_without_its_values(make_process: Make) -> None:
    first, second = make_process("a-0-1"), make_process("b-0-1")
    decided, left = (first.ask(replace(HIDING, session=session)) for session in ("ses_1", "ses_2"))
    second.service.reread()
    second.deny(decided)
    ops = ApprovalOperations(first.service, "test", Unmasked())
    listed = asyncio.run(ops.list(Principal(DANA, frozenset({REVIEWER})), pending=True))
    assert {request.id: request.binding.sql for request in listed} == {
        decided.id: "UPDATE orders SET status = $1",
        left.id: BINDING.sql,
    }
