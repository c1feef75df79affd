"""Which claims say who somebody is: a mapping that is apart from how an issuer's tokens are
checked.

Each part of a :class:`~sallyport.core.subject.Subject` comes from *sources*: the name or dotted
path of a claim, or a CEL expression over ``claims``. SAML attributes are mapped in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sallyport.core.cel import FAILED, Expression, compile_expression
from sallyport.core.errors import ConfigError
from sallyport.identity.problems import IdentityProblem

#: The name or path of a claim, or an expression.
Source = str | Expression
VARIABLES = ("claims",)


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """subject, agent, actor: the first source with a value counts. groups: the union of all. Raises
    ConfigError for an empty name or no source for the subject.
    """

    subject: tuple[Source, ...] = ("sub",)
    groups: tuple[Source, ...] = ("groups",)
    agent: tuple[Source, ...] = ("azp",)
    actor: tuple[Source, ...] = ("act",)

    def __post_init__(self) -> None:
        if not self.subject:
            raise ConfigError("claims.subject is empty: without a subject nobody can log in")
        for part in ("subject", "groups", "agent", "actor"):
            if "" in getattr(self, part):
                raise ConfigError(
                    f"claims.{part} has an empty name: write the claim that your tokens carry"
                )


def cel(source: str) -> Expression:
    """A CEL expression over ``claims``. Raises ConfigError."""
    try:
        return compile_expression(source, VARIABLES)
    except ValueError as error:
        raise ConfigError(f"the expression {source!r} {error}") from None


def value_at(claims: Mapping[str, Any], source: Source) -> Any:
    """What a source says: None when there is nothing, a Problem when the expression could not be
    evaluated.
    """
    if isinstance(source, str):
        return claim_at(claims, source)
    value = source.evaluate({"claims": claims})
    if value is FAILED:
        return IdentityProblem(
            f"expression {source.source!r} cannot be evaluated",
            "the token lacks a claim that this gateway needs",
            "Tell the gateway's operator: the log names the expression that failed.",
        )
    return value


def first_value(claims: Mapping[str, Any], sources: Sequence[Source]) -> Any:
    """The first that is not None; it may be a Problem."""
    for source in sources:
        value = value_at(claims, source)
        if value is not None:
            return value
    return None


def require_problem(
    claims: Mapping[str, Any], require: Sequence[Expression]
) -> IdentityProblem | None:
    """Each expression must be true. What cannot be evaluated, or is no truth value, is not true."""
    for expression in require:
        if expression.evaluate({"claims": claims}) is not True:
            return IdentityProblem(
                f"require: {expression.source}",
                "the token does not meet a condition of this gateway",
                "Log in with the account or client that the gateway's operator expects; the log"
                " names the condition.",
            )
    return None


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim called ``path``, or None.

    A claim of exactly that name wins (``https://example.com/groups``); otherwise dots lead into
    nested objects (``realm_access.roles``, ``kubernetes.io.namespace``), names that contain dots
    themselves being tried longest first.
    """
    if path in claims:
        return claims[path]
    end = path.rfind(".")
    while end > 0:
        inner = claims.get(path[:end])
        if isinstance(inner, Mapping):
            value = claim_at(inner, path[end + 1 :])
            if value is not None:
                return value
        end = path.rfind(".", 0, end)
    return None
