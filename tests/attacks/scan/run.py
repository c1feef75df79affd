"""The parts of the attack on masks at the scan; each takes a :class:`Stage`, tells of leaks at once
and gives a :class:`Tally`.

``sessions``: written by hand (attacks/*.sql). ``orders``: every shape under every planner setting,
simple and binary, bytes equal in all worlds. ``explained``: EXPLAIN of every shape in every form.
``counters``: statistics of relations without masks after it, seen as the owner. ``named``: names
that hide names. ``catalog``: every function, aggregate, operator and cast. ``walked``: the plans of
what the gateway sends. ``benign``: what must keep working.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

import psycopg

from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.judge import Judge, SubjectJudge
from sallyport.policy.file.load import parse_policy
from tests.attacks import cases, oracles
from tests.attacks.scan import catalog as catalogs
from tests.attacks.scan import names, plan_walk, shapes
from tests.attacks.scan.places import HERE
from tests.attacks.scan.planners import GENERIC, PARALLEL, SETTINGS
from tests.attacks.scan.stage import Hang, Leak, Result, Stage, Tally
from tests.attacks.scan.worlds import ALIKE, NAMES, masked_columns
from tests.targets.query import catalog_of

Report = Callable[[str], None]
Planners = Mapping[str, tuple[str, ...]]
_EXPLAINS = (
    "EXPLAIN {}",
    "EXPLAIN (VERBOSE, FORMAT JSON) {}",
    "EXPLAIN (ANALYZE, VERBOSE, TIMING off, SUMMARY off) {}",
    "EXPLAIN (SETTINGS, VERBOSE, FORMAT YAML, COSTS off) {}",
)


class _Trial:
    """One part of the attack under way: counts, and tells of leaks and of progress."""

    def __init__(self, stage: Stage, kind: str, report: Report) -> None:
        self.stage, self.kind, self.report = stage, kind, report
        self.tally = Tally()
        self._told = self._started = time.monotonic()
        self._agent = ""

    def run(
        self,
        text: str,
        steps: list[bytes],
        agent: str,
        way: str = "simple",
        worlds: tuple[int, ...] | None = None,
        residual: str = "",
    ) -> Result | None:
        """None: the session hung, which counts as a leak. ``residual``: why a difference
        does not.
        """
        if agent != self._agent and not self.stage.reading_only:
            self.stage.level()  # what agents write differs where the worlds are not alike to them
            self._agent = agent
        try:
            result = self.stage.run(steps, agent, way, worlds)
        except Hang:
            self.leak(agent, text, "no answer")
            self.stage.forget()
            return None
        self.tally.count(result)
        if b"SP1804" in result.answers[0]:
            self.leak(agent, text, "the gateway failed while judging (SP1804)")
        if result.difference and residual:
            self.tally.residual += 1
        elif result.difference:
            self.leak(agent, text, result.difference)
        if time.monotonic() - self._told > 20:
            self._told = time.monotonic()
            self.report(f"  {self.kind}: {self.tally}, {self._told - self._started:.0f} s")
        return result

    def leak(self, agent: str, text: str, evidence: str) -> None:
        leak = Leak(self.stage.version, agent, self.kind, text, evidence)
        self.tally.leaks.append(leak)
        self.report(str(leak))

    def ended(self) -> Tally:
        self.report(f"{self.kind}: {self.tally}, {time.monotonic() - self._started:.0f} s")
        return self.tally


def _no_values(table: str, column: str, row: int) -> str:
    raise ValueError(f"{table}.{column}: the worlds have no common value")


def sessions(
    stage: Stage,
    report: Report,
    agents: Iterable[str] = ("strict", "shown", "denied", "writer", "lender"),
    only: str = "",
    ways: Iterable[str] = ("simple", "binary", "pipelined"),
    residual: bool = True,
) -> Tally:
    """``residual``: those too that are documented as not defended, and take long."""
    trial = _Trial(stage, "sessions", report)
    chosen = [
        case
        for case in cases.read("scan/attacks", stage.server.major)
        if only in str(case) and (residual or "residual" not in case.options)
    ]
    named = {case.options["for"] for case in chosen if "for" in case.options}
    usual = tuple(agents)
    for agent, case in product((*usual, *sorted(named - set(usual))), chosen):
        if case.options.get("for", agent if agent in usual else "") != agent:
            continue
        steps = [step.sql for step in case.steps(_no_values)]
        for way in ("simple",) if len(steps) > 1 else ways:
            reason = case.options.get("residual", "")
            trial.run(f"{case} [{way}]", steps, agent, way, ALIKE.get(agent, (0,)), reason)
    return trial.ended()


def orders(
    stage: Stage,
    report: Report,
    agents: Iterable[str] = ("strict", "shown"),
    planners: Planners = SETTINGS,
    ways: Iterable[str] = ("simple",),
    only: str = "",
) -> Tally:
    trial = _Trial(stage, "row order", report)
    for agent, (name, settings) in product(agents, planners.items()):
        stage.level()
        for shape, way in product(shapes.read(stage.server.major, agent), ways):
            if only in shape.text:
                trial.run(f"[{name}] {shape.text}", shape.steps(*settings), agent, way)
        _counters(trial, agent, name)
    return trial.ended()


def explained(
    stage: Stage,
    report: Report,
    agents: Iterable[str] = ("strict", "shown"),
    planners: Planners = SETTINGS,
    only: str = "",
    every: int = 1,
) -> Tally:
    """``every``: only each n-th."""
    trial = _Trial(stage, "explain", report)
    for agent, (name, settings), shape in list(_product(stage, agents, planners, only))[::every]:
        forms = [form.format(shape.sql()) for form in _EXPLAINS]
        steps = [*settings, *(("BEGIN", *forms, "ROLLBACK") if shape.writes else forms)]
        trial.run(f"[{name}] EXPLAIN {shape.text}", [step.encode() for step in steps], agent)
    return trial.ended()


def _product(
    stage: Stage, agents: Iterable[str], planners: Planners, only: str
) -> Iterable[tuple[str, tuple[str, tuple[str, ...]], shapes.Shape]]:
    for agent, planner in product(agents, planners.items()):
        yield from (
            (agent, planner, shape)
            for shape in shapes.read(stage.server.major, agent)
            if only in shape.text
        )


#: Tables without masks, and their indexes. Not HOT updates: they depend on when pages are pruned,
#: so on who else looks at the database; nor idx_tup_read, which counts entries of dead rows until a
#: scan that no older snapshot forbids it marks them (kill_prior_tuple).
_COUNTERS = """
SELECT relname, seq_scan, seq_tup_read, coalesce(idx_scan, 0), coalesce(idx_tup_fetch, 0),
       n_tup_ins, n_tup_upd, n_tup_del
  FROM pg_stat_user_tables WHERE relname = ANY ('{orders,inn,guesses,gg,noted}')
