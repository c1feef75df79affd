"""``make bench ARGS=--injection``: how well, and how fast, text that reads as instructions is
found.

The corpus (``data/injection.tsv``: language, 1 for an injection, part, text with escapes) was
written for this, with look-alikes: documents about prompts, letters to support with imperatives.
Patterns were made by looking at the part ``seen``; figures that count are those of the part
``held``, some of which was written after the patterns. The part ``fresh`` was written last, of
kinds that no pattern was made for: it says what a heuristic does not see.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sallyport.masking.injection import InjectionScanner

CORPUS = Path(__file__).parent / "data" / "injection.tsv"
LANGUAGES = ("en", "de", "fr", "es", "ru", "zh")

_CLEAN = """The second shelf arrived scratched, and one of the feet is missing. I would like
to have the part replaced rather than return everything. My address has not changed. The courier
left the box with a neighbour on Tuesday, who was kind enough to carry it up. Thank you in advance.
Die Lieferung kam am Dienstag, der Karton war feucht, und ein Teil fehlt. La couleur ne correspond
pas. El color es distinto al de la foto, pero me lo quedo. Order 4711-22, paid by card, 3 pieces.
"""


@dataclass(frozen=True)
class Example:
    """One text of the corpus."""

    language: str
    is_injection: bool
    text: str
    part: str


@dataclass(frozen=True)
class Figures:
    """Of one part."""

    texts: int
    precision: float
    recall: float


def corpus() -> Iterator[Example]:
    """Every text."""
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        language, label, part, text = line.split("\t", 3)
        text = text.replace("\\n", "\n").replace("\\u200b", "\u200b")
        yield Example(language, label == "1", text, part)


def evaluate(scanner: InjectionScanner, part: str, language: str = "") -> Figures:
    """Precision and recall over one part of the corpus."""
    right = wrong = missed = texts = 0
    for example in corpus():
        if example.part != part or language not in ("", example.language):
            continue
        texts += 1
        is_found = scanner.judge(example.text) is not None
        right += is_found and example.is_injection
        wrong += is_found and not example.is_injection
        missed += example.is_injection and not is_found
    precision = right / (right + wrong) if right + wrong else 1.0
    return Figures(texts, precision, right / (right + missed) if right + missed else 1.0)


def clean_rate(scanner: InjectionScanner, megabytes: int = 64) -> float:
    """Megabytes of clean text looked through in a second of CPU time, in buffers of 64 kB."""
    buffer = (_CLEAN * (65536 // len(_CLEAN) + 1)).encode()[:65536]
    rounds = megabytes * (1 << 20) // len(buffer)
    started = time.process_time()
    for _ in range(rounds):
        if scanner.may_hold(buffer):
            raise ValueError("the clean text is not clean")
    return rounds * len(buffer) / 1e6 / (time.process_time() - started)


def print_injection(console: Console) -> bool:
    """Print the figures; whether they are good enough."""
    scanner = InjectionScanner()
    held = evaluate(scanner, "held")
    for language in LANGUAGES:
        own = evaluate(scanner, "held", language)
        figures = f"precision {own.precision:.3f}, recall {own.recall:.3f}"
        console.print(f"{language}: {own.texts} held-out texts, {figures}")
    seen, rate = evaluate(scanner, "seen"), clean_rate(scanner)
    console.print(f"seen while patterns were made: {seen}")
    console.print(f"held out: {held}")
    console.print(f"of kinds that no pattern was made for: {evaluate(scanner, 'fresh')}")
    console.print(f"clean text: {rate:.0f} MB/s")
    return min(held.precision, held.recall) >= 0.95 and rate >= 150
