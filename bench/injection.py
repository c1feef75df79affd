"""``make bench ARGS=--injection``: how well, and how fast, text that reads as instructions is
found.

Two corpora were written for this, with look-alikes: documents about prompts, letters to support
with imperatives, tutorials, change requests (``data/``: language, 1 for an injection, part, text
with escapes). Weights are fitted to ``injection.tsv``; ``injection-frozen.tsv`` was written and
committed before the features were made, and is only judged: neither words nor weights are made by
looking at what is missed there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sallyport.masking.injection import InjectionScanner

LEARNED = Path(__file__).parent / "data" / "injection.tsv"
FROZEN = LEARNED.with_name("injection-frozen.tsv")
#: Parts of the frozen corpus: what tools and machines write, people who ask nicely or tell a story,
#: and rough text: typos, mixed languages, encodings.
PARTS = ("tools", "story", "rough")
#: What is wanted of the frozen corpus, and below what something broke.
GOAL, LEAST_RECALL, LEAST_PRECISION = 0.95, 0.92, 0.87
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
    """Of some texts."""

    texts: int
    precision: float
    recall: float


def corpus(path: Path, part: str = "", language: str = "") -> Iterator[Example]:
    """The texts of a file; of one part or language where that is said."""
    for line in path.read_text(encoding="utf-8").splitlines():
        spoken, label, belongs_to, text = line.split("\t", 3)
        if part in ("", belongs_to) and language in ("", spoken):
            text = text.replace("\\n", "\n").replace("\\u200b", "\u200b")
            yield Example(spoken, label == "1", text, belongs_to)


def evaluate(scanner: InjectionScanner, examples: Iterable[Example]) -> Figures:
    """Precision and recall over these texts."""
    right = wrong = missed = texts = 0
    for example in examples:
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
    """Print the figures; whether they are as good as they were."""
    scanner = InjectionScanner()
    console.print(f"fitted to: {evaluate(scanner, corpus(LEARNED))}")
    for language in LANGUAGES:
        console.print(f"frozen, {language}: {evaluate(scanner, corpus(FROZEN, '', language))}")
    for part in PARTS:
        console.print(f"frozen, {part}: {evaluate(scanner, corpus(FROZEN, part))}")
    frozen, rate = evaluate(scanner, corpus(FROZEN)), clean_rate(scanner)
    console.print(f"frozen: {frozen}; the goal is {GOAL} of both")
    console.print(f"clean text: {rate:.0f} MB/s")
    is_good = frozen.recall >= LEAST_RECALL and frozen.precision >= LEAST_PRECISION
    return is_good and rate >= 150
