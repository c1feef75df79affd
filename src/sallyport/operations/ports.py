"""What the console, the REST interface and the CLI need from a running gateway, as Protocols and
values.

:mod:`sallyport.app` implements :class:`LiveGateway` from the server's registry. Times are Unix
seconds unless a name says otherwise. Texts are as clients sent them: whoever shows them passes them
through :func:`sallyport.audit.display.inert`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sallyport.approvals.preview.sampling import Sample
from sallyport.approvals.states import Request
from sallyport.core.subject import Subject
from sallyport.identity.locks import Lock
from sallyport.judge import Containments
from sallyport.policy.coverage import ColumnCoverage
from sallyport.policy.explain import Explanation


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that is connected now. ``state``: idle | active | in transaction | waiting for
    approval. ``statement``: what runs or waits now, "" when nothing does.
    """

    id: str
    subject: str
    issuer: str
    agent: str
    label: str
    target: str
    client: str
    started: float
    statements: int = 0
    refused: int = 0
    state: str = "idle"
    statement: str = ""


@dataclass(frozen=True, slots=True)
class MaskedColumn:
    """A column that policy masks on a target. ``column``: ``schema.relation.column``. ``tags``: of
    the policy. ``exempt``: the groups that see it as it is; () when nobody does. ``whom``, ``but``:
    for whom it is masked, except for whom, in words.
    """

    column: str
    mask: str
    filter: str
    tags: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()
    whom: str = "everybody"
    but: str = "nobody"


