"""What an agent does at present, not learned yet: an episode of ten minutes, the day, the mix of
its latest statements, and what its latest batch changed. Sums are kept as statements come in, so
that a batch costs what is in it, however long the episode is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from sallyport.watch.shapes import Shape
from sallyport.watch.thresholds import PAGES

#: Seconds of an episode.
EPISODE: Final = 600.0
#: Statements whose mix is compared.
MIX: Final = 16
#: What a batch may have had: rows; statements that ran; those that compare or page and run often;
#: masked columns; totals that differ; failures and refusals; what the baseline did not have;
#: another session or place; a session without end; the third statement of an episode.
Cause = Literal[
    "rows", "ran", "often", "masked", "differs", "failed", "refused", "new", "elsewhere", "long",
    "begun",
]  # fmt: skip
#: Bounds of one episode and one day.
_MAX_USES: Final = 256
_MAX_RELATIONS: Final = 64
_MAX_REFUSALS: Final = 64
_MAX_NAMES: Final = 16
#: Rows of a result below which its size is not learned.
_LARGE: Final = 200


def block_of(network: str) -> str:
    """The /8 or /16 around a network (/24, /48): what stays the same for those who come from ever
    new ones, as runners in a cloud do. "" for what is no network.
    """
    address, _, length = network.partition("/")
    if length == "24":
        return f"{address.partition('.')[0]}.0.0.0/8"
    return f"{address.partition(':')[0]}::/16" if length == "48" else ""


@dataclass(slots=True)
class Use:
    """How one shape was used. largest: rows of one result. repeats: how often text and bind
    values were those of the time before. code: why it was refused; "" when it was not.
    variant: hash of the latest text of what was refused. is_new: the baseline did not have it.
    differs: a total, see :meth:`Episode.differences`. compared: count when detectors last looked.
    """

    shape: Shape
    count: int = 0
    rows: int = 0
    largest: int = 0
    failed: int = 0
    repeats: int = 0
    first: int = 0
    last: int = 0
    code: str = ""
    variant: int = 0
    is_new: bool = False
    differs: bool = False
    compared: int = 0

    def is_due(self, count: int, largest: int) -> bool:
        """Whether detectors have to look at so many more runs: when it first ran, had its largest
        result, is one of totals that differ, or pages or searches a sixteenth more often than they
        know.
        """
        if not self.count or largest > self.largest or self.differs:
            return True
        runs = self.count + count
        return (
            runs >= PAGES
            and runs - self.compared > self.compared >> 4
            and (self.shape.pages or self.shape.searches)
        )


@dataclass(slots=True)
class Changes:
    """What changed since detectors last looked. uses: by fingerprint. refusals: likewise, by code
    and fingerprint. relations: of which rows were read; rows: how many. labels: of statements
    that ran, with how many each; ran: how many that are. causes: for which detectors look again;
    while there are none, they do not.
    """

    rows: int = 0
    ran: int = 0
    labels: list[tuple[str, int]] = field(default_factory=list)
    uses: dict[str, Use] = field(default_factory=dict)
    refusals: dict[str, Use] = field(default_factory=dict)
    relations: set[str] = field(default_factory=set)
    causes: set[Cause] = field(default_factory=set)

    def left(self) -> Changes:
        """What detectors have not looked at when an episode ends: they look in the next one. Uses
        are of their episode.
        """
        if self.causes:
            return Changes()
        return Changes(self.rows, self.ran, self.labels, relations=self.relations)


@dataclass(slots=True)
class Episode:
    """Unix seconds. rows_of: by relation. refusals: by code and fingerprint. running: rows of
    results that are still passing, by relation, and whether of a statement that is new, and its
    number; they are counted again when they have passed.
    new_...: what the baseline did not have when it came: actions on relations, labels of
    statements, columns of relations that it had, columns that look like credentials, networks,
    blocks of networks and programs.
    relations: those that statements touched, refused ones included. results: rows of the largest
    result by relation, where that is large; new_results: of statements that are new. masked: how
    many different statements asked for each masked column. differences: by the relations of the
    statements, how many totals there are of groups that differ from another total's group in one
    condition that tells persons apart, each with other values; and the latest of them. totals: by
    all relations. longest: seconds since the login of its oldest session. first, last: numbers of
    statements in their sessions; -1 before there are any. origins: networks with programs.
    """

    started: float
    statements: int = 0
    rows: int = 0
    size: int = 0
    refused: int = 0
    failed: int = 0
    uses: dict[str, Use] = field(default_factory=dict)
    rows_of: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, Use] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    networks: set[str] = field(default_factory=set)
    running: dict[str, int] = field(default_factory=dict)
    is_running_new: bool = False
    running_number: int = 0
    new_relations: list[str] = field(default_factory=list)
    new_fingerprints: list[str] = field(default_factory=list)
    new_columns: list[str] = field(default_factory=list)
    new_credentials: list[str] = field(default_factory=list)
    new_networks: list[str] = field(default_factory=list)
    new_blocks: list[str] = field(default_factory=list)
    new_programs: list[str] = field(default_factory=list)
    programs: set[str] = field(default_factory=set)
    origins: set[tuple[str, str]] = field(default_factory=set)
    relations: set[str] = field(default_factory=set)
    results: dict[str, int] = field(default_factory=dict)
    new_results: dict[str, int] = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)
    differences: dict[str, tuple[int, Use]] = field(default_factory=dict)
    totals: dict[tuple[str, ...], list[Use]] = field(default_factory=dict)
    longest: float = 0.0
    first: int = -1
    last: int = -1

    def use(self, shape: Shape) -> Use | None:
        """The counters of a shape; None when there are too many of them."""
        use = self.uses.get(shape.fingerprint)
        if use is None and len(self.uses) < _MAX_USES:
            use = self.uses[shape.fingerprint] = Use(shape)
            self.relations.update(shape.relations)
            for column in shape.masked:
                self.masked[column] = self.masked.get(column, 0) + 1
            if shape.aggregates:
                self._compare_total(use)
        return use

    def refusal(self, code: str, shape: Shape) -> Use | None:
        """As :meth:`use`, of what was refused with this code."""
        key = f"{code} {shape.fingerprint}"
        use = self.refusals.get(key)
        if use is None and len(self.refusals) < _MAX_REFUSALS:
            use = self.refusals[key] = Use(shape, code=code)
            self.relations.update(shape.relations)
        return use

    def count_result(self, use: Use, rows: int) -> None:
        """rows: of the largest one of a batch."""
        use.largest = max(use.largest, rows)
        if rows >= _LARGE:
            for relation in use.shape.relations:
                self.results[relation] = max(rows, self.results.get(relation, 0))
                if use.is_new:
                    self.new_results[relation] = max(rows, self.new_results.get(relation, 0))

    def count_difference(self, use: Use, count: int) -> None:
        """count: runs of a total that differs, with other values each time."""
        name = ", ".join(use.shape.relations[:2])
        before = self.differences[name][0] if name in self.differences else 0
        self.differences[name] = before + count, use

    def number(self, first: int, last: int) -> None:
        """Statements of these numbers came in."""
        if first < self.first or self.first < 0:
            self.first = first
        self.last = max(self.last, last)

    def _compare_total(self, use: Use) -> None:
        """With those of the same relations, either way."""
        totals = self.totals.setdefault(use.shape.relations, [])
        for total in totals:
            if not use.differs and _differs_by_person(use.shape, total.shape):
                use.differs = True
            if not total.differs and _differs_by_person(total.shape, use.shape):
                total.differs = True
                self.count_difference(total, total.count - total.repeats)
        totals.append(use)

    def saw(self, session: str, network: str, program: str, age: float) -> bool:
        """Somebody is connected: from where, by what, since how many seconds. Bounded. False: from
        there, by that, is nothing new in this episode.
        """
        if len(self.sessions) < _MAX_NAMES:
            self.sessions.add(session)
        if age > self.longest:
            self.longest = age
        if (network, program) in self.origins:
            return False
        if len(self.origins) < _MAX_NAMES:
            self.origins.add((network, program))
        if network and len(self.networks) < _MAX_NAMES:
            self.networks.add(network)
        if program and len(self.programs) < _MAX_NAMES:
            self.programs.add(program)
        return True

    def peaks(self) -> Iterator[tuple[str, float]]:
        """What baselines keep the largest values of, by name."""
        yield "relations", len(self.relations)
        yield "sessions", len(self.sessions)
        yield "networks", len(self.networks)
        for relation, rows in self.rows_of.items():
            yield f"rows {relation}", rows
        for relation, rows in self.results.items():
            yield f"result {relation}", rows
        for use in self.uses.values():
            if use.count > 3 and (use.shape.pages or use.shape.searches):
                yield f"runs {use.shape.fingerprint}", use.count
        for column, count in self.masked.items():
            if count > 2:
                yield f"masked {column}", count
        for relation, (count, _) in self.differences.items():
            yield f"differences {relation}", count
        yield "session", self.longest


def _differs_by_person(shape: Shape, base: Shape) -> bool:
    """Whether a condition that tells persons apart is all that makes the shape's group another
    one than the base's; the base may have another such condition in its place.
    """
    if not shape.singling:
        return False
    added, gone = shape.conditions - base.conditions, base.conditions - shape.conditions
    return len(added) == 1 and added <= shape.singling and len(gone) <= 1 and gone <= base.singling


def add_rows(relations: tuple[str, ...], rows: int, *sums: dict[str, int]) -> None:
    """Rows of a result that was made of these relations, to several sums. Bounded."""
    for relation in relations[:8]:
        for rows_of in sums:
            if relation in rows_of:
                rows_of[relation] += rows
            elif len(rows_of) < _MAX_RELATIONS:
                rows_of[relation] = rows


@dataclass(slots=True)
class Day:
    """number: days since the epoch, UTC."""

    number: int
    statements: int = 0
    refused: int = 0
    rows: int = 0
    rows_of: dict[str, int] = field(default_factory=dict)

    def add(self, statements: int, refused: int, rows: int) -> None:
        """Of a batch; the rows by relation are added by :func:`add_rows`."""
        self.statements += statements
        self.refused += refused
        self.rows += rows

    def peaks(self) -> Iterator[tuple[str, float]]:
        """As of :class:`Episode`."""
        yield "day", self.rows
        for relation, rows in self.rows_of.items():
            yield f"day {relation}", rows


@dataclass(slots=True)
class Mix:
    """Labels of the latest statements, how many there are of each, and how many came since their
    distance was last learned, up to as many as there is room for.
    """

    labels: deque[tuple[str, int]] = field(default_factory=deque)
    counts: dict[str, int] = field(default_factory=dict)
    total: int = 0
    fresh: int = 0

    def extend(self, labels: Sequence[tuple[str, int]]) -> None:
        """Labels with how many statements each, the latest last: those that the mix has room for,
        so the others are not looked at.
        """
        kept: list[tuple[str, int]] = []
        room = MIX
        for label, count in reversed(labels):
            kept.append((label, min(count, MIX)))
            room -= count
            if room <= 0:
                break
        mine, counts = self.labels, self.counts
        for label, count in reversed(kept):
            mine.append((label, count))
            counts[label] = counts.get(label, 0) + count
            self.total += count
            self.fresh += count
        while self.total - mine[0][1] >= MIX:
            label, count = mine.popleft()
            self.total -= count
            if counts[label] > count:
                counts[label] -= count
            else:
                del counts[label]

    def shares(self) -> dict[str, float]:
        """Of the latest statements, by label."""
        return {label: count / self.total for label, count in self.counts.items()}


@dataclass(slots=True)
class Recent:
    """Of one agent."""

    episode: Episode
    day: Day
    mix: Mix = field(default_factory=Mix)
    changes: Changes = field(default_factory=Changes)
