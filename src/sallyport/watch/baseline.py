"""What one agent identity usually does at one target: sketches of bounded size.

Fingerprints, names of relations and columns, and numbers: no literal of any statement. An episode
(:mod:`~sallyport.watch.recent`) is folded in when it is over, so that nothing is compared with
itself. What raised a finding counts for peaks as twice the largest value so far at most, and what
did not as twice the largest of the weeks before: a baseline that somebody poisons slowly grows by
steps that are told, or no faster than twofold in a week.
"""

from __future__ import annotations

from collections.abc import Collection
from math import sqrt
from typing import Final

import msgspec

from sallyport.watch.recent import Day, Episode, block_of
from sallyport.watch.sketches import Days, Decayed, Peaks, days_of
from sallyport.watch.thresholds import LEAST

HOUR: Final = 3600.0
DAY: Final = 86400.0
HOURS: Final = 168
#: Windows of statements after which the usual distance of mixes is known.
_DRIFT_WINDOWS: Final = 8
#: Of a new value, in the moving mean of distances.
_DRIFT_WEIGHT: Final = 0.05
#: Statements after which it counts how many are new; before that everything is.
SETTLED: Final = 100
_MAX_FINGERPRINTS: Final = 160
_MAX_LABELS: Final = 96
_MAX_COLUMNS: Final = 128
_MAX_PEAKS: Final = 128
_MAX_HISTORY: Final = 90
_MAX_MEASURED: Final = 48
_MAX_EXPECTED: Final = 256
#: Distances of one lesson; older ones have faded from the moving mean.
_MAX_DISTANCES: Final = 64


class Learning(msgspec.Struct, frozen=True):
    """When a baseline is worth comparing with: after so many days and statements, both."""

    days: float = 7.0
    statements: int = 300
    half_life_days: float = 30.0


class Lesson(msgspec.Struct):
    """Something to learn, which each baseline learns once. moment: Unix seconds. counts: by the
    name of a baseline's table. peaks: name, value, and whether it raised a finding. day: see
    ``history`` of :class:`Baseline`, and there the others. settled: findings that are measured no
    more. is_free: peaks are taken as they are.
    """

    moment: float
    counts: dict[str, dict[str, float]] = {}
    peaks: list[tuple[str, float, bool]] = []
    statements: int = 0
    day: tuple[int, int, int, int] | None = None
    distances: list[float] = []
    expected: list[str] = []
    measured: dict[str, dict[str, float]] = {}
    settled: list[str] = []
    is_free: bool = False

    def take(self, lesson: Lesson) -> bool:
        """Have what comes right behind it as well, where both are about the present: there is much
        of that. False: it has to stand by itself.
        """
        if not self._is_of_present() or not lesson._is_of_present():
            return False
        self.distances = [*self.distances, *lesson.distances][-_MAX_DISTANCES:]
        for finding, sizes in lesson.measured.items():
            mine = self.measured.setdefault(finding, {})
            mine.update({peak: max(size, mine.get(peak, 0.0)) for peak, size in sizes.items()})
        return True

    def _is_of_present(self) -> bool:
        return bool(self.distances or self.measured) and not (
            self.counts or self.peaks or self.day or self.expected or self.settled
        )


