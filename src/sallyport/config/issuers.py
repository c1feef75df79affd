"""Who may issue the tokens that open the gateway."""

from __future__ import annotations

import msgspec

from sallyport.config.check import Check
from sallyport.config.model import Identity, OidcIssuer
from sallyport.core.yamltext import YamlPath


def identity(check: Check, identity: Identity) -> Identity:
    if not identity.oidc:
        fix = "Add an entry with issuer and audience"
        raise check.error(("identity", "oidc"), "without an issuer nobody can log in", fix)
    seen: set[str] = set()
    for i, one in enumerate(identity.oidc):
        path: YamlPath = ("identity", "oidc", i)
        _issuer(check, path, one)
        if one.issuer in seen:
            raise check.error((*path, "issuer"), "this issuer is there twice", "Remove one")
        seen.add(one.issuer)
    for name, value in identity.required_claims.items():
        values = value if isinstance(value, list) else [value]
        if not values or any(not isinstance(v, (str, int, float, bool)) for v in values):
            fix = "Write a text, number, true or false, or a list of them"
            raise check.error(("identity", "required_claims", name), "the value must be plain", fix)
    replaced: Identity = msgspec.structs.replace(
        identity,
        oidc=tuple(
            msgspec.structs.replace(i, ca=check.absolute(i.ca) if i.ca else None) for i in identity.oidc
        ),
    )
    return replaced


def _issuer(check: Check, path: YamlPath, issuer: OidcIssuer) -> None:
    check.url((*path, "issuer"), issuer.issuer)
    if issuer.jwks_url:
        check.url((*path, "jwks_url"), issuer.jwks_url)
    for key in ("audience", "groups_claim", "agent_claim"):
        if not getattr(issuer, key):
            raise check.error((*path, key), "the value is empty", "Write the value your tokens carry")
    if issuer.algorithms is not None and not issuer.algorithms:
        raise check.error((*path, "algorithms"), "the list is empty", "Name some, or remove the key")
    if not 0 <= issuer.clock_skew <= 300:
        raise check.error((*path, "clock_skew"), "must be 0 to 300 seconds", "30 is usual")
    if issuer.max_token_age < 0:
        raise check.error(
            (*path, "max_token_age"), "must not be negative", "Write seconds, or 0 for no limit"
        )
    if issuer.ca:
        check.readable((*path, "ca"), issuer.ca)
