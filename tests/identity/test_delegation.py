"""Tokens that say who acts for whom (RFC 8693, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sallyport.approvals.people import Identities, same_person
from sallyport.audit.events import subject_fields
from sallyport.core.clock import ManualClock
from sallyport.core.subject import Subject
from sallyport.identity.claims import ClaimMapping, cel
from sallyport.identity.locks import Lock, Locks
from sallyport.policy.bind import bind
from sallyport.policy.file.conditions import compile_condition, subject_variables
from sallyport.policy.file.load import parse_policy
from sallyport.policy.model import SubjectMatch
from tests.identity.door import Door
from tests.identity.provider import Provider
from tests.policy.shop import CATALOG
from tests.policy.test_decide import facts

MakeDoor = Callable[..., Door]
CHAIN = {"sub": "claude", "act": {"sub": "orchestrator"}}


def test_the_chain(provider: Provider, door: Door) -> None:
    subject = door.login(provider.token(azp="app", act=CHAIN))
    assert (subject.id, subject.agent, subject.actors) == (
        "ada",
        "claude",
        ("claude", "orchestrator"),
    )
    assert door.login(provider.token(azp="app")).actors == ()


def test_an_actor_of_another_issuer_is_named_with_it(provider: Provider, door: Door) -> None:
    act = {
        "sub": "claude",
        "iss": provider.url,
        "act": {"sub": "claude", "iss": "https://other.example"},
    }
    assert door.login(provider.token(act=act)).actors == ("claude", "https://other.example|claude")


@pytest.mark.parametrize(
    "act",
    [
        {},
        7,
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\u0000"},
        {"sub": "a", "iss": 7},
        {"sub": "a", "act": {}},
        {"sub": "a", "act": 0},
        {"sub": "a", "act": {"iss": "https://other.example"}},
        ["a", 7],
        [""],
        "",
    ],
)
def test_a_chain_that_is_not_understood_refuses(provider: Provider, door: Door, act: Any) -> None:
    door.refusal(provider.token(act=act))


def test_a_chain_is_bounded(provider: Provider, door: Door) -> None:
    act: dict[str, Any] = {"sub": "a0"}
    for i in range(1, 8):
        act = {"sub": f"a{i}", "act": act}
    assert len(door.login(provider.token(act=act)).actors) == 8
    assert "more than 8" in door.refusal(provider.token(act={"sub": "a8", "act": act}))


@pytest.mark.parametrize(
    ("source", "claims", "actors"),
    [
        ("delegate", {"delegate": "bot"}, ("bot",)),
        ("delegate", {"delegate": ["bot", "cron"]}, ("bot", "cron")),
        (cel("has(claims.on_behalf) ? claims.on_behalf : null"), {"on_behalf": "x"}, ("x",)),
        (cel("has(claims.on_behalf) ? claims.on_behalf : null"), {}, ()),
    ],
)
def test_actors_from_elsewhere(
    provider: Provider,
    make_door: MakeDoor,
    source: Any,
    claims: dict[str, Any],
    actors: tuple[str, ...],
) -> None:
    door = make_door(provider.url, claims=ClaimMapping(actor=(source,)))
    assert door.login(provider.token(**claims)).actors == actors


def subject(id_: str, *actors: str, issuer: str = "https://i.example") -> Subject:
    return Subject(id_, issuer, frozenset(), actors[0] if actors else "", actors=actors)


def test_policy_sees_the_chain() -> None:
    delegated, alone = subject("ada", "claude", "orchestrator"), subject("ada")
    match = SubjectMatch(actors=frozenset({"orchestrator"}))
    assert match.matches(delegated, restricts=False)
    assert not match.matches(alone, restricts=True)
    assert SubjectMatch(ids=frozenset({"ada"}), agents=frozenset({"claude"})).matches(
        delegated, restricts=False
    )
    assert not SubjectMatch(agents=frozenset({"orchestrator"})).matches(delegated, restricts=False)
    condition = compile_condition("'orchestrator' in subject.actors")
    assert condition.evaluate({"subject": subject_variables(delegated)}) is True
    assert condition.evaluate({"subject": subject_variables(alone)}) is False


def test_nobody_in_the_chain_approves() -> None:
    people = Identities(aliases={"bot-owner@example.com": "olga", "claude": "olga", "olga": "olga"})
    asked = people.links(subject("ada", "claude", "https://other.example|grace"))
    for reviewer in (
        subject("ada"),
        subject("claude"),
        subject("grace", issuer="https://other.example"),
        subject("somebody", "claude"),
        subject("olga"),
        subject("bot-owner@example.com"),
    ):
        assert same_person(asked, people.links(reviewer)), reviewer
    for reviewer in (subject("grace"), subject("dana"), subject("dana", "bot")):
        assert not same_person(asked, people.links(reviewer)), reviewer


def test_a_recording_has_the_chain() -> None:
    fields = subject_fields(subject("ada", "claude", "orchestrator"))
    assert (fields.id, fields.agent, fields.actors) == ("ada", "claude", ("claude", "orchestrator"))


class _NoLocks:
    def unreleased(self) -> list[Lock]:
        return []


@pytest.mark.parametrize("name", ["claude", "orchestrator"])
def test_a_lock_on_any_actor_holds(name: str) -> None:
    locks = Locks(_NoLocks(), ManualClock())  # type: ignore[arg-type]
    lock = Lock("l1", "agent", name, "", "because", 0.0, None, "olga", "i", "")
    locks.add(lock)
    assert locks.of(subject("ada", "claude", "orchestrator")) is lock
    assert locks.of(subject("ada")) is None


POLICY = """\
version: 1
rules:
  - {name: the frontend never writes, subjects: {agent: frontend}, deny: [write],
     relations: ["*.*"]}
  - {name: the frontend asks, subjects: {agent: frontend}, hold: [read],
     relations: ["public.orders"], reviewers: {groups: [dba]}}
  - {name: the frontend reads, subjects: {agent: frontend}, allow: [read],
     relations: ["public.products"]}
  - {name: claude reads and writes, subjects: {agent: claude}, allow: [read, write],
     relations: ["public.*"]}