@dataclass(frozen=True, slots=True)
class ClassifiedColumn:
    """A column that has tags in the policy and that nothing masks."""

    column: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target. ``problem``: why it is not ``ready``, "" when it is. ``epoch`` "": no catalog was
    read yet. ``unmasked``: columns that are classified and masked for nobody.
    """

    name: str
    host: str
    database: str
    ready: bool
    problem: str = ""
    epoch: str = ""
    server_version: int = 0
    relations: int = 0
    sessions: int = 0
    masked: tuple[MaskedColumn, ...] = ()
    unmasked: tuple[ClassifiedColumn, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """The policy in force: ``text`` is what was read then, whatever the file says by now.
    ``problem``: why a newer file was not taken, "" when none waits.
    """

    version: str
    filename: str
    text: str
    warnings: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LogMetrics:
    """The log of recordings' heads. entries: under its newest checkpoint; waiting: under none yet;
    dropped: not taken. problem: it is not continued. failures: of writing checkpoints.
    witness_failures: attempts, by witness.
    """

    entries: int = 0
    waiting: int = 0
    dropped: int = 0
    problem: bool = False
    failures: int = 0
    witness_failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayMetrics:
    """Counters since the gateway started, and gauges of this moment.

    statements: by verdict (allow, deny, hold). refusals: by code (SPnnnn). masked: rows by masked
    column. judge_buckets: upper bound in seconds -> statements judged within it (not cumulative;
    ``inf`` last). judge_seconds: their sum. recorder_backlog: bytes. recordings_lost: sessions
    whose own recording could not be written any more. recorder_lag: seconds, the age of the oldest
    event that is not on disk. policy_problem: the policy in force is not the file's.
    policy_failures: files that were not taken. logins: of agents, by outcome (accepted, or the code
    of the refusal). entrances: the same, by entrance (wire, mcp) and outcome. sessions_by_entrance:
    those that are connected. target_failures:
    failed logins at targets, by target and kind (:data:`sallyport.server.upstream.FAILURES`).
    issuer_failures: by issuer, failed fetches of keys and why the last one failed ("" when it did
    not). task_failures: of what the gateway does beside its sessions, by task. log: of the log of
    recordings' heads. lane_statements: that passed the native lane. latency: what the gateway adds,
    by direction (there, back): upper bound in seconds -> pieces handed on within it, of those that
    were measured (:mod:`sallyport.server.latency`); latency_seconds: their sums. workers: processes
    that take clients. worker_restarts: by why (died, hung).
    """

    sessions: int = 0
    sessions_total: int = 0
    lane_statements: int = 0
    statements: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)
    masked: Mapping[str, int] = field(default_factory=dict)
    judge_buckets: Mapping[float, int] = field(default_factory=dict)
    judge_seconds: float = 0.0
    cache_hits: int = 0
    cache_misses: int = 0
    recorder_backlog: int = 0
    recorder_failed: bool = False
    store_lost: bool = False
    journal_failed: bool = False
    recordings_lost: int = 0
    findings: Mapping[tuple[str, str], int] = field(default_factory=dict)
    policy_problem: bool = False
    policy_failures: int = 0
    recorder_lag: float = 0.0
    logins: Mapping[str, int] = field(default_factory=dict)
    entrances: Mapping[tuple[str, str], int] = field(default_factory=dict)
    sessions_by_entrance: Mapping[str, int] = field(default_factory=dict)
    target_failures: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    issuer_failures: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    task_failures: Mapping[str, int] = field(default_factory=dict)
    log: LogMetrics = LogMetrics()
    latency: Mapping[str, Mapping[float, int]] = field(default_factory=dict)
    latency_seconds: Mapping[str, float] = field(default_factory=dict)
    workers: int = 1
    worker_restarts: Mapping[str, int] = field(default_factory=dict)


class ReviewerViews(Protocol):
    """Held statements as policy shows them to one reviewer."""

    async def under_own_masks(
        self, subject: Subject, requests: Sequence[Request]
    ) -> Sequence[Request]:
        """Held statements as ``subject``, who may decide about each, may see them
        (:func:`sallyport.approvals.seeing.under_own_masks`).
        """
        ...

    async def sample(self, subject: Subject, request: Request) -> Sample:
        """Some of the rows that a held statement would change, as policy shows them to ``subject``.
        Raises RefusedError.
        """
        ...


class LiveGateway(ReviewerViews, Protocol):
    """The running gateway. Called from its event loop; only :meth:`explain` may take longer than a
    moment.
    """

    @property
    def containments(self) -> Containments:
        """Who read untrusted text."""
        ...

    def live(self) -> Sequence[LiveSession]:
        """Every session that is connected now."""
        ...

    def kill(self, session_id: str, reason: str) -> bool:
        """End a session, of whichever gateway of the store: its client gets FATAL with SQLSTATE
        57P01 and this reason. False: it is not connected. Raises RefusedError (SP1807) where that
        cannot be asked, as the store is away.
        """
        ...

    def end_locked(self, lock: Lock, by: str) -> int:
        """End every session of whom ``lock`` names: their clients get FATAL SP1608 with its reason.
        What its subject approved as a reviewer, and nobody used yet, is void. How many sessions
        there were.
        """
        ...

    def end_token(self, token_id: str, by: str) -> int:
        """End every session of a session token that was revoked: FATAL SP1610. How many
        there were.
        """
        ...

    def issuers(self) -> Collection[str]:
        """Whose tokens are accepted."""
        ...

    def targets(self) -> Sequence[TargetStatus]: ...

    def coverage(self, target: str) -> Sequence[ColumnCoverage]:
        """What becomes of every column of a target's tables; () before its catalog was read. Raises
        LookupError when there is no such target.
        """
        ...

    def policy(self) -> PolicyStatus: ...

    def metrics(self) -> GatewayMetrics: ...

    def ready(self, target: str = "") -> str:
        """Why no session could start now, on this target or on any; "" when one could. Anybody
        may read it.

        Raises LookupError when there is no such target.
        """
        ...

    def warnings(self) -> Sequence[str]:
        """What is wrong and keeps nobody out. Anybody may read it."""
        ...

    async def explain(self, subject: Subject, target: str, sql: str) -> Sequence[Explanation]:
        """What the policy in force says, one explanation for each statement of ``sql``. Nothing is
        run.

        Raises RefusedError when the text cannot be read, or the target's catalog is not there;
        ConfigError for an unknown target.
        """
        ...
