"""``make bench ARGS=watch``: precision, recall and time to detection of the detectors over
simulated months with labelled attacks, false findings, cost of a statement, memory of an agent.

Recall counts an attack that a fitting detector tells within 20 statements (a bulk dump: within 1 %
of the table). Precision of a detector: of its findings, those about an attack, where every agent
is attacked once in every way within the year. A finding after a deployment counts as false.
"""

from __future__ import annotations

import copy
import random
import statistics
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.traces import ATTACKS, DAY, HABITS, NETWORKS, START, TABLE_ROWS, Habit, Trace, varied
from sallyport.server.watch_access import WatchAccess
from sallyport.session.activity import COMPILED, Activity
from sallyport.watch.baseline import Learning
from sallyport.watch.finding import AgentKey
from sallyport.watch.intake import Batch, Observation
from sallyport.watch.merging import LessonBatch, merged
from sallyport.watch.watcher import Watcher

_WITHIN = 20
_BULK_SHARE = 0.01
_DEPLOY_DAYS = 60
#: Simulated seconds between two ticks: what a baseline learns is saved, and comes back merged. A
#: gateway does it more often; it must before more is learned than is kept for the store.
_TICK = 3 * 3600.0
#: A person looks at the findings once a day, and says of this share that they are expected.
_EXPECTED = 0.5


@dataclass(slots=True)
class Result:
    """told: attacks that a fitting detector told in time, by family; named: that the detector made
    for it did. after: statements until then. true, false: findings by detector.
    """

    attacks: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    after: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    true: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    habits: Counter[tuple[str, str]] = field(default_factory=Counter)
    statements: int = 0
    batches: int = 0
    seconds: float = 0.0
    sizes: list[int] = field(default_factory=list)


class _Store(dict[AgentKey, bytes]):
    watcher: Watcher

    def save(self, key: AgentKey, batch: LessonBatch, at: float) -> None:
        self[key] = merged(self.get(key), batch)
        self.watcher.adopt(key, batch.id, self[key], at)


#: Seeds of the agents that thresholds were not set by begin here.
_HELD_OUT = 1_000_000


def print_watching(console: Console, agents: int, months: int, *, held_out: bool = False) -> None:
    """Simulate and print. agents: a multiple of ten has all habits alike. held_out: other agents
    than those that thresholds were set by, with other seeds and habits.
    """
    result = Result()
    for number in range(agents):
        _agent(number, months, result, held_out=held_out)
        if number % 10 == 9:
            console.print(f"[dim]· {number + 1} agents[/]")
    _print(console, result, agents, months)


def _agent(number: int, months: int, result: Result, *, held_out: bool) -> None:
    chance = random.Random(number + _HELD_OUT * held_out)
    habit = HABITS[number % len(HABITS)]
    trace = Trace(varied(habit, chance) if held_out else habit, chance)
    key = AgentKey("https://idp", f"agent-{number}", "", trace.habit.name, "shop")
    store = _Store()
    watcher = store.watcher = Watcher(Learning(), store.get, store.save)
    days = months * 30
    attack_days = dict(
        zip(chance.sample(range(45, days), len(ATTACKS)), ATTACKS, strict=True)
        if days > 60
        else ((days - 1, family) for family in list(ATTACKS)[number % len(ATTACKS) :][:1])
    )
    pending = []
    for day in range(days):
        if day and day % _DEPLOY_DAYS == 0:
            trace.deploy()
        for finding in pending:
            if chance.random() < _EXPECTED:
                watcher.expect(finding, START + day * DAY)
        pending = []
        now = ticked = START + day * DAY
        for now, session, steps in trace.day(day):
            result.statements += len(steps)
            batch = Batch(session, trace.network(), steps)
            spent = time.process_time()
            findings = watcher.observe(key, batch, now)
            result.seconds += time.process_time() - spent
            result.batches += 1
            result.habits.update((trace.habit.name, finding.detector) for finding in findings)
            result.false.update(finding.detector for finding in findings)
            pending += findings
            if now - ticked >= _TICK:
                watcher.tick(now)
                ticked = now
        watcher.tick(now)
        if day in attack_days:
            _attack(watcher, key, trace, attack_days[day], now + 900.0, result)
    watcher.close(START + days * DAY)
    # One that is quiet at the end was let go, and is what the store has.
    agent = watcher._agents.get(key) or watcher._open(key, START + days * DAY)
    result.sizes.append(_deep_size(agent))


