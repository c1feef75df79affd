"""The kinds of mask: the name of each in a policy, its parameters, and how it is described.

What a kind does to a value stands in :data:`sallyport.masking.maskers.NATIVE_MASKS` (rows on their
way to the client) and :data:`sallyport.masking.sqlmasks.SQL_MASKS` (expressions in a statement),
under the same name. A test compares the three and docs/policy.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from sallyport.policy.decision import MaskSpec


class PartialParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many characters stay at either end."""

    keep_first: int = 0
    keep_last: int = 0


class HashParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``key``: the name of a secret in ``mask_keys``."""

    key: str = "default"


class DateParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left of a date."""

    precision: Literal["year", "month", "day"] = "year"


class BucketParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers are rounded down to a multiple of ``size``."""

    size: float


class ConstantParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``value``: as text; of the column's type, or NULL is shown."""

    value: str


#: What is wrong with parameters: (parameter or "", message, fix).
ParameterFault = tuple[str, str, str]


def _no_fault(spec: MaskSpec) -> ParameterFault | None:
    return None


def _no_words(spec: MaskSpec) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class MaskKind:
    """One kind.

    ``parameters``: their shape in a policy file; None: there are none. ``example``: parameters as
    YAML, for kinds that need some. ``value_independent``: it shows the same for every value, NULL
    included. ``fault``: what no shape can say of parameters. ``words``: parameters for people.
    """

    parameters: type[msgspec.Struct] | None = None
    example: str = ""
    value_independent: bool = False
    fault: Callable[[MaskSpec], ParameterFault | None] = _no_fault
    words: Callable[[MaskSpec], list[str]] = _no_words


def _partial_fault(spec: MaskSpec) -> ParameterFault | None:
    if spec.keep_first >= 0 and spec.keep_last >= 0 and spec.keep_first + spec.keep_last:
        return None
    return (
        "",
        "the number of characters to keep is not usable",
        "Write keep_first, keep_last or both, at least 1 together; use redact to keep nothing",
    )


def _partial_words(spec: MaskSpec) -> list[str]:
    kept = {"keep_first": spec.keep_first, "keep_last": spec.keep_last}
    return [f"{name} {number}" for name, number in kept.items() if number]


def _bucket_fault(spec: MaskSpec) -> ParameterFault | None:
    if 0 < spec.size < math.inf:
        return None
    return "size", "a bucket's size must be a positive number", "Write, for example, 1000"


MASK_KINDS: Mapping[str, MaskKind] = {
    "redact": MaskKind(value_independent=True),
    "null": MaskKind(value_independent=True),
    "partial": MaskKind(
        PartialParameters,
        "{keep_last: 4}",
        fault=_partial_fault,
        words=_partial_words,
    ),
    "email": MaskKind(),
    "hash": MaskKind(HashParameters, words=lambda spec: [f"key {spec.key}"] if spec.key else []),
    "date": MaskKind(DateParameters, words=lambda spec: [spec.precision]),
    "bucket": MaskKind(
        BucketParameters,
        "{size: 1000}",
        fault=_bucket_fault,
        words=lambda spec: [f"size {spec.size:g}"],
    ),
    "constant": MaskKind(
        ConstantParameters,
        "{value: hidden}",
        value_independent=True,
        words=lambda spec: [repr(spec.value)],
    ),
}


def is_value_independent(spec: MaskSpec) -> bool:
    """Whether the mask shows the same for every value; False for a kind that does not exist."""
    kind = MASK_KINDS.get(spec.kind)
    return kind is not None and kind.value_independent


def spec_text(spec: MaskSpec) -> str:
    """A mask as the policy writes it: ``partial(keep_last 4)``."""
    kind = MASK_KINDS.get(spec.kind)
    words = kind.words(spec) if kind is not None else []
    return spec.kind + (f"({', '.join(words)})" if words else "")
