"""From claims to a subject: groups in every shape, agents, e-mail, and shapes that refuse."""

from __future__ import annotations

from typing import Any

import pytest

from sallyport.core.subject import Subject
from sallyport.identity.claims import ClaimMapping, claim_at
from sallyport.identity.problems import IdentityProblem
from sallyport.identity.settings import IssuerSettings
from sallyport.identity.subjects import groups_of, required_problem, subject_of

URL = "https://example.com/groups"


@pytest.mark.parametrize(
    ("claims", "path", "groups"),
    [
        ({"groups": ["a", "b"]}, "groups", {"a", "b"}),
        ({"groups": ["a", "a", ""]}, "groups", {"a"}),
        ({"groups": ["with space"]}, "groups", {"with space"}),
        ({"groups": "a b\tc  d"}, "groups", {"a", "b", "c", "d"}),
        ({"groups": ""}, "groups", set()),
        ({"groups": "cn=dba,dc=example"}, "groups", {"cn=dba,dc=example"}),
        ({"groups": []}, "groups", set()),
        ({"groups": None}, "groups", set()),
        ({}, "groups", set()),
        ({"realm_access": {"roles": ["r"]}}, "realm_access.roles", {"r"}),
        ({"a": {"b": {"c": "x y"}}}, "a.b.c", {"x", "y"}),
        ({"a.b": ["literal"], "a": {"b": ["nested"]}}, "a.b", {"literal"}),
        ({URL: ["u"], "https://example": {"com/groups": ["no"]}}, URL, {"u"}),
        (
            {"resource_access": {"my.client": {"roles": ["r"]}}},
            "resource_access.my.client.roles",
            {"r"},
        ),
        ({"https://x.io/claims": {"groups": ["n"]}}, "https://x.io/claims.groups", {"n"}),
        ({"realm_access": {}}, "realm_access.roles", set()),
        ({"realm_access": "roles"}, "realm_access.roles", set()),
        ({"realm_access": ["roles"]}, "realm_access.roles", set()),
    ],
)
def test_groups(claims: dict[str, Any], path: str, groups: set[str]) -> None:
    assert groups_of(claims, [path]) == groups


@pytest.mark.parametrize(
    "value",
    [
        7,
        True,
        {"a": 1},
        ["a", 7],
        ["a", None],
        [["a"]],
        [{"name": "a"}],
        ["a\n"],
        ["a\x1b[2J"],
        ["a\u202eb"],
        ["x" * 1025],
    ],
)
def test_groups_of_other_shapes_refuse(value: object) -> None:
    problem = groups_of({"groups": value}, ["groups"])
    assert isinstance(problem, IdentityProblem)
    assert "groups" in problem.message


def test_groups_kept_elsewhere_refuse() -> None:
    claims = {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://graph.example"}},
    }
    problem = groups_of(claims, ["groups"])
    assert isinstance(problem, IdentityProblem)
    assert "too many" in problem.message
    assert groups_of(claims, ["roles"]) == frozenset()


def subject(
    claims: dict[str, Any],
    label: str = "",
    mapping: ClaimMapping | None = None,
    **settings: Any,
) -> Subject:
    made = subject_of(
        {"sub": "ada", "exp": 1000, **claims},
        IssuerSettings(
            "https://i.example", "sallyport", claims=mapping or ClaimMapping(), **settings
        ),
        label,
    )
    assert isinstance(made, Subject), made
    return made


def problem(claims: dict[str, Any], **settings: Any) -> str:
    made = subject_of(
        {"sub": "ada", "exp": 1000, **claims},
        IssuerSettings("https://i.example", "a", **settings),
        "",
    )
    assert isinstance(made, IdentityProblem), made
    return made.message


@pytest.mark.parametrize(
    ("claims", "setting", "agent"),
    [
        ({"azp": "a", "client_id": "c"}, "azp", "a"),
        ({"azp": "a", "client_id": "c"}, "client_id", "c"),
        ({"client_id": "c"}, "azp", "c"),
        ({"azp": "a"}, "client_id", "a"),
        ({"act": {"sub": "bot"}, "azp": "a"}, "act.sub", "bot"),
        ({"azp": "a"}, "act.sub", ""),
        ({}, "azp", ""),
    ],
)
def test_agent(claims: dict[str, Any], setting: str, agent: str) -> None:
    assert subject(claims, mapping=ClaimMapping(agent=(setting,), actor=())).agent == agent


def test_email_counts_unless_the_issuer_doubts_it() -> None:
    assert subject({"email": "ada@example.com"}).email == "ada@example.com"
    assert subject({"email": "ada@example.com", "email_verified": True}).email == "ada@example.com"
    assert subject({"email": "ada@example.com", "email_verified": False}).email == ""
    assert subject({"email": ["ada@example.com"]}).email == ""


def test_the_end_includes_skew_and_age() -> None:
    assert subject({}).expires_at == 1030
    assert subject({"iat": 500}, max_token_age=100, clock_skew=5).expires_at == 605


def test_the_label_is_recorded_and_made_harmless() -> None:
    made = subject({}, label="dba\x1b[2J\n" + "x" * 500)
    assert made.label.startswith("dba?[2J?x")
    assert made.label.isprintable()
    assert len(made.label) < 270
    assert made.id == "ada"


@pytest.mark.parametrize("sub", [None, "", 7, ["ada"], "a\nb", "a\0", "x" * 1025])
def test_sub_must_be_a_name(sub: object) -> None:
    assert "sub" in problem({"sub": sub})


@pytest.mark.parametrize("azp", [7, ["a"], "a\r\nb"])
def test_agent_must_be_a_name(azp: object) -> None:
    assert "azp" in problem({"azp": azp})


def test_tokens_bound_to_a_key_refuse() -> None:
    assert "bound to a key" in problem({"cnf": {"jkt": "thumbprint"}})
    assert "event" in problem(
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}
    )


def test_claim_at_prefers_longer_names() -> None:
    claims = {"a": {"b.c": 1, "b": {"c": 2}}, "a.b": {"c": 3}}
    assert claim_at(claims, "a.b.c") == 3
    assert claim_at({"a": claims["a"]}, "a.b.c") == 1
    assert claim_at({}, "") is None
    assert claim_at({"": {"": 1}}, ".") is None


@pytest.mark.parametrize(
    ("claims", "required", "good"),
    [
        ({}, {}, True),
        ({"tid": "a"}, {"tid": "a"}, True),
        ({"tid": "b"}, {"tid": "a"}, False),
        ({"tid": "b"}, {"tid": ["a", "b"]}, True),
        ({"tid": ["x", "a"]}, {"tid": "a"}, True),
        ({"tid": []}, {"tid": "a"}, False),
        ({"tid": "ab"}, {"tid": "a"}, False),
        ({}, {"tid": "a"}, False),
        ({}, {"tid": None}, False),
        ({"tid": None}, {"tid": None}, False),
        ({"tid": "a"}, {"tid": []}, False),
        ({"v": True}, {"v": True}, True),
        ({"v": 1}, {"v": True}, False),
        ({"v": True}, {"v": 1}, False),
        ({"v": "true"}, {"v": True}, False),
        ({"a": {"b": "c"}}, {"a.b": "c"}, True),
        ({"x": 1, "y": 2}, {"x": 1, "y": 3}, False),
    ],
)
def test_required_claims(claims: dict[str, Any], required: dict[str, Any], good: bool) -> None:
    assert (required_problem(claims, required) is None) == good
