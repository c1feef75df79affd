"""Fit the weights by which text that reads as instructions is told from what only looks like it.

``.venv/bin/python -m bench.fit_injection`` reads the texts that may be learned from
(``bench/data/injection.tsv``), never those that are held out, and writes
``src/sallyport/masking/injection-weights.tsv``: logistic regression with a Gaussian prior, in plain
Python, the same on every machine. What people write to people can only take away, all else only
add: no word makes a text innocent by having been rare among injections. ``--folds 5`` prints how
well it does on folds that it was not fitted on.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.injection import LEARNED, corpus
from sallyport.masking.injection import InjectionScanner
from sallyport.masking.injection_words import INNOCENT

WEIGHTS = Path(__file__).parents[1] / "src/sallyport/masking/injection-weights.tsv"
ROUNDS, STEP = 1500, 0.5
#: How much worse it is to tell of an innocent text than to pass an injection.
FALSE_ALARM = 1.5
#: A feature of fewer texts is left out; strength of the prior, in texts.
RAREST, PRIOR = 3, 0.1
_HEADER = "# feature, weight: fitted by bench/fit_injection.py, not by hand\n"


@dataclass(frozen=True)
class Sample:
    """One text: what its passages have in common with others, and whether it is an injection."""

    passages: tuple[frozenset[str], ...]
    is_injection: bool


def fit(samples: Sequence[Sample]) -> dict[str, float]:
    """Weights by feature, ``bias`` among them. A text is as likely as its likeliest passage."""
    counts = Counter(f for s in samples for f in frozenset().union(*s.passages))
    weights = {f: 0.0 for f in sorted(counts) if counts[f] >= RAREST} | {"bias": -2.0}
    momentum = dict.fromkeys(weights, 0.0)
    passages = [[[f for f in p if f in weights] for p in s.passages] for s in samples]
    for _ in range(ROUNDS):
        gradient = {f: PRIOR * w / len(samples) for f, w in weights.items() if f != "bias"}
        gradient["bias"] = 0.0
        for sample, choices in zip(samples, passages, strict=True):
            features = max(choices, key=lambda p: sum(weights[f] for f in p))
            logit = weights["bias"] + sum(weights[f] for f in features)
            error = (1 / (1 + math.exp(-logit)) - sample.is_injection) / len(samples)
            if not sample.is_injection:
                error *= FALSE_ALARM
            gradient["bias"] += error
            for feature in features:
                gradient[feature] += error
        for feature, slope in gradient.items():
            momentum[feature] = 0.9 * momentum[feature] - STEP * slope
            weights[feature] = _bounded(feature, weights[feature] + momentum[feature])
    return weights


def _bounded(feature: str, weight: float) -> float:
    if feature == "bias":
        return weight
    return min(weight, 0.0) if feature in INNOCENT else max(weight, 0.0)


def is_found(weights: dict[str, float], sample: Sample) -> bool:
    """Whether any passage of it would be told."""
    return any(weights["bias"] + sum(weights.get(f, 0) for f in p) >= 0 for p in sample.passages)


def _print_folds(samples: list[Sample], folds: int) -> None:
    random.Random(7).shuffle(samples)
    outcomes: Counter[tuple[bool, bool]] = Counter()
    for fold in range(folds):
        weights = fit([s for i, s in enumerate(samples) if i % folds != fold])
        for sample in samples[fold::folds]:
            outcomes[sample.is_injection, is_found(weights, sample)] += 1
    right, missed, wrong = outcomes[True, True], outcomes[True, False], outcomes[False, True]
    print(f"recall {right / (right + missed):.3f}, precision {right / (right + wrong):.3f}")


def main() -> None:
    """Write the weights, or print what folds say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=0)
    folds: int = parser.parse_args().folds
    scanner = InjectionScanner()
    samples = [
        Sample(tuple(map(frozenset, scanner.passages(example.text))), example.is_injection)
        for example in corpus(LEARNED)
    ]
    if folds:
        _print_folds(samples, folds)
        return
    weights = {f: round(w, 2) for f, w in fit(samples).items()}
    lines = [f"{f}\t{w}" for f, w in sorted(weights.items()) if w]
    WEIGHTS.write_text(_HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(samples)} texts, {len(lines)} weights")


if __name__ == "__main__":
    main()
