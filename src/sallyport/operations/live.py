"""The running gateway as the console, REST and metrics see it: implements
:class:`sallyport.operations.ports.LiveGateway`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from time import monotonic
from typing import Protocol

import structlog

from sallyport.approvals.preview.sampling import Sample, sample
from sallyport.approvals.seeing import under_own_masks
from sallyport.approvals.states import Request, Requester
from sallyport.audit.ports import LIVE, IndexUnreadableError, SessionRow
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.core.announcements import Topic
from sallyport.core.errors import ConfigError, RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.core.worker import Alone
from sallyport.identity.locks import AGENT, SUBJECT, Lock, is_locked_by
from sallyport.judge import Containments, Judge, SubjectJudge
from sallyport.operations.explaining import explanations
from sallyport.operations.ports import (
    ClassifiedColumn,
    GatewayMetrics,
    LiveSession,
    LogMetrics,
    MaskedColumn,
    PolicyStatus,
    TargetStatus,
)
from sallyport.operations.siblings import Report, Siblings, slim_subject
from sallyport.policy.coverage import ColumnCoverage
from sallyport.policy.explain import Explanation
from sallyport.server.databases import Database
from sallyport.server.gateway import Gateway
from sallyport.server.ports import HostedSession
from sallyport.server.upstream import FAILURES
from sallyport.session.client.input import Blocked

log = structlog.get_logger("sallyport.approvals")

STORE_LOST = refuse(
    "SP1807",
    "the gateway's store cannot be reached, so no other gateway can be told",
    hint="Try again in a moment, or at the gateway that has the session.",
)
#: Bytes of an operator's reason that a message to another process has; JSON makes six of one.
_LONGEST_REASON = 900


class SessionRows(Protocol):
    """Where the store says which sessions are live."""

    def get(self, session_id: str) -> SessionRow | None:
        """None: there is no such session."""
        ...


class RunningGateway:
    """Reads the gateway's registry; changes nothing but by :meth:`kill` and :meth:`end_locked`.
    ``siblings``: the other workers, None where they are not asked for. ``rows``: the sessions of
    all gateways of the store, for :meth:`kill`.
    """

    def __init__(
        self,
        gateway: Gateway,
        siblings: Siblings | None = None,
        rows: SessionRows | None = None,
    ) -> None:
        self._gateway, self._siblings, self._rows = gateway, siblings, rows

    @property
    def containments(self) -> Containments:
        """See :class:`sallyport.operations.ports.LiveGateway`."""
        return self._gateway.containments

    def live(self) -> Sequence[LiveSession]:
        elsewhere = self._siblings.live() if self._siblings is not None else []
        return [*map(_session, self._gateway.hosted()), *elsewhere]

    def report(self) -> Report:
        """What the first worker is told of this one."""
        hosted = self._gateway.hosted()
        subjects = [slim_subject(each.subject) for each in hosted]
        return Report([_session(each) for each in hosted], subjects, self._own_metrics())

    def kill(self, session_id: str, reason: str) -> bool:
        if self.kill_own(session_id, reason):
            return True
        announcements = self._gateway.worker.announcements
        if isinstance(announcements, Alone) or not self._is_elsewhere(session_id):
            return False
        shortened = reason.encode("utf-8", "ignore")[:_LONGEST_REASON].decode("utf-8", "ignore")
        body = json.dumps({"session": session_id, "reason": shortened}, ensure_ascii=False)
        announcements.publish(Topic.SESSION_END, body)
        return True

    def _is_elsewhere(self, session_id: str) -> bool:
        """Whether another process has the session. Raises RefusedError (SP1807) where that, or the
        other process, cannot be asked.
        """
        siblings = self._siblings.live() if self._siblings is not None else ()
        if any(session.id == session_id for session in siblings):
            return True
        if self._gateway.store_watch.lost_seconds():
            raise RefusedError(STORE_LOST)
        try:
            row = self._rows.get(session_id) if self._rows is not None else None
        except IndexUnreadableError:
            raise RefusedError(STORE_LOST) from None
        return row is not None and row.status == LIVE

    def kill_own(self, session_id: str, reason: str) -> bool:
        """As :meth:`kill`, of a session in this process."""
        for hosted in self._gateway.hosted():
            if hosted.id == session_id:
                refusal = refuse(
                    "SP1803",
                    f"an operator ended this session: {reason}",
                    hint="Tell the person you work for before you connect again.",
                )
                hosted.shut(refusal, f"ended by an operator: {reason}")
                return True
        return False

    def end_locked(self, lock: Lock, by: str) -> int:
        refusal, ended = lock.refusal(), 0
        locks, sessions = self._gateway.authenticator.locks, list(self._gateway.hosted())
        if locks is not None:
            for hosted in sessions:
                locks.learn(lock, hosted.subject)
        for hosted in sessions:
            covered = (
                locks.covers(lock, hosted.subject)
                if locks is not None
                else is_locked_by(hosted.subject, lock)
            )
            if covered:
                hosted.shut(refusal, f"locked by {by}: {lock.reason}")
                ended += 1
        self._disown(lock)
        if self._siblings is not None and locks is not None:
            ended += self._siblings.count(partial(locks.covers, lock))
        return ended

    def end_token(self, token_id: str, by: str) -> int:
        refusal = refuse(
            "SP1610",
            "the session token was revoked",
            f"{by} revoked it.",
            "Get a fresh token and connect again.",
        )
        theirs = [
            hosted for hosted in self._gateway.hosted() if hosted.subject.token_id == token_id
        ]
        for hosted in theirs:
            hosted.shut(refusal, f"the session token was revoked by {by}")
        if self._siblings is None:
            return len(theirs)
        return len(theirs) + self._siblings.count(lambda subject: subject.token_id == token_id)

    def _disown(self, lock: Lock) -> None:
        """What whoever is locked approved or asked for, and nobody used yet, must not run, not
        after the lock's release either.
        """
        approvals, locks = self._gateway.approvals, self._gateway.authenticator.locks
        if approvals is None:
            return

        def is_theirs(name: str, issuer: str, links: tuple[str, ...]) -> bool:
            if lock.kind != SUBJECT:
                return False
            named = name == lock.name and lock.issuer in ("", issuer)
            return named or (locks is not None and locks.ties(lock, links))

        def asked(who: Requester) -> bool:
            if lock.kind == AGENT:
                return who.agent == lock.name and lock.issuer in ("", who.issuer)
            return is_theirs(who.id, who.issuer, who.links)

        reason = f'the {lock.kind} "{lock.name}" was locked'
        reviewed = partial(approvals.disown, lambda d: is_theirs(d.reviewer, d.issuer, d.links))
        for void in (reviewed, partial(approvals.void_of, asked)):
            try:
                void(reason)
            except RefusedError as error:
                log.error(
                    "what somebody who is locked approved or asked for could not be voided",
                    lock=lock.id,
                    reason=str(error),
                )

    def issuers(self) -> Collection[str]:
        return self._gateway.authenticator.issuers

    def targets(self) -> Sequence[TargetStatus]:
        sessions = Counter(session.target for session in self.live())
        return [
            _target(database, sessions[name], self._gateway.readiness(database))
            for name, database in sorted(self._gateway.databases.items())
        ]

    def coverage(self, target: str) -> Sequence[ColumnCoverage]:
        judge = self._gateway.databases[target].judge
        return judge.coverage() if judge is not None else ()

    def policy(self) -> PolicyStatus:
        current = self._gateway.policy.current
        warnings = [
            w
            for d in self._gateway.databases.values()
            if d.judge is not None
            for w in d.judge.warnings
        ]
        return PolicyStatus(
            current.version,
            current.filename,
            current.text,
            tuple(warnings),
            self._gateway.policy_problem,
        )

    def metrics(self) -> GatewayMetrics:
        own = self._own_metrics()
        return own if self._siblings is None else self._siblings.merged(own)

    def _own_metrics(self) -> GatewayMetrics:
        gateway = self._gateway
        totals = gateway.totals.copy()
        for hosted in gateway.hosted():
            totals.add(hosted.session.counters)
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
            lane_statements=gateway.lane.requests if gateway.lane is not None else 0,
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
            store_lost=bool(gateway.store_watch.lost_seconds()),
            journal_failed=gateway.intents is not None and gateway.intents.journal.failed,
            recordings_lost=gateway.recorder.lost,
            findings=dict(gateway.watching.counts) if gateway.watching is not None else {},
            policy_problem=bool(gateway.policy_problem),
            policy_failures=gateway.policy.failures,
            recorder_lag=gateway.lag.seconds(
                monotonic(), gateway.recorder.accepted - gateway.recorder.backlog
            ),
            logins={"accepted": gateway.sessions_total, **gateway.refused_logins.codes},
            entrances=dict(gateway.refused_logins.entrances),
            sessions_by_entrance=dict(Counter(hosted.entrance for hosted in gateway.hosted())),
            target_failures={
                name: {kind: database.dialer.failures[kind] for kind in FAILURES}
                for name, database in gateway.databases.items()
            },
            issuer_failures=gateway.authenticator.failures(),
            log=_log_metrics(gateway.log),
            task_failures={
                **gateway.tasks.failures,
                **{
                    f"catalog of {name}": database.failures
                    for name, database in gateway.databases.items()
                },
            },
            latency={
                "to_server": dict(gateway.latency.to_server.buckets),
                "to_client": dict(gateway.latency.to_client.buckets),
            },
            latency_seconds={
                "to_server": gateway.latency.to_server.seconds,
                "to_client": gateway.latency.to_client.seconds,
            },
        )

    def ready(self, target: str = "") -> str:
        databases = self._gateway.databases
        if target and target not in databases:
            raise LookupError(target)
        if self._gateway.stopping:
            return "the gateway is shutting down"
        if self._gateway.recorder.failed:
            return "sessions cannot be recorded"
        if self._gateway.intents is not None and self._gateway.intents.journal.failed:
            return "nothing can be changed, as the journal cannot be written"
        if self._gateway.recorder.handover.is_late:
            return "a stream of the record is too late"
        if self._gateway.state_problem:
            return "the gateway's state was lost; see its log"
        if self._is_store_lost:
            return "the store cannot be reached"
        asked = [databases[target]] if target else databases.values()
        problems = [self._gateway.readiness(database) for database in asked]
        return problems[0] if problems and all(problems) else ""

    @property
    def _is_store_lost(self) -> bool:
        """For this process or a worker beside it."""
        siblings = self._siblings
        is_lost_there = siblings is not None and siblings.lost_store
        return bool(self._gateway.store_watch.lost_seconds()) or is_lost_there

    def warnings(self) -> list[str]:
        transparency = self._gateway.log
        texts = [] if self._siblings is None else self._siblings.warnings
        if transparency is None:
            return texts
        if transparency.problem:
            texts.append("the log of recordings is not continued; see the gateway's log")
        texts += [
            f"the witness {i} of audit.witnesses does not take checkpoints"
            for i, witness in enumerate(transparency.witnesses, 1)
            if witness.failing
        ]
        return texts

    async def explain(self, subject: Subject, target: str, sql: str) -> Sequence[Explanation]:
        database = self._gateway.databases.get(target)
        if database is None:
            names = ", ".join(sorted(self._gateway.databases))
            raise ConfigError(f"there is no target {target!r}; there is: {names}")
        judge: Judge = await database.ready()
        return explanations(judge, subject, sql)

    async def under_own_masks(
        self, subject: Subject, requests: Sequence[Request]
    ) -> Sequence[Request]:
        judges = [self._judge_of(subject, request) for request in requests]
        return await asyncio.to_thread(list, map(under_own_masks, judges, requests))

    def _judge_of(self, subject: Subject, request: Request) -> SubjectJudge | None:
        """The reviewer's, by what is in force here; None where no catalog was read."""
        database = self._gateway.databases.get(request.binding.target)
        judge = database.judge if database is not None else None
        if judge is None:
            return None
        return judge.subject_judge(subject, request.binding.search_path)

    async def sample(self, subject: Subject, request: Request) -> Sample:
        database = self._gateway.databases.get(request.binding.target)
        if database is None:
            return Sample(problem="there is no such target any more")
        judge = await database.ready()
        subject_judge = judge.subject_judge(subject, request.binding.search_path)
        sampled = await sample(database.query, database.fetch, subject_judge, request)
        log.info(
            "sample",
            request=request.id,
            reviewer=subject.id,
            rows=len(sampled.rows),
            reason=sampled.problem,
        )
        return sampled


