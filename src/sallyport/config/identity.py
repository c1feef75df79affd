"""The section ``identity`` of ``sallyport.yaml``: who may connect."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sallyport.config.secrets import SecretRef

Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
]


class CelSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CEL expression over ``claims``."""

    cel: str


ClaimSource = str | CelSource
ClaimSources = ClaimSource | tuple[ClaimSource, ...]


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which claims, or CEL expressions, say who somebody is. None: the provider's default."""

    subject: ClaimSources | None = None
    groups: ClaimSources | None = None
    agent: ClaimSources | None = None
    actor: ClaimSources | None = None


class Directory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Groups of people in Google's Directory. ``credentials``: key file of a service account with
    domain-wide delegation. ``admin``: in whose name it asks. ``seconds``: for how long an answer is
    kept.
    """

    credentials: str
    admin: str
    endpoint: str = "https://admin.googleapis.com"
    seconds: float = 300.0


class OidcIssuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One identity provider. ``provider``: one of
    :data:`~sallyport.config.providers.PROVIDER_KINDS`. ``issuer`` "": that of the ``provider``,
    where there is only one. ``require``: CEL over ``claims``, all must be true. ``clock_skew`` and
    ``max_token_age`` are seconds (0: no such limit). ``groups_claim`` and ``agent_claim``: one
    claim each, the short form of ``claims.groups`` and ``claims.agent``; empty once the
    configuration is checked. ``token_review``: ask the cluster of ``jwks_url`` about each token.
    """

    audience: str
    issuer: str = ""
    provider: str | None = None
    groups_claim: str = ""
    agent_claim: str = ""
    claims: Claims = Claims()
    require: tuple[str, ...] = ()
    algorithms: tuple[Algorithm, ...] | None = None
    jwks_url: str = ""
    jwks_file: str | None = None
    token_file: str | None = None
    clock_skew: float = 30.0
    max_token_age: float = 0.0
    ca: str | None = None
    token_review: bool = False
    directory: Directory | None = None


class SamlIdp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One SAML identity provider. ``entity_id``: its own. ``metadata``: a URL, or a file.
    ``sp_entity_id`` "": made from ``console.public_url``. ``certificate`` and ``key``: PEM, ours.
    ``clock_skew`` and ``session_seconds`` are seconds. ``metadata_certificate``: PEM, one or more,
    one of which must have signed the metadata. ``single_logout``: where there is a key.
    """

    name: str
    entity_id: str
    metadata: str
    title: str = ""
    sp_entity_id: str = ""
    claims: Claims = Claims()
    require: tuple[str, ...] = ()
    binding: Literal["redirect", "post"] = "redirect"
    signed: Literal["either", "both"] = "either"
    idp_initiated: bool = False
    certificate: str | None = None
    key: SecretRef | None = None
    clock_skew: float = 60.0
    session_seconds: float = 8 * 3600.0
    ca: str | None = None
    metadata_certificate: str | None = None
    single_logout: bool = True


class Expiry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of a session whose token expires. ``grace``: seconds that its open transaction
    and running statement still have; 0 ends both at once.
    """

    grace: float = 60.0


class SessionTokenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens that the gateway issues in exchange for an identity. ``lifetime``: seconds, at most;
    0: none are issued or accepted. ``per_subject``: valid at once, at most.
    """

    lifetime: float = 12 * 3600.0
    per_subject: int = 20


class OAuthBearer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clients that speak SASL OAUTHBEARER (libpq 18). ``user``: the user name that asks for it; "":
    nobody can. ``issuer`` "": the first of ``identity.oidc``. ``scope``: what clients should ask it
    for.
    """

    user: str = "oauth"
    issuer: str = ""
    scope: str = "openid"


class DeviceLogin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clients without a token: the login waits while a person signs in at the issuer's page (device
    flow). ``client_id``: of the gateway at that issuer; "": nobody can. ``issuer`` "": the first of
    ``identity.oidc``. ``wait_seconds``: how long a login waits.
    """

    client_id: str = ""
    client_secret: SecretRef | None = None
    user: str = "login"
    issuer: str = ""
    scope: str = "openid"
    audience: str = ""
    resource: str = ""
    wait_seconds: float = 300.0


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``required_claims``: claim name -> accepted value or list of values; a token without one of
    them is refused.
    """

    oidc: tuple[OidcIssuer, ...] = ()
    saml: tuple[SamlIdp, ...] = ()
    required_claims: dict[str, Any] = {}
    expiry: Expiry = Expiry()
    session_tokens: SessionTokenSettings = SessionTokenSettings()
    oauthbearer: OAuthBearer = OAuthBearer()
    device_login: DeviceLogin = DeviceLogin()
