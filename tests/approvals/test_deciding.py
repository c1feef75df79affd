"""Who may decide: not oneself under any name, not twice, not without the group, not too late; and
what is stored before it counts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text

from sallyport.approvals.people import Identities
from sallyport.approvals.problems import ApprovalProblem, DecisionError
from sallyport.approvals.states import FloodLimits, Preview, Request, Status
from sallyport.core.errors import RefusedError
from sallyport.core.subject import Subject
from tests.approvals.helpers import AGENT, BINDING, DANA, EVE, ISSUER, MALLORY, House, changed

Make = Callable[..., House]


def problem(
    house: House, request: Request, who: Subject, approve: bool = True, reason: str = ""
) -> ApprovalProblem:
    with pytest.raises(DecisionError) as refused:
        house.service.decide(request.id, who, approve, reason, "test")
    assert refused.value.refusal.code.id == "SP1405"
    return refused.value.problem


def test_reviewers_are_those_of_the_rule(house: House) -> None:
    request = house.ask()
    assert problem(house, request, MALLORY) is ApprovalProblem.NOT_REVIEWER, (
        "administrators included"
    )
    assert (
        problem(house, request, replace(DANA, groups=frozenset())) is ApprovalProblem.NOT_REVIEWER
    )
    assert (
        problem(house, request, replace(DANA, groups=frozenset({"DBA"})))
        is ApprovalProblem.NOT_REVIEWER
    )
    assert house.approve(request).status is Status.APPROVED


def test_an_expired_sign_in_decides_nothing(house: House) -> None:
    late = replace(DANA, expires_at=house.clock.now())
    assert problem(house, house.ask(), late) is ApprovalProblem.NOT_REVIEWER


SELF = {
    "the same subject": replace(AGENT, groups=frozenset({"dba"}), email=""),
    "as an administrator": replace(AGENT, groups=frozenset({"dba", "admin", "operators"})),
    "the same address": replace(DANA, email="alice@example.com"),
    "in other case": replace(DANA, email=" Alice@EXAMPLE.com"),
    "with a tag": replace(DANA, email="alice+approver@example.com"),
    "in other letters": replace(DANA, email="ａlice@example.com"),
    "from another issuer": replace(
        DANA, issuer="https://other.example.com", email="alice@example.com"
    ),
    "an id that is the address": replace(DANA, id="alice@example.com", email=""),
    "denying": replace(AGENT, groups=frozenset({"dba"})),
}


@pytest.mark.parametrize("way", SELF)
def test_nobody_decides_about_their_own(house: House, way: str) -> None:
    request = house.ask()
    assert (
        problem(house, request, SELF[way], approve=way != "denying", reason="x")
        is ApprovalProblem.SELF
    )
    assert house.service.pending() == [request]


def test_a_group_of_the_requesters_does_not_help(house: House) -> None:
    subject = replace(AGENT, groups=frozenset({"agents", "dba"}))
    assert problem(house, house.ask(subject=subject), subject) is ApprovalProblem.SELF


@pytest.mark.parametrize(
    ("claims", "agent", "reviewer"),
    [
        (("owner",), {"owner": "dana@example.com"}, {}),
        (("owner",), {"owner": "Dana"}, {"owner": "dana"}),
        (("act.sub",), {"act": {"sub": "dana"}}, {}),
        (("employee",), {"employee": 17}, {"employee": "17"}),
        (("people",), {"people": ["x", "dana@example.com"]}, {}),
        (("https://corp/claims.id",), {"https://corp/claims.id": "dana"}, {}),
    ],
)
def test_linked_by_claims(
    make_house: Make, claims: tuple[str, ...], agent: dict[str, object], reviewer: dict[str, object]
) -> None:
    house = make_house(identities=Identities(claims))
    request = house.ask(subject=replace(AGENT, claims=agent))
    assert problem(house, request, replace(DANA, claims=reviewer)) is ApprovalProblem.SELF
    assert house.approve(request, EVE).status is Status.APPROVED


@pytest.mark.parametrize("name", [f"{ISSUER}|claude", "claude", "Alice@example.com"])
def test_linked_by_aliases(make_house: Make, name: str) -> None:
    house = make_house(identities=Identities(aliases={name: "Alice", "dana@example.com": "alice"}))
    assert problem(house, house.ask(), DANA) is ApprovalProblem.SELF


def test_links_found_out_later_count(make_house: Make) -> None:
    house = make_house()
    request = house.ask(mode="async")
    house.options["identities"] = Identities(aliases={"claude": "a", "dana": "a"})
    house = house.restart()
    assert problem(house, request, DANA) is ApprovalProblem.SELF
    house.close()


def test_a_denial_needs_a_reason(house: House) -> None:
    request = house.ask()
    for empty in ("", "  \n", "\u200b\u202e"):
        assert problem(house, request, DANA, False, empty) is ApprovalProblem.NO_REASON
    assert problem(house, request, DANA, True, "x" * 2001) is ApprovalProblem.INVALID
    denied = house.deny(request, " because ")
    assert (
        denied.status is Status.DENIED
        and denied.denial is not None
        and denied.denial.reason == "because"
    )


def test_a_quorum_is_of_different_people(house: House) -> None:
    request = house.ask(quorum=2)
    assert house.approve(request).status is Status.PENDING
    assert problem(house, request, DANA) is ApprovalProblem.TWICE
    assert problem(house, request, DANA, False, "changed my mind") is ApprovalProblem.TWICE
    same = Subject(
        "d2", "https://other.example.com", frozenset({"dba"}), email="Dana+2@example.com"
    )
    assert problem(house, request, same) is ApprovalProblem.TWICE
    assert house.service.use(request.id, BINDING) is not None, "half a quorum is none"
    assert house.approve(request, EVE).status is Status.APPROVED
    assert house.service.use(request.id, BINDING) is None


def test_a_quorum_survives_restarts(house: House) -> None:
    request = house.approve(house.ask(quorum=2, mode="async"))
    house = house.restart()
    assert problem(house, request, DANA) is ApprovalProblem.TWICE
    assert house.approve(request, EVE).status is Status.APPROVED
    house.close()


def test_one_denial_denies(house: House) -> None:
    request = house.approve(house.ask(quorum=3))
    assert house.deny(request, "no", EVE).status is Status.DENIED
    third = replace(DANA, id="third", email="third@example.com")
    assert problem(house, request, third) is ApprovalProblem.CLOSED


def test_too_late(house: House) -> None:
    request = house.ask(expires_seconds=60)
    house.clock.advance(60)
    assert problem(house, request, DANA) is ApprovalProblem.EXPIRED
    assert problem(house, replace(request, id="apr_none"), DANA) is ApprovalProblem.UNKNOWN
    withdrawn = house.service.withdraw(house.ask().id, "gone")
    assert problem(house, withdrawn, DANA) is ApprovalProblem.CLOSED
    used = house.approve(house.ask())
    assert problem(house, used, EVE) is ApprovalProblem.CLOSED


def test_why_not_changes_nothing(house: House) -> None:
    request = house.ask()

    def why_not(who: Subject) -> str:
        return house.service.why_not_each([request], who)[request.id]

    assert why_not(DANA) == ""
    assert "of your own" in why_not(SELF["the same address"])
    assert "you may not decide" in why_not(MALLORY)
    assert house.service.get(request.id) == request
    house.deny(request)
    assert "no longer pending" in why_not(DANA), "what was listed before it was decided"


# -- floods ----------------------------------------------------------------------------------------


def test_identical_requests_join(house: House) -> None:
    first = house.ask(mode="async")
    assert house.ask(changed("session"), mode="async") == first
    assert house.ask(rule="another rule", mode="async") != first
    assert house.ask(changed("binds"), mode="async") != first
    assert len(house.service.pending()) == 2, "under another rule, what was asked before is void"


def test_floods_are_refused_per_subject(make_house: Make) -> None:
    house = make_house(limits=FloodLimits(per_subject=3, total=5, per_hour=6))

    def ask(number: int, subject: Subject = AGENT) -> Request:
        binding = replace(BINDING, sql=f"UPDATE t SET x = {number}", subject=subject.id)
        return house.ask(binding, subject)

    for number in range(3):
        ask(number)
    with pytest.raises(RefusedError, match=r"\[SP1401\] 3 of your statements"):
        ask(3)
    assert ask(1).status is Status.PENDING, "joining is no flood"
    second_agent = replace(AGENT, id="other", email="other@example.com")
    ask(1, second_agent), ask(2, second_agent)
    with pytest.raises(RefusedError, match="SP1401"):
        ask(3, second_agent)
    for request in house.service.pending():
        house.service.withdraw(request.id, "gone")
    for number in range(10, 13):
        house.service.withdraw(ask(number).id, "gone")
    with pytest.raises(RefusedError, match="too many approvals"):
        ask(14)
    house.clock.advance(3600)
    assert ask(15).status is Status.PENDING


def test_what_nobody_can_read_is_not_shown(make_house: Make) -> None:
    house = make_house(limits=FloodLimits(max_bytes=100))
    with pytest.raises(RefusedError, match="SP1105"):
        house.ask(replace(BINDING, binds=(b"x" * 100,)))


# -- telling and storing ---------------------------------------------------------------------------


def test_watchers_hear_every_change(house: House) -> None:
    statuses: list[Status] = []
    everything: list[str] = []
    house.service.watch("", lambda r: everything.append(r.id))
    request = house.ask(quorum=2)
    stop = house.service.watch(request.id, lambda r: statuses.append(r.status))
    house.service.previewed(request.id, Preview(rows=3))
    house.approve(request)
    house.approve(request, EVE)
    stop()
    house.service.use(request.id, BINDING)
    assert statuses == [Status.PENDING, Status.PENDING, Status.APPROVED]
    assert everything == [request.id] * 5
    stored = house.store.get(request.id)
    assert stored is not None and stored.preview == Preview(rows=3)


def test_callbacks_run_on_their_own_loop(house: House) -> None:
    async def main() -> list[Status]:
        request = house.ask()
        heard: list[Status] = []
        house.service.watch(request.id, lambda r: heard.append(r.status))
        unheard: list[Status] = []
        stop = house.service.watch(request.id, lambda r: unheard.append(r.status))
        deciding = threading.Thread(target=house.approve, args=(request,))
        deciding.start()
        deciding.join()
        assert heard == [], "not on the thread that decided"
        stop()
        await asyncio.sleep(0.01)
        assert unheard == []
        return heard

    assert asyncio.run(main()) == [Status.APPROVED]


def test_what_cannot_be_stored_has_not_happened(house: House) -> None:
    request = house.ask()
    approved = house.approve(house.ask(changed("sql")))
    heard: list[Request] = []
    house.service.watch("", heard.append)
    with house.engine.begin() as connection:
        connection.execute(text("ALTER TABLE approvals RENAME TO away"))
    with pytest.raises(RefusedError, match="SP1801"):
        house.approve(request)
    with pytest.raises(RefusedError, match="SP1801"):
        house.ask(changed("binds"))
    refusal = house.service.use(approved.id, changed("sql"))
    assert refusal is not None and refusal.code.id == "SP1801"
    assert heard == []
    with house.engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO approvals"))
    assert house.service.pending() == [request]
    assert house.approve(request).status is Status.APPROVED
    assert house.service.use(approved.id, changed("sql")) is None


def test_a_change_by_somebody_else_is_noticed(house: House) -> None:
    """Two services on one store: what the other one ended cannot be decided or used here."""
    request = house.approve(house.ask(mode="async"))
    second_house = House.open(house.directory, house.clock)
    assert second_house.service.use(request.id, BINDING) is None
    refusal = house.service.use(request.id, BINDING)
    assert refusal is not None and refusal.code.id == "SP1405"
    refusal = house.service.use(request.id, BINDING)
    assert refusal is not None and "has been used" in refusal.message
    second_house.close()


def test_everything_comes_back_from_the_store(house: House) -> None:
    subject = replace(AGENT, claims={"token": "eyJ.secret"})
    binding = replace(BINDING, binds=(b"\x00\xff", None, b""), bind_formats=(1, 0, 0))
    request = house.ask(binding, subject, mode="async", in_transaction=True, quorum=2)
    decided = house.service.decide(request.id, DANA, True, "fine \u202e", "cli", "10.0.0.1")
    assert house.store.get(request.id) == decided
    assert house.store.recent(5) == [decided] == house.store.open()
    raw = (house.directory / "sallyport.db").read_bytes() + (
        house.directory / "sallyport.db-wal"
    ).read_bytes()
    assert b"eyJ.secret" not in raw, "claims are not stored"


def test_a_subject_asks_so_often_in_a_minute(make_house: Make) -> None:
    house = make_house(limits=FloodLimits(per_minute=2))
    for number in range(2):
        request = house.ask(replace(BINDING, sql=f"UPDATE t SET x = {number}"))
        house.service.withdraw(request.id, "gone")
    with pytest.raises(RefusedError, match="SP1401") as caught:
        house.ask()
    assert "2 a minute" in caught.value.refusal.detail
    house.clock.advance(60.1)
    assert house.ask().status is Status.PENDING
