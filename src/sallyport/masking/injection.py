"""Text in results that reads as instructions to a model: somebody speaks to a machine, wants its
rules set aside, its secrets shown, data sent or changed, and nobody told, in six languages; role
tags, calls of tools, hidden characters and encoded text around that.

Pure, no model, linear in the length of the text (RE2). Three steps: one pass over whatever arrived
looks for stems (:data:`~sallyport.masking.injection_words.STEMS`); where there is one, a text is
cut into sentences, and a window of some is asked which concepts it touches; only where these could
make up an injection is every passage of it scored by the concepts that each sentence touches, and
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sallyport.masking.injection_words import (
    CONCEPTS,
    INNOCENT,
    STEMS,
    THRESHOLD,
    WEIGHTS,
    features_of,
    most_features_of,
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
#: Behind a space, so that it is looked for fast: what the next holds, and more.
_MAY_BE_SPACED_OUT: Final = re.compile(r" \w \w \w \w ")
_SPACED_OUT: Final = re.compile(r"(?:\b[^\W\d_] ){5}[^\W\d_]\b")
_SINGLE_LETTER: Final = re.compile(r"\b([^\W\d_]) (?=[^\W\d_]\b)")
_DIGITS_AS_LETTERS: Final = re.compile(
    r"(?i)\b(?=[a-z013457@$]*[a-z])(?=[a-z]*[013457@$])[a-z013457@$]{3,}"
)
_LETTERS: Final = str.maketrans("013457@$", "oieastas")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?;])[\"')\]]*\s+|[。\n]+|(?<=[!?;])(?=[^\x00-\x7f])")
#: Characters of a sentence at most; sentences of a passage, how far passages are apart, and
#: sentences of a window of passages.
_LONGEST_SENTENCE: Final = 400
_PASSAGE: Final = 6
_STRIDE: Final = 3
#: Passages that raise what the likeliest one of a text must have.
_MOST_PASSAGES: Final = 64
_WINDOW: Final = 12
#: RE2 patterns of what only disguised text has; letters beside digits that may stand for others.
_RARE: Final = (
    r"[a-z0-9+/_-]{40}|vafgehpgvba|vtaber|qvfertneq|cebzcg"
    r"|[\x{ad}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2069}\x{e0000}-\x{e007f}]"
)
_MIXED: Final = r"[a-z][013457@$]|[013457@$][a-z]"
#: Patterns of one automaton: with more, its states multiply, and text of a new kind is slow.
_GROUP: Final = 8
#: Sentences whose concepts are remembered: passages overlap, and rows repeat.
_SENTENCES: Final = 1 << 10
#: Unions of concepts whose bound is remembered.
_BOUNDS: Final = 1 << 13


@dataclass(slots=True)
class Effort:
    """What scoring may still cost. ``left``: bytes that may be scored sentence by sentence."""

    left: int


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
    if not text.isascii():
        text = _TAGS.sub(lambda match: chr(ord(match.group()) - 0xE0000), text)
        text = _HIDDEN.sub("", unicodedata.normalize("NFKC", text))
    if _MAY_BE_SPACED_OUT.search(text) and _SPACED_OUT.search(text):
        text = _SINGLE_LETTER.sub(r"\1", text)
    text = text.replace("\t", " ")
    while "  " in text:
        text = text.replace("  ", " ")
    return text


class Reading(NamedTuple):
    """One way to read a text. ``extra``: what is odd about how it is said. ``is_container``:
    whether quotes in it are those of a container.
    """

    text: str
    extra: frozenset[str]
    is_container: bool


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
        self._rare: Any = re2.compile(_RARE, options)
        self._mixed: Any = re2.compile(_MIXED, options)
        self._raising = _compiled(options, [c for c in CONCEPTS if c[0] not in INNOCENT])
        self._lowering = _compiled(options, [c for c in CONCEPTS if c[0] in INNOCENT])
        self._bound = lru_cache(_BOUNDS)(_bound_of)
        self._remembered = lru_cache(_SENTENCES)(self._concepts)

    def may_hold(self, data: bytes) -> bool:
        """Whether anything in these bytes, of whatever structure, is worth a look. Fast."""
        return self._stems.search(data) is not None

    def judge(self, text: str, effort: Effort | None = None) -> Injection | None:
        """Whether one text reads as instructions; None: it does not, as far as ``effort`` went,
        from which is taken what it cost.
        """
        text = text[:LONGEST]
        if not self.may_hold(text.encode("utf-8", "replace")):
            return None
        readings = list(self.readings(text))
        odds = chance_of(readings)
        likely = self.likely(readings, odds, effort or Effort(1 << 40))
        likeliest = max(likely, key=probability, default=None)
        if likeliest is None or (score := probability(likeliest, odds)) < THRESHOLD:
            return None
        told = likeliest & _TOLD
        return Injection(
            round(score, 2), tuple(sorted(told, key=lambda name: (-_worth(name), name)))
        )

    def passages(self, text: str) -> Iterator[set[str]]:
        """The features of every passage of a text, as it stands and as it may be meant."""
        for reading, extra, is_container in self.readings(text):
            sentences = [self._concepts(sentence) for sentence in _sentences(reading)]
            for start in _starts(0, len(sentences)):
                features = features_of(sentences[start : start + _PASSAGE])
                yield (features - {"quoted"} if is_container else features) | extra

    def likely(
        self, readings: Sequence[Reading], odds: float, effort: Effort
    ) -> Iterator[set[str]]:
        """Of these the ones that may reach THRESHOLD, by a bound that is quicker than they are.
        ``odds``: see :func:`chance_of`.
        """
        for reading, extra, is_container in readings:
            sentences = list(_sentences(reading))
            for start in self._likely_starts(sentences, extra, odds):
                if effort.left <= 0:
                    return
                passage = sentences[start : start + _PASSAGE]
                effort.left -= sum(len(s.encode("utf-8", "replace")) for s in passage)
                features = features_of([self._remembered(sentence) for sentence in passage])
                yield (features - {"quoted"} if is_container else features) | extra

    def _likely_starts(
        self, sentences: list[str], extra: frozenset[str], odds: float
    ) -> Iterator[int]:
        for window in range(0, max(len(sentences) - _STRIDE, 1), _WINDOW - _STRIDE):
            end = window + _WINDOW
            if self._may_reach(sentences[window:end], extra, odds):
                for start in _starts(window, min(end, len(sentences))):
                    if self._may_reach(sentences[start : start + _PASSAGE], extra, odds):
                        yield start

    def _may_reach(self, sentences: list[str], extra: frozenset[str], odds: float) -> bool:
        return self._bound(_matched(self._raising, "\n".join(sentences)), extra) >= odds

    def readings(self, text: str) -> Iterator[Reading]:
        """What a text says, as it stands and as it may be meant."""
        clear = normalised(text.replace("\t", "\n"))  # columns of a row of COPY: texts of their own
        is_container = clear[:1] in _CONTAINERS or "\t" in text
        is_rare = self._rare.search(text.encode("utf-8", "replace")) is not None
        hidden = is_rare and any(p.search(text) for p in (_TAGS, _INSIDE_WORDS, _BIDI))
        disguise = frozenset({"hidden characters"} if hidden else ())
        yield Reading(clear, disguise, is_container)
        if is_container and '"' in clear:
            yield Reading(clear.replace('"', " "), disguise, is_container)
        data = clear.encode("utf-8", "replace")
        if self._mixed.search(data) and len(_DIGITS_AS_LETTERS.findall(clear)) > 1:
            meant = _DIGITS_AS_LETTERS.sub(lambda match: match.group().translate(_LETTERS), clear)
            yield Reading(meant, disguise, is_container)
        for match in _COMMENT.finditer(clear):
            yield Reading(match.group(1), disguise | {"markup"}, False)
        if self._rare.search(data):
            for inner in _encoded(clear):
                yield Reading(inner, frozenset({"encoded"}), False)

    def _concepts(self, sentence: str) -> frozenset[str]:
        return _matched(self._raising, sentence) | _matched(self._lowering, sentence)


#: An automaton of some patterns, and the concept of each.
_Group = tuple[Any, tuple[str, ...]]


def _compiled(options: Any, concepts: list[tuple[str, str]]) -> list[_Group]:
    groups: list[_Group] = []
    for start in range(0, len(concepts), _GROUP):
        names, patterns = zip(*concepts[start : start + _GROUP], strict=True)
        group = re2.Set.SearchSet(options)
        for pattern in patterns:
            group.Add("(?m)" + pattern)  # in windows, sentences are lines
        group.Compile()
        groups.append((group, names))
    return groups


def _matched(groups: list[_Group], text: str) -> frozenset[str]:
    data = text.encode("utf-8", "replace")
    return frozenset(names[n] for group, names in groups for n in group.Match(data) or ())


def _bound_of(concepts: frozenset[str], extra: frozenset[str]) -> float:
    """No passage that touches only these concepts has a logit above this."""
    features = most_features_of(concepts) | extra
    return WEIGHTS["bias"] + sum(max(WEIGHTS.get(feature, 0.0), 0.0) for feature in features)


def _starts(start: int, end: int) -> range:
    """Where the passages of these sentences start."""
    return range(start, max(end - _PASSAGE + _STRIDE, start + 1), _STRIDE)


def chance_of(readings: Sequence[Reading]) -> float:
    """What a text's likeliest passage must have above what a single one would need, as a logit: of
    many passages one reads as instructions by chance (Bonferroni's correction). Bounded, so that
    no text is made long enough to hide any order.
    """
    count = sum(1 for _ in _sentences(readings[0].text))
    return math.log(min(len(_starts(0, count)), _MOST_PASSAGES))


def probability(features: set[str], odds: float = 0.0) -> float:
    """How likely a passage of these features speaks to a model: logistic regression. ``odds``: see
    :func:`chance_of`.
    """
    logit = WEIGHTS["bias"] + sum(WEIGHTS.get(feature, 0.0) for feature in features)
    return 1 / (1 + math.exp(odds - logit))


_TOLD: Final = frozenset(name for name, _ in CONCEPTS) - INNOCENT | {"hidden characters", "encoded"}


def _worth(concept: str) -> float:
    return WEIGHTS.get(concept, 0.0) + WEIGHTS.get(f"{concept} + command", 0.0)


def _sentences(text: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(text):
        for start in range(0, len(sentence), _LONGEST_SENTENCE):
            yield sentence[start : start + _LONGEST_SENTENCE]


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
