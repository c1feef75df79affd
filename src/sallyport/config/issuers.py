"""Who may issue the tokens that open the gateway, and what a provider wants said about its
tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import msgspec

from sallyport.config import managed
from sallyport.config.check import Check
from sallyport.config.demands import demands_value
from sallyport.config.identity import CelSource, Claims, Directory, Identity, OidcIssuer, SamlIdp
from sallyport.config.providers import PROVIDER_KINDS, ProviderKind
from sallyport.core.cel import compile_expression
from sallyport.core.yamltext import YamlPath

#: Where a pod finds its cluster (Kubernetes: "Accessing the Kubernetes API from a Pod").
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CLUSTER_KEYS = "https://kubernetes.default.svc/openid/v1/jwks"
#: A session that outlives its token for longer would make short lifetimes meaningless.
MAX_GRACE = 3600.0
#: What a login waits for a person; an issuer's code seldom lives longer.
MAX_SIGN_IN = 1800.0
#: Of session tokens: thirty days.
MAX_LIFETIME = 30 * 86400.0


def identity(check: Check, identity: Identity) -> Identity:
    """The issuers, each with what its provider implies. Raises ConfigError."""
    if not identity.oidc and not identity.saml:
        fix = "Add an entry with issuer and audience"
        raise check.error(("identity", "oidc"), "without an issuer nobody can log in", fix)
    seen: set[str] = set()
    issuers = []
    for i, written in enumerate(identity.oidc):
        path: YamlPath = ("identity", "oidc", i)
        issuer = _completed(check, path, written)
        _issuer(check, path, issuer)
        _provider(check, path, issuer)
        _lookups(check, path, issuer)
        if issuer.issuer in seen:
            raise check.error((*path, "issuer"), "this issuer is listed twice", "Remove one")
        seen.add(issuer.issuer)
        issuers.append(issuer)
    for name, value in identity.required_claims.items():
        values = value if isinstance(value, list) else [value]
        if not values or any(not isinstance(v, (str, int, float, bool)) for v in values):
            fix = "Write a text, number, true or false, or a list of them"
            raise check.error(("identity", "required_claims", name), "the value must be plain", fix)
    if not 0 <= identity.expiry.grace <= MAX_GRACE:
        raise check.error(
            ("identity", "expiry", "grace"),
            f"must be 0 to {MAX_GRACE:.0f} seconds",
            "60 is usual; 0 ends sessions at the moment their token expires",
        )
    _clients_without_token(check, identity, seen)
    tokens = identity.session_tokens
    if not 0 <= tokens.lifetime <= MAX_LIFETIME or tokens.per_subject < 1:
        raise check.error(
            ("identity", "session_tokens"),
            f"lifetime must be 0 to {MAX_LIFETIME:.0f} seconds, per_subject at least 1",
            "43200 and 20 are the defaults; lifetime 0 issues no session tokens",
        )
    replaced: Identity = msgspec.structs.replace(
        identity,
        oidc=tuple(issuers),
        saml=saml(check, identity, seen),
    )
    return replaced


def _clients_without_token(check: Check, identity: Identity, issuers: Collection[str]) -> None:
    """``oauthbearer`` and ``device_login``, which name an issuer and a user name each."""
    device, bearer = identity.device_login, identity.oauthbearer
    for key, named in (("oauthbearer", bearer.issuer), ("device_login", device.issuer)):
        if named and named not in issuers:
            raise check.error(
                ("identity", key, "issuer"),
                "is not one of identity.oidc",
                "Write it as it is there",
            )
    if not device.client_id:
        return
    path: YamlPath = ("identity", "device_login")
    if not identity.oidc:
        raise check.error(path, "there is no issuer to sign in at", "Add one to identity.oidc")
    if not device.user or device.user == bearer.user:
        fix = "Write a user name that identity.oauthbearer.user is not"
        raise check.error((*path, "user"), f"{device.user!r} cannot be used", fix)
    if not 10 <= device.wait_seconds <= MAX_SIGN_IN:
        fix = "300 is the default"
        raise check.error((*path, "wait_seconds"), f"must be 10 to {MAX_SIGN_IN:.0f} seconds", fix)


def saml(check: Check, identity: Identity, issuers: Collection[str]) -> tuple[SamlIdp, ...]:
    """SAML providers, completed. issuers: names that are taken."""
    completed: list[SamlIdp] = []
    taken = set(issuers)
    for i, idp in enumerate(identity.saml):
        path: YamlPath = ("identity", "saml", i)
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", idp.name) or idp.name in [
            c.name for c in completed
        ]:
            fix = "Write a name of small letters, digits and -, once: it stands in addresses"
            raise check.error((*path, "name"), f"{idp.name!r} is not usable", fix)
        if not idp.entity_id or idp.entity_id in taken:
            fix = (
                "Write the provider's entityID. A realm of Keycloak, whose entity ID is its issuer,"
                " signs people in by OIDC or by SAML"
            )
            reason = "it is empty, or another provider's issuer or entity ID"
            raise check.error((*path, "entity_id"), reason, fix)
        taken.add(idp.entity_id)
        completed.append(_saml_provider(check, path, idp))
    return tuple(completed)


def _saml_provider(check: Check, path: YamlPath, idp: SamlIdp) -> SamlIdp:
    metadata = idp.metadata
    if "://" in metadata:
        check.url((*path, "metadata"), metadata)
    else:
        check.readable((*path, "metadata"), metadata)
        metadata = check.absolute(metadata)
    for key in ("certificate", "ca", "metadata_certificate"):
        if value := getattr(idp, key):
            check.readable((*path, key), value)
    if (idp.key is None) != (idp.certificate is None):
        raise check.error(
            (*path, "key"), "certificate and key belong together", "Write both, or neither"
        )
    if not 0 <= idp.clock_skew <= 300:
        raise check.error((*path, "clock_skew"), "must be 0 to 300 seconds", "60 is usual")
    if idp.session_seconds <= 0:
        raise check.error((*path, "session_seconds"), "must be more than 0", "Write seconds")
    expressions(check, path, idp)
    replaced: SamlIdp = msgspec.structs.replace(
        idp,
        metadata=metadata,
        certificate=check.absolute(idp.certificate) if idp.certificate else None,
        ca=check.absolute(idp.ca) if idp.ca else None,
        metadata_certificate=(
            check.absolute(idp.metadata_certificate) if idp.metadata_certificate else None
        ),
        key=managed.secret(check, (*path, "key"), idp.key) if idp.key else None,
    )
    return replaced


def _only_issuer(check: Check, path: YamlPath, issuer: OidcIssuer) -> str:
    """That of its provider; "": there are several."""
    if issuer.provider is None:
        return ""
    return _kind(check, path, issuer.provider).only_issuer


def _kind(check: Check, path: YamlPath, provider: str) -> ProviderKind:
    if provider not in PROVIDER_KINDS:
        fix = f"Write one of {', '.join(PROVIDER_KINDS)}, or leave it out"
        raise check.error((*path, "provider"), f"{provider!r} is not known", fix)
    return PROVIDER_KINDS[provider]


def _completed(check: Check, path: YamlPath, issuer: OidcIssuer) -> OidcIssuer:
    """Paths absolute, and what the provider and a pod's surroundings say."""
    name = issuer.issuer or _only_issuer(check, path, issuer)
    if not name:
        raise check.error(
            (*path, "issuer"), "the key 'issuer' is missing", "Write the iss of your tokens"
        )
    files, url = _files(check, path, issuer), issuer.jwks_url
    needs_pod = issuer.provider == "kubernetes" and not issuer.issuer
    if needs_pod and not url and not files["jwks_file"]:
        files, url = _files_of_pod(check, path, files), _CLUSTER_KEYS
    replaced: OidcIssuer = msgspec.structs.replace(
        issuer,
        issuer=name,
        jwks_url=url,
        claims=_claims(check, path, issuer),
        groups_claim="",
        agent_claim="",
        directory=_absolute(check, issuer.directory),
        **files,
    )
    return replaced


