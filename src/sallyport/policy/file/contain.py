"""The part of a policy file that says what follows from reading untrusted columns, and values that
it shares with rules: durations and reviewers. Raises ConfigError that names the line.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import replace

from sallyport.core.yamltext import Document, YamlPath
from sallyport.policy.containment import targets_rule, unused_warning, writes_rule
from sallyport.policy.decision import Outcome
from sallyport.policy.file import raw
from sallyport.policy.file.patterns import Pattern, parse_pattern
from sallyport.policy.model import Contain, InjectionScan, Policy, Reviewers, Rule

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 366 * 86400.0
_EMPTY = "the list is empty and would match nothing"
_NAME_ONE = "Name at least one, or remove the key"
_NOBODY = "at least one reviewer is needed"


def seconds_of(document: Document, path: YamlPath, value: str | int | None) -> float | None:
    """A duration like ``15m`` in seconds; None where there is none."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,9})\s*(s|m|h|d|)", str(value))
    if match is None or not int(match.group(1)):
        fix = "Write a number with s, m, h or d, like 15m"
        raise document.error(path, f"{value!r} is not a duration", fix)
    return float(int(match.group(1)) * _UNITS[match.group(2)])


def reviewers_of(
    document: Document, path: YamlPath, reviewers: raw.RawReviewers | None, fix: str = _NAME_ONE
) -> Reviewers | None:
    """Who may approve; None where nobody is named."""
    if reviewers is None:
        return None
    if not reviewers.groups:
        raise document.error((*path, "groups"), _EMPTY, fix)
    if reviewers.quorum < 1:
        raise document.error((*path, "quorum"), _NOBODY, "Write 1 or more")
    return Reviewers(frozenset(reviewers.groups), reviewers.quorum)


#: A part of a policy: its pack ("" for the file itself), its document, what it says.
Part = tuple[str, Document, raw.RawContain]
OptionalPart = tuple[str, Document, raw.RawContain | None]


def with_containment(policy: Policy, parts: Iterable[OptionalPart]) -> Policy:
    """The policy with what ``contain`` says, of packs and of the file itself, which comes last and
    wins key by key.
    """
    said: list[Part] = [(pack, document, part) for pack, document, part in parts if part]
    rules = [rule for rule in (_writes(said), _targets(said)) if rule is not None]
    warning = unused_warning(policy.untrusted, policy.rules, bool(said))
    if said and not policy.untrusted:
        warning = "no column is 'untrusted', so nobody is contained: list them under 'untrusted'"
    return replace(
        policy,
        contain=_settings(said),
        rules=(*policy.rules, *rules),
        warnings=(*policy.warnings, *([warning] if warning else [])),
    )


def injection_scan(policy: Policy, document: Document, part: raw.RawInjection) -> InjectionScan:
    """What ``injection`` says; without ``columns`` those that are untrusted."""
    path = ("injection",)
    if importlib.util.find_spec("re2") is None:
        fix = "Run: pip install 'sallyport[injection]'"
        raise document.error(path, "the package google-re2 is not installed", fix)
    if not part.then:
        raise document.error((*path, "then"), _EMPTY, "Write, for example, [mark, contain]")
    if part.bytes < 1:
        raise document.error((*path, "bytes"), "nothing would be looked through", "Write 1 or more")
    columns = policy.untrusted
    if part.columns is not None:
        columns = tuple(_column(document, i, text) for i, text in enumerate(part.columns))
    if not columns:
        fix = "Name some under 'columns' or 'untrusted', for example \"public.tickets.body\""
        raise document.error(path, "there are no columns to look through", fix)
    return InjectionScan(columns, frozenset(part.then), part.bytes)


def _column(document: Document, number: int, text: str) -> Pattern:
    try:
        return parse_pattern(text, 3, "public.tickets.body")
    except ValueError as error:
        raise document.error(("injection", "columns", number), str(error)) from None


def _last(said: list[Part], key: str) -> Part | None:
    """The last part that says something about a key."""
    return next((part for part in reversed(said) if getattr(part[2], key) is not None), None)


def _settings(said: list[Part]) -> Contain:
    seconds = Contain().seconds
    last = _last(said, "for_")
    if last is not None:
        _, document, part = last
        seconds = seconds_of(document, ("contain", "for"), part.for_) or seconds
        if seconds > _LONGEST:
            fix = "Write a shorter time, like 8h"
            raise document.error(("contain", "for"), "longer than a year", fix)
    masks, functions = _last(said, "masks"), _last(said, "functions")
    return Contain(
        seconds=seconds,
        redacts=masks is not None and masks[2].masks == "redact",
        closes_functions=functions is not None and functions[2].functions == "deny",
    )


def _writes(said: list[Part]) -> Rule | None:
    last, asked = _last(said, "writes"), _last(said, "reviewers")
    effect = last[2].writes if last is not None else "allow"
    if asked is not None and effect != "hold":
        fix = "Add 'writes: hold', or remove 'reviewers'"
        raise asked[1].error(("contain", "reviewers"), "nothing waits for these reviewers", fix)
    if last is None or effect == "allow":
        return None
    reviewers = None
    if asked is not None:
        reviewers = reviewers_of(asked[1], ("contain", "reviewers"), asked[2].reviewers)
    outcome = Outcome.HOLD if effect == "hold" else Outcome.DENY
    return writes_rule(outcome, reviewers, last[1].line(("contain",)), last[0])


def _targets(said: list[Part]) -> Rule | None:
    last = _last(said, "targets")
    if last is None or last[2].targets != "deny":
        return None
    return targets_rule(last[1].line(("contain",)), last[0])
