"""Compares what agents do with what they usually do, and says what is unusual.

For one thread. :meth:`Watcher.observe` is given batches; it keeps a baseline and the present of
each agent, asks the detectors, and gives findings. Agents that have been quiet for an hour are
saved and let go; their baselines are loaded again when they come back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sallyport.core.ids import new_id
from sallyport.watch.baseline import (
    DAY,
    SETTLED,
    Baseline,
    Learning,
    Lesson,
    lesson_of,
    lesson_of_day,
    new_baseline,
)
from sallyport.watch.detectors import DETECTORS, LEARNED, MEASURED, QUIET, Sighting, mix_distance
from sallyport.watch.finding import LONGEST, AgentKey, Finding, Severity
from sallyport.watch.merging import LessonBatch, decoded
from sallyport.watch.recent import EPISODE, MIX, Day, Episode, Recent, add_rows, block_of
from sallyport.watch.shapes import Shape

#: Seconds between two writes of a baseline that changed, and until one that is quiet is let go.
SAVE: Final = 300.0
_IDLE: Final = 3600.0
#: Findings about one agent within an hour.
MAX_AN_HOUR: Final = 20
_HOUR: Final = 3600.0
#: Things told about one agent that are remembered, and new names of one episode.
_MAX_TOLD: Final = 256
_MAX_NEW: Final = 32
#: Lessons and batches of one agent that are kept while the store does not take them.
_MAX_LESSONS: Final = 32
_MAX_SENT: Final = 8
#: Statements after which distances of mixes are learned.
_MIX_AFTER: Final = 100


class Observation(msgspec.Struct, frozen=True):
    """Statements of one shape in one session. most: rows of the largest result. repeats: how many
    were the same as the one before. first, last: numbers in the session. code: why they were
    refused; "" when they ran. variant: a hash of what was refused.
    """

    shape: Shape
    count: int
    rows: int = 0
    size: int = 0
    largest: int = 0
    failed: int = 0
    repeats: int = 0
    first: int = 0
    last: int = 0
    code: str = ""
    variant: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one session did since the last one. network: of its client. running: rows so far of a
    result that is passing. program: what its client calls itself. age: seconds since its login.
    """

    session: str
    network: str
    observations: Sequence[Observation]
    running: Observation | None = None
    program: str = ""
    age: float = 0.0


@dataclass(slots=True)
class Agent:
    """One agent as it is watched. told: when each thing was told, Unix seconds. raised: when
    findings of a severity were raised in the last hour. unusual: peaks that raised a finding.
    lessons: what the baseline learned and the store was not told. sent: what that was told, by the
    batch's id, and did not say yet that it has.
    """

    key: AgentKey
    baseline: Baseline
    recent: Recent
    told: dict[tuple[str, str], float] = field(default_factory=dict)
    raised: dict[Severity, list[float]] = field(default_factory=dict)
    unusual: set[str] = field(default_factory=set)
    used: float = 0.0
    saved: float = 0.0
    lessons: list[Lesson] = field(default_factory=list)
    sent: dict[str, list[Lesson]] = field(default_factory=dict)

    def learn(self, lesson: Lesson) -> None:
        """Now, and for the store."""
        self.baseline.learn(lesson)
        if not self.lessons or not self.lessons[-1].take(lesson):
            self.lessons.append(lesson)
            del self.lessons[:-_MAX_LESSONS]


@dataclass(frozen=True, slots=True)
class AgentSummary:
    """An agent for people. progress: of the learning period, from 0 to 1."""

    key: AgentKey
    baseline: Baseline
    progress: float
    recent: Recent | None = None


