"""A policy as values: what :mod:`sallyport.policy.file.load` makes of a file, before it meets a
catalog.

Nothing here is resolved: patterns are still patterns. :func:`sallyport.policy.bind.bind` resolves
them once per catalog snapshot.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from sallyport.core.subject import Subject, agent_names
from sallyport.policy.decision import Filter, MaskSpec, Outcome
from sallyport.policy.file.conditions import Condition
from sallyport.policy.file.patterns import Pattern

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class SubjectMatch:
    """Which subjects: every given part must hold; inside a part one of the values is enough. All
    empty: everyone.
    """

    groups: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    actors: frozenset[str] = frozenset()
    claims: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def misses(self, subject: Subject, *, restricts: bool) -> str:
        """Why the subject does not match, in words; "" when it does. restricts: what is matched
        takes something away, so that any of the subject's programs counts as its agent; else only
        the one that acts now does.
        """
        if self.groups and not self.groups & subject.groups:
            return f"the subject is in none of the groups {_names(self.groups)}"
        if self.ids and subject.id not in self.ids:
            return "the subject's id is not listed"
        if self.issuers and subject.issuer not in self.issuers:
            return "the token's issuer is not listed"
        agents = agent_names(subject) if restricts else [subject.agent]
        if self.agents and self.agents.isdisjoint(agents):
            return f"the agent is none of {_names(self.agents)}"
        if self.actors and self.actors.isdisjoint(subject.actors):
            return f"nobody who acts for the subject is one of {_names(self.actors)}"
        for name, accepted in self.claims:
            if not _claim_matches(subject.claims.get(name), accepted):
                return f"the claim {name!r} has none of the listed values"
        return ""

    def matches(self, subject: Subject, *, restricts: bool) -> bool:
        return not self.misses(subject, restricts=restricts)

    def words(self) -> str:
        """Whom it means, for people: every part that a subject has to match."""
        parts = [
            f"{what} {' or '.join(sorted(names))}"
            for what, names in (
                ("group", self.groups), ("subject", self.ids), ("agent", self.agents),
                ("actor", self.actors),
                ("issuer", self.issuers),
            )
            if names
        ]  # fmt: skip
        parts += [
            f"claim {name} {' or '.join(map(str, accepted))}" for name, accepted in self.claims
        ]
        return " and ".join(parts) or "everybody"


def _claim_matches(value: Any, accepted: tuple[Any, ...]) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return any(type(v) is type(a) and v == a for v in values for a in accepted)


def _names(values: frozenset[str]) -> str:
    return ", ".join(sorted(values))


@dataclass(frozen=True, slots=True)
class Window:
    """When a rule is in force. ``start``/``end``: minutes after local midnight; an end before the
    start is on the next day.
    """

    days: frozenset[int]  # 0 is Monday
    start: int
    end: int
    zone: str

    def contains(self, now: float) -> bool:
        """Whether the moment (Unix seconds) is inside; the end minute is outside."""
        local = datetime.datetime.fromtimestamp(now, tz=ZoneInfo(self.zone))
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        yesterday = (day - 1) % 7
        return (day in self.days and minute >= self.start) or (
            yesterday in self.days and minute < self.end
        )

    def __str__(self) -> str:
        days = ", ".join(DAYS[d] for d in sorted(self.days))
        return f"{days} {_clock(self.start)}-{_clock(self.end)} {self.zone}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


@dataclass(frozen=True, slots=True)
class Reviewers:
    """Who may approve what a hold rule stops: members of any of the groups, ``quorum`` different
    people.
    """

    groups: frozenset[str]
    quorum: int = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``actions`` is expanded; ``named`` is what the file says. ``expires``: seconds an
    approval may wait and be used. ``mode``: wait (the client waits), async (refused at once, runs
    when sent again after approval). ``restricts_only``: a hold rule that holds what other rules
    allow, and gives nothing itself. ``results``: of :data:`RESULTS`, "" where the policy says it.
    """

    name: str
    effect: Outcome
    actions: frozenset[str]
    named: tuple[str, ...]
    subjects: SubjectMatch = SubjectMatch()
    targets: tuple[re.Pattern[str], ...] = ()
    relations: tuple[Pattern, ...] = ()
    columns: tuple[Pattern, ...] = ()
    tags: tuple[str, ...] = ()
    when: Condition | None = None
    message: str = ""
    reviewers: Reviewers | None = None
    expires: float = 900.0
    mode: str = "wait"
    windows: tuple[Window, ...] = ()
    line: int = 0
    pack: str = ""
    restricts_only: bool = False
    results: str = ""

    @property
    def gives(self) -> bool:
        """Whether it can be what permits something: an allow rule at once, a hold rule once
        people have approved.
        """
        return self.effect is not Outcome.DENY and not self.restricts_only


