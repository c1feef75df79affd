"""From verified claims to a :class:`~sallyport.core.subject.Subject`.

Claims are mapped as the issuer's settings say. A claim of a shape that is not understood refuses the login:
dropping it could drop the very group that a deny rule names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sallyport.core.subject import Subject
from sallyport.identity.jwt import Problem, printable, usable_until
from sallyport.identity.settings import IssuerSettings

_MAX_NAME = 1024
_AGENT_CLAIMS = ("azp", "client_id")


def subject_of(claims: Mapping[str, Any], settings: IssuerSettings, label: str) -> Subject | Problem:
    """The identity that verified ``claims`` describe. ``label``: the client's own name for itself; recorded,
    not trusted.

    ``expires_at`` is the moment from which the gateway no longer honours the token: ``exp`` (or issue time
    plus ``max_token_age``) plus the clock skew.
    """
    problem = _purpose_problem(claims)
    if problem:
        return problem
    sub = _name(claims.get("sub"))
    if not sub:
        return _unusable("sub", "a string that names the token's owner")
    agent = _agent(claims, settings)
    if isinstance(agent, Problem):
        return agent
    groups = groups_of(claims, settings.groups_claim)
    if isinstance(groups, Problem):
        return groups
    return Subject(
        id=sub,
        issuer=settings.issuer,
        groups=groups,
        agent=agent,
        label=printable(label, 256),
        email=_email(claims),
        expires_at=usable_until(claims, settings),
        claims=dict(claims),
    )


def required_problem(claims: Mapping[str, Any], required: Mapping[str, Any]) -> Problem | None:
    """Each claim that ``required`` names must be, or list, its value or one of its list of values."""
    for path, accepted in required.items():
        found = claim_at(claims, path)
        values = found if isinstance(found, list) else [found]
        wanted = accepted if isinstance(accepted, list | tuple) else [accepted]
        if not any(_same(value, one) for value in values for one in wanted):
            return Problem(
                f"required claim {path}",
                f"the token's {path} claim is not what this gateway requires",
                "Log in with the account or client that the gateway's operator expects.",
            )
    return None


def _same(value: object, wanted: object) -> bool:
    # In Python True == 1; in a token they differ.
    return value is not None and isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def _purpose_problem(claims: Mapping[str, Any]) -> Problem | None:
    """Tokens that no bearer may use: bound to a key (RFC 7800, 8705, 9449), or announcing a logout."""
    if "cnf" in claims:
        return Problem(
            "sender-constrained token",
            "the token is bound to a key (cnf claim), which a password field cannot prove",
            "Ask the issuer for a bearer token: without DPoP or mutual TLS.",
        )
    if "events" in claims:
        return Problem("security event token", "the token announces an event, it does not identify anybody")
    return None


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim called ``path``, or None.

    A claim of exactly that name wins (``https://example.com/groups``); otherwise dots lead into nested
    objects (``realm_access.roles``), names that contain dots themselves being tried longest first.
    """
    if path in claims:
        return claims[path]
    end = path.rfind(".")
    while end > 0:
        inner = claims.get(path[:end])
        if isinstance(inner, Mapping):
            found = claim_at(inner, path[end + 1 :])
            if found is not None:
                return found
        end = path.rfind(".", 0, end)
    return None


def groups_of(claims: Mapping[str, Any], path: str) -> frozenset[str] | Problem:
    """Groups from an array of strings, or from one string split at white space (as ``scope`` is, RFC 8693).

    Commas do not separate: a directory's distinguished names contain them. A missing claim means no groups.
    """
    value = claim_at(claims, path)
    if value is None:
        return _overage(claims, path) or frozenset()
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list):
        return _unusable(path, "an array of strings, or a string")
    names = [_name(one) for one in value if one != ""]
    if None in names:
        return _unusable(path, "an array of strings, or a string")
    return frozenset(name for name in names if name)


def _overage(claims: Mapping[str, Any], path: str) -> Problem | None:
    """Too many groups for a token: the issuer points elsewhere instead (OIDC Core section 5.6.2, distributed
    claims).
    """
    elsewhere = claims.get("_claim_names")
    if not isinstance(elsewhere, Mapping) or path not in elsewhere:
        return None
    return Problem(
        "groups claim is distributed",
        f"the token does not list the groups: there are too many (claim {path} is kept elsewhere)",
        "Have the issuer send only the groups that are assigned to this application, or application roles.",
    )


def _agent(claims: Mapping[str, Any], settings: IssuerSettings) -> str | Problem:
    value = claim_at(claims, settings.agent_claim)
    if value is None and settings.agent_claim in _AGENT_CLAIMS:
        # OIDC says azp, RFC 9068 says client_id: the same party.
        value = next((claims[name] for name in _AGENT_CLAIMS if claims.get(name) is not None), None)
    if value is None:
        return ""
    name = _name(value)
    return _unusable(settings.agent_claim, "a string") if name is None else name


def _email(claims: Mapping[str, Any]) -> str:
    if claims.get("email_verified") is False:
        return ""
    return _name(claims.get("email")) or ""


def _name(value: Any) -> str | None:
    """A string fit for logs, policies and screens (no control or invisible characters); None otherwise."""
    if isinstance(value, str) and len(value) <= _MAX_NAME and value.isprintable():
        return value
    return None


def _unusable(claim: str, expected: str) -> Problem:
    return Problem(
        f"claim {claim} is unusable",
        f"the token's {claim} claim is missing or is not {expected}",
        "Ask the operator of the issuer to correct the claim, or of the gateway to name another.",
    )
