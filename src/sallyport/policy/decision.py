"""The values a policy decision is made of. Pure data; :mod:`sallyport.policy.decide` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sallyport.core.errors import Refusal


class Outcome(Enum):
    """What a policy says of a statement."""

    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


class Filter(Enum):
    """What conditions, groups, order, joins and functions see of a masked column.

    MASKED: the mask's value. DENY: nothing; naming the column anywhere but in plain output is
    refused. EQUALITY: the value in ``col = constant`` and ``col = ANY(array)``, the mask's value
    elsewhere. EQUALITY_JOINS: besides, joins, GROUP BY and DISTINCT see which values are equal.
    ALLOW: the value.
    """

    MASKED = "masked"
    DENY = "deny"
    EQUALITY = "equality"
    EQUALITY_JOINS = "equality: joins"
    ALLOW = "allow"

    def is_as_strict_as(self, bound: Filter) -> bool:
        """Whether this tells no more of the values than ``bound`` does."""
        return _STRICTNESS[self] <= _STRICTNESS[bound]

    def stricter(self, second: Filter) -> Filter:
        """The one of both that tells less."""
        return self if self.is_as_strict_as(second) else second


#: The strictest first.
_STRICTNESS = {
    filter_: rank
    for rank, filter_ in enumerate(
        (Filter.DENY, Filter.MASKED, Filter.EQUALITY, Filter.EQUALITY_JOINS, Filter.ALLOW)
    )
}


#: Those that let a condition compare the column with constants.
EQUALITY = frozenset({Filter.EQUALITY, Filter.EQUALITY_JOINS})


@dataclass(frozen=True, slots=True)
class MaskSpec:
    """``kind``: a name in :data:`sallyport.policy.mask_kinds.MASK_KINDS`.

    Parameters by kind (others stay at their defaults): partial keep_first/keep_last (characters
    kept); hash ``key`` names the secret (never the secret itself); date ``precision``
    year|month|day; bucket ``size`` (a positive number); constant ``value``.
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
    """The mask of one column for one subject. ``origin``: the policy entry it comes from, for
    explanations.

    ``write_filter``: WHERE and SET of a write may choose rows by the mask's value (``write_filter:
    masked``). ``write``: the column may be written, which tells whether a guess equals its value
    (``write: allow``). ``copies``: the mask's value may be written to other relations (``copies:
    masked``).
    """

    spec: MaskSpec
    filter: Filter = Filter.MASKED
    tags: tuple[str, ...] = ()
    origin: str = ""
    write_filter: bool = False
    write: bool = False
    copies: bool = False


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """One rule that was considered: whether it matched, and why (not), in words."""

    rule: str
    effect: str  # allow | hold | deny
    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``rule``: the rule that decided ("" when nothing matched). ``refusal``: set when the outcome
    is not ALLOW. ``holds``: of HOLD, every hold rule that matched, in the policy's order: all of
    them want to be satisfied. ``results``: what is recorded of its rows; "" of DENY, which has
    none.
    """

    outcome: Outcome
    rule: str = ""
    refusal: Refusal | None = None
    holds: tuple[str, ...] = ()
    results: str = ""
