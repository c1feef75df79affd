"""Whether a condition holds for only those whose claim has a written value: :func:`demands_value`.

The CEL library gives no syntax tree, so this reads the few shapes that are wanted and believes
nothing else: ``claims.NAME == "value"``, ``"value" == claims.NAME`` and ``claims.NAME in ["value",
...]``, alone, as one of the parts of ``&&``, or as every part of ``||``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_TEXT = r"""(?:"(?:[^"\\\n]|\\.)+"|'(?:[^'\\\n]|\\.)+')"""
_TOKEN = re.compile(rf"""(?P<text>{_TEXT})|&&|\|\||//|["'?()\[\]{{}}]|.""", re.DOTALL)
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")


def demands_value(source: str, names: Collection[str]) -> bool:
    """Whether the expression can only be true when one of the claims ``names`` has a value that is
    written in it. False when in doubt.
    """
    source = source.strip()
    while source.startswith("(") and _end(source) == len(source) - 1:
        source = source[1:-1].strip()
    if any(token in ('"', "'", "?", "//") for token, _ in _tokens(source)):
        return False  # a choice, a comment, or a text of another form than the usual
    for operator, enough in (("||", all), ("&&", any)):
        parts = _parts(source, operator)
        if len(parts) > 1:
            return enough(demands_value(part, names) for part in parts)
    name = _any(names)
    claim = rf"claims\s*(?:\.\s*(?:{name})|\[\s*(?:'(?:{name})'|\"(?:{name})\")\s*\])"
    shapes = (
        rf"{claim}\s*==\s*{_TEXT}",
        rf"{_TEXT}\s*==\s*{claim}",
        rf"{claim}\s+in\s*\[\s*{_TEXT}(?:\s*,\s*{_TEXT})*\s*\]",
    )
    return any(re.fullmatch(shape, source) for shape in shapes)


def _any(names: Collection[str]) -> str:
    return "|".join(map(re.escape, names))


def _tokens(source: str) -> Iterator[tuple[str, int]]:
    """Tokens and where they begin; whole texts become ``""``."""
    for match in _TOKEN.finditer(source):
        yield ('""' if match["text"] else match[0]), match.start()


def _parts(source: str, operator: str) -> list[str]:
    """What the operator joins outside brackets and texts."""
    depth, start, parts = 0, 0, []
    for token, place in _tokens(source):
        depth += (token in _OPEN) - (token in _CLOSE)
        if token == operator and depth == 0:
            parts.append(source[start:place])
            start = place + len(operator)
    return [*parts, source[start:]]


def _end(source: str) -> int:
    """Where the bracket with which the source begins is closed; -1 where it is not."""
    depth = 0
    for token, place in _tokens(source):
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth == 0:
            return place
    return -1
