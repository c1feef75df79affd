"""Compares what agents do with what they usually do, and says what is unusual.

For one thread. :meth:`Watcher.observe` is given batches; it keeps a baseline and the present of
each agent, asks the detectors, and gives findings. Agents that have been quiet for an hour are
saved and let go; their baselines are loaded again when they come back, and their day goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

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
from sallyport.watch.detectors import (
    CAUSES,
    DETECTORS,
    LEARNED,
    MEASURED,
    QUIET,
    Detector,
    Sighting,
    mix_distance,
)
from sallyport.watch.finding import LONGEST, AgentKey, Finding, Severity
from sallyport.watch.intake import Batch, take
from sallyport.watch.merging import LessonBatch, decoded
from sallyport.watch.recent import (
    EPISODE,
    MIX,
    Cause,
    Day,
    Episode,
    Recent,
)

#: Seconds between two writes of a baseline that changed, and until one that is quiet is let go.
SAVE: Final = 300.0
_IDLE: Final = 3600.0
#: Findings about one agent within an hour.
MAX_AN_HOUR: Final = 20
_HOUR: Final = 3600.0
#: Things told about one agent that are remembered.
_MAX_TOLD: Final = 256
#: Lessons and batches of one agent that are kept while the store does not take them.
_MAX_LESSONS: Final = 32
_MAX_SENT: Final = 8
#: What a finding measured is learned again when it has grown by so much.
_GROWN: Final = 1.0625
#: Statements after which distances of mixes are learned.
_MIX_AFTER: Final = 100


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
class _Today:
    """What is kept of an agent that was let go, until the day is over. whose: the baseline, see
    :class:`~sallyport.watch.merging.LessonBatch`. is_free: see :class:`Lesson`.
    """

    day: Day
    told: dict[tuple[str, str], float]
    unusual: set[str]
    whose: tuple[float, float, float]
    is_free: bool


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
        self._off = off
        self._by_causes: dict[frozenset[Cause], list[tuple[str, Detector]]] = {}
        self._quiet, self._episode = quiet, episode
        self._agents: dict[AgentKey, Agent] = {}
        self._let_gone: dict[AgentKey, _Today] = {}

    def observe(self, key: AgentKey, batch: Batch, now: float) -> list[Finding]:
        """Take in what a session did; gives what is unusual about it. now: Unix seconds."""
        agent = self._agents.get(key) or self._open(key, now)
        agent.used = now
        self._roll(agent, now)
        take(agent.baseline, agent.recent, batch)
        findings: list[Finding] = []
        if not agent.recent.changes.causes:
            return findings
        if not self._is_learning(agent, now):
            for name, detector in self._asked(agent.recent.changes.causes):
                for sighting in detector(agent.baseline, agent.recent, now):
                    if self._is_news(agent, sighting, now):
                        findings.append(_finding(agent, name, sighting, batch.session, now))
        if not findings or not any(finding.detector == "drift" for finding in findings):
            self._learn_mix(agent, now)
        return findings

    def tick(self, now: float) -> None:
        """Save what changed, let go of who is quiet. To be called every minute or so."""
        for agent in list(self._agents.values()):
            self._roll(agent, now)
            if agent.lessons and now - agent.saved >= SAVE:
                self._store(agent, now)
            if now - agent.used >= _IDLE and not agent.recent.episode.statements:
                self._let_go(agent, now)
        today = int(now // DAY)
        for key, left in list(self._let_gone.items()):
            if left.day.number != today:
                self._end_day(key, now)

    def close(self, now: float) -> None:
        """Learn what is not learned yet and save everything."""
        for agent in self._agents.values():
            self._roll(agent, max(now, agent.recent.episode.started + self._episode))
            self._learn_day(agent, now)  # the rest of the day is added to it
            self._store(agent, now)
        for key in list(self._let_gone):
            self._end_day(key, now)

    def reset(self, key: AgentKey, now: float) -> None:
        """Learn an agent from the beginning: after a deployment, say."""
        agent = self._agents.get(key) or self._open(key, now)
        self._forget(agent, now)
        self._send(agent, [], now)

    def hear_reset(self, key: AgentKey, moment: float) -> None:
        """Another process of the store learns an agent from the beginning, since ``moment``."""
        self._let_gone.pop(key, None)
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
        baseline.merged = []
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
        recent = agent.recent if agent is not None else None
        if left := self._let_gone.get(key):
            recent = Recent(Episode(now), left.day)
        return AgentSummary(key, baseline, baseline.progress(self.learning, now), recent)

    # -- its own -----------------------------------------------------------------------------

    def _asked(self, causes: set[Cause]) -> list[tuple[str, Detector]]:
        """Detectors that look again after a batch that had this."""
        key = frozenset(causes)
        asked = self._by_causes.get(key)
        if asked is None:
            asked = self._by_causes[key] = [
                (name, detector)
                for name, detector in DETECTORS.items()
                if name not in self._off and CAUSES[name] & key
            ]
        return asked

    def _is_learning(self, agent: Agent, now: float) -> bool:
        return agent.baseline.progress(self.learning, now) < 1.0

    def _open(self, key: AgentKey, now: float) -> Agent:
        baseline = decoded(self._load(key)) or new_baseline(now, self.learning)
        baseline.merged = []
        agent = Agent(key, baseline, _present(now), used=now, saved=now)
        left = self._let_gone.get(key)
        if left is not None and left.day.number == agent.recent.day.number:
            agent.recent.day, agent.told, agent.unusual = left.day, left.told, left.unusual
            del self._let_gone[key]
        elif left is not None:
            self._end_day(key, now)
        self._agents[key] = agent
        return agent

    def _let_go(self, agent: Agent, now: float) -> None:
        """Its day goes on when it comes back, and is learned when it is over."""
        self._store(agent, now)
        del self._agents[agent.key]
        day, is_free = agent.recent.day, self._is_learning(agent, now)
        if day.statements:
            left = _Today(day, agent.told, agent.unusual, _whose(agent.baseline), is_free)
            self._let_gone[agent.key] = left

    def _end_day(self, key: AgentKey, now: float) -> None:
        """Of an agent that was let go: the store is told, the baseline need not be loaded."""
        left = self._let_gone.pop(key)
        lesson = lesson_of_day(left.day, left.unusual, is_free=left.is_free)
        self._save(key, LessonBatch(new_id("lsn"), *left.whose, [lesson]), now)

    def _learn_day(self, agent: Agent, now: float) -> None:
        if agent.recent.day.statements:
            is_free = self._is_learning(agent, now)
            agent.learn(lesson_of_day(agent.recent.day, agent.unusual, is_free=is_free))

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
        batch = LessonBatch(new_id("lsn"), *_whose(agent.baseline), lessons)
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
            recent.episode, recent.changes = Episode(now), recent.changes.left()
        number = int(now // DAY)
        if number != recent.day.number:
            self._learn_day(agent, now)
            agent.unusual = {name for name in agent.unusual if not name.startswith("day ")}
            recent.day = Day(number)

    def _is_news(self, agent: Agent, sighting: Sighting, now: float) -> bool:
        if _expected(sighting.detector, sighting.about) in agent.baseline.expected:
            return False
        if sighting.peak:
            agent.unusual.add(sighting.peak)
            size, expected = sighting.size, _expected(sighting.detector, sighting.about)
            measured = agent.baseline.measured.get(expected, {}).get(sighting.peak, 0.0)
            if size > measured * _GROWN:
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


def _whose(baseline: Baseline) -> tuple[float, float, float]:
    return baseline.generation, baseline.since, baseline.half_life


def _bulk(sighting: Sighting) -> tuple[str, str]:
    return "bulk", sighting.about


def _expected(detector: str, about: str) -> str:
    return f"{detector} {about}"


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
