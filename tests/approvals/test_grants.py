"""Grants: for one subject, target and rule, until a fixed moment, and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sallyport.approvals.fingerprint import fingerprint
from sallyport.approvals.problems import ApprovalProblem, DecisionError
from sallyport.approvals.states import Binding, Grant, Status
from sallyport.core.errors import RefusedError
from tests.approvals.helpers import AGENT, BINDING, DANA, EVE, MALLORY, House, changed

RULE = "changes wait"
OTHER_VALUES = replace(
    BINDING,
    sql="update ORDERS\nset status=$1 -- now\nwhere id = 12345",
    binds=(b"sent",),
    session="ses_9",
)


def granted(house: House, minutes: float = 30, scope: str = "statement") -> Grant:
    return house.service.grant(house.ask().id, minutes, DANA, scope=scope)


def runs(house: House, binding: Binding, *rules: str) -> bool:
    binding = replace(binding, rules=rules or (RULE,))
    claimed = house.service.claim(binding, kind="update")
    return claimed is not None and house.service.use(claimed.id, binding) is None


def test_a_grant_approves_its_request_and_the_like(house: House) -> None:
    request = house.ask()
    grant = house.service.grant(request.id, 30, DANA, channel="web", address="10.1.1.1")
    assert house.service.use(request.id, BINDING) is None
    assert grant.expires_at == house.clock.now() + 1800
    for _ in range(3):
        assert runs(house, OTHER_VALUES)
    (shown,) = house.service.grants()
    assert (
        shown.uses == 3
        and shown.decision.reviewer == "dana"
        and shown.decision.address == "10.1.1.1"
    )
    recorded = house.service.recent(1)[0]
    assert (
        recorded.grant == grant.id
        and recorded.status is Status.USED
        and recorded.decisions[0].channel == "grant"
    )


def test_the_word_of_a_reviewer_who_was_locked_counts_no_longer(house: House) -> None:
    granted(house)
    assert runs(house, OTHER_VALUES)
    approved = house.approve(house.ask(replace(BINDING, session="ses_2")))
    asked = house.ask(replace(BINDING, session="ses_3"))
    house.service.disown(lambda decision: decision.reviewer == "eve", "eve was locked")
    assert len(house.service.grants()) == 1
    house.service.disown(
        lambda decision: (decision.reviewer, decision.issuer) == (DANA.id, DANA.issuer), "locked"
    )
    assert house.service.grants() == [] and not runs(house, OTHER_VALUES)
    assert house.service.use(approved.id, approved.binding) is not None
    statuses = {r.id: r.status for r in house.service.recent(10)}
    assert (statuses[approved.id], statuses[asked.id]) == (Status.VOIDED, Status.PENDING)
    house = house.restart()
    assert house.service.grants() == []


def test_what_somebody_locked_was_granted_does_not_come_back(house: House) -> None:
    granted(house)
    approved = house.approve(house.ask(replace(BINDING, session="ses_2")))
    pending = house.ask(replace(BINDING, session="ses_3"))
    house.service.void_of(lambda who: who.id == "somebody else", "locked")
    assert runs(house, OTHER_VALUES)
    house.service.void_of(lambda who: (who.id, who.issuer) == (AGENT.id, AGENT.issuer), "locked")
    statuses = {r.id: r.status for r in house.service.recent(10)}
    # what waits ends with its session
    assert (statuses[approved.id], statuses[pending.id]) == (Status.VOIDED, Status.PENDING)
    for _ in range(2):
        assert house.service.grants() == [] and not runs(house, OTHER_VALUES)
        house = house.restart()


CHEATS = {
    "another relation": replace(BINDING, sql="UPDATE payments SET status = $1 WHERE id = 7"),
    "another condition": replace(BINDING, sql="UPDATE orders SET status = $1 WHERE id >= 7"),
    "no condition": replace(BINDING, sql="UPDATE orders SET status = $1"),
    "always true": replace(BINDING, sql="UPDATE orders SET status = $1 WHERE id = id"),
    "a literal where a column was": replace(BINDING,
    sql="UPDATE orders SET status = $1 WHERE 7 = 7"),
    "one more": replace(BINDING,
    sql="UPDATE orders SET status = $1 WHERE id = 7; UPDATE orders SET status = $1 WHERE id = 7"),
    "returning": replace(BINDING, sql="UPDATE orders SET status = $1 WHERE id = 7 RETURNING *"),
    "another overload": replace(BINDING, sql="UPDATE orders SET status = $1 WHERE id = 7.5"),
    "a parameter declared as another type": replace(BINDING, types=(1043,)),
    "not SQL": replace(BINDING, sql="UPDATE orders SET"),
    **{f: changed(f) for f in ("target", "subject", "issuer", "policy_version", "epoch",
    "search_path", "role", "settings")},
}  # fmt: skip


@pytest.mark.parametrize("way", CHEATS)
def test_what_a_grant_does_not_cover(house: House, way: str) -> None:
    granted(house)
    assert runs(house, BINDING)
    assert not runs(house, CHEATS[way])


def test_a_grant_is_for_its_rule(house: House) -> None:
    granted(house)
    assert not runs(house, BINDING, "a stricter rule")
    assert not runs(house, BINDING, RULE, "a stricter rule")
    assert not runs(house, BINDING, "")
    assert house.service.claim(replace(BINDING, rules=()), kind="update") is None


def test_a_rules_grant_covers_what_the_rule_holds(house: House) -> None:
    granted(house, scope="rule")
    assert runs(house, CHEATS["another condition"])
    assert not runs(house, changed("subject"))
    assert not runs(house, BINDING, "another")
    assert not runs(house, BINDING, RULE, "another")


def test_a_grant_ends_on_the_minute_whatever_restarts(house: House) -> None:
    granted(house, minutes=30)
    house.clock.advance(1799)
    house = house.restart()
    assert runs(house, BINDING)
    claimed = house.service.claim(BINDING)
    house.clock.advance(1)
    assert not runs(house, BINDING)
    assert claimed is not None and house.service.use(claimed.id, BINDING) is not None, (
        "claimed before, used after"
    )
    assert house.service.grants() == []
    house.close()


def test_revoked_at_once(house: House) -> None:
    grant = granted(house)
    claimed = house.service.claim(BINDING)
    house.service.revoke(grant.id, EVE, "incident")
    assert claimed is not None
    refusal = house.service.use(claimed.id, BINDING)
    assert refusal is not None and "revoked by eve@example.com: incident" in refusal.message
    assert not runs(house, BINDING) and house.service.grants() == []
    with pytest.raises(DecisionError):
        house.service.revoke(grant.id, EVE)
    house = house.restart()
    assert not runs(house, BINDING)
    house.close()


def test_policy_and_catalog_end_grants(house: House) -> None:
    granted(house)
    house.service.environment_moved("shop", policy_version="p1", epoch="e2")
    assert house.service.grants() == []
    assert not runs(house, BINDING)


def test_who_may_grant(house: House) -> None:
    request = house.ask()
    for who, expected in (
        (MALLORY, ApprovalProblem.NOT_REVIEWER),
        (replace(AGENT, groups=frozenset({"dba"})), ApprovalProblem.SELF),
    ):
        with pytest.raises(DecisionError) as refused:
            house.service.grant(request.id, 30, who)
        assert refused.value.problem is expected
    assert house.service.grants() == [] and house.service.pending() == [request]


@pytest.mark.parametrize(
    ("minutes", "scope", "quorum", "expected"),
    [
        (0, "rule", 1, ApprovalProblem.INVALID),
        (481, "rule", 1, ApprovalProblem.INVALID),
        (float("nan"), "rule", 1, ApprovalProblem.INVALID),
        (30, "everything", 1, ApprovalProblem.INVALID),
        (30, "rule", 2, ApprovalProblem.QUORUM),
    ],
)
def test_grants_that_are_not_given(
    house: House, minutes: float, scope: str, quorum: int, expected: ApprovalProblem
) -> None:
    with pytest.raises(DecisionError) as refused:
        house.service.grant(house.ask(quorum=quorum).id, minutes, DANA, scope=scope)
    assert refused.value.problem is expected
    assert house.service.grants() == []


def test_no_grant_from_what_was_denied(house: House) -> None:
    with pytest.raises(DecisionError) as refused:
        house.service.grant(house.deny(house.ask()).id, 30, DANA)
    assert refused.value.problem is ApprovalProblem.CLOSED


def test_fingerprints() -> None:
    same = [
        "DELETE FROM t WHERE a = 1 AND b = 'x' AND c IN (1, 2)",
        "delete from t where a = 2 and b='yy' and c in (3 , 4) -- z",
        "/* x */ DELETE FROM T WHERE a = 1_5 AND b = $$z$$ AND c IN (-9, 0x1F)",
    ]
    assert len({fingerprint(sql) for sql in same}) == 1
    different = [
        "DELETE FROM t WHERE a = 1",
        "DELETE FROM t WHERE a = '1'",
        "DELETE FROM t WHERE a = 9999999999",
        "DELETE FROM t WHERE a = 1.5",
        "DELETE FROM t WHERE a = $1",
        "DELETE FROM t WHERE a = NULL",
        "DELETE FROM t WHERE a = true",
        "DELETE FROM t WHERE a = false",
        "DELETE FROM t WHERE a IN (1, 2)",
        "DELETE FROM t WHERE a IN (1, 2, 3)",
        'DELETE FROM "T" WHERE a = 1',
        "DELETE FROM s.t WHERE a = 1",
        "DELETE FROM ONLY t WHERE a = 1",
        "SET statement_timeout = 1",
        "SET statement_timeout = 2",
    ]
    assert len({fingerprint(sql) for sql in different}) == len(different)
    big = ["9999999999", "09_999_999_999", "0x2540BE3FF", "9223372036854775807"]
    assert len({fingerprint(f"DELETE FROM t WHERE a = {literal}") for literal in big}) == 1
    numeric = ["1.5", "9223372036854775808", "1e3", "0xFFFFFFFFFFFFFFFFFF"]
    assert len({fingerprint(f"DELETE FROM t WHERE a = {literal}") for literal in numeric}) == 1


def test_a_text_of_any_length_has_no_fingerprint() -> None:
    """It would be parsed while others wait; there are grants for rules, and approvals, for such
    statements.
    """
    rows = ",".join(["(1)"] * 40_000)
    with pytest.raises(RefusedError, match="SP1105"):
        fingerprint(f"INSERT INTO t VALUES {rows}")
