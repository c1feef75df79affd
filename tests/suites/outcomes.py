"""What a suite's run said of each test, read from the form in which its runner writes it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
_CODE = re.compile(r"\[(SP\d{4})\]([^\n]*)")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|\b\d+\b")


@dataclass(frozen=True, slots=True)
class Outcome:
    """``state``: passed, failed or skipped. ``text``: what the runner printed of a failure."""

    state: str
    text: str = ""

    @property
    def reason(self) -> str:
        """The refusal in it, without names; else its last line that speaks of an error."""
        refusal = _CODE.search(self.text)
        if refusal is not None:
            return f"{refusal[1]}{_QUOTED.sub('...', refusal[2])}"[:100]
        lines = [
            line.strip() for line in self.text.splitlines() if "rror" in line or "assert" in line
        ]
        return _QUOTED.sub("...", lines[-1] if lines else "no message")[:100]


#: By the test's name, which is the same in every run.
Outcomes = Mapping[str, Outcome]


def from_junit(paths: Iterable[Path]) -> dict[str, Outcome]:
    """JUnit's XML, as pytest and Gradle write it. A runner that did not start wrote none."""
    outcomes = {}
    for path in filter(Path.exists, paths):
        for case in ElementTree.parse(path).iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            wrong = [child for child in case if child.tag in ("failure", "error")]
            if wrong:
                text = "\n".join(f"{c.get('message') or ''}\n{c.text or ''}" for c in wrong)
                outcomes[name] = Outcome(FAILED, text)
            else:
                outcomes[name] = Outcome(SKIPPED if case.find("skipped") is not None else PASSED)
    return outcomes


def from_go(output: str) -> dict[str, Outcome]:
    """The events of ``go test -json``."""
    texts: dict[str, list[str]] = {}
    outcomes = {}
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        name = f"{event.get('Package', '')}::{event.get('Test', '')}"
        if event["Action"] == "output":
            texts.setdefault(name, []).append(event["Output"])
        elif event["Action"] in ("pass", "fail", "skip") and event.get("Test"):
            state = {"pass": PASSED, "fail": FAILED, "skip": SKIPPED}[event["Action"]]
            outcomes[name] = Outcome(state, "".join(texts.get(name, ())) if state == FAILED else "")
    return outcomes


def from_cargo(output: str) -> dict[str, Outcome]:
    """The lines of ``cargo test``; the text of a failure stands in a section of its own."""
    sections = dict(
        re.findall(r"^---- (\S+) stdout ----\n(.*?)(?=^----|^failures:)", output, re.M | re.S)
    )
    states = {"ok": PASSED, "FAILED": FAILED, "ignored": SKIPPED}
    return {
        name: Outcome(states[word], sections.get(name, "") if word == "FAILED" else "")
        for name, word in re.findall(r"^test (\S+) \.\.\. (ok|FAILED|ignored)", output, re.M)
    }


def from_node_postgres(file: str, output: str, status: int) -> dict[str, Outcome]:
    """One file of node-postgres: its runner marks each test; what stands behind a failure's mark,
    up to the next mark, is its text. A file that marks none is one test, and so is the rest of one
    that fails though no test does.
    """
    marks = list(re.finditer(r"^  (.+?) (✔|FAILED!|\? - SKIPPED)$", output, re.M))
    states = {"✔": PASSED, "FAILED!": FAILED}
    ends = [mark.start() for mark in marks[1:]] + [len(output)]
    outcomes = {
        f"{file}::{mark[1]}": Outcome(
            states.get(mark[2], SKIPPED), output[mark.end() : end] if mark[2] == "FAILED!" else ""
        )
        for mark, end in zip(marks, ends, strict=False)
    }
    failed = any(outcome.state == FAILED for outcome in outcomes.values())
    if not outcomes or (status and not failed):
        outcomes[f"{file}::"] = Outcome(FAILED, output) if status else Outcome(PASSED)
    return outcomes


def differences(direct: Outcomes, through: Outcomes) -> Iterator[tuple[str, Outcome]]:
    """Tests that pass directly and not through the gateway, with what they said there."""
    missing = Outcome(FAILED, "error: the test did not run; one before it ended its file")
    for name, outcome in direct.items():
        if outcome.state == PASSED:
            there = through.get(name, missing)
            if there.state != PASSED:
                yield name, there


def counts(outcomes: Outcomes) -> Counter[str]:
    """How many of each state."""
    return Counter(outcome.state for outcome in outcomes.values())
