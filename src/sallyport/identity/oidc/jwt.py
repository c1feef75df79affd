"""A compact JWT, taken apart without trusting it, and checked against a key (RFC 7515, 7519, 8725).

:func:`parse` is strict and bounded: three base64url parts, JSON objects without duplicate names, at
most 16 kB. It tells nothing about who made the token. :func:`signature_is_valid` does, for exactly
one key. :func:`time_problem` and :func:`audience_problem` read verified claims.

Nothing here raises for bad input and nothing chains exceptions: a decoder's exception holds the
text it failed on, and a token must not travel in a traceback. Failures are :class:`IdentityProblem`
values; ``reason`` is for the log and never has token text.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from sallyport.identity.problems import IdentityProblem, printable
from sallyport.identity.settings import IssuerSettings

MAX_TOKEN_CHARS = 16_384
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+\Z")
#: Media types of tokens that speak for someone at a resource server (RFC 9068, RFC 7519, JWT-SVID
#: section 2.3). Logout tokens, DPoP proofs, security events and the like have types of their own
#: and are refused.
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt", "jose"})

PublicKey = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True, repr=False)
class ParsedToken:
    """A token's parts. Nothing in it is trusted until :func:`signature_is_valid` said so."""

    algorithm: str
    kid: str | None
    issuer: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def parse(text: str) -> ParsedToken | IdentityProblem:
    """Take a compact JWS apart. Returns a Problem (without message) for anything else."""
    if len(text) > MAX_TOKEN_CHARS:
        return IdentityProblem("longer than 16384 characters")
    parts = text.split(".")
    if len(parts) == 5:
        return IdentityProblem("encrypted token (JWE)")
    if len(parts) != 3:
        return IdentityProblem("not a JWT")
    raw_header, raw_claims, signature = (_base64url(part) for part in parts)
    if raw_header is None or raw_claims is None or signature is None:
        return IdentityProblem("not base64url, or unsigned")
    header, claims = json_object(raw_header), json_object(raw_claims)
    if header is None or claims is None:
        return IdentityProblem("header or claims are not a JSON object")
    issuer = claims.get("iss")
    algorithm = header.get("alg")
    problem = _header_problem(header)
    if problem:
        return IdentityProblem(problem)
    if not isinstance(issuer, str) or not isinstance(algorithm, str):
        return IdentityProblem("no iss claim or no alg header")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    return ParsedToken(algorithm, header.get("kid"), issuer, claims, signed, signature)


def _header_problem(header: Mapping[str, Any]) -> str:
    # crit and b64 change what the signature means (RFC 7515 section 4.1.11, RFC 7797); cty: a token
    # nested in a token.
    for name in ("crit", "b64", "cty", "enc", "zip"):
        if name in header:
            return f"header parameter {name}"
    if not isinstance(header.get("kid", ""), str):
        return "kid is not a string"
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        return "header typ is not that of an access token"
    return ""


def _base64url(part: str) -> bytes | None:
    if not _BASE64URL.match(part) or len(part) % 4 == 1:
        return None
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("duplicate name")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError("not JSON")


def json_object(data: bytes) -> dict[str, Any] | None:
    """Decode a JSON object strictly (UTF-8, no duplicate names, no NaN, no lone surrogates); None
    for anything else.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def key_fits(key: PublicKey, algorithm: str) -> bool:
    """Whether this key may check a signature of this algorithm: type, curve, and the key's own
    ``alg``.
    """
    model = JWSRegistry.algorithms.get(algorithm)
    if model is None or not isinstance(key, _KEY_TYPES.get(algorithm[:2], ())):
        return False
    try:
        model.check_key(key)  # type, curve, use and alg of the key
    except JoseError:
        return False
    return True


_KEY_TYPES: dict[str, type[PublicKey]] = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}


def signature_is_valid(token: ParsedToken, key: PublicKey) -> bool:
    """Whether ``key`` made this token's signature. The caller has checked :func:`key_fits`."""
    try:
        return bool(
            JWSRegistry.algorithms[token.algorithm].verify(token.signed, token.signature, key)
        )
    except (JoseError, ValueError):
        return False


