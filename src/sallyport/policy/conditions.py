"""Conditions of rules, in CEL (Common Expression Language), compiled once when the policy is loaded.

A condition sees ``subject`` (id, issuer, agent, groups, claims), ``statement`` (kind, actions, relations,
columns, functions, has_where), ``target`` and ``now``; docs/policy.md lists them. CEL has no loops and no
side effects; length and nesting are bounded here because the evaluator has no cost limit.
:meth:`Condition.evaluate` returns None when the evaluation failed: callers take the restrictive side.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cel

from sallyport.core.subject import Subject

MAX_LENGTH = 1000
MAX_NESTING = 16

VARIABLES = ("subject", "statement", "target", "now")

# Functions and methods that CEL's standard library offers and a condition may use.
_FUNCTION_NAMES = (
    "size contains startsWith endsWith matches has all exists exists_one map filter int uint double "
    "string bool bytes timestamp duration type getDate getDayOfMonth getDayOfWeek getDayOfYear "
    "getFullYear getHours getMilliseconds getMinutes getMonth getSeconds lowerAscii upperAscii trim "
    "split join min max"
)
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())

_EXAMPLE: dict[str, Any] = {
    "subject": {"id": "", "issuer": "", "agent": "", "groups": [], "claims": {}},
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

# What the evaluator raises for a condition that cannot be evaluated (missing key, wrong type, overflow,
# unknown name).
_FAILURES = (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError)


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition. ``uses``: the variables it mentions (they decide how long a verdict may be
    kept).
    """

    source: str
    uses: frozenset[str]
    program: Any

    def evaluate(self, variables: Mapping[str, Any]) -> bool | None:
        """True or False; None when it cannot be evaluated or gives something else."""
        context = cel.Context()  # not thread-safe, so one for each evaluation
        try:
            context.update(dict(variables))
            result = self.program.execute(context)
        except _FAILURES:
            return None
        return result if isinstance(result, bool) else None


def compile_condition(source: str) -> Condition:
    """Compile a condition. ValueError (its text completes "the condition ...") when it is not usable."""
    if len(source) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters")
    if _nesting(source) > MAX_NESTING:
        raise ValueError(f"is nested more than {MAX_NESTING} brackets deep")
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise ValueError(f"is not valid CEL: {_first_line(str(error))}") from None
    text = _STRINGS.sub("''", source)
    uses = frozenset(program.variables()) - {m.group(1) for m in _BOUND.finditer(text)}
    _check_names(text, uses)
    strange = sorted(f for f in program.functions() if f[:1].isalpha() and f not in FUNCTIONS)
    if strange:
        raise ValueError(f"calls the unknown function {strange[0]!r}")
    _check_result(program)
    return Condition(source, uses, program)


_STRINGS = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_BOUND = re.compile(r"\.(?:exists|exists_one|all|map|filter)\(\s*([A-Za-z_]\w*)\s*,")
_FIELD = re.compile(r"(?<![.\w])(subject|statement)\s*\.\s*(\w+)")


def _check_names(text: str, uses: frozenset[str]) -> None:
    unknown = sorted(uses - set(VARIABLES))
    if unknown:
        raise ValueError(f"uses the unknown name {unknown[0]!r}; there are {', '.join(VARIABLES)}")
    for match in _FIELD.finditer(text):
        variable, name = match.groups()
        if name not in _EXAMPLE[variable]:
            raise ValueError(
                f"uses {variable}.{name}, which does not exist; there are {', '.join(_EXAMPLE[variable])}"
            )


def _check_result(program: Any) -> None:
    """Find conditions that give no truth value, with empty data. What fails on empty data only real data
    can tell.
    """
    context = cel.Context()
    context.update(dict(_EXAMPLE))
    try:
        result = program.execute(context)
    except _FAILURES:
        return
    if not isinstance(result, bool):
        raise ValueError(f"gives a {type(result).__name__}, not true or false")


def _nesting(source: str) -> int:
    depth = deepest = 0
    for char in source:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return deepest


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "cannot be parsed"


def subject_variables(subject: Subject) -> dict[str, Any]:
    """The ``subject`` variable. The label is absent on purpose: it is what the client typed, not what was
    verified.
    """
    return {
        "id": subject.id,
        "issuer": subject.issuer,
        "agent": subject.agent,
        "groups": sorted(subject.groups),
        "claims": dict(subject.claims),
    }


def time_variable(now: float) -> datetime.datetime:
    """``now`` (Unix seconds) as a CEL timestamp, whole seconds, UTC."""
    return datetime.datetime.fromtimestamp(int(now), tz=datetime.UTC)
