"""Text in results that reads as instructions to a model: overriding its instructions, role tags,
calls of tools, hidden characters, encoded text, addresses to send data to, in six languages.

Pure, no model, linear in the length of the text (RE2). Two steps: one pass over whatever arrived
looks for stems (:data:`~sallyport.masking.injection_patterns.STEMS`); only where there is one are
features counted, text by text. It is a heuristic, made to be told about, not to be relied on: who
wants certainty contains whoever reads such columns at all.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sallyport.masking.injection_patterns import PATTERNS, STEMS, THRESHOLD

try:
    import re2
except ImportError:
    re2 = None

#: Characters of one text that are looked at.
LONGEST: Final = 1 << 20
#: Bytes that the automata of a scanner may take.
_MEMORY: Final = 128 << 20
#: Base64, of either alphabet, or hex digits.
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_-]{40,4000}={0,2}")
_STANDARD: Final = str.maketrans("-_", "+/")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
#: Words of instructions with their letters turned by 13.
_TURNED: Final = re.compile(r"vafgehpgvba|vtaber|qvfertneq|cebzcg", re.IGNORECASE)
_HIDDEN: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_BIDI: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_INSIDE_WORDS: Final = re.compile("[^\\W\\d_][\u200b\u200c\u200d\u2060\u00ad][^\\W\\d_]")
_TAGS: Final = re.compile("[\U000e0020-\U000e007e]")
_COMMENT: Final = re.compile(r"<!--(.{0,2000}?)(?:-->|$)", re.DOTALL)
#: Where quotes are those of JSON, arrays, rows or CSV, not of somebody who quotes.
_CONTAINERS: Final = ("{", "[", "(", "\x01")
_SPACES: Final = re.compile(r"[ \t\u00a0\u3000]+")


@dataclass(frozen=True, slots=True)
class Injection:
    """Why a text reads as instructions. ``features``: their names, the heaviest first."""

    score: float
    features: tuple[str, ...]


def normalised(text: str) -> str:
    """As a model reads it: compatibility forms unified, tags as letters, hidden ones gone."""
    text = _TAGS.sub(lambda match: chr(ord(match.group()) - 0xE0000), text)
    text = _HIDDEN.sub("", unicodedata.normalize("NFKC", text))
    return _SPACES.sub(" ", text)


class InjectionScanner:
    """The compiled patterns; made once, used by any number of results. Raises ImportError where
    google-re2 is missing.
    """

    def __init__(self) -> None:
        if re2 is None:
            raise ImportError("google-re2 is not installed: pip install 'sallyport[injection]'")
        options = re2.Options()
        options.case_sensitive = False
        options.never_capture = True
        options.log_errors = False
        options.max_mem = _MEMORY
        self._stems: Any = re2.compile("|".join(STEMS), options)
        self._set: Any = re2.Set.SearchSet(options)
        for _, _, pattern in PATTERNS:
            self._set.Add(pattern)
        self._set.Compile()

    def may_hold(self, data: bytes) -> bool:
        """Whether anything in these bytes, of whatever structure, is worth a look. Fast."""
        return self._stems.search(data) is not None

    def judge(self, text: str) -> Injection | None:
        """Whether one text reads as instructions; None: it does not."""
        text = text[:LONGEST]
        if not self.may_hold(text.encode("utf-8", "replace")):
            return None
        weights = self._weights(text)
        score = sum(weights.values())
        if score < THRESHOLD:
            return None
        features = sorted((n for n in weights if weights[n] > 0), key=lambda n: -weights[n])
        return Injection(round(score, 2), tuple(features))

    def _weights(self, text: str) -> dict[str, float]:
        clear = normalised(text)
        weights = self._features(clear)
        if "discussion" in weights and (clear[:1] in _CONTAINERS or "\t" in text):
            weights.pop("discussion")
            weights = {**self._features(clear.replace('"', " ")), **weights}
        says_something = any(weight > 0 for weight in weights.values())
        if _TAGS.search(text):
            weights["hidden characters"] = 1.0
        elif says_something and (_INSIDE_WORDS.search(text) or _BIDI.search(text)):
            weights["hidden characters"] = 0.5
        if says_something and any(
            any(weight > 0 for weight in self._features(match.group(1)).values())
            for match in _COMMENT.finditer(clear)
        ):
            weights["markup comment"] = 0.4
        for inner in map(self._features, _encoded(clear)):
            if sum(inner.values()) >= THRESHOLD / 2:
                weights["encoded"] = sum(inner.values()) + 0.3
        return weights

    def _features(self, text: str) -> dict[str, float]:
        weights: dict[str, float] = {}
        for number in self._set.Match(text.encode("utf-8", "replace")) or ():
            name, weight, _ = PATTERNS[number]
            if abs(weight) > abs(weights.get(name, 0.0)):
                weights[name] = weight
        return weights


def _encoded(text: str) -> Iterator[str]:
    """What parts of a text stand for: base64, hex digits, letters turned by 13."""
    for match in _ENCODED.finditer(text):
        yield normalised(_decoded(match.group()))
    if _TURNED.search(text):
        yield codecs.decode(text, "rot13")


def _decoded(run: str) -> str:
    """The text that a run of base64 or of hex digits stands for; "" where it is none."""
    try:
        if _HEX.fullmatch(run):
            return bytes.fromhex(run).decode("utf-8")
        run = run.translate(_STANDARD)[: len(run) // 4 * 4]
        data = base64.b64decode(run, validate=True)
        text = data.decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
    return text if text.isprintable() or "\n" in text else ""
