"""Conditions of rules, in CEL (Common Expression Language), compiled once when the policy is
loaded.

A condition sees ``subject`` (id, issuer, agent, agents, actors, groups, claims, read_untrusted,
read_untrusted_on), ``statement`` (kind, actions, relations, columns, functions, has_where),
``target`` and ``now``; docs/policy.md lists them. Bounds: :mod:`sallyport.core.cel`.
:meth:`Condition.evaluate` returns None when the evaluation failed: callers take the restrictive
side.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sallyport.core.cel import (
    FAILED,
    FUNCTIONS,
    MAX_LENGTH,
    MAX_NESTING,
    Expression,
    compile_expression,
    without_strings,
)
from sallyport.core.subject import Subject, agent_names

__all__ = ["FUNCTIONS", "MAX_LENGTH", "MAX_NESTING", "VARIABLES", "Condition", "compile_condition"]

VARIABLES = ("subject", "statement", "target", "now")

_EXAMPLE: dict[str, Any] = {
    "subject": {
        "id": "",
        "issuer": "",
        "agent": "",
        "agents": [],
        "actors": [],
        "groups": [],
        "claims": {},
        "read_untrusted": False,
        "read_untrusted_on": [],
    },
    "statement": {
        "kind": "",
        "actions": [],
        "relations": [],
        "columns": [],
        "functions": [],
        "has_where": None,
    },
    "target": "",
    "now": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition. ``uses``: the variables it mentions (they decide how long a verdict may
    be kept). ``reads_containment``: it names ``subject.read_untrusted``. Where it names nothing
    else of the subject, ``uses`` lacks ``subject``: the answer is the same for all who are
    contained.
    """

    source: str
    uses: frozenset[str]
    expression: Expression
    reads_containment: bool = False

    @property
    def claims(self) -> frozenset[str]:
        """Names of the claims that it mentions."""
        groups = (match.groups() for match in _CLAIM.finditer(self.source))
        return frozenset([name for names in groups for name in names if name])

    def evaluate(self, variables: Mapping[str, Any]) -> bool | None:
        """True or False; None when it cannot be evaluated or gives something else."""
        result = self.expression.evaluate(variables)
        return result if isinstance(result, bool) else None

    def restricts(self, variables: Mapping[str, Any]) -> bool | None:
        """The same for a rule that takes something away: whichever of the subject's programs
        ``subject.agent`` is. An ``act`` chain (RFC 8693) puts another program in the place of the
        one that the rule means.
        """
        subject = variables["subject"]
        if "agent" not in self.source or len(subject["agents"]) < 2:
            return self.evaluate(variables)
        agents = [{**subject, "agent": name} for name in subject["agents"]]
        results = [self.evaluate({**variables, "subject": agent}) for agent in agents]
        return True if True in results else None if None in results else False


def compile_condition(source: str) -> Condition:
    """Compile a condition. ValueError (its text completes "the condition ...") when it is not
    usable.
    """
    expression = compile_expression(source, VARIABLES)
    for match in _FIELD.finditer(without_strings(source)):
        variable, name = match.groups()
        if name not in _EXAMPLE[variable]:
            raise ValueError(
                f"uses {variable}.{name}, which does not exist; there are"
                f" {', '.join(_EXAMPLE[variable])}"
            )
    # Finds conditions that give no truth value. What fails on empty data only real data can tell.
    result = expression.evaluate(_EXAMPLE)
    if result is not FAILED and not isinstance(result, bool):
        raise ValueError(f"gives a {type(result).__name__}, not true or false")
    text = without_strings(source)
    contained = len(_READ_UNTRUSTED.findall(text))
    mentions = len(_SUBJECT.findall(source))  # in strings, too: rather too many
    is_alone = contained and mentions == contained
    uses = expression.uses - {"subject"} if is_alone else expression.uses
    return Condition(source, uses, expression, contained > 0)


_TEXT = r"""(?:"([^"\\]*)"|'([^'\\]*)')"""
_CLAIM = re.compile(
    rf"\bclaims\s*(?:\.\s*(\w+)|\[\s*{_TEXT}\s*\])|{_TEXT}\s+in\s+subject\s*\.\s*claims\b"
)
_SUBJECT = re.compile(r"(?<![.\w])subject\b")
_READ_UNTRUSTED = re.compile(r"(?<![.\w])subject\s*\.\s*read_untrusted(?:_on)?\b")
_FIELD = re.compile(r"(?<![.\w])(subject|statement)\s*\.\s*(\w+)")


def subject_variables(subject: Subject, read_untrusted_on: Sequence[str] = ()) -> dict[str, Any]:
    """The ``subject`` variable. ``read_untrusted_on``: targets on which untrusted text was read.
    The label is absent on purpose: it is what the client typed, not what was verified.
    """
    return {
        "id": subject.id,
        "issuer": subject.issuer,
        "agent": subject.agent,
        "agents": agent_names(subject),
        "actors": list(subject.actors),
        "groups": sorted(subject.groups),
        "claims": dict(subject.claims),
        "read_untrusted": bool(read_untrusted_on),
        "read_untrusted_on": list(read_untrusted_on),
    }


def time_variable(now: float) -> datetime.datetime:
    """``now`` (Unix seconds) as a CEL timestamp, whole seconds, UTC."""
    return datetime.datetime.fromtimestamp(int(now), tz=datetime.UTC)
