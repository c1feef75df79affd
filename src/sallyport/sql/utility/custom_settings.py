"""Custom settings (``app.tenant``): which names are any, and which of them the database itself
reads. Pure.

A custom setting is a variable that row-level security, views and functions often decide by. So none
may be set unless policy lists it, and a pattern of policy's (``app.*``) never gives one that
something in the database reads (:func:`read_by`): that needs its full name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_WORD: Final = r"[a-z_][a-z0-9_$]*"
_NAME: Final = re.compile(rf"{_WORD}(?:\.{_WORD})+", re.ASCII)
_PATTERN: Final = re.compile(rf"{_WORD}(?:\.{_WORD})*\.(?:\*|{_WORD})", re.ASCII)
#: The gateway's own (keys of masks), and what the protocol reserves.
_NEVER: Final = ("sallyport.", "_pq_.")
#: In a set of read names: any of them.
ANY: Final = "*"
_READS: Final = re.compile(r"current_setting\s*\(", re.ASCII)
#: An argument that is a whole literal without escapes, as people and PostgreSQL write it.
_LITERAL: Final = re.compile(r"\s*'([^'\\]*)'\s*(?:::\s*(?:pg_catalog\.)?text\s*)?[,)]", re.ASCII)
_DYNAMIC: Final = re.compile(
    r"pg_settings|pg_show_all_settings|\bshow\b|\bexecute\b.*current_setting", re.ASCII | re.DOTALL
)


def is_custom(name: str) -> bool:
    """Is ``name``, in lower case, one that a session could make, plainly written, and not the
    gateway's own?
    """
    return _NAME.fullmatch(name) is not None and not name.startswith(_NEVER)


def is_pattern(text: str) -> bool:
    """Is it what policy may list: a full name, or ``prefix.*``?"""
    return _PATTERN.fullmatch(text) is not None and not text.startswith(_NEVER)


def is_listed(name: str, listed: Iterable[str], read: frozenset[str]) -> bool:
    """Whether a session may set it. ``read``: by the database (:func:`read_by`)."""
    if not is_custom(name):
        return False
    patterns = frozenset(listed)
    return name in patterns or (name not in read and ANY not in read and _covers(patterns, name))


def is_shown(name: str, listed: Iterable[str]) -> bool:
    """Whether a session may see it."""
    patterns = frozenset(listed)
    return is_custom(name) and (name in patterns or _covers(patterns, name))


def _covers(patterns: frozenset[str], name: str) -> bool:
    return any(pattern.endswith(".*") and name.startswith(pattern[:-1]) for pattern in patterns)


def read_by(texts: Iterable[str]) -> frozenset[str]:
    """The custom settings that these definitions read, in lower case; :data:`ANY` among them where
    one reads what its text does not tell.
    """
    settings: set[str] = set()
    for text in texts:
        lowered = "".join(c.lower() if c.isascii() else c for c in text)
        if _DYNAMIC.search(lowered):
            settings.add(ANY)
        for call in _READS.finditer(lowered):
            name = _LITERAL.match(lowered, call.end())
            settings.add(ANY if name is None else name[1])
        if "current_setting" in _READS.sub("", lowered):
            settings.add(ANY)  # quoted, commented, or put together
    return frozenset(settings)