def audience_problem(claims: Mapping[str, Any], settings: IssuerSettings) -> IdentityProblem | None:
    """``aud`` (RFC 7519 section 4.1.3) is a string or a list of strings and must contain the
    gateway's audience exactly.
    """
    audience = claims.get("aud")
    if isinstance(audience, str):
        audience = [audience]
    if not isinstance(audience, list) or not all(isinstance(entry, str) for entry in audience):
        return IdentityProblem(
            "no usable aud claim",
            f"the token has no audience, this gateway expects {settings.audience}",
            f"Ask the issuer for a token whose audience (resource) is {settings.audience}.",
        )
    if settings.audience not in audience:
        shown = printable(", ".join(audience), 120) or "nobody"
        return IdentityProblem(
            "wrong audience",
            f"the token is for audience {shown}, this gateway expects {settings.audience}",
            f"Ask the issuer for a token whose audience (resource) is {settings.audience}.",
        )
    return None


#: Claims of ID tokens alone (OpenID Connect Core sections 2, 3.1.3.6 and 3.3.2.11).
_OF_ID_TOKENS = frozenset({"nonce", "at_hash", "c_hash"})


def is_id_token(claims: Mapping[str, Any]) -> bool:
    """Whether the claims are those of an ID token: by the claims that only these have, or as
    Keycloak says it (``typ``).
    """
    return not _OF_ID_TOKENS.isdisjoint(claims) or claims.get("typ") == "ID"


def party_problem(
    claims: Mapping[str, Any], settings: IssuerSettings, only_id_tokens: bool
) -> IdentityProblem | None:
    """An ID token is for the client that ``azp`` names (OpenID Connect Core section 3.1.3.7, rule
    5), whomever else ``aud`` lists.

    ``only_id_tokens``: that is all the caller takes. In an access token azp is the program that
    acts, which may be any.
    """
    party = claims.get("azp")
    if party is None or party == settings.audience or not (only_id_tokens or is_id_token(claims)):
        return None
    return IdentityProblem(
        "ID token of another client",
        f"the ID token was issued to another client than {settings.audience} (azp claim)",
        f"Ask the issuer for an access token whose audience (resource) is {settings.audience}.",
    )


_RENEW = "Get a new token from the issuer and connect again."


def time_problem(
    claims: Mapping[str, Any], settings: IssuerSettings, now: float
) -> IdentityProblem | None:
    """``exp`` (required), ``nbf``, ``iat`` against ``now`` (Unix seconds), each within the issuer's
    clock skew.
    """
    times: dict[str, float] = {}
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not _representable(value)
        ):
            return IdentityProblem(
                f"{name} is not a time", f"the token's {name} claim is not a time", _RENEW
            )
        times[name] = float(value)
    if "exp" not in times:
        return IdentityProblem(
            "no exp claim", "the token never expires (no exp claim)", "Use an issuer that sets exp."
        )
    skew = settings.clock_skew
    if now >= times["exp"] + skew:
        return IdentityProblem(
            "expired", f"the token expired {_duration(now - times['exp'])} ago", _RENEW
        )
    for name in ("nbf", "iat"):
        ahead = times.get(name, 0.0) - now
        if ahead > skew:
            return IdentityProblem(
                f"{name} in the future",
                f"the token is not valid until {_duration(ahead)} from now",
                "Wait, or set the clocks: the issuer's and the gateway's clock differ if the token"
                " is new.",
            )
    return _age_problem(times, settings, now)


def _age_problem(
    times: Mapping[str, float], settings: IssuerSettings, now: float
) -> IdentityProblem | None:
    if not settings.max_token_age:
        return None
    if "iat" not in times:
        return IdentityProblem(
            "no iat claim", "the token does not say when it was issued (no iat claim)", _RENEW
        )
    if now >= times["iat"] + settings.max_token_age + settings.clock_skew:
        age, limit = _duration(now - times["iat"]), _duration(settings.max_token_age)
        return IdentityProblem(
            "too old", f"the token was issued {age} ago, this gateway accepts {limit}", _RENEW
        )
    return None


def usable_until(claims: Mapping[str, Any], settings: IssuerSettings) -> float:
    """The moment (Unix seconds, gateway's clock) from which :func:`time_problem` refuses these
    verified claims.
    """
    end = float(claims["exp"])
    if settings.max_token_age:
        end = min(end, float(claims["iat"]) + settings.max_token_age)
    return end + settings.clock_skew


def _representable(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _duration(seconds: float) -> str:
    total = max(int(seconds), 0)
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if total >= size:
            count = total // size
            return f"{count} {name}{'s' if count != 1 else ''}"
    return f"{total} second{'s' if total != 1 else ''}"
