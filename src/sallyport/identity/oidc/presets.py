"""Providers whose tokens are known: which of their claims say who somebody is, and what must be
refused.

A preset is a default for ``claims`` and a check of verified claims; what an operator writes wins
over the default. Sources are named at each. What a provider wants in the configuration itself
stands in :data:`sallyport.config.providers.PROVIDER_KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sallyport.identity.claims import ClaimMapping, cel, claim_at
from sallyport.identity.problems import IdentityProblem

#: SPIFFE-ID, section 2: at most 2048 bytes; lower-case trust domain; path segments without dots
#: alone.
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+\Z")


@dataclass(frozen=True, slots=True)
class Preset:
    """claims: the default mapping. problem: what is wrong with verified claims of this provider, or
    None.
    """

    claims: ClaimMapping
    problem: Callable[[Mapping[str, Any]], IdentityProblem | None]


def preset_problem(provider: str, claims: Mapping[str, Any]) -> IdentityProblem | None:
    """What is wrong with verified ``claims`` for tokens of ``provider`` ("" for any)."""
    return presets()[provider].problem(claims) if provider else None


def overage_problem(claims: Mapping[str, Any], paths: Sequence[str]) -> IdentityProblem | None:
    """Too many groups for a token: the issuer points elsewhere instead (OIDC Core section 5.6.2,
    distributed claims; Microsoft Entra: more than 200 groups in a JWT, 6 in the implicit flow).
    """
    elsewhere = claims.get("_claim_names")
    kept_away = [path for path in paths if isinstance(elsewhere, Mapping) and path in elsewhere]
    if claims.get("hasgroups") in (True, "true") and "groups" in paths:
        kept_away.append("groups")
    if not kept_away:
        return None
    return IdentityProblem(
        "groups claim is distributed",
        f"the token does not list the groups: there are too many (claim {kept_away[0]} is kept"
        " elsewhere)",
        "Use app roles (Microsoft Entra: App roles, the roles claim), or have the issuer send only"
        " the groups that are assigned to this application.",
    )


def _nothing(claims: Mapping[str, Any]) -> IdentityProblem | None:
    return None


def _entra(claims: Mapping[str, Any]) -> IdentityProblem | None:
    # Learn: "Access token claims reference". The pairwise sub differs by application; oid and tid
    # do not.
    issuer, tenant = claims.get("iss"), claims.get("tid")
    if (
        not isinstance(tenant, str)
        or not isinstance(issuer, str)
        or tenant not in issuer.split("/")
    ):
        return _refused(
            "tid is not the issuer's tenant",
            "the token's tid claim is not the tenant of its issuer",
        )
    return None


def _google(claims: Mapping[str, Any]) -> IdentityProblem | None:
    # Google: "OpenID Connect", ID token claims. hd is missing for consumer accounts; an address may
    # be unverified.
    if "email" in claims and claims.get("email_verified") is not True:
        return _refused("email is not verified", "the account's e-mail address is not verified")
    return None


def _keycloak(claims: Mapping[str, Any]) -> IdentityProblem | None:
    # Keycloak: the claim typ is Bearer, ID, Refresh, Offline or Logout, and only Bearer opens
    # anything.
    if claims.get("typ", "Bearer") != "Bearer":
        return _refused(
            f"typ {str(claims['typ'])[:20]!r}", "the token is not an access token (typ claim)"
        )
    return None


def _names_an_id(names: Sequence[str]) -> Callable[[Mapping[str, Any]], IdentityProblem | None]:
    def problem(claims: Mapping[str, Any]) -> IdentityProblem | None:
        for name in names:
            value = claims.get(name)
            if not isinstance(value, str) or not value.isdecimal() or not value.isascii():
                return _refused(
                    f"{name} is not a number",
                    f"the token's {name} claim is missing or is not a number",
                )
        return None

    return problem


def _kubernetes(claims: Mapping[str, Any]) -> IdentityProblem | None:
    # Kubernetes: "Managing Service Accounts", bound tokens. Those of Secrets have no kubernetes.io
    # object and never expire.
    namespace = claim_at(claims, "kubernetes.io.namespace")
    account = claim_at(claims, "kubernetes.io.serviceaccount.name")
    if not isinstance(namespace, str) or not isinstance(account, str):
        return _refused(
            "no kubernetes.io claim",
            "the token is not a projected service-account token (kubernetes.io claim)",
        )
    if claims.get("sub") != f"system:serviceaccount:{namespace}:{account}":
        return _refused(
            "sub is not the service account",
            "the token's sub is not the service account that it names",
        )
    return None


def _spiffe(claims: Mapping[str, Any]) -> IdentityProblem | None:
    # JWT-SVID, section 3.1: sub is the SPIFFE ID of the workload.
    sub = claims.get("sub")
    if not isinstance(sub, str) or len(sub) > 2048 or not _SPIFFE_ID.match(sub):
        return _refused(
            "sub is not a SPIFFE ID", "the token's sub is not the SPIFFE ID of a workload"
        )
    return None


def _refused(reason: str, message: str) -> IdentityProblem:
    return IdentityProblem(
        reason,
        message,
        "Get a token of the kind that this gateway's operator documents for this provider.",
    )


@cache
def presets() -> Mapping[str, Preset]:  # long: one table of providers
    """By the name of the provider. Made when the first is asked for: CEL takes long to import."""
    return {
        "entra": Preset(
            # azp in v2.0 tokens, appid in v1.0 ones.
            ClaimMapping(subject=("oid",), groups=("groups", "roles"), agent=("azp", "appid")),
            _entra,
        ),
        "google": Preset(
            ClaimMapping(
                groups=(
                    cel("has(claims.hd) ? ['hd:' + claims.hd] : []"),
                    cel("has(claims.email) ? ['email:' + claims.email] : []"),
                )
            ),
            _google,
        ),
        # sub is the login name, which may change hands; uid is the user's id. Clients have no uid,
        # and sub is the client id.
        "okta": Preset(ClaimMapping(subject=("uid", "sub"), agent=("cid",)), _nothing),
        "keycloak": Preset(ClaimMapping(groups=("realm_access.roles",)), _keycloak),
        "github-actions": Preset(
            ClaimMapping(
                subject=(cel("'repository_id:' + claims.repository_id"),),
                groups=(
                    cel(
                        "['repository_id:' + claims.repository_id, 'repository_owner_id:' +"
                        " claims.repository_owner_id]"
                    ),
                    cel(
                        "has(claims.environment) ? ['repository_id:' + claims.repository_id +"
                        " ':environment:' + claims.environment] : []"
                    ),
                ),
                agent=(cel("'github-actions'"),),
                actor=(),
            ),
            _names_an_id(("repository_id", "repository_owner_id")),
        ),
        "gitlab": Preset(
            ClaimMapping(
                subject=(cel("'project_id:' + claims.project_id"),),
                groups=(
                    cel(
                        "['project_id:' + claims.project_id, 'namespace_id:' + claims.namespace_id]"
                    ),
                    cel(
                        "has(claims.ref_protected) && claims.ref_protected == 'true' ? "
                        "['project_id:' + claims.project_id + ':protected'] : []"
                    ),
                    cel(
                        "has(claims.environment) && has(claims.environment_protected) &&"
                        " claims.environment_protected == 'true' ? ['project_id:' +"
                        " claims.project_id + ':environment:' + claims.environment] : []"
                    ),
                ),
                agent=(cel("'gitlab-ci'"),),
                actor=(),
            ),
            _names_an_id(("project_id", "namespace_id")),
        ),
        "kubernetes": Preset(
            ClaimMapping(
                groups=(
                    cel(
                        "['k8s:' + claims['kubernetes.io'].namespace, 'k8s:' +"
                        " claims['kubernetes.io'].namespace + ':' +"
                        " claims['kubernetes.io'].serviceaccount.name]"
                    ),
                ),
                agent=("sub",),
                actor=(),
            ),
            _kubernetes,
        ),
        # A JWT-SVID names a workload and no groups: policy lists SPIFFE IDs.
        "spiffe": Preset(ClaimMapping(groups=(), agent=("sub",), actor=()), _spiffe),
    }
