"""Just enough of PromQL to see which metrics and labels an expression uses: tokens, no evaluation.

Source: https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from __future__ import annotations

import re
from collections import defaultdict

_TOKEN = re.compile(
    r"""\s+ | (?P<string>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*') | (?P<range>\[[^\]]*\])
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*) | (?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?|\d+[smhdwy])
    | (?P<operator>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},])""",
    re.X,
)
#: Their parentheses list labels.
_LABEL_LISTS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})


def used(expression: str) -> tuple[dict[str, set[str]], set[str]]:
    """(metric -> labels that its selectors name, labels that the result is grouped by).
    ValueError for what is no PromQL.
    """
    tokens = [match for match in _tokens(expression) if match.lastgroup]
    texts = [match[0] for match in tokens]
    metrics: dict[str, set[str]] = defaultdict(set)
    grouped: set[str] = set()
    i, metric = 0, ""
    while i < len(tokens):
        following = texts[i + 1] if i + 1 < len(texts) else ""
        if texts[i] == "{":
            end = texts.index("}", i)
            metrics[metric].update(texts[j] for j in range(i, end) if tokens[j].lastgroup == "name")
            i = end
        elif texts[i] in _LABEL_LISTS and following == "(":
            end = texts.index(")", i)
            grouped.update(texts[j] for j in range(i + 1, end) if tokens[j].lastgroup == "name")
            i = end
        elif tokens[i].lastgroup == "name" and texts[i] not in _WORDS | _LABEL_LISTS:
            is_function = following == "(" or following in _LABEL_LISTS
            if not is_function:
                metric = texts[i]
                metrics[metric].update()
        i += 1
    return dict(metrics), grouped


def _tokens(expression: str) -> list[re.Match[str]]:
    tokens, position = [], 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None:
            raise ValueError(f"no PromQL from here on: {expression[position:]!r}")
        tokens.append(match)
        position = match.end()
    return tokens
