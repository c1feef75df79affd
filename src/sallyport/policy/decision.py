"""The values a policy decision is made of. Pure data; :mod:`sallyport.policy.decide` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sallyport.core.errors import Refusal


class Outcome(Enum):
    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


class Filter(Enum):
    """May a masked column influence a result without being output?"""

    DENY = "deny"
    EQUALITY = "equality"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class MaskSpec:
    """``kind``: redact | null | partial | email | hash | date | bucket | constant.

    Parameters by kind (others stay at their defaults): partial keep_first/keep_last (characters kept); hash ``key`` names the secret
    (never the secret itself); date ``precision`` year|month|day; bucket ``size`` (a positive number); constant ``value``.
    """

    kind: str
    keep_first: int = 0
    keep_last: int = 0
    precision: str = "year"
    size: float = 0.0
    value: str = ""
    key: str = ""


#: What everything derived from a masked column gets.
REDACT = MaskSpec("redact")


@dataclass(frozen=True, slots=True)
class ColumnMask:
    """The mask of one column for one subject. ``origin``: the policy entry it comes from, for explanations."""

    spec: MaskSpec
    filter: Filter = Filter.DENY
    tags: tuple[str, ...] = ()
    origin: str = ""


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """One rule that was considered: whether it matched, and why (not), in words."""

    rule: str
    effect: str  # allow | hold | deny
    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``rule``: the rule that decided ("" when nothing matched). ``refusal``: set when the outcome is not ALLOW.
    ``holds``: of HOLD, every hold rule that matched, in the policy's order: all of them want to be satisfied.
    """

    outcome: Outcome
    rule: str = ""
    refusal: Refusal | None = None
    trace: tuple[RuleTrace, ...] = ()
    holds: tuple[str, ...] = ()
