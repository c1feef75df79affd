"""Parameters of a Bind that name a setting."""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import Verdict
from sallyport.sql.named_by_text import UNCHANGED
from sallyport.sql.settings import show_allowed


def check_setting_names(verdict: Verdict, params: list[bytes | None], types: Sequence[int]) -> Refusal | None:
    """Parameters that name a setting (``current_setting($1)``) may only name one that SHOW would show.

    ``types``: as declared in Parse; one whose values are not the text that was sent could turn it into another name.
    """
    for number in sorted(verdict.facts.setting_parameters):
        declared = types[number - 1] if number <= len(types) else 0
        if declared and declared not in UNCHANGED:
            return refuse(
                "SP1103",
                f"parameter ${number} names a setting and is declared with a type that may change its text",
                hint=f"Declare ${number} as text, or do not declare its type.",
            )
        value = params[number - 1] if number <= len(params) else None
        name = value.decode("utf-8", "replace") if value is not None else None
        if name is not None and not show_allowed(name):
            return refuse(
                "SP1103",
                f"the gateway does not show the setting {name}",
                f"It is the value of parameter ${number}.",
                "SHOW shows the settings that may be read.",
            )
    return None