class Drift(msgspec.Struct, array_like=True):
    """The usual distance of the recent mix from the whole: a moving mean and variance."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def add(self, distance: float) -> None:
        """distance: from 0 to 1."""
        self.count += 1
        weight = max(_DRIFT_WEIGHT, 1.0 / self.count)
        difference = distance - self.mean
        self.mean += weight * difference
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference)

    def bound(self) -> float:
        """Distances above this are unusual; 1 while too few are known."""
        if self.count < _DRIFT_WINDOWS:
            return 1.0
        return self.mean + 4.0 * sqrt(self.variance)


class Baseline(msgspec.Struct):
    """since: Unix seconds of the first statement, or of the latest reset. outcomes: how
    statements ended (ran, failed, refused), and what was new in them. hours: of the week, in
    episodes. origins: networks, blocks of networks and programs of clients. seen: statements that
    were learned. expected: what a person said is no finding, as
    ``detector about``. measured: the largest values of peaks that findings were about, by
    ``detector about``. history: day, statements, refused and rows of the latest days with work.
    generation: Unix seconds of the latest reset. merged: ids of the batches that were merged last;
    the store has them, a watcher does not.
    """

    since: float
    half_life: float
    fingerprints: Decayed
    labels: Decayed
    relations: Decayed
    columns: Decayed
    masked: Decayed
    outcomes: Decayed
    hours: Decayed
    origins: Decayed
    peaks: dict[str, Peaks] = {}
    drift: Drift = msgspec.field(default_factory=Drift)
    expected: list[str] = []
    measured: dict[str, dict[str, float]] = {}
    seen: int = 0
    active_days: int = 0
    history: Days = Days()
    generation: float = 0.0
    merged: list[str] = []

    def progress(self, learning: Learning, now: float) -> float:
        """Of the learning period, from 0 to 1. now: Unix seconds."""
        days = (now - self.since) / (learning.days * DAY) if learning.days else 1.0
        statements = self.seen / learning.statements if learning.statements else 1.0
        return max(0.0, min(1.0, days, statements))

    def peak(self, name: str, now: float) -> float:
        """The largest value of the last five weeks."""
        peaks = self.peaks.get(name)
        return peaks.largest(now) if peaks is not None else 0.0

    def refusal_share(self) -> float:
        """Of statements, those that were refused, with a prior of 2 %."""
        return (self.outcomes.weights.get("refused", 0.0) + 1.0) / (self._weight() + 50.0)

    def share_refused(self) -> float:
        """Of statements, those that were refused."""
        return self.outcomes.weights.get("refused", 0.0) / (self._weight() or 1.0)

    def novelty(self, outcome: str = "new") -> float:
        """Of statements, those whose fingerprint (or with "new relation": one of whose relations)
        was new when they came.
        """
        return (self.outcomes.weights.get(outcome, 0.0) + 1.0) / (self._weight() + 2.0)

    def share_of_episodes(self, outcome: str) -> float:
        """Of episodes, those in which this was new ("new network", "new block", "new program")."""
        return (self.outcomes.weights.get(outcome, 0.0) + 1.0) / (self.hours.total + 2.0)

    def _weight(self) -> float:
        weights = self.outcomes.weights
        return sum(weights.get(outcome, 0.0) for outcome in ("ran", "failed", "refused"))

    def _peaks(self, name: str, now: float) -> Peaks:
        peaks = self.peaks.get(name)
        if peaks is None:
            if len(self.peaks) >= _MAX_PEAKS:
                self._drop_peaks(now)
            peaks = self.peaks[name] = Peaks()
        return peaks

    def _learn_peaks(self, lesson: Lesson) -> None:
        """In the learning period, and by a person's word, values count as they are. Later, what
        raised a finding counts as twice the largest so far at most, and what did not as twice the
        largest of the weeks before; where there is none, as what a detector asks for at least.
        """
        now = lesson.moment
        for name, value, is_unusual in lesson.peaks:
            peaks, least = self._peaks(name, now), LEAST.get(name.partition(" ")[0], 1.0)
            if is_unusual:
                peaks.add_unusual(value, now, least)
            elif lesson.is_free:
                peaks.add(value, now)
            else:
                peaks.add_usual(value, now, least)

    def measure(self, finding: str, peak: str, value: float) -> None:
        """A finding (``detector about``) was raised because of this value."""
        values = self.measured.setdefault(finding, {})
        values[peak] = max(value, values.get(peak, 0.0))
        while len(self.measured) > _MAX_MEASURED:
            del self.measured[next(iter(self.measured))]

    def _drop_peaks(self, now: float) -> None:
        """An eighth of them, the smallest."""
        ranked = sorted(self.peaks, key=lambda name: self.peaks[name].largest(now))
        for name in ranked[: _MAX_PEAKS // 8]:
            del self.peaks[name]

    def learn(self, lesson: Lesson) -> None:
        """Fold in what is over."""
        now = lesson.moment
        for name, counts in lesson.counts.items():
            table: Decayed = getattr(self, name)
            table.add_all(counts, now)
        self._learn_peaks(lesson)
        for distance in lesson.distances:
            self.drift.add(distance)
        for finding in lesson.settled:
            self.measured.pop(finding, None)
        for finding, values in lesson.measured.items():
            for peak, value in values.items():
                self.measure(finding, peak, value)
        if lesson.expected:
            self.expected = list(dict.fromkeys([*self.expected, *lesson.expected]))
            del self.expected[:-_MAX_EXPECTED]
        self.seen += lesson.statements
        if lesson.day is not None:
            self._learn_day(*lesson.day)

    def _learn_day(self, number: int, statements: int, refused: int, rows: int) -> None:
        """Other gateways may have had the same day."""
        history = {day[0]: day for day in self.history.rows()}
        if number in history:
            _, *before = history[number]
            statements, refused, rows = (
                statements + before[0],
                refused + before[1],
                rows + before[2],
            )
        else:
            self.active_days += 1
        history[number] = number, statements, refused, rows
        self.history = days_of(sorted(history.values())[-_MAX_HISTORY:])


def lesson_of(
    episode: Episode, unusual: Collection[str], *, is_settled: bool, is_free: bool
) -> Lesson:
    """What there is to learn from an episode that is over. unusual: names of its peaks that raised
    a finding. is_settled: enough is known for that something is new. is_free: see :class:`Lesson`.
    """
    fingerprints: dict[str, float] = {}
    labels: dict[str, float] = {}
    relations: dict[str, float] = {}
    columns: set[str] = set()
    masked: set[str] = set()
    for use in episode.uses.values():
        shape, count = use.shape, use.count
        fingerprints[shape.fingerprint] = count
        labels[shape.label] = labels.get(shape.label, 0.0) + count
        for action in shape.actions:
            relations[action] = relations.get(action, 0.0) + count
        columns.update(shape.columns)
        masked.update(shape.masked)
    outcomes: dict[str, float] = {
        "ran": episode.statements - episode.refused - episode.failed,
        "failed": episode.failed,
        "refused": episode.refused,
    }
    if is_settled:
        outcomes["new"] = len(episode.new_fingerprints)
        outcomes["new relation"] = len(episode.new_relations)
        outcomes["new network"] = bool(episode.new_networks)
        outcomes["new block"] = bool(episode.new_blocks)
        outcomes["new program"] = bool(episode.new_programs)
    networks = dict.fromkeys((f"network {name}" for name in episode.networks), 1.0)
    blocks = {f"block {block_of(name)}": 1.0 for name in episode.networks if block_of(name)}
    programs = dict.fromkeys((f"program {name}" for name in episode.programs), 1.0)
    counts: dict[str, dict[str, float]] = {
        "fingerprints": fingerprints,
        "labels": labels,
        "relations": relations,
        "columns": dict.fromkeys(columns, 1.0),
        "masked": dict.fromkeys(masked, 1.0),
        "outcomes": {name: count for name, count in outcomes.items() if count},
        "origins": networks | blocks | programs,
        "hours": {str(hour_of_week(episode.started)): 1.0},
    }
    return Lesson(
        moment=episode.started,
        counts={name: table for name, table in counts.items() if table},
        peaks=[(name, value, name in unusual) for name, value in episode.peaks()],
        statements=episode.statements,
        is_free=is_free,
    )


def lesson_of_day(day: Day, unusual: Collection[str], *, is_free: bool) -> Lesson:
    """As :func:`lesson_of`, of a day that is over."""
    return Lesson(
        moment=day.number * DAY,
        peaks=[(name, value, name in unusual) for name, value in day.peaks()],
        day=(day.number, day.statements, day.refused, day.rows),
        is_free=is_free,
    )


def hour_of_week(moment: float) -> int:
    """From 0 (Monday, midnight UTC) to 167. moment: Unix seconds; the epoch was a Thursday."""
    return int(moment // HOUR + 72) % HOURS


def new_baseline(now: float, learning: Learning) -> Baseline:
    """Of an agent that nothing is known of."""
    half_life = learning.half_life_days * DAY

    def table(limit: int) -> Decayed:
        return Decayed(limit, half_life, now)

    return Baseline(
        since=now,
        half_life=half_life,
        fingerprints=table(_MAX_FINGERPRINTS),
        labels=table(_MAX_LABELS),
        relations=table(_MAX_LABELS),
        columns=table(_MAX_COLUMNS),
        masked=table(_MAX_LABELS),
        outcomes=table(16),
        hours=table(HOURS),
        origins=table(_MAX_LABELS),
    )
