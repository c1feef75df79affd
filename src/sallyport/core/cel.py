"""CEL (Common Expression Language) expressions of configuration and policy: bounded, compiled once,
evaluated without exceptions.

CEL has no loops and no side effects; length and nesting are bounded here because the evaluator has
no cost limit. :meth:`Expression.evaluate` gives :data:`FAILED` when the evaluation failed: callers
take the restrictive side.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

MAX_LENGTH = 1000
MAX_NESTING = 16

# Functions and methods that CEL's standard library offers and an expression may use.
_FUNCTION_NAMES = (
    "size contains startsWith endsWith matches has all exists exists_one map filter int uint double"
    " string bool bytes timestamp duration type getDate getDayOfMonth getDayOfWeek getDayOfYear"
    " getFullYear getHours getMilliseconds getMinutes getMonth getSeconds lowerAscii upperAscii"
    " trim split join min max"
)
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())

# What the evaluator raises for an expression that cannot be evaluated (missing key, wrong type,
# overflow, unknown name).
_FAILURES = (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError)

#: The result of an evaluation that failed. No expression gives it.
FAILED: Final = object()

_STRINGS = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_BOUND = re.compile(r"\.(?:exists|exists_one|all|map|filter)\(\s*([A-Za-z_]\w*)\s*,")


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. ``uses``: the variables it mentions."""

    source: str
    uses: frozenset[str]
    program: Any

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Its value, or FAILED."""
        context = _library().Context()  # not thread-safe, so one for each evaluation
        try:
            context.update(dict(variables))
            return self.program.execute(context)
        except _FAILURES:
            return FAILED


def compile_expression(source: str, variables: Collection[str]) -> Expression:
    """Compile an expression over ``variables``. ValueError (its text completes "the expression
    ...") when it is not usable.
    """
    if len(source) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters")
    if _nesting(source) > MAX_NESTING:
        raise ValueError(f"is nested more than {MAX_NESTING} brackets deep")
    try:
        program = _library().compile(source)
    except ValueError as error:
        raise ValueError(f"is not valid CEL: {_first_line(str(error))}") from None
    text = without_strings(source)
    uses = frozenset(program.variables()) - {m.group(1) for m in _BOUND.finditer(text)}
    unknown = sorted(uses - set(variables))
    if unknown:
        raise ValueError(f"uses the unknown name {unknown[0]!r}; there are {', '.join(variables)}")
    strange = sorted(f for f in program.functions() if f[:1].isalpha() and f not in FUNCTIONS)
    if strange:
        raise ValueError(f"calls the unknown function {strange[0]!r}")
    return Expression(source, uses, program)


@cache
def _library() -> Any:
    """Imported for the first expression only: it brings a command line of its own, with
    prompt_toolkit, which is a tenth of what the gateway's start takes.
    """
    import cel

    return cel


def without_strings(source: str) -> str:
    """The source with every string constant empty: what remains can be searched for names."""
    return _STRINGS.sub("''", source)


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