#: Whom a rule is for, and whether it takes something away from them.
Addressee = tuple[SubjectMatch, bool]


def addressee(rule: Rule) -> Addressee:
    """Whatever does not allow takes away."""
    return rule.subjects, rule.effect is not Outcome.ALLOW


def misses(rule: Rule, subject: Subject) -> str:
    """Why a rule is not for the subject, in words; "" when it is."""
    match, restricts = addressee(rule)
    return match.misses(subject, restricts=restricts)


@dataclass(frozen=True, slots=True)
class Mask:
    """One entry of ``masks``. ``exempt``: subjects that see the real values (None: nobody).
    ``write_filter``, ``write``, ``copies``: as in :class:`~sallyport.policy.decision.ColumnMask`.
    """

    spec: MaskSpec
    filter: Filter = Filter.MASKED
    columns: tuple[Pattern, ...] = ()
    tags: tuple[str, ...] = ()
    subjects: SubjectMatch = SubjectMatch()
    exempt: SubjectMatch | None = None
    targets: tuple[re.Pattern[str], ...] = ()
    line: int = 0
    pack: str = ""
    file: str = ""
    write_filter: bool = False
    write: bool = False
    copies: bool = False

    @property
    def place(self) -> str:
        """Where it stands: ``policy.yaml line 44``, ``pack pii-default``."""
        return f"pack {self.pack}" if self.pack else f"{self.file} line {self.line}".lstrip()

    def origin(self, tags: Iterable[str], *names: str) -> str:
        """How explanations name it for one column with these tags, called schema, relation, column:
        what of the entry it was that matched (all of it, when only a partition or parent of the
        column does).
        """
        tagged = [tag for tag in self.tags if tag in tags]
        named = [pattern.text for pattern in self.columns if pattern.matches(*names)]
        sources = (*tagged, *named) or (*self.tags, *(pattern.text for pattern in self.columns))
        return f"{self.place}: {', '.join(sources)}"


@dataclass(frozen=True, slots=True)
class SubjectLimits:
    """Bounds for one subject; None: no bound. Bytes are of result rows after masking;
    ``statement_timeout`` and ``session`` are seconds.
    """

    rows: int | None = None
    bytes: int | None = None
    rows_per_session: int | None = None
    bytes_per_session: int | None = None
    rows_per_hour: int | None = None
    bytes_per_hour: int | None = None
    statement_timeout: float | None = None
    sessions: int | None = None
    session: float | None = None

    def stricter(self, limits: SubjectLimits) -> SubjectLimits:
        """The smaller bound of each pair."""
        return SubjectLimits(
            *(_least(getattr(self, n), getattr(limits, n)) for n in self.__slots__)
        )


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


@dataclass(frozen=True, slots=True)
class LimitEntry:
    """Limits for some subjects and targets; all that match apply, the strictest value of
    each wins.
    """

    limits: SubjectLimits
    subjects: SubjectMatch = SubjectMatch()
    targets: tuple[re.Pattern[str], ...] = ()


#: Values of Policy.record_statements.
FULL, LITERALS_MASKED, FINGERPRINTS = "full", "literals-masked", "fingerprints"
FULL_RESULTS = "full"
#: Values of Policy.record_results and Rule.results, from most to least that is recorded.
RESULTS = (FULL_RESULTS, "sample", "counts")


