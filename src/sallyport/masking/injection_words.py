"""What a text may touch that speaks to a model, and what that weighs: tables, and how they compose.

``injection-words.tsv`` has concepts with RE2 patterns in English, German, French, Spanish, Russian
and Chinese, ``injection-weights.tsv`` what features weigh (fitted by ``bench/fit_injection.py``),
``injection-stems.txt`` the rare words without which no text is looked at further. Patterns are
matched against text that :func:`sallyport.masking.injection.normalised` made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Final

#: From here on a text reads as instructions.
THRESHOLD: Final = 0.5

#: What one does to an object, in one sentence.
COMMANDS: Final = frozenset({"set aside", "reveal", "send", "destroy", "change", "grant", "run"})
OBJECTS: Final = frozenset(
    {"rules", "secret", "system prompt", "data", "bulk", "contact", "sql", "call"}
    | {"own things", "own answer", "earlier rules"}
)
#: Of these, what letters between people are full of: they count where a model may be spoken to.
ORDINARY: Final = frozenset({"data", "bulk", "contact", "call"})
#: What says that a model is spoken to, or that somebody goes behind a person's back.
CONTEXTS: Final = frozenset(
    {"machine", "maybe machine", "addressed", "own things", "own answer", "before", "the user"}
    | {"informal", "rules voided", "conceal", "no check", "persona", "authority", "boundary"}
    | {"system voice", "markup", "capable", "steer", "system prompt", "reads this", "the human"}
    | {"order"}
)
#: What people write to people, or about such texts: these take away.
INNOCENT: Final = frozenset(
    {"formal", "discussion", "teaching", "engineering", "quoted", "letter", "household"}
    | {"reminder", "question", "narrative"}
)

_MACRO: Final = re.compile(r"\{([a-z][a-z ]+)\}")


def _lines(name: str) -> Iterator[str]:
    text = resources.files("sallyport.masking").joinpath(name).read_text("utf-8")
    return (line for line in text.splitlines() if line and not line.startswith("#"))


def _concepts() -> tuple[tuple[str, str], ...]:
    """(concept, pattern), with the concepts above put in for their names."""
    patterns: list[tuple[str, str]] = []
    for line in _lines("injection-words.tsv"):
        concept, pattern = line.split("\t")

        def alternatives(match: re.Match[str]) -> str:
            return "(?:" + "|".join(p for name, p in patterns if name == match.group(1)) + ")"

        patterns.append((concept, _MACRO.sub(alternatives, pattern)))
    return tuple(patterns)


def _weights() -> dict[str, float]:
    pairs = (line.split("\t") for line in _lines("injection-weights.tsv"))
    return {feature: float(weight) for feature, weight in pairs}


CONCEPTS: Final = _concepts()

#: By feature: a concept, two of one passage ("a + b"), a command and its object in one sentence
#: ("a > b"), or a count.
WEIGHTS: Final = _weights()

#: A text without any of these is not looked at further: one pass over a whole buffer, most of
#: which has none. Hidden characters, and runs that may be encoded text, are among them.
STEMS: Final = tuple(_lines("injection-stems.txt"))


def features_of(sentences: Sequence[frozenset[str]]) -> set[str]:
    """The features of a passage, from the concepts of each of its sentences."""
    concepts: frozenset[str] = frozenset().union(*sentences)
    contexts = concepts & CONTEXTS
    features = set(concepts - COMMANDS - OBJECTS | contexts)
    commands = 0
    for sentence in sentences:
        for command in sentence & COMMANDS:
            objects = sentence & OBJECTS
            features.update(f"{command} > {target}" for target in objects - ORDINARY)
            if contexts:
                features.update(f"{command} > {target}" for target in objects & ORDINARY)
            commands += bool(objects)
    if commands:
        features.update(f"{context} + command" for context in contexts)
    features.update(f"contexts {n}" for n in range(2, min(len(contexts), 6) + 1))
    if contexts:
        features.update(f"{command} + context" for command in concepts & COMMANDS)
        features.update(f"commands {n}" for n in range(2, min(commands, 4) + 1))
    return features


def most_features_of(concepts: frozenset[str]) -> set[str]:
    """No passage that touches these concepts at most has a feature that is not among these, but
    for what :data:`INNOCENT` says.
    """
    features = features_of([concepts])
    if any(feature.endswith(" + command") for feature in features):
        features.update(f"commands {n}" for n in range(2, 5))
    return features
