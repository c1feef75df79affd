"""Several rules hold one statement: every one of them must be satisfied, whichever comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sallyport.approvals.problems import ApprovalProblem, DecisionError
from sallyport.approvals.states import ApprovalRequirement, Request, Status
from sallyport.core.errors import RefusedError
from sallyport.core.subject import Subject
from tests.approvals.helpers import BINDING, DANA, EVE, ISSUER, MALLORY, House

SECURITY = ApprovalRequirement("money is watched", ("security",), 1)
SAM = Subject("sam", ISSUER, frozenset({"security"}), email="sam@example.com")
SUE = Subject("sue", ISSUER, frozenset({"security"}), email="sue@example.com")
BOTH = Subject("bo", ISSUER, frozenset({"security", "dba"}), email="bo@example.com")
HELD = replace(BINDING, rules=("changes wait", "money is watched"))


def ask(house: House, *further: ApprovalRequirement, **options: object) -> Request:
    return house.ask(additional=further or (SECURITY,), **options)


def refused(house: House, request: Request, who: Subject) -> DecisionError:
    with pytest.raises(DecisionError) as caught:
        house.approve(request, who)
    return caught.value


def test_the_first_rules_people_are_not_enough(house: House) -> None:
    request = ask(house)
    assert request.binding.rules == HELD.rules
    assert house.approve(request, DANA).status is Status.PENDING
    assert house.approve(request, EVE).status is Status.PENDING, (
        "more of the same group do not help"
    )
    refusal = house.service.use(request.id, HELD)
    assert refusal is not None and refusal.code.id == "SP1003"
    assert "1 of dba and 1 of security" in refusal.hint
    assert house.approve(request, SAM).status is Status.APPROVED
    assert house.service.use(request.id, HELD) is None


def test_the_second_rules_people_are_not_enough(house: House) -> None:
    request = ask(house)
    assert house.approve(request, SAM).status is Status.PENDING
    assert house.approve(request, SUE).status is Status.PENDING
    assert [house.service.get(request.id).approved_for(d) for d in request.requirements] == [0, 2]
    assert house.approve(request, DANA).status is Status.APPROVED


def test_who_belongs_to_both_counts_for_both(house: House) -> None:
    assert house.approve(ask(house), BOTH).status is Status.APPROVED


def test_each_rule_has_its_own_quorum(house: House) -> None:
    request = ask(house, replace(SECURITY, quorum=2))
    house.approve(request, BOTH)
    assert refused(house, request, BOTH).problem is ApprovalProblem.TWICE
    assert house.approve(request, DANA).status is Status.PENDING
    assert house.approve(request, SAM).status is Status.APPROVED


def test_anybodys_no_is_a_no(house: House) -> None:
    request = ask(house)
    house.approve(request, DANA)
    assert house.deny(request, "not today", SAM).status is Status.DENIED


def test_members_of_neither_decide_nothing(house: House) -> None:
    error = refused(house, ask(house), MALLORY)
    assert error.problem is ApprovalProblem.NOT_REVIEWER and "dba, security" in error.refusal.hint


def test_groups_count_as_they_were_when_somebody_decided(house: House) -> None:
    """Whoever joins the other group later is not two people."""
    request = ask(house)
    house.approve(request, DANA)
    joined = replace(DANA, groups=frozenset({"dba", "security"}))
    assert refused(house, request, joined).problem is ApprovalProblem.TWICE
    assert house.service.get(request.id).status is Status.PENDING  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "rules",
    [("changes wait",), ("money is watched", "changes wait"), (*HELD.rules, "and another"), ()],
)
def test_an_approval_is_for_these_rules(house: House, rules: tuple[str, ...]) -> None:
    request = ask(house)
    house.approve(request, BOTH)
    refusal = house.service.use(request.id, replace(HELD, rules=rules))
    assert refusal is not None and "the rules that hold it" in refusal.message


def test_async_too(house: House) -> None:
    request = ask(house, mode="async")
    house.approve(request, BOTH)
    with pytest.raises(RefusedError, match="the rules that hold it"):
        house.service.claim(BINDING)


def test_it_is_all_there_after_a_restart(house: House) -> None:
    request = ask(house, mode="async")
    house.approve(request, DANA)
    house = house.restart()
    reloaded = house.service.get(request.id)
    assert (
        reloaded is not None
        and reloaded.requirements == request.requirements
        and reloaded.binding == request.binding
    )
    assert [reloaded.approved_for(d) for d in reloaded.requirements] == [1, 0]
    assert house.approve(request, SAM).status is Status.APPROVED
    house.close()


def test_a_grant_is_one_persons_word_for_every_rule(house: House) -> None:
    with pytest.raises(DecisionError, match="and a grant has one"):
        house.service.grant(ask(house).id, 30, DANA)
    with pytest.raises(DecisionError, match="and a grant has one"):
        house.service.grant(ask(house, replace(SECURITY, quorum=2)).id, 30, BOTH)
    grant = house.service.grant(ask(house).id, 30, BOTH)
    assert grant.rules == HELD.rules
    house = house.restart()
    for rules, covered in (
        (HELD.rules, True),
        (BINDING.rules, True),
        ((*HELD.rules, "another"), False),
    ):
        binding = replace(HELD, rules=rules, session="ses_7")
        claimed = house.service.claim(binding)
        assert (claimed is not None and house.service.use(claimed.id, binding) is None) is covered
    house.close()


def test_a_rule_twice_is_a_mistake(house: House) -> None:
    with pytest.raises(ValueError, match="twice"):
        ask(house, ApprovalRequirement("changes wait", ("security",), 1))
