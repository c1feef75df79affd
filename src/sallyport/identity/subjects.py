"""From verified claims to a :class:`~sallyport.core.subject.Subject`.

Claims are mapped as the issuer's settings say. A claim of a shape that is not understood refuses
the login: dropping it could drop the very group that a deny rule names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sallyport.core.subject import AGENT_CLAIMS, Subject
from sallyport.identity.claims import ClaimMapping, Source, claim_at, first_value, value_at
from sallyport.identity.oidc.jwt import usable_until
from sallyport.identity.oidc.presets import overage_problem
from sallyport.identity.problems import IdentityProblem, shown_label
from sallyport.identity.settings import IssuerSettings

_MAX_NAME = 1024
#: How many actors a token may name (RFC 8693 section 4.1 sets no bound).
MAX_ACTORS = 8


def subject_of(
    claims: Mapping[str, Any], settings: IssuerSettings, label: str
) -> Subject | IdentityProblem:
    """The identity that verified ``claims`` describe. ``label``: the client's own name for itself;
    recorded, not trusted.

    ``expires_at`` is the moment from which the gateway no longer honours the token: ``exp`` (or
    issue time plus ``max_token_age``) plus the clock skew.
    """
    problem = _purpose_problem(claims)
    if problem:
        return problem
    who = mapped(claims, settings.claims, settings.issuer)
    if isinstance(who, IdentityProblem):
        return who
    return Subject(
        id=who.id,
        issuer=settings.issuer,
        groups=who.groups,
        agent=who.agent,
        actors=who.actors,
        client=who.client,
        label=shown_label(label),
        email=_email(claims),
        expires_at=usable_until(claims, settings),
        claims=dict(claims),
    )


@dataclass(frozen=True, slots=True)
class Mapped:
    """What claims say about somebody. actors: the current one first (RFC 8693 section 4.1). client:
    whom the token was given to.
    """

    id: str
    groups: frozenset[str]
    client: str
    actors: tuple[str, ...]

    @property
    def agent(self) -> str:
        """Who acts now."""
        return self.actors[0] if self.actors else self.client


def mapped(
    claims: Mapping[str, Any],
    mapping: ClaimMapping,
    issuer: str,
    lists: Mapping[str, Any] | None = None,
) -> Mapped | IdentityProblem:
    """Claims (or SAML attributes) through a mapping. lists: where groups are; None: in
    the claims.
    """
    value = first_value(claims, mapping.subject)
    if isinstance(value, IdentityProblem):
        return value
    id_ = _name(value)
    if not id_:
        return _unusable(_title(mapping.subject), "a string that names the token's owner")
    actors = actors_of(claims, mapping.actor, issuer)
    if isinstance(actors, IdentityProblem):
        return actors
    client = _client(claims, mapping.agent)
    if isinstance(client, IdentityProblem):
        return client
    groups = groups_of(claims if lists is None else lists, mapping.groups)
    if isinstance(groups, IdentityProblem):
        return groups
    return Mapped(id_, groups, client, actors)


def required_problem(
    claims: Mapping[str, Any], required: Mapping[str, Any]
) -> IdentityProblem | None:
    """Each claim that ``required`` names must be, or list, its value or one of its list of
    values.
    """
    for path, accepted in required.items():
        claim = claim_at(claims, path)
        values = claim if isinstance(claim, list) else [claim]
        accepted_values = accepted if isinstance(accepted, list | tuple) else [accepted]
        if not any(
            _same(value, accepted_value) for value in values for accepted_value in accepted_values
        ):
            return IdentityProblem(
                f"required claim {path}",
                f"the token's {path} claim is not what this gateway requires",
                "Log in with the account or client that the gateway's operator expects.",
            )
    return None


def _same(value: object, accepted: object) -> bool:
    # In Python True == 1; in a token they differ.
    return (
        value is not None
        and isinstance(value, bool) == isinstance(accepted, bool)
        and value == accepted
    )


def _purpose_problem(claims: Mapping[str, Any]) -> IdentityProblem | None:
    """Tokens that no bearer may use: bound to a key (RFC 7800, 8705, 9449), or announcing a
    logout.
    """
    if "cnf" in claims:
        return IdentityProblem(
            "sender-constrained token",
            "the token is bound to a key (cnf claim), which a password field cannot prove",
            "Ask the issuer for a bearer token: without DPoP or mutual TLS.",
        )
    if "events" in claims:
        return IdentityProblem(
            "security event token", "the token announces an event, it does not identify anybody"
        )
    return None


def groups_of(
    claims: Mapping[str, Any], sources: Sequence[Source]
) -> frozenset[str] | IdentityProblem:
    """The groups of all sources: an array of strings, or one string. That of a claim is split at
    white space (as ``scope`` is, RFC 8693 section 4.2), that of an expression is one group.

    Commas do not separate: a directory's distinguished names contain them. A missing claim means no
    groups.
    """
    problem = overage_problem(claims, [source for source in sources if isinstance(source, str)])
    if problem is not None:
        return problem
    names: set[str] = set()
    for source in sources:
        value = value_at(claims, source)
        if isinstance(value, IdentityProblem):
            return value
        if value is None:
            continue
        if isinstance(value, str):
            value = value.split() if isinstance(source, str) else [value]
        if not isinstance(value, list):
            return _unusable(_title([source]), "an array of strings, or a string")
        for group in value:
            name = _name(group)
            if name is None:
                return _unusable(_title([source]), "an array of strings, or a string")
            names.add(name)
    return frozenset(names - {""})


def actors_of(
    claims: Mapping[str, Any], sources: Sequence[Source], issuer: str
) -> tuple[str, ...] | IdentityProblem:
    """Who acts for the subject: an ``act`` chain (RFC 8693 section 4.1), a name, or a list of
    names; the current actor first.

    An actor of another issuer is called ``issuer|sub``. What is not understood refuses: it could be
    the actor that a rule denies.
    """
    value = first_value(claims, sources)
    if value is None or isinstance(value, IdentityProblem):
        return () if value is None else value
    title = _title(sources)
    actors: list[str] = []
    if isinstance(value, str | list):
        actors = [
            name
            for entry in ([value] if isinstance(value, str) else value)
            if (name := _name(entry))
        ]
        if len(actors) != (1 if isinstance(value, str) else len(value)):
            return _unusable(title, "a name or a list of names")
    while not isinstance(value, str | list) and value is not None and len(actors) <= MAX_ACTORS:
        name = _name(value.get("sub")) if isinstance(value, Mapping) else None
        if not name:
            return _unusable(title, "an object with a sub (RFC 8693)")
        home = value.get("iss", issuer)
        if not _name(home):
            return _unusable(title, "an object whose iss is a string")
        actors.append(name if home == issuer else f"{home}|{name}")
        value = value.get("act")
    if len(actors) > MAX_ACTORS:
        return IdentityProblem(
            "too many actors",
            f"the token names more than {MAX_ACTORS} actors ({title} claim)",
            "Get a token with a shorter chain of delegation.",
        )
    return tuple(actors)


def _client(claims: Mapping[str, Any], sources: Sequence[Source]) -> str | IdentityProblem:
    value = first_value(claims, sources)
    if isinstance(value, IdentityProblem):
        return value
    if value is None and not set(AGENT_CLAIMS).isdisjoint(
        source for source in sources if isinstance(source, str)
    ):
        # OIDC says azp, RFC 9068 says client_id: the same party.
        value = next((claims[name] for name in AGENT_CLAIMS if claims.get(name) is not None), None)
    if value is None:
        return ""
    name = _name(value)
    return _unusable(_title(sources), "a string") if name is None else name


def _email(claims: Mapping[str, Any]) -> str:
    if claims.get("email_verified") is False:
        return ""
    return _name(claims.get("email")) or ""


def _name(value: Any) -> str | None:
    """A string fit for logs, policies and screens (no control or invisible characters); None
    otherwise.
    """
    if isinstance(value, str) and len(value) <= _MAX_NAME and value.isprintable():
        return value
    return None


def _unusable(claim: str, expected: str) -> IdentityProblem:
    return IdentityProblem(
        f"claim {claim} is unusable",
        f"the token's {claim} claim is missing or is not {expected}",
        "Ask the operator of the issuer to correct the claim, or of the gateway to name another.",
    )


def _title(sources: Sequence[Source]) -> str:
    """Of the claim that is meant, for errors."""
    return " or ".join(
        source if isinstance(source, str) else f"expression {source.source!r}" for source in sources
    )