class Watcher:
    """load: an agent's baseline as it is stored, or None. save: queue what was learned; what the
    store then has comes back by :meth:`adopt`. off: detectors that are
    not asked. quiet: seconds for which one thing is not told again. episode: seconds whose sums
    are compared.
    """

    def __init__(
        self,
        learning: Learning,
        load: Callable[[AgentKey], bytes | None],
        save: Callable[[AgentKey, LessonBatch, float], None],
        *,
        off: Collection[str] = (),
        quiet: float = 3600.0,
        episode: float = EPISODE,
    ) -> None:
        self.learning = learning
        self._load, self._save = load, save
        self._detectors = [(n, detector) for n, detector in DETECTORS.items() if n not in off]
        self._quiet, self._episode = quiet, episode
        self._agents: dict[AgentKey, Agent] = {}

    def observe(self, key: AgentKey, batch: Batch, now: float) -> list[Finding]:
        """Take in what a session did; gives what is unusual about it. now: Unix seconds."""
        agent = self._agents.get(key) or self._open(key, now)
        agent.used = now
        self._roll(agent, now)
        _take(agent, batch)
        findings: list[Finding] = []
        if not self._is_learning(agent, now):
            for name, detector in self._detectors:
                for sighting in detector(agent.baseline, agent.recent, now):
                    if self._is_news(agent, sighting, now):
                        findings.append(_finding(agent, name, sighting, batch.session, now))
        if not any(finding.detector == "drift" for finding in findings):
            self._learn_mix(agent, now)
        return findings

    def tick(self, now: float) -> None:
        """Save what changed, let go of who is quiet. To be called every minute or so."""
        for agent in list(self._agents.values()):
            self._roll(agent, now)
            if agent.lessons and now - agent.saved >= SAVE:
                self._store(agent, now)
            if now - agent.used >= _IDLE and not agent.recent.episode.statements:
                self._store(agent, now)
                del self._agents[agent.key]

    def close(self, now: float) -> None:
        """Learn what is not learned yet and save everything."""
        for agent in self._agents.values():
            self._roll(agent, max(now, agent.recent.episode.started + self._episode))
            if agent.recent.day.statements:  # the rest of the day is added to it
                is_free = self._is_learning(agent, now)
                agent.learn(lesson_of_day(agent.recent.day, agent.unusual, is_free=is_free))
            self._store(agent, now)

    def reset(self, key: AgentKey, now: float) -> None:
        """Learn an agent from the beginning: after a deployment, say."""
        agent = self._agents.get(key) or self._open(key, now)
        self._forget(agent, now)
        self._send(agent, [], now)

    def hear_reset(self, key: AgentKey, moment: float) -> None:
        """Another process of the store learns an agent from the beginning, since ``moment``."""
        agent = self._agents.get(key)
        if agent is not None and agent.baseline.generation < moment:
            self._forget(agent, moment)

    def adopt(self, key: AgentKey, batch_id: str, data: bytes, now: float) -> None:
        """What the store has of an agent, with a batch that it was told and with what other
        gateways learned.
        """
        agent, baseline = self._agents.get(key), decoded(data)
        if agent is None or baseline is None:
            return
        agent.sent.pop(batch_id, None)
        if baseline.generation < agent.baseline.generation:
            return
        if baseline.generation > agent.baseline.generation:  # it was reset elsewhere
            _begin_anew(agent, now)
        agent.baseline = baseline
        for lesson in (*itertools.chain.from_iterable(agent.sent.values()), *agent.lessons):
            baseline.learn(lesson)

    def expect(
        self, finding: Finding, now: float, told: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """A person said that a finding is usual from now on: what it measured becomes the largest
        value so far, also when that is long ago, and what has no measure is not told of this agent
        again. told: what another process knows that it measured. Gives what is known here.
        """
        agent = self._agents.get(finding.key) or self._open(finding.key, now)
        expected = _expected(finding.detector, finding.about)
        sizes = dict(agent.baseline.measured.get(expected, {}))
        for peak, size in (told or {}).items():
            sizes[peak] = max(size, sizes.get(peak, 0.0))
        is_learned = finding.detector in LEARNED or finding.detector in MEASURED
        agent.learn(
            Lesson(
                now,
                peaks=[(name, value, False) for name, value in sizes.items()],
                expected=[] if is_learned else [expected],
                settled=[expected],
                is_free=True,
            )
        )
        self._store(agent, now)
        return sizes

    def hear_expected(
        self, finding: Finding, told: Mapping[str, float], now: float
    ) -> dict[str, float]:
        """As :meth:`expect`, where somebody said it to another process of the store: the one that
        raised the finding may be the only one that knows what it measured. To learn it twice is to
        learn it once.
        """
        return self.expect(finding, now, told) if finding.key in self._agents else {}

    def present(self) -> list[AgentKey]:
        """Agents that were at work within the hour."""
        return list(self._agents)

    def summary(self, key: AgentKey, now: float) -> AgentSummary | None:
        """An agent and its baseline; None for one that was never seen."""
        agent = self._agents.get(key)
        baseline = agent.baseline if agent is not None else decoded(self._load(key))
        if baseline is None:
            return None
        progress = baseline.progress(self.learning, now)
        return AgentSummary(key, baseline, progress, agent.recent if agent is not None else None)

    # -- its own -----------------------------------------------------------------------------

    def _is_learning(self, agent: Agent, now: float) -> bool:
        return agent.baseline.progress(self.learning, now) < 1.0

    def _open(self, key: AgentKey, now: float) -> Agent:
        baseline = decoded(self._load(key)) or new_baseline(now, self.learning)
        agent = Agent(key, baseline, _present(now), used=now, saved=now)
        self._agents[key] = agent
        return agent

    def _forget(self, agent: Agent, moment: float) -> None:
        agent.baseline = new_baseline(moment, self.learning)
        agent.baseline.generation = moment
        _begin_anew(agent, moment)

    def _store(self, agent: Agent, now: float) -> None:
        agent.saved = now
        if agent.lessons:
            lessons, agent.lessons = agent.lessons, []
            self._send(agent, lessons, now)

    def _send(self, agent: Agent, lessons: list[Lesson], now: float) -> None:
        baseline = agent.baseline
        whose = (baseline.generation, baseline.since, baseline.half_life)
        batch = LessonBatch(new_id("lsn"), *whose, lessons)
        agent.sent[batch.id] = lessons
        while len(agent.sent) > _MAX_SENT:
            del agent.sent[next(iter(agent.sent))]
        self._save(agent.key, batch, now)

    def _roll(self, agent: Agent, now: float) -> None:
        """Learn the episode and the day once they are over."""
        recent = agent.recent
        episode = recent.episode
        if not 0 <= now - episode.started < self._episode:
            if episode.statements:
                is_free, is_settled = self._is_learning(agent, now), agent.baseline.seen >= SETTLED
                how = {"is_settled": is_settled, "is_free": is_free}
                agent.learn(lesson_of(episode, agent.unusual, **how))
            agent.unusual = {name for name in agent.unusual if name.startswith("day ")}
            recent.episode = Episode(now)
        number = int(now // DAY)
        if number != recent.day.number:
            if recent.day.statements:
                is_free = self._is_learning(agent, now)
                agent.learn(lesson_of_day(recent.day, agent.unusual, is_free=is_free))
            agent.unusual = {name for name in agent.unusual if not name.startswith("day ")}
            recent.day = Day(number)

    def _is_news(self, agent: Agent, sighting: Sighting, now: float) -> bool:
        if _expected(sighting.detector, sighting.about) in agent.baseline.expected:
            return False
        if sighting.peak:
            agent.unusual.add(sighting.peak)
            size = _measured(agent.recent, sighting.peak)
            expected = _expected(sighting.detector, sighting.about)
            if size > agent.baseline.measured.get(expected, {}).get(sighting.peak, 0.0):
                agent.learn(Lesson(now, measured={expected: {sighting.peak: size}}))
        told = (sighting.detector, sighting.about)
        quiet = max(self._quiet, QUIET.get(sighting.detector, 0.0))
        if now - agent.told.get(told, -quiet) < quiet:
            return False
        if sighting.detector == "volume" and now - agent.told.get(_bulk(sighting), -DAY) < DAY:
            return False  # the same rows
        # Each severity by itself: an agent could use the bound up with noise before what matters.
        raised = [at for at in agent.raised.get(sighting.severity, ()) if now - at < _HOUR]
        if len(raised) >= MAX_AN_HOUR:
            return False
        agent.raised[sighting.severity] = [*raised, now]
        if len(agent.told) >= _MAX_TOLD:
            del agent.told[min(agent.told, key=agent.told.__getitem__)]
        agent.told[told] = now
        return True

    def _learn_mix(self, agent: Agent, now: float) -> None:
        mix, baseline = agent.recent.mix, agent.baseline
        if mix.fresh < MIX or mix.total < MIX:
            return
        mix.fresh = 0
        if baseline.seen >= _MIX_AFTER:
            distance = mix_distance(mix.shares(), baseline)
            agent.learn(Lesson(now, distances=[distance]))


def _begin_anew(agent: Agent, now: float) -> None:
    """What is known of the agent belongs to a baseline that is gone."""
    agent.recent = _present(now)
    agent.told.clear()
    agent.unusual.clear()
    agent.lessons.clear()
    agent.sent.clear()


def _present(now: float) -> Recent:
    return Recent(Episode(now), Day(int(now // DAY)))


def _bulk(sighting: Sighting) -> tuple[str, str]:
    return "bulk", sighting.about


def _expected(detector: str, about: str) -> str:
    return f"{detector} {about}"


def _measured(recent: Recent, peak: str) -> float:
    values = dict(recent.day.peaks() if peak.startswith("day") else recent.episode.peaks())
    return values.get(peak, 0.0)


def _take(agent: Agent, batch: Batch) -> None:
    """Count what a session did."""
    recent = agent.recent
    episode = recent.episode
    episode.saw(batch.session, batch.network, batch.program, batch.age)
    _note_origin(agent.baseline, episode, batch)
    uses, fingerprints = episode.uses, agent.baseline.fingerprints.weights
    statements = refused = rows = size = failed = 0
    labels: list[tuple[str, int]] = []
    for seen in batch.observations:
        shape, count = seen.shape, seen.count
        statements += count
        if seen.code:
            refused += count
            _take_refused(episode, seen)
            continue
        labels.append((shape.label, count))
        size += seen.size
        failed += seen.failed
        if seen.rows:
            rows += seen.rows
            if shape.relations:
                add_rows(shape.relations, seen.rows, episode.rows_of, recent.day.rows_of)
        use = uses.get(shape.fingerprint) or episode.use(shape)
        if use is None:
            continue
        if not use.count:
            use.first = seen.first
            use.is_new = shape.fingerprint not in fingerprints
            _note_new(agent.baseline, episode, shape)
        use.count += count
        use.rows += seen.rows
        if seen.largest > use.largest:
            use.largest = seen.largest
        use.failed += seen.failed
        use.repeats += seen.repeats
        use.last = seen.last
    episode.statements += statements
    episode.refused += refused
    episode.rows += rows
    episode.size += size
    episode.failed += failed
    recent.day.add(statements, refused, rows)
    if labels:
        recent.mix.extend(labels)
    if episode.running:
        episode.running = {}
    if batch.running is not None:
        shape = batch.running.shape
        episode.running = dict.fromkeys(shape.relations[:8], batch.running.rows)
        episode.running_number = batch.running.first
        episode.is_running_new = shape.fingerprint not in agent.baseline.fingerprints


def _take_refused(episode: Episode, seen: Observation) -> None:
    use = episode.refusal(seen.code, seen.shape)
    if use is None:
        return
    if not use.count:
        use.first = seen.first
    use.count += seen.count
    use.repeats += use.variant == seen.variant and use.count > 1
    use.last, use.variant = seen.last, seen.variant


def _note_new(baseline: Baseline, episode: Episode, shape: Shape) -> None:
    """What the baseline does not have. Bounded."""
    if shape.fingerprint not in baseline.fingerprints and len(episode.new_fingerprints) < _MAX_NEW:
        episode.new_fingerprints.append(shape.label)
    for action in shape.actions:
        if action not in baseline.relations and len(episode.new_relations) < _MAX_NEW:
            episode.new_relations.append(action)
    for name in shape.credentials:
        was_read = name in baseline.columns or f"{shape.kind} {name}" in baseline.relations
        if not was_read and len(episode.new_credentials) < _MAX_NEW:
            episode.new_credentials.append(name)


def _note_origin(baseline: Baseline, episode: Episode, batch: Batch) -> None:
    """Where the baseline has none of a kind, nothing is new."""
    for kind, name, new in (
        ("network", batch.network, episode.new_networks),
        ("block", block_of(batch.network), episode.new_blocks),
        ("program", batch.program, episode.new_programs),
    ):
        if not name or name in new or len(new) >= _MAX_NEW:
            continue
        weights = baseline.origins.weights
        if f"{kind} {name}" not in weights and any(key.startswith(kind) for key in weights):
            new.append(name)


def _finding(agent: Agent, name: str, sighting: Sighting, session: str, now: float) -> Finding:
    return Finding(
        id=new_id("fnd"),
        detector=name,
        about=sighting.about,
        severity=sighting.severity,
        key=agent.key,
        session=session,
        at=now,
        evidence=f"{agent.key.name} {sighting.evidence}"[:LONGEST],
        first=sighting.first,
        last=sighting.last,
    )
