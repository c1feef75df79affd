"""Tokens of the shapes that providers document, signed by a local key server, through the presets
for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sallyport.app.identity_providers import issuer_settings
from sallyport.config import OidcIssuer
from sallyport.core.clock import ManualClock
from sallyport.core.errors import ConfigError
from sallyport.identity.claims import ClaimMapping, cel
from sallyport.identity.oidc.presets import presets
from tests.identity.door import Door
from tests.identity.provider import Provider
from tests.test_config import EXAMPLE, load

MakeDoor = Callable[..., Door]
OID, TID, APP = (
    "4a9b8c7d-0000-4000-8000-00000000aaaa",
    "9f8e7d6c-0000-4000-8000-00000000bbbb",
    "6e74172b-0000-4000-8000-00000000cccc",
)


@pytest.fixture
def login(make_door: MakeDoor) -> Callable[..., Door]:
    """``login(provider, "entra", ...)``: a door for its tokens, as the configuration would
    make it.
    """

    def make(provider: Provider, preset: str, **keys: Any) -> Door:
        written = msgspec.convert(
            {"audience": "sallyport", "issuer": provider.url, "provider": preset, **keys},
            OidcIssuer,
        )
        return make_door(issuer_settings(written))

    return make


# Microsoft Entra ID: Learn, "Access token claims reference".


@pytest.fixture
def entra(make_provider: Callable[..., Provider]) -> Provider:
    return make_provider(path=f"/{TID}/v2.0")


def entra_claims(**changes: Any) -> dict[str, Any]:
    return {
        "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
        "ver": "2.0",
        "oid": OID,
        "tid": TID,
        "azp": APP,
        "azpacr": "1",
        "groups": ["11111111-0000-4000-8000-000000000001"],
        "roles": ["Data.Reader"],
        "scp": "access_as_user",
        **changes,
    }


def test_entra_v2(login: Callable[..., Door], entra: Provider) -> None:
    subject = login(entra, "entra").login(entra.token(**entra_claims()))
    assert (subject.id, subject.agent) == (OID, APP)
    assert subject.groups == {"11111111-0000-4000-8000-000000000001", "Data.Reader"}


def test_entra_v1(login: Callable[..., Door], make_provider: Callable[..., Provider]) -> None:
    provider = make_provider(path=f"/{TID}")
    claims = entra_claims(ver="1.0", azp=None, appid=APP, aud="api://sallyport")
    door = login(provider, "entra", audience="api://sallyport")
    assert door.login(provider.token(**claims)).agent == APP


@pytest.mark.parametrize(
    "more",
    [
        {
            "groups": None,
            "_claim_names": {"groups": "src1"},
            "_claim_sources": {"src1": {"endpoint": "x"}},
        },
        {"groups": None, "hasgroups": True},
        {"groups": None, "hasgroups": "true"},
    ],
)
def test_entra_with_too_many_groups(
    login: Callable[..., Door], entra: Provider, more: dict[str, Any]
) -> None:
    door = login(entra, "entra")
    refusal = door.run(door.try_login(entra.token(**entra_claims(**more))))
    assert "too many" in refusal.refusal.message  # type: ignore[union-attr]
    assert "app roles" in refusal.refusal.hint.lower()  # type: ignore[union-attr]


def test_entra_groups_of_another_tenant_do_not_count(
    login: Callable[..., Door], entra: Provider
) -> None:
    door = login(entra, "entra")
    assert "tenant" in door.refusal(entra.token(**entra_claims(tid=OID)))
    assert "tenant" in door.refusal(entra.token(**entra_claims(tid=None)))
    assert "oid" in door.refusal(entra.token(**entra_claims(oid=None)))


# Google: "OpenID Connect", ID token claims; "Get an ID token" for service accounts.


def test_google(login: Callable[..., Door], provider: Provider) -> None:
    door = login(provider, "google", require=['claims.hd == "example.com"'])
    person = {
        "sub": "110169484474386276334",
        "azp": "sallyport",
        "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
        "email": "ada@example.com",
        "email_verified": True,
        "hd": "example.com",
        "groups": None,
    }
    subject = door.login(provider.token(**person))
    assert (subject.id, subject.groups) == (
        person["sub"],
        {"hd:example.com", "email:ada@example.com"},
    )
    assert "condition" in door.refusal(provider.token(**{**person, "hd": "evil.example"}))
    # a consumer's account
    assert "condition" in door.refusal(provider.token(**{**person, "hd": None}))
    assert "not verified" in door.refusal(provider.token(**{**person, "email_verified": False}))
    assert "another client" in door.refusal(
        provider.token(**{**person, "azp": "other.apps.example"})
    )


def test_google_service_account(login: Callable[..., Door], provider: Provider) -> None:
    address = "agent@project.iam.gserviceaccount.com"
    door = login(provider, "google", require=[f"claims.email == '{address}'"])
    claims = {"sub": "107517467455664443766", "azp": "107517467455664443766", "email": address}
    subject = door.login(provider.token(**claims, email_verified=True, groups=None))
    assert (subject.agent, subject.groups) == ("107517467455664443766", {f"email:{address}"})


# Okta: "Access token", custom authorization servers.


def test_okta(login: Callable[..., Door], make_provider: Callable[..., Provider]) -> None:
    provider = make_provider(path="/oauth2/default")
    door = login(provider, "okta")
    claims = {
        "ver": 1,
        "jti": "AT.x",
        "cid": "0oa1",
        "uid": "00u1",
        "scp": ["db"],
        "sub": "ada@example.com",
    }
    subject = door.login(provider.token(**claims, groups=["Everyone"]))
    assert (subject.id, subject.agent, subject.groups) == ("00u1", "0oa1", {"Everyone"})
    service = door.login(provider.token(cid="0oa1", sub="0oa1", groups=None))
    assert (service.id, service.agent) == ("0oa1", "0oa1")


# Keycloak: Server Administration Guide, OIDC token and SAML assertion mappings.


def test_keycloak(login: Callable[..., Door], make_provider: Callable[..., Provider]) -> None:
    provider = make_provider(path="/realms/shop")
    door = login(provider, "keycloak")
    claims = {
        "sub": "f1c8...",
        "typ": "Bearer",
        "azp": "agent",
        "aud": ["sallyport", "account"],
        "realm_access": {"roles": ["dba", "offline_access"]},
        "resource_access": {"account": {"roles": ["view-profile"]}},
        "groups": None,
    }
    subject = door.login(provider.token(**claims))
    assert (subject.agent, subject.groups) == ("agent", {"dba", "offline_access"})
    for kind in ("ID", "Refresh", "Offline", "Logout"):
        door.refusal(provider.token(**{**claims, "typ": kind}))
    assert "audience" in door.refusal(provider.token(**{**claims, "aud": "account"}))


# GitHub Actions: "OpenID Connect reference".

GITHUB = {
    "sub": "repo:octo-org/octo-repo:environment:prod",
    "environment": "prod",
    "repository": "octo-org/octo-repo",
    "repository_owner": "octo-org",
    "repository_id": "74",
    "repository_owner_id": "65",
    "actor": "octocat",
    "actor_id": "12",
    "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
    "event_name": "workflow_dispatch",
    "ref": "refs/heads/main",
    "groups": None,
}


def test_github_actions(login: Callable[..., Door], provider: Provider) -> None:
    require = ['claims.repository_id == "74" && claims.environment == "prod"']
    door = login(provider, "github-actions", require=require)
    subject = door.login(provider.token(**GITHUB))
    assert (subject.id, subject.agent, subject.actors) == ("repository_id:74", "github-actions", ())
    assert subject.groups == {
        "repository_id:74",
        "repository_owner_id:65",
        "repository_id:74:environment:prod",
    }
    # The name was taken over by somebody else: another id.
    assert "condition" in door.refusal(provider.token(**{**GITHUB, "repository_id": "75"}))
    assert "condition" in door.refusal(provider.token(**{**GITHUB, "environment": None}))
    assert "not a number" in door.refusal(provider.token(**{**GITHUB, "repository_owner_id": None}))
    assert "not a number" in door.refusal(
        provider.token(**{**GITHUB, "repository_id": "74:environment:prod"})
    )


# GitLab: "OpenID Connect (OIDC) Authentication Using ID Tokens", token payload.


def test_gitlab(login: Callable[..., Door], provider: Provider) -> None:
    door = login(provider, "gitlab", require=['claims.namespace_id == "72"'])
    claims = {
        "sub": "project_path:my-group/my-project:ref_type:branch:ref:main",
        "namespace_id": "72",
        "namespace_path": "my-group",
        "project_id": "20",
        "project_path": "my-group/my-project",
        "user_id": "1",
        "ref": "main",
        "ref_protected": "true",
        "environment": "prod",
        "environment_protected": "false",
        "groups": None,
    }
    subject = door.login(provider.token(**claims))
    assert (subject.id, subject.agent) == ("project_id:20", "gitlab-ci")
    assert subject.groups == {"project_id:20", "namespace_id:72", "project_id:20:protected"}
    protected = door.login(
        provider.token(**{**claims, "environment_protected": "true", "ref_protected": "false"})
    )
    assert protected.groups == {
        "project_id:20",
        "namespace_id:72",
        "project_id:20:environment:prod",
    }
    assert "condition" in door.refusal(provider.token(**{**claims, "namespace_id": "73"}))


# Kubernetes: "Configure Service Accounts for Pods", the token's claims.

POD = {
    "sub": "system:serviceaccount:my-ns:my-sa",
    "kubernetes.io": {
        "namespace": "my-ns",
        "pod": {"name": "my-pod", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
        "serviceaccount": {"name": "my-sa", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
    },
    "groups": None,
}


def test_kubernetes(login: Callable[..., Door], provider: Provider) -> None:
    door = login(provider, "kubernetes")
    subject = door.login(provider.token(**POD, aud=["sallyport"]))
    assert (subject.id, subject.agent) == (POD["sub"], POD["sub"])
    assert subject.groups == {"k8s:my-ns", "k8s:my-ns:my-sa"}
    assert "audience" in door.refusal(provider.token(**POD, aud=["https://kubernetes.default.svc"]))
    legacy = {"sub": POD["sub"], "kubernetes.io/serviceaccount/namespace": "my-ns", "groups": None}
    assert "projected" in door.refusal(provider.token(**legacy))
    assert "exp" in door.refusal(provider.token(**POD, exp=None))
    lying = {**POD, "sub": "system:serviceaccount:kube-system:admin"}
    assert "service account" in door.refusal(provider.token(**lying))


def test_kubernetes_keys_of_a_private_cluster(
    login: Callable[..., Door], provider: Provider, tmp_path: Path, clock: ManualClock
) -> None:
    keys = tmp_path / "jwks.json"
    keys.write_text(json.dumps({"keys": provider.published}))
    door = login(provider, "kubernetes", jwks_file=str(keys))
    assert door.login(provider.token(**POD)).groups == {"k8s:my-ns", "k8s:my-ns:my-sa"}
    assert not provider.asked
    old = provider.rotate()
    door.refusal(provider.token(**POD))
    keys.write_text(json.dumps({"keys": provider.published}))
    clock.advance(601)
    assert door.login(provider.token(**POD)).id == POD["sub"]
    door.refusal(provider.token(key=old, **POD))


def test_kubernetes_keys_are_fetched_with_the_pods_token(
    login: Callable[..., Door], provider: Provider, tmp_path: Path, clock: ManualClock
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    door = login(provider, "kubernetes", jwks_url=f"{provider.url}/jwks", token_file=str(token))
    door.login(provider.token(**POD))
    token.write_text("second\n")
    clock.advance(601)
    door.login(provider.token(**POD))
    assert provider.authorizations == ["Bearer first", "Bearer second"]
    token.unlink()
    clock.advance(20_000)
    door.refusal(provider.token(**POD))


# SPIFFE: "JWT-SVID", section 3; "SPIFFE Trust Domain and Bundle", section 4.2.2.


def test_spiffe(login: Callable[..., Door], provider: Provider) -> None:
    provider.published = [{**provider.public(provider.key), "use": "jwt-svid"}]
    door = login(provider, "spiffe")
    sub = "spiffe://example.org/ns/agents/sa/claude"
    subject = door.login(provider.token(sub=sub, groups=None, iat=None, header={"typ": "JOSE"}))
    assert (subject.id, subject.agent, subject.groups) == (sub, sub, set())
    for bad in (
        "ada",
        "spiffe://example.org",
        "spiffe://Example.org/a",
        "spiffe://a/../b",
        "https://a/b",
    ):
        assert "SPIFFE ID" in door.refusal(provider.token(sub=bad, groups=None))


# What is written wins; what is not cannot be evaluated refuses.


def test_what_is_written_wins(login: Callable[..., Door], entra: Provider) -> None:
    door = login(entra, "entra", claims={"groups": {"cel": "claims.roles"}, "agent": "oid"})
    subject = door.login(entra.token(**entra_claims()))
    assert (subject.id, subject.agent, subject.groups) == (OID, OID, {"Data.Reader"})


def test_a_condition_that_cannot_be_evaluated_refuses(
    make_door: MakeDoor, provider: Provider
) -> None:
    for source in ("claims.missing == 'x'", "claims.sub", "claims.sub + 1 == 2", "!claims.missing"):
        door = make_door(provider.url, require=(cel(source),))
        assert "condition" in door.refusal(provider.token())
    door = make_door(provider.url, require=(cel("claims.sub == 'ada'"), cel("claims.sub != 'ada'")))
    assert "condition" in door.refusal(provider.token())
    assert (
        make_door(provider.url, require=(cel("claims.sub == 'ada'"),)).login(provider.token()).id
        == "ada"
    )


def test_a_group_that_cannot_be_computed_refuses(make_door: MakeDoor, provider: Provider) -> None:
    mapping = ClaimMapping(groups=("groups", cel("['team:' + claims.team]")))
    door = make_door(provider.url, claims=mapping)
    assert door.login(provider.token(team="a b")).groups == {"claude-postgres", "team:a b"}
    assert "lacks a claim" in door.refusal(provider.token())
    assert "lacks a claim" in door.refusal(provider.token(team=7))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("provider: github-actions", "anybody can get a token"),
        (
            "provider: github-actions, require: ['claims.repository == \"o/r\"']",
            "anybody can get a token",
        ),
        ("provider: gitlab, require: []", "anybody can get a token"),
        (
            "provider: github-actions, require: ['claims.repository_id != \"\"']",
            "anybody can get a token",
        ),
        ("provider: google, require: ['has(claims.hd)']", 'claims.hd == "example.com"'),
        ("provider: google", "anybody can get a token"),
        ("provider: entra", "'issuer' is missing"),
        (
            "provider: entra, issuer: 'https://login.microsoftonline.com/common/v2.0'",
            "every tenant",
        ),
        ("provider: okta, issuer: 'https://o.okta.com'", "org authorization server"),
        ("provider: kubernetes", "not a pod"),
        ("provider: kuber", "is not known"),
        ("issuer: 'https://i.example', require: ['nope(']", "not valid CEL"),
        ("issuer: 'https://i.example', require: ['subject.id == 1']", "unknown name"),
        ("issuer: 'https://i.example', claims: {groups: [a, '']}", "empty"),
        ("issuer: 'https://i.example', claims: {subject: []}", "empty"),
        ("issuer: 'https://i.example', claims: {groups: {cel: 'x.y'}}", "unknown name"),
        ("issuer: 'https://i.example', token_file: sallyport.yaml", "jwks_url"),
    ],
)
def test_configurations_that_would_not_be_safe(tmp_path: Path, keys: str, words: str) -> None:
    text = EXAMPLE[: EXAMPLE.index("  oidc:")] + f"  oidc: [{{audience: sallyport, {keys}}}]\n"
    text += EXAMPLE[EXAMPLE.index("targets:") :]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)
    assert "sallyport.yaml:" in str(caught.value)


def test_every_preset_can_be_configured() -> None:
    for name in presets():
        msgspec.convert({"audience": "a", "provider": name}, OidcIssuer)
