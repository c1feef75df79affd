"""Approve one thing, run another: every way to move something between the two is tried, and none
works.
"""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from sallyport.approvals.states import TRANSITIONS, Binding, Status
from sallyport.core.errors import Refusal, RefusedError
from tests.approvals.helpers import AGENT, BINDING, CHANGES, DANA, House, changed


def refused(refusal: Refusal | None) -> Refusal:
    assert refusal is not None, "it would have run"
    return refusal


def test_every_field_is_tried() -> None:
    derived = {"recorded"}  # follows from the others and the policy, and is not compared
    assert CHANGES.keys() == {f.name for f in fields(Binding)} - derived


@pytest.mark.parametrize("field", CHANGES)
def test_what_moved_voids_and_is_said(house: House, field: str) -> None:
    request = house.approve(house.ask())
    changed_binding = changed(field)
    refusal = refused(house.service.use(request.id, changed_binding))
    assert refusal.code.id == "SP1404"
    assert refusal.message.endswith(BINDING.moved(changed_binding)[0])
    voided = house.service.get(request.id)
    assert (
        voided is not None
        and voided.status is Status.VOIDED
        and BINDING.moved(changed_binding)[0] in voided.void_reason
    )
    # Going back does not help: it is void for good.
    assert refused(house.service.use(request.id, BINDING)).code.id == "SP1404"


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_is_in_the_digest(field: str) -> None:
    assert changed(field).digest != BINDING.digest


def test_the_digest_cannot_be_confused() -> None:
    """Neighbouring fields, absent and empty values, bytes and text are told apart."""
    pairs = [
        (replace(BINDING, target="ab", subject="c"), replace(BINDING, target="a", subject="bc")),
        (replace(BINDING, binds=None), replace(BINDING, binds=())),
        (replace(BINDING, binds=(None,)), replace(BINDING, binds=(b"",))),
        (replace(BINDING, binds=(b"a", b"b")), replace(BINDING, binds=(b"ab",))),
        (replace(BINDING, search_path=("a,b",)), replace(BINDING, search_path=("a", "b"))),
        (replace(BINDING, bind_formats=()), replace(BINDING, bind_formats=(0,))),
    ]
    for left, right in pairs:
        assert left.digest != right.digest and left.moved(right)


def test_moved_does_not_show_what_the_client_sent() -> None:
    words = " ".join(
        BINDING.moved(
            replace(
                BINDING, sql="secret", sent="secret", binds=(b"secret",), search_path=("secret",)
            )
        )
    )
    assert "secret" not in words and "paid" not in words


def test_one_use(house: House) -> None:
    request = house.approve(house.ask())
    assert house.service.use(request.id, BINDING) is None
    assert "used" in refused(house.service.use(request.id, BINDING)).message
    house = house.restart()
    assert refused(house.service.use(request.id, BINDING)).code.id == "SP1404"
    house.close()


def test_not_before_it_is_approved(house: House) -> None:
    request = house.ask()
    assert refused(house.service.use(request.id, BINDING)).code.id == "SP1003"
    house.approve(request)
    assert house.service.use(request.id, BINDING) is None


def test_not_after_its_deadline(house: House) -> None:
    request = house.approve(house.ask(expires_seconds=60))
    house.clock.advance(60)
    assert refused(house.service.use(request.id, BINDING)).code.id == "SP1403"
    house.clock.advance(-59)  # a clock that is set back revives nothing
    assert refused(house.service.use(request.id, BINDING)).code.id == "SP1403"


def test_not_after_a_denial(house: House) -> None:
    request = house.deny(house.ask(), "use \x1b[31m\u202ethe shop\ninstead")
    refusal = refused(house.service.use(request.id, BINDING))
    assert refusal.code.id == "SP1402"
    assert refusal.message == "update was denied by dana@example.com: use [31m the shop instead"


def test_an_invented_id_is_nobodys(house: House) -> None:
    house.approve(house.ask())
    assert refused(house.service.use("apr_x", BINDING)).code.id == "SP1405"


def test_withdrawn_and_voided_stay_so(house: House) -> None:
    for end in (house.service.withdraw, house.service.void):
        request = house.approve(house.ask())
        ended = end(request.id, "the client is gone")
        assert end(request.id, "again") == ended
        refusal = refused(house.service.use(request.id, BINDING))
        assert refusal.code.id == "SP1404" and "the client is gone" in refusal.message