def _files(check: Check, path: YamlPath, issuer: OidcIssuer) -> dict[str, str | None]:
    """Absolute paths by their keys; None where none is said."""
    files = {}
    for key in ("ca", "jwks_file", "token_file"):
        value = getattr(issuer, key)
        if value:
            check.readable((*path, key), value)
        files[key] = check.absolute(value) if value else None
    return files


def _files_of_pod(
    check: Check, path: YamlPath, files: dict[str, str | None]
) -> dict[str, str | None]:
    """With those that a cluster gives its pods."""
    for key, file in (("ca", "ca.crt"), ("token_file", "token")):
        name = files[key] or str(SERVICE_ACCOUNT / file)
        if not Path(name).is_file():
            what = f"there is no {name}: this is not a pod of the cluster"
            raise check.error(
                path, what, "Write issuer and jwks_file (kubectl get --raw /openid/v1/jwks)"
            )
        files = {**files, key: name}
    return files


def _absolute(check: Check, directory: Directory | None) -> Directory | None:
    if directory is None:
        return None
    file = check.absolute(directory.credentials)
    replaced: Directory = msgspec.structs.replace(directory, credentials=file)
    return replaced


def _claims(check: Check, path: YamlPath, issuer: OidcIssuer) -> Claims:
    """``claims``, with what the short forms say."""
    claims = issuer.claims
    for key, part in (("groups_claim", "groups"), ("agent_claim", "agent")):
        claim = getattr(issuer, key)
        if not claim:
            continue
        if getattr(claims, part) is not None:
            what = f"'{key}' and 'claims.{part}' say the same thing twice"
            raise check.error((*path, key), what, "Keep one of them")
        claims = msgspec.structs.replace(claims, **{part: claim})
    return claims