masks:
  - {columns: ["public.customers.email"], with: redact, except: {agent: frontend}}
  - {columns: ["public.customers.name"], with: redact, subjects: {agent: frontend}}
limits:
  - {subjects: {agent: frontend}, rows: 10}
"""


@pytest.mark.parametrize("claim", ["azp", "client_id", "cid"])
def test_what_restricts_a_client_restricts_whoever_acts_through_it(
    provider: Provider, make_door: MakeDoor, claim: str
) -> None:
    """An ``act`` chain makes another program the agent; no rule that takes something from the
    client is left behind.
    """
    door = make_door(provider.url, claims=ClaimMapping(agent=(claim,)))
    claims = {claim: "frontend"}
    delegated = door.login(provider.token(act={"sub": "claude"}, **claims))
    assert (delegated.agent, delegated.client, delegated.actors) == (
        "claude",
        "frontend",
        ("claude",),
    )
    bound = bind(parse_policy(POLICY, "policy.yaml"), CATALOG, "shop")
    theirs = bound.for_subject(delegated, 0.0)
    rules = {bound_rule.rule.name for bound_rule in theirs.standing.rules}
    assert rules == {"the frontend never writes", "the frontend asks", "claude reads and writes"}
    assert {column.attnum for column in theirs.masks} == {2, 3}
    assert theirs.limits.rows == 10
    alone = bound.for_subject(door.login(provider.token(**claims)), 0.0)
    assert {column.attnum for column in alone.masks} == {2}, (
        "an exception is for who acts, and nobody else does"
    )
    condition = compile_condition("'frontend' in subject.agents")
    assert condition.evaluate({"subject": subject_variables(delegated)}) is True


CONDITIONS = """\
version: 1
rules:
  - {name: no frontend, deny: [read], relations: ["public.customers"],
     when: "subject.agent == 'frontend'"}
  - {name: asks, hold: [read], relations: ["public.orders"], reviewers: {groups: [dba]},
     when: "subject['agent'] == 'frontend'"}
  - {name: claude reads, allow: [read], relations: ["public.*"], when: "subject.agent == 'claude'"}
"""


@pytest.mark.parametrize(
    ("actors", "outcomes"),
    [
        (("frontend",), {"deny", "hold"}),
        (("claude",), {"allow"}),
        (("claude", "frontend"), {"allow", "deny", "hold"}),
        (("claude", "helper", "frontend"), {"allow", "deny", "hold"}),
    ],
)
def test_a_condition_that_denies_a_program_cannot_be_evaded_by_a_chain(
    actors: tuple[str, ...], outcomes: set[str]
) -> None:
    bound = bind(parse_policy(CONDITIONS, "policy.yaml"), CATALOG, "shop")
    policy = bound.for_subject(subject("ada", *actors), 0.0)
    decided = {
        table: (
            policy.decide(
                facts(
                    "select: select"
                    f" public.{table}({'id' if table != 'customer_names' else 'name'})"
                )
            ).outcome.value
        )
        for table in ("customers", "orders", "customer_names")
    }
    assert set(decided.values()) == outcomes, decided
    assert decided["customer_names"] == ("deny" if actors == ("frontend",) else "allow")