def _attack(
    watcher: Watcher,
    key: AgentKey,
    trace: Trace,
    family: str,
    now: float,
    result: Result,
) -> None:
    """Attack a copy of the agent as it is, so that its year goes on without it."""
    attack, fitting, named = ATTACKS[family]
    was_told = was_named = False
    target = copy.deepcopy(watcher)
    result.attacks[family] += 1
    count, share = 0, 0.0
    network = NETWORKS.get(family) or trace.network()
    waiting = _Waiting()
    for seconds, seen in attack(trace.random, trace):
        now += seconds
        if seen.count:
            count += 1
            batch = Batch("ses_attack", network, waiting.taken_with(seen, seconds))
        else:
            share = seen.rows / TABLE_ROWS
            batch = Batch("ses_attack", network, [], seen)
        for finding in target.observe(key, batch, now):
            if finding.detector not in fitting:
                continue
            in_time = share <= _BULK_SHARE if seen.count == 0 else count <= _WITHIN
            result.true[finding.detector] += 1
            if finding.detector == named and not was_named:
                result.named[family] += in_time
                was_named = True
            if not was_told:
                result.told[family] += in_time
                result.after[family].append(share if seen.count == 0 else count)
                was_told = True
        if was_named or count > 3 * _WITHIN:
            return


@dataclass(slots=True)
class _Waiting:
    """What waits in a session until it is looked at, as gateways put that off."""

    forms: set[str] = field(default_factory=set)
    steps: list[Observation] = field(default_factory=list)

    def taken_with(self, step: Observation, seconds: float) -> list[Observation]:
        """What a look takes once this has run, so many seconds behind the one before."""
        is_unusual = bool(step.code or step.failed) or step.shape.fingerprint not in self.forms
        self.forms.add(step.shape.fingerprint)
        self.steps.append(step)
        rows = sum(step.rows for step in self.steps)
        if not is_unusual and len(self.steps) < 4 and rows < 100 and seconds < 30.0:
            return []
        taken, self.steps = self.steps, []
        return taken


def _deep_size(value: object) -> int:
    """Bytes of an object with everything it holds, each once."""
    import sys

    seen: set[int] = set()

    def size(item: object) -> int:
        if id(item) in seen:
            return 0
        seen.add(id(item))
        total = sys.getsizeof(item)
        if isinstance(item, dict):
            return total + sum(size(k) + size(v) for k, v in item.items())
        if isinstance(item, list | tuple | set | frozenset):
            return total + sum(map(size, item))
        if isinstance(item, msgspec.Struct):
            return total + sum(size(getattr(item, name)) for name in item.__struct_fields__)
        if hasattr(item, "__slots__"):
            return total + sum(size(getattr(item, name)) for name in item.__slots__)
        return total

    return size(value)


def hot_path(count: int = 300_000) -> float:
    """Seconds of counting one statement in the session, called from Python."""
    verdicts: list[Any] = [object() for _ in range(20)]
    activity = Activity()
    started = time.process_time()
    for number in range(count):
        activity.completed(verdicts[number % 20], number, 3, 240, False, number)
    return (time.process_time() - started) / count


#: How agents work while their cost is measured: statements between two looks, and how many looks.
_PACES = {
    "100 statements each half second": (100, 1),
    "20 statements each half second": (20, 1),
    "5 statements each half second": (5, 1),
    "one statement a second": (1, 2),
}
_PACED = 4_000


