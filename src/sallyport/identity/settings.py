"""What an operator says about an identity provider; checked once, then read-only.

:class:`IssuerSettings` is one entry of ``identity.oidc`` in ``sallyport.yaml``. Making one raises
:class:`~sallyport.core.errors.ConfigError` when it could not be used safely: an issuer that is not
https (loopback excepted), an algorithm that is symmetric or unknown, no audience.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sallyport.core.address import is_loopback
from sallyport.core.cel import Expression
from sallyport.core.errors import ConfigError
from sallyport.identity.claims import ClaimMapping
from sallyport.identity.verifier import Lookup

#: Every signature algorithm Sallyport knows (RFC 7518 section 3.1, RFC 8037, RFC 9864): asymmetric
#: only. ``none`` and the HMAC family are not here and cannot be configured: with them, whoever can
#: check a token can make one.
ALGORITHMS: tuple[str, ...] = (
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
)

#: Of a key that may check a signature: shorter ones can be broken, longer ones cost too much.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
_MAX_SKEW = 300.0


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One OIDC issuer whose tokens open the gateway.

    issuer: exactly as in the token's ``iss`` and in the discovery document. audience: what ``aud``
    must contain. claims: who somebody is, by which claims. require: what must be true of the claims
    of every token. provider: whose tokens these are (:mod:`sallyport.identity.oidc.presets`), ""
    for any. algorithms: accepted ``alg`` values. jwks_url: where the keys are, for issuers without
    discovery. clock_skew: seconds by which the clocks may differ (0 to 300). max_token_age: refuse
    tokens issued longer ago than this many seconds, whatever their ``exp`` says; 0: no such limit.
    ca_file: PEM file of the CA that signed the issuer's certificate, instead of the system's.
    jwks_file: the keys are in this file and nothing is fetched. token_file: what authorizes to
    fetch the keys, read anew each time (Kubernetes). lookup: what is asked about each token beside
    that.

    Raises ConfigError when a value is unusable.
    """

    issuer: str
    audience: str
    claims: ClaimMapping = field(default_factory=ClaimMapping)
    require: tuple[Expression, ...] = ()
    provider: str = ""
    algorithms: tuple[str, ...] = ALGORITHMS
    jwks_url: str = ""
    clock_skew: float = 30.0
    max_token_age: float = 0.0
    ca_file: str = ""
    jwks_file: str = ""
    token_file: str = ""
    lookup: Lookup | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "algorithms", tuple(self.algorithms))
        problem = self._problem()
        if problem:
            raise ConfigError(f"identity.oidc issuer {self.issuer!r}: {problem}")

    def _problem(self) -> str:
        if problem := url_problem(self.issuer):
            return f"the issuer {problem}"
        if urlsplit(self.issuer).query or urlsplit(self.issuer).fragment:
            return "the issuer must not have a query or a fragment"
        if self.jwks_url and (problem := url_problem(self.jwks_url)):
            return f"jwks_url {problem}"
        if not self.audience:
            return (
                "audience is missing: set the value that tokens for this gateway carry in their aud"
                " claim; without it a token meant for any other service would open the gateway"
            )
        if self.token_file and not self.jwks_url:
            return (
                "token_file needs jwks_url: the token must not go to an address that a document"
                " names"
            )
        if self.jwks_file and self.jwks_url:
            return "jwks_file and jwks_url are both set: keep one"
        unknown = [name for name in self.algorithms if name not in ALGORITHMS]
        if unknown or not self.algorithms:
            return f"algorithms {unknown} are not accepted; choose from {', '.join(ALGORITHMS)}"
        if not 0 <= self.clock_skew <= _MAX_SKEW:
            return f"clock_skew must be 0 to {_MAX_SKEW:.0f} seconds"
        if not self.max_token_age >= 0:
            return "max_token_age must not be negative"
        return ""


def url_problem(url: str) -> str:
    """Why keys must not be fetched from this URL ("" when they may): https only, and http for
    loopback.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if not host or parts.username is not None or parts.password is not None:
        return "must be a URL with a host and without credentials"
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return ""
    return "must begin with https:// (http:// only for loopback addresses)"
