"""Parameters of a Bind that name a setting, or are what one is set to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import Verdict
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.checks.changed_settings import check_change, may_read
from sallyport.sql.facts import SettingChange, StatementFacts
from sallyport.sql.utility.named_by_text import UNCHANGED


def check_settings_bound(
    verdict: Verdict, policy: SubjectPolicy, params: Sequence[bytes | None], types: Sequence[int]
) -> Refusal | None:
    """``current_setting($1)`` may only name a setting that SHOW would show, ``set_config($1, $2,
    $3)`` only do what SET may.

    ``types``: as declared in Parse; one whose values are not the text that was sent could turn it
    into another.
    """
    facts = verdict.facts
    for number in sorted({*facts.setting_parameters, *_that_set(facts)}):
        declared = types[number - 1] if number <= len(types) else 0
        if declared and declared not in UNCHANGED:
            return refuse(
                "SP1103",
                f"parameter ${number} of set_config or current_setting has a type that may change"
                " its text",
                hint=f"Declare ${number} as text, or do not declare its type.",
            )
    for number in sorted(facts.setting_parameters):
        name = _text(number, params)
        if name is not None and not may_read(name, policy):
            return refuse(
                "SP1103",
                f"setting {name} cannot be read through the gateway",
                f"It is the value of parameter ${number}.",
                "The system view pg_settings lists the settings that can be read.",
            )
    for bound in facts.bound_settings:
        name = _text(bound.name, params)
        # else PostgreSQL says that it wants one; without a value it is a RESET
        if name is not None:
            refusal = check_change(SettingChange(name, _text(bound.value, params)), policy)
            if refusal is not None:
                return refusal
    return None


def _that_set(facts: StatementFacts) -> Iterator[int]:
    for bound in facts.bound_settings:
        yield from (number for number in (bound.name, bound.value) if isinstance(number, int))


def _text(text_or_number: str | int, params: Sequence[bytes | None]) -> str | None:
    """A constant, or a parameter's value; None for NULL."""
    if isinstance(text_or_number, str):
        return text_or_number
    value = params[text_or_number - 1] if text_or_number <= len(params) else None
    return value.decode("utf-8", "replace") if value is not None else None