def _provider(check: Check, path: YamlPath, issuer: OidcIssuer) -> None:
    """What is known to go wrong with this provider."""
    if issuer.provider is None:
        return
    kind = _kind(check, path, issuer.provider)
    if kind.demanded and not any(demands_value(c, kind.demanded) for c in issuer.require):
        what = (
            f"anybody can get a token from {issuer.provider} for your audience; 'require' must say"
            f" whose are accepted, by a value that {' or '.join(kind.demanded)} has to be or a list"
            " of them"
        )
        raise check.error(
            (*path, "require"), what, f"Write require: ['{kind.example}']: ids, never names"
        )
    if fault := kind.fault(issuer.issuer):
        raise check.error((*path, "issuer"), *fault)


def _lookups(check: Check, path: YamlPath, issuer: OidcIssuer) -> None:
    """What is to be asked about its tokens."""
    if issuer.token_review and not (issuer.provider == "kubernetes" and issuer.token_file):
        raise check.error(
            (*path, "token_review"),
            "there is no API server to ask",
            "Write provider: kubernetes, and outside of the cluster jwks_url, token_file and ca",
        )
    directory = issuer.directory
    if directory is None:
        return
    if issuer.provider != "google" or not directory.admin:
        fix = "Write provider: google, and the address of an administrator as admin"
        raise check.error((*path, "directory"), "it is for people of Google Workspace", fix)
    check.url((*path, "directory", "endpoint"), directory.endpoint)
    check.readable((*path, "directory", "credentials"), directory.credentials)
    if not 0 <= directory.seconds <= 3600:
        raise check.error((*path, "directory", "seconds"), "must be 0 to 3600", "300 is usual")


def expressions(check: Check, path: YamlPath, issuer: OidcIssuer | SamlIdp) -> None:
    """Check the CEL expressions of an issuer and its claims. Raises ConfigError."""
    sources: list[tuple[YamlPath, str]] = [
        ((*path, "require", i), text) for i, text in enumerate(issuer.require)
    ]
    for part in ("subject", "groups", "agent", "actor"):
        value = getattr(issuer.claims, part)
        several = isinstance(value, tuple)
        for i, source in enumerate(value if isinstance(value, tuple) else (value,)):
            where: YamlPath = (*path, "claims", part, i) if several else (*path, "claims", part)
            if source == "":
                raise check.error(
                    where, "the value is empty", "Write the claim that your tokens carry"
                )
            if isinstance(source, CelSource):
                sources.append(((*where, "cel"), source.cel))
    if issuer.claims.subject == ():
        raise check.error((*path, "claims", "subject"), "the list is empty", "Name a claim")
    for where, text in sources:
        try:
            compile_expression(text, ("claims",))
        except ValueError as error:
            raise check.error(where, f"the expression {error}", "Write CEL over 'claims'") from None


def _issuer(check: Check, path: YamlPath, issuer: OidcIssuer) -> None:
    check.url((*path, "issuer"), issuer.issuer)
    if issuer.jwks_url:
        check.url((*path, "jwks_url"), issuer.jwks_url)
    if not issuer.audience:
        raise check.error(
            (*path, "audience"), "the value is empty", "Write the value your tokens carry"
        )
    if issuer.jwks_url and issuer.jwks_file:
        raise check.error((*path, "jwks_file"), "jwks_url and jwks_file are both there", "Keep one")
    if issuer.token_file and not issuer.jwks_url:
        raise check.error((*path, "token_file"), "it needs jwks_url", "Write where the keys are")
    expressions(check, path, issuer)
    if issuer.algorithms is not None and not issuer.algorithms:
        raise check.error(
            (*path, "algorithms"), "the list is empty", "Name some, or remove the key"
        )
    if not 0 <= issuer.clock_skew <= 300:
        raise check.error((*path, "clock_skew"), "must be 0 to 300 seconds", "30 is usual")
    if issuer.max_token_age < 0:
        raise check.error(
            (*path, "max_token_age"), "must not be negative", "Write seconds, or 0 for no limit"
        )