def cost(habit: Habit, statements: int, looks: int) -> float:
    """Seconds of CPU for one statement of an agent that has long worked at this pace: counted in
    its session, taken, compared and learned, with the looks that find nothing to take.
    """
    trace = Trace(habit, random.Random(1))
    steps: list[Observation] = []
    while len(steps) < _PACED:
        steps += trace.task()
    watcher = Watcher(Learning(0.0, _PACED), lambda key: None, lambda key, batch, at: None)
    key = AgentKey("https://idp", "agent", "", habit.name, "shop")
    judge = SimpleNamespace(catalog=None, subject_policy=SimpleNamespace(masks=()))
    session: Any = SimpleNamespace(
        names=SimpleNamespace(subject_judge=judge), pipeline=SimpleNamespace(entries=[])
    )
    row: Any = SimpleNamespace(client="10.0.2.1:5", application="psql")
    access = WatchAccess(session, None, None, lambda: None, row)
    verdicts: dict[str, Any] = {}
    for step in steps:
        verdict = SimpleNamespace(records={"watch": step.shape})
        verdicts.setdefault(step.shape.fingerprint, verdict)
    spent = 0.0
    for day in range(3):
        now = START + day * DAY
        started = time.process_time()
        for at in range(0, _PACED, statements):
            for number, step in enumerate(steps[at : at + statements], at + 1):
                _count(session.activity, verdicts[step.shape.fingerprint], step, number)
            for _ in range(looks):
                now += 0.5
                seen, running = access.take(now, everything=False)
                if seen:
                    batch = Batch("ses_1", access.network, seen, running, access.program, 60.0)
                    watcher.observe(key, batch, now)
        spent = time.process_time() - started
        watcher.tick(now)
    return spent / _PACED


def _count(activity: Activity, verdict: Any, step: Observation, number: int) -> None:
    """As a session does."""
    if step.code:
        activity.refused(number, step.code, step.shape.relations, b"SELECT 1")
    else:
        activity.completed(verdict, number, step.rows, step.size, bool(step.failed), number)


def _print(console: Console, result: Result, agents: int, months: int) -> None:
    columns = ("attack", "attacks", "recall", "by its detector", "median until told", "latest")
    table = Table(*columns, box=SIMPLE)
    for family, count in result.attacks.items():
        after = sorted(result.after[family]) or [float("nan")]
        form = "{:.2%} of the table" if family == "bulk dump" else "{:.0f} statements"
        table.add_row(
            family, str(count), f"{result.told[family] / count:.3f}",
            f"{result.named[family] / count:.3f} {ATTACKS[family][2]}",
            form.format(statistics.median(after)), form.format(after[-1]),
        )  # fmt: skip
    console.print(table)
    table = Table("detector", "true", "false", "precision", "false per agent-month", box=SIMPLE)
    for detector in sorted(result.true | result.false):
        true, false = result.true[detector], result.false[detector]
        table.add_row(
            detector, str(true), str(false), f"{true / (true + false):.3f}",
            f"{false / (agents * months):.3f}",
        )  # fmt: skip
    console.print(table)
    for (habit, detector), count in sorted(result.habits.items()):
        console.print(f"[dim]{habit}: {count} {detector}[/]")
    total = result.false.total()
    console.print(f"false findings per agent and month: {total / (agents * months):.3f}")
    console.print(
        f"one task an episode: {result.seconds / result.statements * 1e6:.2f} µs a statement, "
        f"{result.seconds / result.batches * 1e6:.0f} µs a batch "
        f"({result.statements:,} statements of {agents} agents in {months} months)"
    )
    for pace, (statements, looks) in _PACES.items():
        costs = [cost(habit, statements, looks) for habit in HABITS]
        console.print(
            f"at {pace}: median {statistics.median(costs) * 1e6:.1f} µs a statement, "
            f"{max(costs) * 1e6:.1f} µs of the costliest habit"
        )
    form = "native" if COMPILED else "interpreted"
    console.print(f"counting in the session, {form}: {hot_path() * 1e6:.2f} µs a statement")
    console.print(
        f"memory of an agent: median {statistics.median(result.sizes) / 1000:.0f} kB, "
        f"largest {max(result.sizes) / 1000:.0f} kB"
    )


__all__ = ["Observation", "print_watching"]