def test_a_dead_gateways_requests_are_void_and_cannot_run(house: House) -> None:
    waiting = house.ask()
    approved = house.approve(house.ask(changed("sql")))
    asynchronous = house.approve(house.ask(mode="async"))
    house = house.restart()
    for request in (waiting, approved):
        request_after_restart = house.service.get(request.id)
        assert request_after_restart is not None and request_after_restart.status is Status.VOIDED
        assert request_after_restart.void_reason == "the gateway that held it ended"
        assert refused(house.service.use(request.id, request.binding)).code.id == "SP1404"
    assert house.service.pending() == []
    claimed = house.service.claim(BINDING)
    assert claimed is not None and claimed.id == asynchronous.id
    assert house.service.use(claimed.id, BINDING) is None
    house.close()


def test_policy_and_catalog_void_what_waits(house: House) -> None:
    request = house.ask()
    unaffected = house.ask(replace(BINDING, target="warehouse"))
    ended = house.service.environment_moved("shop", policy_version="p2", epoch="e1")
    assert [r.id for r in ended] == [request.id]
    assert "the policy changed from p1 to p2" in ended[0].void_reason
    assert [r.id for r in house.service.pending()] == [unaffected.id]


# -- asynchronous ----------------------------------------------------------------------------------


def test_async_runs_from_any_session_once(house: House) -> None:
    request = house.ask(mode="async")
    assert request.binding.session == ""
    assert house.service.claim(BINDING) is None, "pending is not approved"
    house.approve(request)
    elsewhere = changed("session")
    claimed = house.service.claim(elsewhere)
    assert claimed is not None and claimed.id == request.id
    assert house.service.use(request.id, elsewhere) is None
    assert house.service.claim(BINDING) is None


@pytest.mark.parametrize(
    "field", ["policy_version", "epoch", "search_path", "role", "rules", "settings", "sent"]
)
def test_async_says_what_moved_once(house: House, field: str) -> None:
    request = house.approve(house.ask(mode="async"))
    with pytest.raises(RefusedError) as told:
        house.service.claim(changed(field))
    assert (
        told.value.refusal.code.id == "SP1404"
        and BINDING.moved(changed(field))[0] in told.value.refusal.message
    )
    assert house.service.claim(changed(field)) is None
    assert house.service.claim(BINDING) is None
    assert refused(house.service.use(request.id, BINDING)).code.id == "SP1404"


@pytest.mark.parametrize(
    "field", ["sql", "binds", "bind_formats", "types", "target", "subject", "issuer"]
)
def test_async_is_for_this_statement_and_subject(house: House, field: str) -> None:
    house.approve(house.ask(mode="async"))
    assert house.service.claim(changed(field)) is None
    assert house.service.claim(BINDING) is not None, "another statement voids nothing"


def test_another_rule_wants_its_own_approval(house: House) -> None:
    house.approve(house.ask(mode="async"))
    with pytest.raises(RefusedError, match="the rules that hold it"):
        house.service.claim(replace(BINDING, rules=("a stricter rule",)))


def test_async_denials_are_read_by_who_asks_again(house: House) -> None:
    house.deny(house.ask(mode="async"), "ask the warehouse first")
    with pytest.raises(RefusedError) as told:
        house.ask(mode="async")
    assert (
        told.value.refusal.code.id == "SP1402"
        and "ask the warehouse first" in told.value.refusal.message
    )
    house.clock.advance(900)
    assert house.ask(mode="async").status is Status.PENDING


def test_what_waits_under_another_policy_is_void_when_asked_again(house: House) -> None:
    before = house.ask(mode="async")
    after = house.ask(changed("policy_version"), mode="async")
    assert after.id != before.id
    assert [r.id for r in house.service.pending()] == [after.id]


def test_a_wait_approval_is_not_found_by_claim(house: House) -> None:
    house.approve(house.ask())
    assert house.service.claim(BINDING) is None


def test_the_table_has_every_status_and_final_ones_end() -> None:
    assert TRANSITIONS.keys() == set(Status)
    assert {s for s in Status if s.final} == set(Status) - {Status.PENDING, Status.APPROVED}
    assert Status.USED not in TRANSITIONS[Status.PENDING]


def test_the_binding_must_be_the_subjects_own(house: House) -> None:
    with pytest.raises(ValueError, match="another subject"):
        house.ask(BINDING, DANA)
    for wrong in ({"reviewers": []}, {"quorum": 0}, {"expires_seconds": 0}):
        with pytest.raises(ValueError, match="nobody could approve"):
            house.ask(BINDING, AGENT, **wrong)
