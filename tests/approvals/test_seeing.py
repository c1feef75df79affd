"""Who sees which values of a held statement; what is not certain is hidden."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sallyport.approvals.channels import slack_blocks
from sallyport.approvals.seeing import (
    MASKED,
    MOVED,
    NO_RULE,
    NOT_DECIDING,
    anybody_may_see,
    not_deciding,
    under_own_masks,
)
from sallyport.approvals.states import Binding, Preview, Request
from sallyport.core.subject import Subject
from sallyport.judge import Judge, SubjectJudge
from sallyport.policy.file.load import parse_policy
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from tests.approvals.helpers import AGENT, BINDING, DANA, House
from tests.support.postgres import Server
from tests.targets.query import catalog_of

POLICY = """\
version: 1
record: {statements: RECORD}
rules:
  - {name: works, subjects: {groups: [agents, dba, privacy]}, allow: [read, write]}
masks:
  - {columns: ["public.customers.email"], with: redact, except: {groups: [privacy, board]}}
"""
PAUL = Subject("paul", "https://idp.example.com", frozenset({"privacy"}))
BEA = Subject("bea", "https://idp.example.com", frozenset({"board"}))
CANARY = "CANARY-4711"
SQL = f"UPDATE customers SET email = '{CANARY}' WHERE id = 1"


MakeJudge = Callable[..., Judge]


@pytest.fixture(scope="module")
def catalog(postgres: Server) -> CatalogSnapshot:
    return catalog_of(postgres.superuser_dsn)


@pytest.fixture
def make_judge(catalog: CatalogSnapshot) -> MakeJudge:
    def make(record: str = "literals-masked") -> Judge:
        policy = parse_policy(POLICY.replace("RECORD", record), "policy.yaml")
        return Judge("shop", policy, catalog, {}, max_statement_bytes=1 << 20)

    return make


def judge_of(judge: Judge, subject: Subject) -> SubjectJudge:
    return judge.subject_judge(subject, ("public",))


def bound(judge: Judge, sql: str = SQL, subject: Subject = AGENT, **more: object) -> Binding:
    """As it is held for a session of ``subject``."""
    own = judge_of(judge, subject)
    binding = replace(
        BINDING, sql=sql, sent=sql, policy_version=own.policy_version, epoch=own.epoch,
        role=own.catalog.role, search_path=("public",), binds=None, bind_formats=(), types=(),
    )  # fmt: skip
    binding = replace(binding, **more)  # type: ignore[arg-type]
    verdict = own.judge(sql.encode()).statements[0]
    return replace(binding, recorded=anybody_may_see(own, verdict, binding))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House.open(tmp_path)
    yield house
    house.close()


def asked(house: House, binding: Binding) -> Request:
    preview = Preview(f"[{CANARY}]", 7, ("a lock",), ("a view",), (f"{CANARY} failed",), 0.1)
    return replace(house.ask(binding), preview=preview)


@pytest.mark.parametrize("record", ["literals-masked", "full", "fingerprints"])
@pytest.mark.parametrize("requester", [AGENT, PAUL], ids=["masked", "unmasked"])
def test_own_masks_say_what_is_seen_whatever_is_recorded(
    house: House, make_judge: MakeJudge, record: str, requester: Subject
) -> None:
    judge = make_judge(record)
    request = asked(house, bound(judge, subject=requester))
    assert under_own_masks(judge_of(judge, PAUL), request) == request
    masked, unread = (under_own_masks(judge_of(judge, who), request) for who in (DANA, BEA))
    assert (masked.hidden, unread.hidden) == (MASKED, NO_RULE)
    assert masked.binding.sql == "UPDATE customers SET email = '[redacted]' WHERE id = 1"
    for shown in (masked, unread, not_deciding(request)):
        assert CANARY not in repr(shown)
    assert masked.preview is not None
    assert (masked.preview.rows, masked.preview.locks, masked.preview.plan) == (7, ("a lock",), "")
    assert not_deciding(request).hidden == NOT_DECIDING
    assert not_deciding(request).preview is None


@pytest.mark.parametrize("moved", ["policy_version", "epoch", "role"])
def test_what_a_literal_meets_is_known_under_the_same_names_alone(
    house: House, make_judge: MakeJudge, moved: str
) -> None:
    judge = make_judge()
    binding = replace(bound(judge), **{moved: "another"})  # type: ignore[arg-type]
    shown = under_own_masks(judge_of(judge, PAUL), asked(house, binding))
    assert shown.hidden == MOVED and CANARY not in repr(shown)
    unjudged = under_own_masks(None, asked(house, binding))
    assert unjudged.hidden == MOVED and CANARY not in repr(unjudged)


@pytest.mark.parametrize("who", [PAUL, DANA, BEA, None])
def test_what_is_masked_for_nobody_is_seen_by_all(
    house: House, make_judge: MakeJudge, who: Subject | None
) -> None:
    judge, sql = make_judge(), SQL.replace("email", "city")
    request = asked(house, replace(bound(judge, sql), epoch="another"))
    own = judge_of(judge, who) if who is not None else None
    assert under_own_masks(own, request) == request == not_deciding(request)


@pytest.mark.parametrize(
    "sql", [f"{SQL}; SELECT 1", f"{SQL} AND", f"UPDATE nothing SET a = '{CANARY}'", f"'{CANARY}"]
)
def test_a_text_that_the_reviewers_judge_does_not_understand_is_hidden(
    house: House, make_judge: MakeJudge, sql: str
) -> None:
    judge = make_judge()
    request = asked(house, replace(bound(judge), sql=sql, binds=(CANARY.encode(), None)))
    for who in (DANA, PAUL):
        shown = under_own_masks(judge_of(judge, who), request)
        assert shown.binding.binds == (b"[redacted]", None) and CANARY not in repr(shown)


def test_a_fault_of_the_judge_hides_all(
    house: House, make_judge: MakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = make_judge()
    request = asked(house, bound(judge))

    def fail(*_: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr("sallyport.judge.statements.outcome_of", fail)
    assert CANARY not in repr(under_own_masks(judge_of(judge, PAUL), request))


def test_a_long_text_is_not_judged_while_everybody_waits(
    house: House, make_judge: MakeJudge
) -> None:
    """Its values are hidden from all but those who may see them."""
    judge = make_judge()
    many = ", ".join(f"'{CANARY}-{number}'" for number in range(3000))
    request = asked(house, bound(judge, f"DELETE FROM customers WHERE city IN ({many})", PAUL))
    assert CANARY not in repr(not_deciding(request))
    for who in (PAUL, DANA):
        assert under_own_masks(judge_of(judge, who), request) == request


def test_no_channel_and_no_grant_has_a_value_that_is_masked_for_somebody(
    house: House, make_judge: MakeJudge
) -> None:
    """Though the requester sees it: whoever reads them may not."""
    request = house.ask(bound(make_judge(), subject=PAUL))
    blocks = slack_blocks.message(request, "https://gw")["blocks"]
    assert CANARY not in json.dumps(blocks) and slack_blocks.APPROVE not in json.dumps(blocks)
    grant = house.service.grant(request.id, 5, DANA)
    assert "'[redacted]'" in grant.example and CANARY not in repr(grant)