UNION ALL SELECT indexrelname, idx_scan, idx_tup_fetch, 0, 0, 0, 0, 0 FROM pg_stat_user_indexes
  WHERE relname = ANY ('{orders,inn,guesses,gg,noted}') ORDER BY 1"""


def _counters(trial: _Trial, agent: str, name: str) -> None:
    """What ended sessions left in the counters of tables that everybody may read: the same in every
    world, once all of it is there.
    """
    stage = trial.stage
    stage.forget()
    for _ in range(12):
        time.sleep(0.5)
        kept = {world: stage.owner(world).execute(_COUNTERS).fetchall() for world in ALIKE[agent]}
        first = kept[ALIKE[agent][0]]
        wrong = [
            (world, mine, theirs)
            for world, rows in kept.items()
            for mine, theirs in zip(first, rows, strict=True)
            if mine != theirs
        ]
        if not wrong:
            return
    trial.leak(agent, f"counters after all shapes under [{name}]", str(wrong[:3]))


def catalog(
    stage: Stage,
    report: Report,
    depth: int = 2,
    agent: str = "strict",
    every: int = 1,
    only: str = "",
) -> Tally:
    """``every``: only each n-th statement."""
    trial = _Trial(stage, f"catalog ({agent})", report)
    worlds = (0, 1) if agent == "strict" else ALIKE[agent]
    stage.reading_only = True
    listing = catalogs.read(stage.owner(0), depth)
    tried: dict[str, set[str]] = {}
    ran: dict[str, set[str]] = {}
    for attempt in listing.attempts[::every]:
        if only not in attempt.sql:
            continue
        result = trial.run(attempt.sql, [attempt.sql.encode()], agent, worlds=worlds)
        tried.setdefault(attempt.kind, set()).add(attempt.name)
        if result is not None and not result.refused:
            ran.setdefault(attempt.kind, set()).add(attempt.name)
    said = ", ".join(
        f"{len(ran.get(kind, ()))} of {len(names)} {kind}s" for kind, names in tried.items()
    )
    trial.tally.notes.append(
        f"not refused: {said}; {len(listing.uncallable)} cannot be called,"
        f" {len(listing.unknown)} take unknown types"
    )
    report(f"  {trial.kind}: {trial.tally.notes[-1]}")
    stage.reading_only = False
    return trial.ended()


def named(stage: Stage, report: Report, count: int = 600, seed: int = 1, only: str = "") -> Tally:
    """Random queries in which names hide names."""
    trial = _Trial(stage, "names", report)
    stage.reading_only = True
    for text in names.queries(seed, count):
        if only in text:
            trial.run(text, [text.encode()], "strict")
    stage.reading_only = False
    return trial.ended()


def view(stage: Stage, agent: str) -> SubjectJudge:
    """The judge of world 0 as an agent of this name sees it."""
    policy = parse_policy((HERE / "policy.yaml").read_text(), "policy.yaml")
    snapshot = catalog_of(stage.databases.owner_dsn(NAMES[0]))
    judge = Judge(
        "scandb0",
        policy,
        snapshot,
        {"scan": Secret("a key that is long enough for hashes")},
        max_statement_bytes=1 << 20,
    )
    return judge.subject_judge(
        Subject(agent, "https://issuer.test", frozenset({agent})), ("public",)
    )


def walked(
    stage: Stage,
    report: Report,
    agents: Iterable[str] = ("strict", "shown", "hashed", "lender"),
    planners: Planners = SETTINGS | PARALLEL | GENERIC,
    only: str = "",
) -> Tally:
    """Plans of what is sent for every shape. A text that is sent as it came may still be masked on
    its way back: it must have one scan.
    """
    trial = _Trial(stage, "plan walk", report)
    masked = masked_columns()
    owner = stage.owner(0)
    for agent in agents:
        judge = view(stage, agent)
        for shape in shapes.read(stage.server.major, agent):
            if only not in shape.text:
                continue
            verdict = judge.judge(shape.sql().encode())
            refused = verdict.refusal is not None or verdict.refused >= 0
            outcome = (
                "refused" if refused else "plain" if verdict.rewritten is None else "rewritten"
            )
            trial.tally.outcomes[outcome] = trial.tally.outcomes.get(outcome, 0) + 1
            if not refused:
                _walk(
                    trial,
                    agent,
                    shape,
                    verdict.sent(shape.sql().encode()).decode(),
                    masked,
                    owner,
                    planners,
                )
    return trial.ended()


def _walk(
    trial: _Trial,
    agent: str,
    shape: shapes.Shape,
    sent: str,
    masked: dict[str, set[str]],
    owner: psycopg.Connection[Any],
    planners: Planners,
) -> None:
    for name, settings in planners.items():
        trial.tally.tried += 1
        try:
            carried = plan_walk.carried(owner, sent, masked, settings)
        except psycopg.Error as error:
            trial.leak(
                agent,
                f"[{name}] {shape.text}",
                f"does not plan: {str(error).splitlines()[0]}: {sent[:1500]}",
            )
            return
        if carried:
            trial.leak(
                agent,
                f"[{name}] {shape.text}",
                f"{'; '.join(map(str, carried[:3]))}\n    sent: {sent[:1500]}",
            )
            return


def benign(
    stage: Stage,
    report: Report,
    agents: Iterable[str] = ("strict", "shown", "writer", "lender"),
    only: str = "",
    ways: Iterable[str] = ("simple", "text"),
) -> Tally:
    """Every shape, and benign/*.sql: neither refused nor failing."""
    trial = _Trial(stage, "benign", report)
    written = [
        (str(case), [step.sql for step in case.steps(_no_values)])
        for case in cases.read("scan/benign", stage.server.major)
    ]
    for agent, way in product(agents, ways):
        shaped = [
            (shape.text, shape.steps())
            for shape in shapes.read(stage.server.major, agent)
            if not shape.unserved
        ]
        for text, steps in shaped + written:
            if only not in text:
                continue
            result = trial.run(text, steps, agent, way)
            if result is not None and (result.refused or result.failed):
                report(
                    f"NOT SERVED PostgreSQL {stage.version}, {agent}, {way}: {text}\n   "
                    f" {oracles.summary(result.answers[0])}"
                )
                trial.tally.notes.append(text)
    return trial.ended()
