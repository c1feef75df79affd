"""What an agent does at present, not learned yet: an episode of ten minutes, the day, and the mix
of its latest statements.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sallyport.watch.shapes import Shape

#: Seconds of an episode.
EPISODE: Final = 600.0
#: Statements whose mix is compared.
MIX: Final = 16
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
    """How one shape was used. most: rows of its largest result. repeats: how often text and bind
    values were those of the time before. code: why it was refused; "" when it was not.
    variant: hash of the latest text of what was refused. is_new: the baseline did not have it.
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


@dataclass(slots=True)
class Episode:
    """Unix seconds. rows_of: by relation. refusals: by code and fingerprint. running: rows of
    results that are still passing, by relation, and whether of a statement that is new, and its
    number; they are counted again when they have passed.
    new_...: what the baseline did not have when it came: actions on relations, labels of
    statements, columns that look like credentials, networks, blocks of networks and programs.
    totals: different statements that aggregate one group. longest: seconds since the login of its
    oldest session.
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
    new_credentials: list[str] = field(default_factory=list)
    new_networks: list[str] = field(default_factory=list)
    new_blocks: list[str] = field(default_factory=list)
    new_programs: list[str] = field(default_factory=list)
    programs: set[str] = field(default_factory=set)
    totals: int = 0
    longest: float = 0.0

    def use(self, shape: Shape) -> Use | None:
        """The counters of a shape; None when there are too many of them."""
        use = self.uses.get(shape.fingerprint)
        if use is None and len(self.uses) < _MAX_USES:
            use = self.uses[shape.fingerprint] = Use(shape)
            self.totals += shape.aggregates
        return use

    def refusal(self, code: str, shape: Shape) -> Use | None:
        """As :meth:`use`, of what was refused with this code."""
        key = f"{code} {shape.fingerprint}"
        use = self.refusals.get(key)
        if use is None and len(self.refusals) < _MAX_REFUSALS:
            use = self.refusals[key] = Use(shape, code=code)
        return use

    def relations(self) -> set[str]:
        """Relations that statements touched, those that were refused included."""
        uses = (*self.uses.values(), *self.refusals.values())
        return {relation for use in uses for relation in use.shape.relations}

    def saw(self, session: str, network: str, program: str, age: float) -> None:
        """Somebody is connected: from where, by what, since how many seconds. Bounded."""
        if len(self.sessions) < _MAX_NAMES:
            self.sessions.add(session)
        if network and len(self.networks) < _MAX_NAMES:
            self.networks.add(network)
        if program and len(self.programs) < _MAX_NAMES:
            self.programs.add(program)
        if age > self.longest:
            self.longest = age

    def peaks(self) -> Iterator[tuple[str, float]]:
        """What baselines keep the largest values of, by name."""
        yield "relations", len(self.relations())
        yield "sessions", len(self.sessions)
        yield "networks", len(self.networks)
        for relation, rows in self.rows_of.items():
            yield f"rows {relation}", rows
        for relation, rows in self.results().items():
            yield f"result {relation}", rows
        for use in self.uses.values():
            if use.count > 3 and (use.shape.pages or use.shape.searches):
                yield f"runs {use.shape.fingerprint}", use.count
        for column, count in self.masked_shapes().items():
            if count > 2:
                yield f"masked {column}", count
        for relation, (count, _) in self.differences().items():
            yield f"differences {relation}", count
        yield "session", self.longest

    def results(self, *, new_only: bool = False) -> dict[str, int]:
        """Rows of the largest result by relation, where that is large. new_only: of statements
        that are new.
        """
        largest: dict[str, int] = {}
        for use in self.uses.values():
            if use.largest >= _LARGE and (use.is_new or not new_only):
                for relation in use.shape.relations:
                    largest[relation] = max(use.largest, largest.get(relation, 0))
        return largest

    def differences(self) -> dict[str, tuple[int, Use]]:
        """By the relations of the statements, how many totals there are of groups that differ from
        another total's group in one condition that tells persons apart, each with other values;
        and the latest of them.
        """
        if self.totals < 2:
            return {}
        groups: dict[tuple[str, ...], list[Use]] = {}
        for use in self.uses.values():
            if use.shape.aggregates:
                groups.setdefault(use.shape.relations, []).append(use)
        counts: dict[str, tuple[int, Use]] = {}
        for relations, uses in groups.items():
            name = ", ".join(relations[:2])
            for use in uses:
                if any(_differs_by_person(use.shape, base.shape) for base in uses):
                    count = counts[name][0] if name in counts else 0
                    counts[name] = count + use.count - use.repeats, use
        return counts

    def masked_shapes(self) -> dict[str, int]:
        """How many different statements asked for each masked column."""
        counts: dict[str, int] = {}
        for use in self.uses.values():
            for column in use.shape.masked:
                counts[column] = counts.get(column, 0) + 1
        return counts


def _differs_by_person(shape: Shape, base: Shape) -> bool:
    """Whether a condition that tells persons apart is all that makes the shape's group another
    one than the base's; the base may have another such condition in its place.
    """
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
    """Labels of the latest statements, and how many came since their distance was last learned, up
    to as many as there is room for.
    """

    labels: deque[tuple[str, int]] = field(default_factory=deque)
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
        kept.reverse()
        mine, total = self.labels, self.total
        for entry in kept:
            mine.append(entry)
            total += entry[1]
        while total - mine[0][1] >= MIX:
            total -= mine.popleft()[1]
        self.fresh += sum([count for _, count in kept])
        self.total = total

    def shares(self) -> dict[str, float]:
        """Of the latest statements, by label."""
        shares: dict[str, float] = {}
        for label, count in self.labels:
            shares[label] = shares.get(label, 0.0) + count / self.total
        return shares


@dataclass(slots=True)
class Recent:
    """Of one agent."""

    episode: Episode
    day: Day
    mix: Mix = field(default_factory=Mix)
