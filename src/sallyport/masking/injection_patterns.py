"""What text that reads as instructions to a model looks like, in English, German, French, Spanish,
Russian and Chinese.

RE2 patterns by feature, with weights, are in ``injection.tsv``, stems in ``injection-stems.txt``.
Patterns are matched against text that :func:`sallyport.masking.injection.normalised` made.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Final

#: From here on a text reads as instructions.
THRESHOLD: Final = 0.8


def _lines(name: str) -> Iterator[str]:
    text = resources.files("sallyport.masking").joinpath(name).read_text("utf-8")
    return (line for line in text.splitlines() if line and not line.startswith("#"))


def _pattern(line: str) -> tuple[str, float, str]:
    feature, weight, pattern = line.split("\t")
    return feature, float(weight), pattern


#: (feature, weight, pattern). Of the patterns of one feature the heaviest that matches counts.
#: Weights of different features add up.
PATTERNS: Final = tuple(map(_pattern, _lines("injection.tsv")))

#: A text without any of these is not looked at further: one pass over a whole buffer, most of
#: which has none. Hidden characters, and runs that may be encoded text, are among them.
STEMS: Final = tuple(_lines("injection-stems.txt"))
