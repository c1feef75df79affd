"""One expectation of ``sallyport policy test``, and how reality differs from it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sallyport.core.errors import Refusal
from sallyport.policy.decision import Outcome
from sallyport.policy.explain import Explanation

_ORDER = (Outcome.ALLOW, Outcome.HOLD, Outcome.DENY)


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``subject``: a group, a list of groups, or id, issuer, groups, agent and claims. ``masks``:
    result column -> mask ("" for none). ``contained``: after the subject read an untrusted column.
    """

    subject: Any
    sql: str
    verdict: Literal["allow", "hold", "deny"]
    target: str = ""
    name: str = ""
    code: str = ""
    rule: str = ""
    masks: dict[str, str] = {}
    contained: bool = False


def differs(expected: Expectation, explained: list[Explanation], unreadable: Refusal | None) -> str:
    """What is not as expected, in words; "" when all is. Of several statements the most restricted
    one counts.
    """
    worst = max(explained, key=lambda e: _ORDER.index(e.outcome), default=None)
    outcome = worst.outcome if worst is not None else Outcome.DENY if unreadable else Outcome.ALLOW
    refusal = worst.refusal if worst is not None else unreadable
    said = f" ({refusal.text})" if refusal else ""
    if outcome.value != expected.verdict:
        return f"expected {expected.verdict}, got {outcome.value}{said}"
    if expected.code and (refusal is None or refusal.code.id != expected.code):
        return f"expected code {expected.code}, got {refusal.code.id if refusal else 'none'}{said}"
    if expected.rule and (worst is None or worst.rule != expected.rule):
        return f"expected rule {expected.rule!r}, got {worst.rule if worst else ''!r}"
    masks = {c.name: c.mask for e in explained for c in e.columns}
    for column, mask in expected.masks.items():
        if column not in masks:
            return f"there is no result column {column!r}; there are {', '.join(masks) or 'none'}"
        if mask not in (masks[column], masks[column].partition("(")[0]):
            return (
                f"expected column {column!r} with mask {mask or 'none'}, got"
                f" {masks[column] or 'none'}"
            )
    return ""
