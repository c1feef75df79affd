"""Text in results that reads as instructions to a model: somebody speaks to a machine, wants its
rules set aside, its secrets shown, data sent or changed, and nobody told, in six languages; role
tags, calls of tools, hidden characters and encoded text around that.

Pure, no model, linear in the length of the text (RE2). Two steps: one pass over whatever arrived
looks for stems (:data:`~sallyport.masking.injection_words.STEMS`); only where there is one is a
text cut into sentences, and every passage of some sentences scored by the concepts it touches and
how they go together. It is a heuristic, made to be told about, not to be relied on: who wants
certainty contains whoever reads such columns at all.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sallyport.masking.injection_words import (
    CONCEPTS,
    INNOCENT,
    STEMS,
    THRESHOLD,
    WEIGHTS,
    features_of,
)

try:
    import re2
except ImportError:
    re2 = None

#: Characters of one text that are looked at.
LONGEST: Final = 1 << 20
#: Bytes that one automaton of a scanner may take.
_MEMORY: Final = 32 << 20
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
_SPACED_OUT: Final = re.compile(r"(?:\b[^\W\d_] ){5}[^\W\d_]\b")
_SINGLE_LETTER: Final = re.compile(r"\b([^\W\d_]) (?=[^\W\d_]\b)")
_DIGITS_AS_LETTERS: Final = re.compile(
    r"(?i)\b(?=[a-z013457@$]*[a-z])(?=[a-z]*[013457@$])[a-z013457@$]{3,}"
)
_LETTERS: Final = str.maketrans("013457@$", "oieastas")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?;])[\"')\]]*\s+|[。\n]+|(?<=[!?;])(?=[^\x00-\x7f])")
#: Characters of a sentence at most; sentences of a passage, and how far passages are apart.
_LONGEST_SENTENCE: Final = 400
_PASSAGE: Final = 6
_STRIDE: Final = 3
#: Patterns of one automaton: with more, its states multiply, and text of a new kind is slow.
_GROUP: Final = 8
_GROUPS: Final = range(0, len(CONCEPTS), _GROUP)


@dataclass(frozen=True, slots=True)
class Injection:
    """Why a text reads as instructions. ``score``: from THRESHOLD to 1. ``features``: the concepts
    that it touches.
    """

    score: float
    features: tuple[str, ...]


def normalised(text: str) -> str:
    """As a model reads it: compatibility forms unified, tags as letters, hidden ones and spaces
    between single letters gone.
    """
    text = _TAGS.sub(lambda match: chr(ord(match.group()) - 0xE0000), text)
    text = _HIDDEN.sub("", unicodedata.normalize("NFKC", text))
    if _SPACED_OUT.search(text):
        text = _SINGLE_LETTER.sub(r"\1", text)
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
        self._sets = [_compiled(options, CONCEPTS[i : i + _GROUP]) for i in _GROUPS]

    def may_hold(self, data: bytes) -> bool:
        """Whether anything in these bytes, of whatever structure, is worth a look. Fast."""
        return self._stems.search(data) is not None

    def judge(self, text: str) -> Injection | None:
        """Whether one text reads as instructions; None: it does not."""
        text = text[:LONGEST]
        if not self.may_hold(text.encode("utf-8", "replace")):
            return None
        likeliest = max(self.passages(text), key=probability)
        score = probability(likeliest)
        if score < THRESHOLD:
            return None
        told = likeliest & _TOLD
        return Injection(
            round(score, 2), tuple(sorted(told, key=lambda name: (-_worth(name), name)))
        )

    def passages(self, text: str) -> Iterator[set[str]]:
        """The features of every passage of a text, as it stands and as it may be meant."""
        clear = normalised(text.replace("\t", "\n"))  # columns of a row of COPY: texts of their own
        hidden = _TAGS.search(text) or _INSIDE_WORDS.search(text) or _BIDI.search(text)
        disguise = {"hidden characters"} if hidden else set()
        is_container = clear[:1] in _CONTAINERS or "\t" in text
        for reading in _readings(clear, is_container):
            for features in self._passages(reading):
                yield (features - {"quoted"} if is_container else features) | disguise
        for match in _COMMENT.finditer(clear):
            for features in self._passages(match.group(1)):
                yield features | disguise | {"markup"}
        for inner in _encoded(clear):
            for features in self._passages(inner):
                yield features | {"encoded"}

    def _passages(self, text: str) -> Iterator[set[str]]:
        sentences = [self._concepts(sentence) for sentence in _sentences(text)]
        for start in range(0, max(len(sentences) - _PASSAGE + _STRIDE, 1), _STRIDE):
            yield features_of(sentences[start : start + _PASSAGE])

    def _concepts(self, sentence: str) -> frozenset[str]:
        data = sentence.encode("utf-8", "replace")
        return frozenset(
            CONCEPTS[start + number][0]
            for start, group in zip(_GROUPS, self._sets, strict=True)
            for number in group.Match(data) or ()
        )


def _compiled(options: Any, concepts: tuple[tuple[str, str], ...]) -> Any:
    group = re2.Set.SearchSet(options)
    for _, pattern in concepts:
        group.Add(pattern)
    group.Compile()
    return group


def probability(features: set[str]) -> float:
    """How likely a passage of these features speaks to a model: logistic regression."""
    logit = WEIGHTS["bias"] + sum(WEIGHTS.get(feature, 0.0) for feature in features)
    return 1 / (1 + math.exp(-logit))


_TOLD: Final = frozenset(name for name, _ in CONCEPTS) - INNOCENT | {"hidden characters", "encoded"}


def _worth(concept: str) -> float:
    return WEIGHTS.get(concept, 0.0) + WEIGHTS.get(f"{concept} + command", 0.0)


def _sentences(text: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(text):
        for start in range(0, len(sentence), _LONGEST_SENTENCE):
            yield sentence[start : start + _LONGEST_SENTENCE]


def _readings(text: str, is_container: bool) -> Iterator[str]:
    """A text, and what it says without a container's quotes, or where digits stand for letters."""
    yield text
    if is_container:
        yield text.replace('"', " ")
    if len(_DIGITS_AS_LETTERS.findall(text)) > 1:
        yield _DIGITS_AS_LETTERS.sub(lambda match: match.group().translate(_LETTERS), text)


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
