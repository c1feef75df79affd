"""The kinds of identity provider: the name of each in ``identity.oidc``, and what it wants said
there.

What the tokens of a kind say stands in :func:`sallyport.identity.oidc.presets.presets`, under the
same name. A test compares the two and docs/identity.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: What is wrong with an issuer, and what to do: (message, fix).
IssuerFault = tuple[str, str]


def _no_fault(issuer: str) -> IssuerFault | None:
    return None


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """One kind.

    ``title``: its section in docs/identity.md. ``only_issuer``: the issuer, where there is only
    one; "": it must be written. ``demanded``: where anybody in the world can get a token for any
    audience, claims of which the conditions must demand a value; ``example``: such a condition.
    ``fault``: what is wrong with an issuer.
    """

    title: str
    only_issuer: str = ""
    demanded: tuple[str, ...] = ()
    example: str = ""
    fault: Callable[[str], IssuerFault | None] = _no_fault


def _entra_fault(issuer: str) -> IssuerFault | None:
    if not re.search(r"/(?:common|organizations|consumers)(?:/|\Z)", issuer):
        return None
    return (
        "this is the issuer of every tenant",
        "Write https://login.microsoftonline.com/TENANT_ID/v2.0, or"
        " https://sts.windows.net/TENANT_ID/ for v1 tokens",
    )


def _okta_fault(issuer: str) -> IssuerFault | None:
    if not issuer.startswith("https:") or "/oauth2/" in issuer:
        return None
    return (
        "access tokens of Okta's org authorization server are for Okta alone",
        "Write a custom one: https://ORG.okta.com/oauth2/default",
    )


PROVIDER_KINDS: Mapping[str, ProviderKind] = {
    "entra": ProviderKind("Microsoft Entra ID", fault=_entra_fault),
    "google": ProviderKind(
        "Google",
        only_issuer="https://accounts.google.com",
        demanded=("hd", "email", "sub"),
        example='claims.hd == "example.com"',
    ),
    "okta": ProviderKind("Okta", fault=_okta_fault),
    "keycloak": ProviderKind("Keycloak"),
    "github-actions": ProviderKind(
        "GitHub Actions",
        only_issuer="https://token.actions.githubusercontent.com",
        demanded=("repository_id", "repository_owner_id", "enterprise_id"),
        example='claims.repository_owner_id == "1234567"',
    ),
    "gitlab": ProviderKind(
        "GitLab CI",
        only_issuer="https://gitlab.com",
        demanded=("project_id", "namespace_id"),
        example='claims.namespace_id == "1234567"',
    ),
    "kubernetes": ProviderKind(
        "Kubernetes", only_issuer="https://kubernetes.default.svc.cluster.local"
    ),
    "spiffe": ProviderKind("SPIFFE"),
}