def _log_metrics(transparency: TransparencyLog | None) -> LogMetrics:
    if transparency is None:
        return LogMetrics()
    return LogMetrics(
        entries=transparency.size,
        waiting=transparency.waiting,
        dropped=transparency.dropped,
        problem=bool(transparency.problem),
        failures=transparency.failures,
        witness_failures={witness.name: witness.failures for witness in transparency.witnesses},
    )


def _session(hosted: HostedSession) -> LiveSession:
    session, subject = hosted.session, hosted.subject
    state = "idle"
    if session.blocked is Blocked.APPROVAL:
        state = "waiting for approval"
    elif hosted.is_active:
        state = "active"
    elif session.transaction_status != b"I":
        state = "in transaction"
    return LiveSession(
        id=hosted.id,
        subject=subject.id,
        issuer=subject.issuer,
        agent=subject.agent,
        label=subject.label,
        target=hosted.target,
        client=hosted.peer,
        started=hosted.started,
        statements=session.counters.statements,
        refused=session.counters.refused,
        state=state,
        statement=session.running if state in ("active", "waiting for approval") else "",
    )


def _target(database: Database, sessions: int, problem: str) -> TargetStatus:
    dialed, judge = database.dialer.target, database.judge
    if problem and database.logins.problem:
        problem = f"{problem}: {database.logins.problem}"
    if judge is None:
        return TargetStatus(
            database.name,
            dialed.host,
            dialed.database,
            False,
            problem or "not read yet",
            sessions=sessions,
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
