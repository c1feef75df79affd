"""The running gateway as the console, REST and metrics see it: implements :class:`sallyport.operations.ports.LiveGateway`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from sallyport.approvals.sampling import Sample, sample
from sallyport.approvals.states import Request
from sallyport.core.errors import ConfigError, refuse
from sallyport.core.subject import Subject
from sallyport.judge import Judge
from sallyport.operations.explaining import explanations
from sallyport.operations.ports import (
    ClassifiedColumn,
    GatewayMetrics,
    LiveSession,
    MaskedColumn,
    PolicyStatus,
    TargetStatus,
)
from sallyport.policy.explain import Explanation
from sallyport.server.connection import ClientConnection
from sallyport.server.databases import Database
from sallyport.server.gateway import Gateway

log = structlog.get_logger("sallyport.approvals")


class RunningGateway:
    """Reads the gateway's registry; changes nothing but by :meth:`kill`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def live(self) -> Sequence[LiveSession]:
        return [_session(one) for one in self._gateway.connections() if one.session is not None]

    def kill(self, session_id: str, reason: str) -> bool:
        for one in self._gateway.connections():
            if one.id == session_id:
                refusal = refuse("SP1803", f"an operator ended this session: {reason}", hint="Connect again.")
                one.shut(refusal, f"ended by an operator: {reason}")
                return True
        return False

    def targets(self) -> Sequence[TargetStatus]:
        sessions = Counter(one.target for one in self._gateway.connections())
        return [
            _target(database, sessions[name], self._gateway.readiness(database))
            for name, database in sorted(self._gateway.databases.items())
        ]

    def policy(self) -> PolicyStatus:
        current = self._gateway.policy.current
        warnings = [
            w for d in self._gateway.databases.values() if d.judge is not None for w in d.judge.warnings
        ]
        return PolicyStatus(
            current.version, current.filename, current.text, tuple(warnings), self._gateway.policy_problem
        )

    def metrics(self) -> GatewayMetrics:
        gateway = self._gateway
        totals = gateway.totals.copy()
        for one in gateway.connections():
            if one.session is not None:
                totals.add(one.session.counters)
        statements = totals.statements
        buckets: Counter[float] = Counter()
        seconds = misses = 0.0
        masked: Counter[str] = Counter()
        for database in gateway.databases.values():
            if database.judge is not None:
                masked.update(database.judge.masked)
                times = database.judge.times
                buckets.update(times.buckets)
                seconds += times.seconds
                misses += times.count
        return GatewayMetrics(
            sessions=gateway.sessions,
            sessions_total=gateway.sessions_total,
            statements={
                "allow": statements - totals.refused - totals.held,
                "deny": totals.refused,
                "hold": totals.held + totals.waited,
            },
            refusals=dict(totals.codes),
            masked=dict(masked),
            judge_buckets=dict(buckets),
            judge_seconds=seconds,
            cache_hits=max(0, statements - int(misses)),
            cache_misses=int(misses),
            recorder_backlog=gateway.recorder.backlog,
            recorder_failed=gateway.recorder.failed,
            added={"there": dict(gateway.added.there.buckets), "back": dict(gateway.added.back.buckets)},
            added_seconds={"there": gateway.added.there.seconds, "back": gateway.added.back.seconds},
        )

    def ready(self) -> str:
        if self._gateway.stopping:
            return "the gateway is shutting down"
        if self._gateway.recorder.failed:
            return "sessions cannot be recorded"
        problems = [self._gateway.readiness(d) for d in self._gateway.databases.values()]
        return problems[0] if problems and all(problems) else ""

    async def explain(self, subject: Subject, target: str, sql: str) -> Sequence[Explanation]:
        database = self._gateway.databases.get(target)
        if database is None:
            known = ", ".join(sorted(self._gateway.databases))
            raise ConfigError(f"there is no target {target!r}; there is: {known}")
        judge: Judge = await database.ready()
        return explanations(judge, subject, sql)

    async def sample(self, subject: Subject, request: Request) -> Sample:
        database = self._gateway.databases.get(request.binding.target)
        if database is None:
            return Sample(problem="there is no such target any more")
        judge = await database.ready()
        view = judge.view(subject, request.binding.search_path)
        found = await sample(database.query, database.fetch, view, request)
        log.info(
            "sample", request=request.id, reviewer=subject.id, rows=len(found.rows), reason=found.problem
        )
        return found


def _session(one: ClientConnection) -> LiveSession:
    session, subject = one.session, one.subject
    if session is None or subject is None:
        raise ValueError("not a session")
    state = "idle"
    if session.blocked == "AskApproval":
        state = "waiting for approval"
    elif session.entries:
        state = "active"
    elif session.transaction_status != b"I":
        state = "in transaction"
    return LiveSession(
        id=one.id,
        subject=subject.id,
        issuer=subject.issuer,
        agent=subject.agent,
        label=subject.label,
        target=one.target,
        client=one.peer,
        started=one.started,
        statements=session.counters.statements,
        refused=session.counters.refused,
        state=state,
        statement=session.running if state in ("active", "waiting for approval") else "",
    )


def _target(database: Database, sessions: int, problem: str) -> TargetStatus:
    dialed, judge = database.dialer.target, database.judge
    if judge is None:
        return TargetStatus(
            database.name, dialed.host, dialed.database, False, problem or "not read yet", sessions=sessions
        )
    catalog = judge.catalog
    return TargetStatus(
        name=database.name,
        host=dialed.host,
        database=dialed.database,
        ready=not problem,
        problem=problem,
        epoch=catalog.epoch,
        server_version=catalog.server_version,
        relations=len(catalog.relations),
        sessions=sessions,
        masked=tuple(MaskedColumn(*row) for row in judge.masked_columns()),
        unmasked=tuple(ClassifiedColumn(*row) for row in judge.unmasked_columns()),
        warnings=judge.warnings,
    )
