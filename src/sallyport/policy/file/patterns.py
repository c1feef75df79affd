"""Patterns over real names: ``schema.relation``, ``schema.relation.column`` and
``schema.function``.

``*`` and ``?`` work inside one part; everything else is literal and case-sensitive, as PostgreSQL
stores it. A part with a dot in its name is written in double quotes (``public."odd.name"``). A
schema part with a wildcard never means the system schemas: those are named outright.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any


def is_system_schema(schema: str) -> bool:
    """PostgreSQL's own schemas: information_schema, and the reserved prefix ``pg_`` (catalog,
    toast, temporary).
    """
    return schema == "information_schema" or schema.startswith("pg_")


_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


@dataclass(frozen=True, slots=True)
class Pattern:
    """One parsed pattern; equal by its text."""

    text: str
    parts: tuple[str, ...]
    regexes: tuple[re.Pattern[str], ...] = field(compare=False, repr=False)

    def matches(self, *names: str) -> bool:
        """Whether every part matches the name at its place. ``names`` begin with the schema."""
        return len(names) == len(self.regexes) and self._match(names)

    def matches_relation(self, schema: str, name: str) -> bool:
        """Whether the first two parts match; as :meth:`matches`, whatever stands behind them."""
        return self._match((schema, name))

    def _match(self, names: tuple[str, ...]) -> bool:
        if is_system_schema(names[0]) and has_wildcard(self.parts[0]):
            return False
        return all(regex.fullmatch(name) for regex, name in zip(self.regexes, names, strict=False))

    def covers_schema(self, schema: str) -> bool:
        """Whether every relation of the schema matches."""
        return len(self.parts) == 2 and self.parts[1] == "*" and self.matches(schema, "")

    def concerns(self, schema: str, name: str) -> bool:
        """Whether the schema and relation parts match; ``name`` "": the schema part does."""
        return bool(
            self.regexes[0].fullmatch(schema) and (not name or self.regexes[1].fullmatch(name))
        )


def has_wildcard(part: str) -> bool:
    """Whether one part of a pattern fits several names."""
    return "*" in part or "?" in part


def parse_pattern(text: Any, parts: int, example: str) -> Pattern:
    """Parse a pattern that must have ``parts`` parts. ValueError (text for the user) otherwise."""
    if not isinstance(text, str) or not text:
        raise ValueError(f"a pattern like {example!r} is expected")
    names: list[str] = []
    at = 0
    while True:
        match = _PART.match(text, at)
        if match is None:
            raise ValueError(f"{text!r} is not a pattern like {example!r}")
        names.append(match.group(1).replace('""', '"') if match.group(1) else match.group(2))
        at = match.end()
        if at == len(text):
            break
        if text[at] != ".":
            raise ValueError(f"{text!r} is not a pattern like {example!r}")
        at += 1
    if len(names) != parts:
        raise ValueError(
            f"{text!r} has {len(names)} part{'s' if len(names) > 1 else ''}, not {parts} as in"
            f" {example!r}"
        )
    return Pattern(text, tuple(names), tuple(_regex(part) for part in names))


@lru_cache(maxsize=4096)
def _regex(part: str) -> re.Pattern[str]:
    out = "".join(
        ".*" if c == "*" else "." if c == "?" else re.escape(c) for c in re.sub(r"\*+", "*", part)
    )
    return re.compile(out, re.DOTALL)


def glob(text: str) -> re.Pattern[str]:
    """A one-part pattern (a target's name)."""
    return _regex(text)