@dataclass(frozen=True, slots=True)
class Contain:
    """What happens to a subject and agent that read an untrusted column. ``seconds``: for how long,
    from the last read. ``redacts``: every mask becomes ``redact``, exceptions included.
    ``closes_functions``: functions that policy trusts are refused. Writes and other targets are
    rules (:mod:`sallyport.policy.containment`).
    """

    seconds: float = 8 * 3600.0
    redacts: bool = False
    closes_functions: bool = False


@dataclass(frozen=True, slots=True)
class InjectionScan:
    """Columns whose values are looked through for text that reads as instructions to a model.
    ``then``: mark, redact, contain. ``bytes``: of each result that are looked through.
    """

    columns: tuple[Pattern, ...]
    then: frozenset[str]
    bytes: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. ``version``: first 16 hex digits of the SHA-256 of the file's text and its
    packs' texts. ``text``: the file's.

    ``search_paths``: the values that ``SET search_path`` may take, as tuples of real schema names
    (``$user`` kept as it is). ``settings``: custom settings that sessions may set, in lower case,
    some as ``app.*``. ``notices``: a client is told by a NOTICE when a statement saw masked values.
    ``record_statements``: full | literals-masked | fingerprints, what recordings keep of texts and
    bind values. ``record_results``: of :data:`RESULTS`, where no rule says another.
    ``trusted_views``: views that are read as they are, though their bodies compute
    with masked columns. ``untrusted``: columns that hold what strangers wrote; who reads one is
    contained.
    """

    version: str
    filename: str = ""
    tags: Mapping[str, tuple[Pattern, ...]] = field(default_factory=dict)
    packs: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    masks: tuple[Mask, ...] = ()
    functions: tuple[Pattern, ...] = ()
    search_paths: frozenset[tuple[str, ...]] = frozenset()
    settings: frozenset[str] = frozenset()
    limits: tuple[LimitEntry, ...] = ()
    warnings: tuple[str, ...] = ()
    text: str = ""
    notices: bool = True
    trusted_views: tuple[Pattern, ...] = ()
    record_statements: str = LITERALS_MASKED
    record_results: str = FULL_RESULTS
    untrusted: tuple[Pattern, ...] = ()
    contain: Contain = Contain()
    injection: InjectionScan | None = None

    def hash_keys(self) -> frozenset[str]:
        """Names of the secrets that ``hash`` masks need; the configuration must have each under
        ``mask_keys``.
        """
        return frozenset(m.spec.key for m in self.masks if m.spec.kind == "hash")

    def groups(self) -> frozenset[str]:
        """Every group that the policy names; one that no token ever carries is probably
        misspelt.
        """
        out: set[str] = set()
        for rule in self.rules:
            out |= rule.subjects.groups | (rule.reviewers.groups if rule.reviewers else frozenset())
        for mask in self.masks:
            out |= mask.subjects.groups | (mask.exempt.groups if mask.exempt else frozenset())
        return frozenset(out)

    def claims_read(self, subject: Subject) -> dict[str, str]:
        """The claims of this subject that the policy names, as text (JSON where they are none).
        What else a token says does not decide anything here.
        """
        matches = [rule.subjects for rule in self.rules] + [entry.subjects for entry in self.limits]
        for mask in self.masks:
            matches += [mask.subjects, *([mask.exempt] if mask.exempt else [])]
        names = {name for match in matches for name, _ in match.claims}
        for condition in (rule.when for rule in self.rules):
            names |= condition.claims if condition is not None else frozenset()
        values = {name: subject.claims[name] for name in sorted(names & subject.claims.keys())}
        return {
            name: value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in values.items()
        }


def applies_to_target(patterns: tuple[re.Pattern[str], ...], target: str) -> bool:
    """No pattern: every target."""
    return not patterns or any(p.fullmatch(target) for p in patterns)
