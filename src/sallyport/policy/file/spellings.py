"""The ways in which schemas spell a name of several words: ``first_name``, ``firstName``,
``FirstName``, ``firstname``, ``FIRST_NAME``.

Patterns are matched with case, as PostgreSQL stores names. A pack, which cannot know the spelling
of a schema, means all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LOWER_THEN_UPPER = re.compile(r"(?<=[^\W_A-Z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def spellings(part: str) -> tuple[str, ...]:
    """Every spelling of one part of a pattern that is written in lower case with underscores;
    wildcards stay. Each once.
    """
    return tuple(dict.fromkeys(_spelled(part)))


def _spelled(part: str) -> Iterator[str]:
    yield part
    words = part.split("_")
    if "*" not in part:
        yield "".join(words)
    if "*" not in words[1:]:  # secret_* would become secret*, which means secretary, too
        yield from _in_camel_case(words)
    yield part.upper()


def _in_camel_case(words: list[str]) -> Iterator[str]:
    capitalized = [_capitalized(word) for word in words]
    yield words[0] + "".join(capitalized[1:])
    yield "".join(capitalized)


def _capitalized(word: str) -> str:
    """``*users`` -> ``*Users``."""
    start = len(word) - len(word.lstrip("*"))
    return word[: start + 1].upper() + word[start + 1 :]


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name in any spelling but the one without a boundary, in lower case:
    ``customerEMail2`` -> customer, e, mail2.
    """
    apart = _LOWER_THEN_UPPER.sub("_", name)
    return tuple(
        word for word in apart.lower().replace("-", "_").replace(" ", "_").split("_") if word
    )
